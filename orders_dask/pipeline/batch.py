"""The steps of several run dates of little data, together: few statements for all of them.

Every promise holds for each date by itself: readers see it whole or not at all, and a date that is
refused, held or out of balance is left out of the publish of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, null

from orders_dask.checks.comparison import Finding
from orders_dask.checks.measures import measure_rows
from orders_dask.checks.run import (
    Checks,
    held_message,
    is_held,
    measure_and_check,
    record_findings,
)
from orders_dask.cluster.task_calls import TaskCall
from orders_dask.contract.ledger_tables import load_run
from orders_dask.errors import (
    DataRefused,
    LoadHeld,
    OrdersDaskError,
    TransientError,
    failure_message,
)
from orders_dask.extract.records import Split
from orders_dask.ledger import leases
from orders_dask.ledger.batches import create_loads, write_json
from orders_dask.ledger.leases import EndedStatus, Lease
from orders_dask.ledger.loads import record_drift
from orders_dask.ledger.queries import database_id
from orders_dask.load.locks import lock_out_copies
from orders_dask.load.partitions import ensure_partitions_of
from orders_dask.pipeline import batch_tasks
from orders_dask.pipeline.batch_tasks import DateToLoad, LoadedDate, Reading
from orders_dask.pipeline.load_scope import RunContext, run_by
from orders_dask.pipeline.progress import Listener, Progress, StepTimer
from orders_dask.pipeline.reject_limits import Limits, check_reject_limits
from orders_dask.pipeline.schema_drift import check_drift
from orders_dask.publish import pointer
from orders_dask.publish.publish import (
    SEAL_TIMEOUT,
    analyse,
    await_readers,
    discard_earlier,
    publish_loads,
)
from orders_dask.publish.stored_totals import totals_in_transaction
from orders_dask.publish.verify import reconcile
from orders_dask.stage.record import Part


@dataclass(frozen=True)
class BatchDate:
    """A run date that goes with others.

    Attributes
    ----------
    run_date
        The date of the dump.
    split
        All of its dump.
    fingerprint
        Hash of all that decides what the load contains.
    left_out
        Names of objects beside the dump that are no dump by convention.
    replaces
        The load that is published; None if there is none.
    """

    run_date: date
    split: Split
    fingerprint: str
    left_out: Sequence[str]
    replaces: int | None


@dataclass(frozen=True)
class BatchOutcome:
    """How a run date ended that went with others.

    Attributes
    ----------
    load_id
        Its load.
    error
        Why it is not published; None if it is.
    findings
        What is only worth a warning.
    """

    load_id: int
    error: OrdersDaskError | None = None
    findings: Sequence[Finding] = ()


def load_batch(
    context: RunContext,
    held: Mapping[date, Lease],
    dates: Sequence[BatchDate],
    columns: Sequence[str],
    checks: Checks,
    created: Callable[[Mapping[date, int]], None],
    listener: Listener,
) -> dict[date, BatchOutcome]:
    """Take run dates of little data through all steps.

    Parameters
    ----------
    context
        What the steps need.
    held
        Leases of the run dates, of one session.
    dates
        The run dates.
    columns
        The columns that the rows of the loads will have.
    checks
        The checks, none of which is one's own.
    created
        Called with the loads, by run date, before anything is decoded.
    listener
        Called with the progress of each run date.

    Returns
    -------
    dict
        How each ended, by run date. A date that is missing has to go alone: another run has
        published it meanwhile, or it is larger than it looked.
    """
    lease = next(iter(held.values()))
    with lease.transaction() as connection:
        shown = pointer.published_loads(connection, [each.run_date for each in dates])
        dates = [each for each in dates if shown.get(each.run_date) == each.replaces]
        if not dates:
            return {}
        ids = create_loads(connection, [_ledger_row(context, each, columns) for each in dates])
    loads = {each.run_date: load_id for each, load_id in zip(dates, ids, strict=True)}
    try:
        created(loads)
        ensure_partitions_of(lease.connection, [*loads])
        for day in loads:
            listener(Progress(day, "discover", 1, 1))
            listener(Progress(day, "decode", 0, 1))
        loaded = _decode_and_load(context, dates, loads)
        if loaded is None:
            _end_all(held, loads, "It is larger than it looked, and is loaded by itself.")
            return {}
        for day, each in loaded.items():
            listener(Progress(day, "load", 1, 1, each.part.orders))
        outcomes = _refuse(context, held, loads, loaded)
        parts = {day: each.part for day, each in loaded.items() if each.is_loaded}
        if parts:
            good = {day: loads[day] for day in parts}
            outcomes |= _publish(context, lease, good, parts, checks, shown)
        for day, outcome in outcomes.items():
            if outcome.error is None:
                listener(Progress(day, "publish", 1, 1))
    except BaseException as error:
        with suppress(OrdersDaskError):  # the next run marks them as abandoned
            with lease.transaction() as connection:
                _save_metrics(connection, loads, context.timer)
            _end_all(held, loads, failure_message(error))
        raise
    with suppress(TransientError), lease.transaction() as connection:
        _save_metrics(connection, loads, context.timer)
    return outcomes


def _end_all(held: Mapping[date, Lease], loads: Mapping[date, int], message: str) -> None:
    for day, load_id in loads.items():
        leases.finish(held[day], load_id, "failed", message)


def _ledger_row(context: RunContext, each: BatchDate, columns: Sequence[str]) -> dict[str, Any]:
    return {
        load_run.c.run_date.name: each.run_date,
        load_run.c.source.name: context.settings.source,
        load_run.c.fingerprint.name: each.fingerprint,
        load_run.c.run_by.name: run_by(),
        load_run.c.columns.name: list(columns),
        load_run.c.left_out.name: list(each.left_out) or null(),
    }


def _decode_and_load(
    context: RunContext, dates: Sequence[BatchDate], loads: Mapping[date, int]
) -> dict[date, LoadedDate] | None:
    """Call the task that decodes, stages, resolves and loads all dates."""
    settings = context.settings
    reading = Reading(
        settings.stage_url,
        settings.shop_timezone,
        settings.record,
        settings.keeps_raw,
        database_id(context.database),
        Limits.of(settings),
    )
    to_load = [DateToLoad(each.run_date, loads[each.run_date], each.split) for each in dates]
    call = TaskCall(f"run dates {dates[0].run_date} to {dates[-1].run_date}", (to_load, reading))
    key = f"{to_load[0].load_id}-{uuid4().hex[:8]}"
    with context.timer.step("load") as advance:
        [(_, (loaded, metrics))] = context.map_tasks(
            batch_tasks.load_dates, [call], step="load-dates", key_suffix=key, max_in_flight=1
        )
        context.timer.meter.add(metrics)
        if loaded is None:
            return None
        advance(sum(each.part.orders for each in loaded))
    return {each.run_date: of_date for each, of_date in zip(dates, loaded, strict=True)}


def _refuse(
    context: RunContext,
    held: Mapping[date, Lease],
    loads: Mapping[date, int],
    loaded: Mapping[date, LoadedDate],
) -> dict[date, BatchOutcome]:
    """End the loads that were not copied; return how those ended whose data is refused."""
    refused = {}
    for day, load_id in loads.items():
        part, lease = loaded[day].part, held[day]
        if loaded[day].is_loaded:
            continue
        if context.settings.schema_drift != "ignore":
            record_drift(lease, load_id, part.drift)
        try:
            check_reject_limits(lease, load_id, context.settings, [part])
            check_drift(day, context.settings, part.drift)
            raise RuntimeError(f"load {load_id} was refused, and nothing is wrong with it")
        except DataRefused as error:
            leases.finish(lease, load_id, "refused", str(error))
            refused[day] = BatchOutcome(load_id, error)
    return refused


def _publish(
    context: RunContext,
    lease: Lease,
    loads: Mapping[date, int],
    parts: Mapping[date, Part],
    checks: Checks,
    shown: Mapping[date, int],
) -> dict[date, BatchOutcome]:
    """Seal, verify, check and publish loads in one transaction, without those that fail."""
    ids = {load_id: day for day, load_id in loads.items()}
    decoded = {loads[day]: part.all_totals() for day, part in parts.items()}
    step = context.timer.step
    with ExitStack() as transaction:
        with step("verify"):
            if context.settings.schema_drift != "ignore":
                drifts = {loads[day]: part.drift.to_json() for day, part in parts.items()}
                with lease.transaction() as connection:
                    write_json(connection, load_run.c.schema_drift, drifts)
            analyse(lease.connection)
            await_readers(lease.connection, [*loads])
            ended = ("published", "held", "refused")
            transaction.enter_context(pointer.confirm_commit(lease, next(iter(ids)), ended))
            connection = transaction.enter_context(lease.transaction())
            lock_out_copies(connection, [*ids], SEAL_TIMEOUT)
            stored = totals_in_transaction(connection, loads)
            differing = reconcile(connection, loads, stored, dict.fromkeys(ids, 1), decoded)
        errors: dict[int, OrdersDaskError] = {**differing}
        with step("check"):
            whole = {day: load_id for day, load_id in loads.items() if load_id not in errors}
            rows = measure_rows(connection, whole) if whole else {}
            measured = measure_and_check(connection, whole, checks, rows) if whole else {}
            for load_id, (_, findings) in measured.items():
                if is_held(findings):
                    replaces = ids[load_id] in shown
                    message = held_message(load_id, ids[load_id], findings, replaces)
                    errors[load_id] = LoadHeld(message)
        with step("publish"):
            good = {day: load_id for day, load_id in loads.items() if load_id not in errors}
            plan = pointer.precompute(connection, good) if good else None
            # Who holds a row of load_run waits for no lock: see docs/architecture.md#locks.
            pointer.lock_publishing(connection)
            record_findings(connection, measured)
            for load_id, error in errors.items():
                status: EndedStatus = "held" if load_id in measured else "refused"
                connection.execute(leases.ending(load_id, status, str(error)))
                if status == "held":
                    discard_earlier(connection, ids[load_id], load_id)
            if good:
                publish_loads(connection, good, "loading", plan)
            transaction.close()  # which commits
    return {
        day: BatchOutcome(load_id, errors.get(load_id), measured[load_id][1])
        if load_id in measured
        else BatchOutcome(load_id, errors[load_id])
        for day, load_id in loads.items()
    }


def _save_metrics(connection: Connection, loads: Mapping[date, int], timer: StepTimer) -> None:
    """Write the seconds and metrics of the steps: each load has an equal share of them."""
    shares = timer.share([*loads])
    seconds = {loads[day]: share.seconds for day, share in shares.items()}
    metrics = {
        loads[day]: {step: asdict(of_step) for step, of_step in share.meter.metrics.items()}
        for day, share in shares.items()
    }
    write_json(connection, load_run.c.step_seconds, seconds)
    write_json(connection, load_run.c.step_metrics, metrics)
