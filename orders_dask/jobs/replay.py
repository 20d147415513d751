"""Replay the rejected records of a published run date, and publish those that are good now.

See docs/contract.md#replay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from sqlalchemy import Connection, Engine

from orders_dask.checks.run import Checks, load_checks
from orders_dask.cluster.clients import Connect, given_client
from orders_dask.cluster.task_calls import TaskCall
from orders_dask.contract.arrow import ORDER_ROW
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import NothingToRestore, SourceMissing
from orders_dask.jobs.inspect import inspect_run_date
from orders_dask.jobs.lineage import lineage_of_load, stored_files
from orders_dask.jobs.results import result_from_ledger
from orders_dask.ledger import leases
from orders_dask.ledger.queries import (
    LoadStatus,
    columns_of_load,
    database_id,
    held_load,
    latest_refused_after,
    load_status,
    loaded_parts,
    published_load,
)
from orders_dask.ledger.replay import (
    copy_remaining,
    has_replayable,
    mark_unreplayable,
    record_outcomes,
)
from orders_dask.load.ready import ready_database
from orders_dask.pipeline import steps, tasks
from orders_dask.pipeline.load_scope import OpenLoad, RunContext, open_load
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.pipeline.results import ReplayResult
from orders_dask.retry import retry_run, retry_transient
from orders_dask.settings import Settings, load_settings
from orders_dask.stage.collect import collect_parts
from orders_dask.stage.layout import REJECTED, REPLAYED, run_date_folder
from orders_dask.stage.manifest import load_manifest
from orders_dask.stage.parts import find_parts
from orders_dask.stage.record import Part
from orders_dask.stage.tables import row_groups

if TYPE_CHECKING:
    from distributed import Client

MAX_SMALL_ORDERS: Final = 10_000
"""Orders and rejected records of a load whose replay is not worth the start of a cluster."""

OUTCOMES_PER_STATEMENT: Final = 10_000
"""Outcomes that one statement writes to the ledger."""


def replay(
    run_date: date,
    code: str | None = None,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    listener: Listener | None = None,
) -> ReplayResult:
    """Replay the rejected records of a published run date, and publish those that are good now.

    This takes in records after the decoder was fixed, or their texts were corrected
    (``orders_ops.rejected_record.corrected_raw``). They are read from the ledger, and all else from
    the stage, so the dump may be gone. For a rejected child the whole order is replayed. The ledger
    records the outcome of each record. The new load has the fingerprint of the old one, so a run of
    unchanged files leaves it alone. A run that is forced, or finds other files, reads the dump and
    loses the corrections. See docs/contract.md#replay.

    Parameters
    ----------
    run_date
        Date of the dump.
    code
        Only records with this code, and orders with such a child; all by default.
    settings, client, listener
        As in :func:`orders_dask.jobs.run.run`.

    Returns
    -------
    ReplayResult
        Numbers of records that were taken in and that are still rejected.

    Raises
    ------
    NothingToRestore
        Nothing is published for the run date, a later load of it was refused or held, or its parts
        are not in the stage any more.
    DataRefused
        The published and the replayed records together exceed a limit, or are not reconciled.
        What was published before stands.
    LoadHeld
        A check holds the new load. What was published before stands.
    TransientError
        A service can't be reached, or another run has locked the run date.
    """
    settings = settings or load_settings()
    return replay_with(given_client(client), run_date, code, settings, listener)


def replay_with(
    connect: Connect,
    run_date: date,
    code: str | None,
    settings: Settings,
    listener: Listener | None = None,
) -> ReplayResult:
    """Replay as :func:`replay` does, with a client only for a load of many orders.

    Parameters
    ----------
    connect
        Returns the client.
    run_date, code, settings, listener
        As in :func:`replay`.
    """
    database = ready_database(settings)
    return retry_run(_replay)(
        run_date,
        code,
        settings,
        connect,
        database,
        load_checks(settings, database),
        listener or no_progress,
    )


@dataclass
class ReplayTally:
    """Counts of the outcomes of replayed records.

    Attributes
    ----------
    taken
        Number of records that are orders now, or children of one.
    superseded
        Number of these whose order is superseded.
    still_rejected
        Number of records that are still rejected, by code, or by the reason why they can't be
        replayed.
    orders_read
        File id and position of each order that was replayed.
    """

    taken: int
    superseded: int
    still_rejected: Counter[str]
    orders_read: set[tuple[int, int]]


def _replay(
    run_date: date,
    code: str | None,
    settings: Settings,
    connect: Connect,
    database: Engine,
    checks: Checks,
    listener: Listener,
) -> ReplayResult:
    timer = StepTimer(run_date, listener)
    published = _load_to_replay(database, settings, run_date)
    client = connect(settings, published.orders + published.rejected <= MAX_SMALL_ORDERS)
    context = RunContext(settings, client, database, timer)
    part = _make_replay_part(context, published, code)
    if part and part.orders:
        columns = columns_of_load(database, published.load_id)
        missing = _facts_without(columns)
        parts, totals, drift = collect_parts(
            enumerate(
                each.without(missing) for each in chain([part], _staged_parts(context, published))
            )
        )
        with (
            ExitStack() as lineage,
            open_load(
                context,
                run_date,
                published,
                published.fingerprint,
                columns,
                inherits_texts_from=published.load_id,
                status_if_refused="failed",
            ) as load,
        ):
            files = partial(stored_files, database, published.load_id)
            lineage.enter_context(
                lineage_of_load(
                    run_date, load.load_id, published.fingerprint, files, settings, database
                )
            )
            superseded = steps.resolve_and_load(load, parts, drift)
            superseded_rows = frozenset(superseded.get(part.name, ()))
            tally = _record_replay(load, published, part, code, superseded_rows)
            findings = steps.verify_and_publish(load, len(parts), totals, checks)
        loaded = retry_transient(load_status)(database, load.load_id)
        run = result_from_ledger("published", loaded, timer, findings)
    else:
        with leases.acquire_lease(database, run_date) as lease, lease.transaction() as connection:
            tally = _tally_outcomes(connection, published.load_id, part, code, None, frozenset())
        run = result_from_ledger("up_to_date", published, timer)
    return ReplayResult(run_date, tally.taken, tally.superseded, dict(tally.still_rejected), run)


def _facts_without(columns: Sequence[str]) -> set[str]:
    """Return the facts of which a load has no column: with rows of few orders they would be wrong.

    The staged parts have them all the same where a process with more groups of tables made them.
    """
    has = {column.partition(".")[0] for column in columns}
    return {fact.name for fact in FACTS[1:] if fact.name not in has}


def _load_to_replay(database: Engine, settings: Settings, run_date: date) -> LoadStatus:
    """Return the published load, unless a later load of a changed dump was refused."""
    published = published_load(database, run_date)
    if published is None:
        raise NothingToRestore(
            f"Nothing is published for {run_date} that rejected records could be added to: correct "
            f"the files, and give `orders-dask run --run-date {run_date}`."
        )
    held = held_load(database, run_date)
    if held:
        raise NothingToRestore(
            f"Load {held.load_id} of {run_date} is held: give `orders-dask accept --run-date "
            f"{run_date}` or `orders-dask discard --run-date {run_date}` first."
        )
    later = latest_refused_after(database, published)
    if later and _dump_has_changed(database, settings, published):
        raise NothingToRestore(
            f"Load {later} of {run_date} came after what is published, and was refused or held: "
            f"correct the files, and give `orders-dask run --run-date {run_date}`."
        )
    return published


def _dump_has_changed(database: Engine, settings: Settings, published: LoadStatus) -> bool:
    """Return whether the dump has changed since the published load; not if it was deleted."""
    try:
        timer = StepTimer(published.run_date, no_progress)
        inspection = inspect_run_date(published.run_date, settings, database, timer)
    except SourceMissing:
        return False
    return inspection.fingerprint != published.fingerprint


def _make_replay_part(context: RunContext, published: LoadStatus, code: str | None) -> Part | None:
    """Make the part of the replayable records on a worker; return None if there are none."""
    run_date, settings = published.run_date, context.settings
    with context.database.connect() as connection:
        if not has_replayable(connection, published.load_id, code):
            return None
    arguments = (
        *(settings.stage_url, run_date, published.load_id, code),
        *(settings.shop_timezone, settings.record),
    )
    calls = [TaskCall(f"the rejected records of {run_date}", arguments)]
    with context.timer.step("decode") as advance:
        [(_, (part, metrics))] = context.map_tasks(
            tasks.replay_rejects,
            calls,
            step="replay",
            key_suffix=f"{published.load_id}-{uuid4().hex[:8]}",
            max_in_flight=1,
        )
        context.timer.meter.add(metrics)
        advance(part.orders)
    assert isinstance(part, Part)
    return part


def _staged_parts(context: RunContext, published: LoadStatus) -> Iterator[Part]:
    """Yield the staged parts of a published load, in the order of its listing.

    They come without their rejected records. Those are copied from the ledger, where they may have
    been corrected or redacted since.
    """
    stage_url, run_date = context.settings.stage_url, published.run_date
    manifest = load_manifest(
        stage_url,
        run_date,
        database_id(context.database),
        published.load_id,
        loaded_parts(context.database, published.load_id),
    )
    if manifest is None:
        raise _not_staged(published, "its manifest is")
    folder = run_date_folder(stage_url, run_date)
    missing = 0
    for part in find_parts(f"{folder}/{name}" for name in manifest.parts):
        if part is None:
            missing += 1
        else:
            rows = {name: count for name, count in part.rows.items() if name != REJECTED}
            yield replace(part, rows=rows, columns=())
    if missing:
        raise _not_staged(published, f"{missing} of its parts are")


def _not_staged(published: LoadStatus, what: str) -> NothingToRestore:
    return NothingToRestore(
        f"Load {published.load_id} of {published.run_date} can't be made again with more records, "
        f"for {what} not in the stage any more: correct the files, and give `orders-dask run "
        f"--force --run-date {published.run_date}`."
    )


def _record_replay(
    load: OpenLoad, published: LoadStatus, part: Part, code: str | None, superseded: frozenset[int]
) -> ReplayTally:
    """Record the outcomes, and copy the records that are still rejected to the new load."""
    with load.lease.transaction() as connection:
        tally = _tally_outcomes(connection, published.load_id, part, code, load.load_id, superseded)
        copy_remaining(connection, published.load_id, tally.orders_read, load.load_id)
    return tally


def _tally_outcomes(
    connection: Connection,
    load_id: int,
    part: Part | None,
    code: str | None,
    replay_load_id: int | None,
    superseded: frozenset[int],
) -> ReplayTally:
    """Record the outcomes of a load's rejected records, and count them.

    Parameters
    ----------
    connection
        Connection with an open transaction.
    load_id
        Id of the load that rejected the records.
    part
        Part of the replayed records; None if there are none.
    code
        Only records with this code; None for all.
    replay_load_id
        Id of the new load; None if nothing became good.
    superseded
        Order rows of the part that are superseded.
    """
    unreplayable = mark_unreplayable(connection, load_id, code, replay_load_id)
    tally = ReplayTally(0, 0, Counter(unreplayable), set())
    for table in row_groups(part, REPLAYED) if part else ():
        for batch in table.to_batches(max_chunksize=OUTCOMES_PER_STATEMENT):
            rows = batch.to_pylist()
            results = [
                (r["file_id"], r["position"], r["path"], _outcome_text(r, superseded)) for r in rows
            ]
            record_outcomes(connection, load_id, results, replay_load_id)
            good = [r for r in rows if r["code"] is None]
            tally.taken += len(good)
            tally.superseded += sum(r[ORDER_ROW] in superseded for r in good)
            tally.still_rejected.update(r["code"] for r in rows if r["code"] is not None)
            tally.orders_read.update(
                (r["file_id"], r["position"]) for r in rows if r[ORDER_ROW] is not None
            )
    return tally


def _outcome_text(outcome: dict[str, Any], superseded: frozenset[int]) -> str:
    """Return the outcome of a record in words, for the ledger."""
    if outcome["code"] is not None:
        return f"still {outcome['code']}: {outcome['message']}"
    if outcome[ORDER_ROW] in superseded:
        return f"superseded by another version of order {outcome['order_id']}"
    return f"taken in {'with' if outcome['path'] else 'as'} order {outcome['order_id']}"
