"""Load and publish one run date by itself, or plan that: the steps in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from functools import partial

from orders_dask.checks.comparison import Finding
from orders_dask.checks.run import Checks
from orders_dask.contract.custom_columns import VARIABLE
from orders_dask.contract.order_tables import fact_order_line
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.cost import Cost, cost_of_load
from orders_dask.extract.records import Split
from orders_dask.jobs.inspect import Inspection
from orders_dask.jobs.lineage import files_of, lineage_of_load
from orders_dask.jobs.results import result_from_ledger
from orders_dask.ledger import loads
from orders_dask.ledger.queries import LoadStatus, load_status
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.schema_version import undeclared_columns
from orders_dask.monitoring import telemetry
from orders_dask.pipeline import steps
from orders_dask.pipeline.load_scope import RunContext, open_load
from orders_dask.pipeline.progress import StepTimer
from orders_dask.pipeline.results import Plan, RunResult
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings
from orders_dask.stage.layout import part_url
from orders_dask.stage.parts import find_usable_parts, staged_names
from orders_dask.stage.record import Part


def load_one(
    run_date: date, inspection: Inspection, context: RunContext, checks: Checks
) -> RunResult:
    """Take a run date through the steps, each of which may have many tasks.

    Parameters
    ----------
    run_date
        The run date.
    inspection
        What its dump is, and what is published.
    context
        What the steps need.
    checks
        The checks.
    """
    settings, database, timer = context.settings, context.database, context.timer
    published, fingerprint = inspection.published, inspection.fingerprint
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


def is_staged(run_date: date, inspection: Inspection, settings: Settings) -> bool:
    """Return whether a split of a run date has a part: a forced load uses it, decoding nothing."""
    return any(_usable_parts(run_date, inspection.splits, settings))


def _usable_parts(
    run_date: date, splits: Sequence[Split], settings: Settings
) -> Iterator[Part | None]:
    """Yield the staged part of each split of a run date; None for one that is to be decoded."""
    reading = settings.shop_timezone, settings.record
    keep_raw = settings.keeps_raw
    urls = [
        part_url(settings.stage_url, run_date, split, *reading, keep_raw=keep_raw)
        for split in splits
    ]
    names = staged_names(settings.stage_url, run_date)
    return find_usable_parts(urls, names, keep_raw)


def plan_load(
    run_date: date, inspection: Inspection, settings: Settings, timer: StepTimer
) -> RunResult:
    """Return what a run would read and replace, and how much is staged already."""
    splits, published = inspection.splits, inspection.published
    line = fact_order_line.name
    parts = _usable_parts(run_date, splits, settings)
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
