"""Load and publish one run date: the steps in their order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from functools import partial
from threading import Event

from distributed import Client
from sqlalchemy import Engine

from orders_dask.checks.comparison import Finding
from orders_dask.checks.run import Checks, load_checks
from orders_dask.cluster.workers import resolve_client
from orders_dask.contract.custom_columns import VARIABLE
from orders_dask.contract.order_tables import fact_order_line
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.cost import Cost, cost_of_load
from orders_dask.errors import OrdersDaskError
from orders_dask.extract.records import Split
from orders_dask.jobs.inspect import (
    Inspection,
    inspect_run_date,
    result_from_ledger,
    result_of_error,
    result_of_held_or_discarded,
    up_to_date_result,
    wait_for_source,
    yesterday,
)
from orders_dask.jobs.lineage import files_of, lineage_of_load
from orders_dask.ledger import loads
from orders_dask.ledger.queries import LoadStatus, held_load, load_status
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.schema import ready_database
from orders_dask.load.schema_version import undeclared_columns
from orders_dask.monitoring import telemetry
from orders_dask.pipeline import steps
from orders_dask.pipeline.load_scope import RunContext, open_load
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.pipeline.results import Plan, RunResult
from orders_dask.retry import retry_run, retry_transient
from orders_dask.settings import Settings, load_settings
from orders_dask.stage.layout import part_url
from orders_dask.stage.parts import find_usable_parts, staged_names


def run(
    run_date: date | None = None,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    wait_seconds: float = 0,
    listener: Listener | None = None,
) -> RunResult:
    """Load and publish one run date.

    It is idempotent: a run date that is up to date is left alone. Transient errors are retried with
    backoff.

    Parameters
    ----------
    run_date
        Date of the dump; yesterday in the shop's time zone by default.
    settings
        Settings; from the environment by default. Workers of a local cluster, or over TLS, are sent
        the same settings. Others read their own environment.
    client
        Dask client; the current one by default, as in other Dask libraries.
    force
        Load and publish also a run date that is up to date. If its dump has no file any more, and
        the raw texts of the published load are kept, they are read instead.
    dry_run
        Only return what a run would do (:class:`~orders_dask.pipeline.results.Plan`). This needs no
        client.
    wait_seconds
        Longest time to wait for the first file of the run date.
    listener
        Called with the progress of each step.

    Returns
    -------
    RunResult
        ``published``, ``up_to_date``, ``discarded`` or, in a dry run, ``planned``.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, or there is no client.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    DataRefused
        Too much was rejected, a file could not be read, or the control totals are not reconciled.
        What was published before stands. See docs/contract.md#refusal.
    LoadHeld
        A check holds the load. What was published before stands. See docs/checks.md.
    SourceMissing
        There is no file for the run date yet.
    TransientError
        A service can't be reached, another run has locked the run date, or a file changed
        meanwhile.
    """
    settings = settings or load_settings()
    run_date = run_date or yesterday(settings)
    if wait_seconds:
        wait_for_source(run_date, settings, wait_seconds)
    database = ready_database(settings)
    return retry_run(run_once)(
        run_date,
        settings,
        None if dry_run else resolve_client(client, settings),
        database,
        load_checks(settings, database),
        force=force,
        listener=listener or no_progress,
    )


def run_once(
    run_date: date,
    settings: Settings,
    client: Client | None,
    database: Engine,
    checks: Checks,
    *,
    force: bool,
    listener: Listener,
    stop: Event | None = None,
) -> RunResult:
    """Take one run date through the steps, without retries; without a client only plan them."""
    with telemetry.span("run date", run_date=str(run_date)):
        try:
            result = _take_through_steps(
                run_date, settings, client, database, checks, force, listener, stop
            )
        except OrdersDaskError as error:
            telemetry.describe(outcome=result_of_error(run_date, error).outcome)
            raise
        describe_result(result)
        return result


def describe_result(result: RunResult) -> None:
    """Add what became of a run date to its span."""
    telemetry.describe(
        outcome=result.outcome,
        load_id=result.load_id,
        files=result.files,
        orders=result.orders,
        lines=result.lines,
        superseded=result.superseded,
        rejected=result.rejected,
    )


def _take_through_steps(
    run_date: date,
    settings: Settings,
    client: Client | None,
    database: Engine,
    checks: Checks,
    force: bool,
    listener: Listener,
    stop: Event | None,
) -> RunResult:
    timer = StepTimer(run_date, listener)
    inspection = inspect_run_date(run_date, settings, database, timer, raw_if_missing=force)
    published, fingerprint = inspection.published, inspection.fingerprint
    if published and inspection.is_up_to_date and not force:
        unchanged = up_to_date_result(published, held_load(database, run_date), timer)
        return replace(unchanged, left_out=tuple(inspection.left_out))
    if inspection.held_or_discarded and not force:
        return result_of_held_or_discarded(inspection.held_or_discarded, timer)
    if client is None:
        return _plan(run_date, inspection.splits, settings, published, timer)
    context = RunContext(settings, client, database, timer, stop or Event())
    corrected = retry_transient(corrected_records)(database, run_date).get(run_date, 0)
    undeclared = retry_transient(undeclared_columns)(database)
    # OpenLineage is told of the end when the ledger has it and the lease is released.
    columns = (*STORED_COLUMNS, *raw_columns(settings.keeps_raw))
    with (
        ExitStack() as lineage,
        open_load(context, run_date, published, fingerprint, columns, inspection.texts_of) as load,
    ):
        telemetry.describe(load_id=load.load_id)
        files = partial(files_of, inspection.splits)
        lineage.enter_context(
            lineage_of_load(run_date, load.load_id, fingerprint, files, settings, database)
        )
        loads.record_left_out(load.lease, load.load_id, inspection.left_out)
        parts, totals, drift = steps.decode(load, inspection.splits)
        steps.resolve_and_load(load, parts, drift)
        findings = steps.verify_and_publish(load, len(parts), totals, checks)
    loaded = retry_transient(load_status)(database, load.load_id)
    return published_result(loaded, timer, findings, inspection, corrected, undeclared, settings)


def published_result(
    loaded: LoadStatus,
    timer: StepTimer,
    findings: Sequence[Finding],
    inspection: Inspection,
    corrected: int,
    undeclared: list[str],
    settings: Settings,
) -> RunResult:
    """Return the result of a run date that was published now.

    Parameters
    ----------
    loaded
        The load, as the ledger has it.
    timer
        What its steps took.
    findings
        What is only worth a warning.
    inspection
        The run date as it was before.
    corrected
        Number of corrected and replayed records that it replaced.
    undeclared
        Columns of the database that this process does not declare.
    settings
        Settings of the run.
    """
    cost = cost_of_load(timer.seconds, timer.meter.metrics, settings.prices)
    result = result_from_ledger("published", loaded, timer, findings)
    return replace(
        result,
        left_out=tuple(inspection.left_out),
        warnings=(
            *result.warnings,
            *_missing_corrections(corrected),
            *_left_null(undeclared),
            *_over_budget(cost, settings),
        ),
        cost=cost,
    )


def _missing_corrections(records: int) -> list[str]:
    """Return a warning if a load replaced a replay of corrected records."""
    if not records:
        return []
    return [
        f"lost {records:,} records that were corrected and replayed: `orders-dask rollback` brings "
        "them back, or correct and replay them once more"
    ]


def _left_null(columns: list[str]) -> list[str]:
    """Return a warning if the database has columns that this process does not declare."""
    if not columns:
        return []
    return [
        f"left null what the database has and {VARIABLE} of this process doesn't declare: "
        f"{', '.join(columns)}"
    ]


def _over_budget(cost: Cost, settings: Settings) -> list[str]:
    """Return a warning if a load cost more than the budget of a run date."""
    if settings.budget is None or cost.money is None or cost.money <= settings.budget:
        return []
    return [f"cost {cost.money:,.4f}, more than ORDERS_DASK_BUDGET of {settings.budget:g}"]


def _plan(
    run_date: date,
    splits: Sequence[Split],
    settings: Settings,
    published: LoadStatus | None,
    timer: StepTimer,
) -> RunResult:
    """Return what a run would read and replace, and how much is staged already."""
    reading = settings.shop_timezone, settings.record
    keep_raw = settings.keeps_raw
    urls = [
        part_url(settings.stage_url, run_date, split, *reading, keep_raw=keep_raw)
        for split in splits
    ]
    line = fact_order_line.name
    names = staged_names(settings.stage_url, run_date)
    parts = find_usable_parts(urls, names, keep_raw)
    staged = [(part.orders, part.rows.get(line, 0)) for part in parts if part]
    sizes = {file.name: file.size for split in splits for file in split.files}
    plan = Plan(
        files=len(sizes),
        bytes=sum(sizes.values()),
        tasks=len(splits),
        staged=len(staged),
        staged_orders=sum(orders for orders, _ in staged),
        staged_lines=sum(lines for _, lines in staged),
        replaced_load_id=published.load_id if published else None,
        replaced_orders=published.orders if published else 0,
        replaced_lines=published.lines if published else 0,
    )
    return RunResult(
        run_date,
        "planned",
        files=plan.files,
        seconds=timer.total,
        message=str(plan),
        plan=plan,
    )
