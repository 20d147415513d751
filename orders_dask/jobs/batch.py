"""Load and publish small run dates, one or several together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import date
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine

from orders_dask.checks.run import Checks
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import OrdersDaskError
from orders_dask.jobs.inspect import Inspection
from orders_dask.jobs.lineage import files_of, lineage_of_load
from orders_dask.jobs.load_one import published_result
from orders_dask.jobs.results import describe_result, result_of_error
from orders_dask.ledger.leases import acquire_free_leases
from orders_dask.ledger.queries import load_statuses
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.schema_version import undeclared_columns
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.batch import BatchDate, BatchOutcome, load_batch
from orders_dask.pipeline.load_scope import RunContext
from orders_dask.pipeline.progress import Listener
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings


class Ended(NamedTuple):
    """How a run date ended that was loaded as a small one.

    Attributes
    ----------
    result
        Its result.
    load_id
        Its load.
    error
        Why it is not published; None if it is.
    """

    result: RunResult
    load_id: int
    error: OrdersDaskError | None


def load_together(
    inspected: Mapping[date, Inspection], context: RunContext, checks: Checks, listener: Listener
) -> dict[date, RunResult]:
    """Load and publish small run dates together, as :func:`load_small` does, with their spans."""
    first, last = min(inspected), max(inspected)
    with telemetry.span("run dates", first=str(first), last=str(last), run_dates=len(inspected)):
        ended = load_small(inspected, context, checks, listener)
        for day, each in ended.items():
            with suppress(OrdersDaskError), telemetry.span("run date", run_date=str(day)):
                describe_result(replace(each.result, load_id=each.load_id))
                if each.error:
                    raise each.error
    return {day: each.result for day, each in ended.items()}


def load_small(
    inspected: Mapping[date, Inspection], context: RunContext, checks: Checks, listener: Listener
) -> dict[date, Ended]:
    """Load and publish small run dates together.

    Parameters
    ----------
    inspected
        The run dates (:attr:`~orders_dask.jobs.inspect.Inspection.is_small`).
    context
        What the steps need.
    checks
        The checks, none of which is one's own: that may look at the days before.
    listener
        Called with the progress of each run date.

    Returns
    -------
    dict
        How each ended. Dates that are missing have to go by themselves, since somebody else works
        on them or has published them; after an error all have to.
    """
    settings, database = context.settings, context.database
    columns = (*STORED_COLUMNS, *raw_columns(settings.keeps_raw))
    replaces = any(inspection.published for inspection in inspected.values())
    corrected = retry_transient(corrected_records)(database) if replaces else {}
    # OpenLineage is told of the ends when the ledger has them and the leases are released.
    with _lineage(inspected, settings, database) as (began, ended):
        with acquire_free_leases(database, [*inspected]) as held:
            dates = [_batch_date(day, inspected[day]) for day in held]
            outcomes = (
                load_batch(context, held, dates, columns, checks, began, listener) if held else {}
            )
        ended(outcomes)
    return _results(inspected, outcomes, corrected, context)


def _batch_date(run_date: date, inspection: Inspection) -> BatchDate:
    return BatchDate(
        run_date,
        inspection.splits[0],
        inspection.fingerprint,
        inspection.left_out,
        inspection.published.load_id if inspection.published else None,
    )


@contextmanager
def _lineage(
    inspected: Mapping[date, Inspection], settings: Settings, database: Engine
) -> Iterator[
    tuple[Callable[[Mapping[date, int]], None], Callable[[Mapping[date, BatchOutcome]], None]]
]:
    """Yield functions that tell OpenLineage that loads begin, and how each ended."""
    open_loads: dict[date, AbstractContextManager[None]] = {}

    def begin(loads: Mapping[date, int]) -> None:
        for day, load_id in loads.items():
            splits, fingerprint = inspected[day].splits, inspected[day].fingerprint
            open_loads[day] = lineage_of_load(
                day, load_id, fingerprint, partial(files_of, splits), settings, database
            )
            open_loads[day].__enter__()

    def end(outcomes: Mapping[date, BatchOutcome]) -> None:
        alone = BatchOutcome(0, OrdersDaskError("The run date goes alone."))
        for day in [*open_loads]:
            error = outcomes.get(day, alone).error
            open_loads.pop(day).__exit__(type(error) if error else None, error, None)

    try:
        yield begin, end
    except BaseException as error:
        for load in open_loads.values():
            load.__exit__(type(error), error, error.__traceback__)
        raise


def _results(
    inspected: Mapping[date, Inspection],
    outcomes: Mapping[date, BatchOutcome],
    corrected: Mapping[date, int],
    context: RunContext,
) -> dict[date, Ended]:
    if not outcomes:
        return {}
    settings, database = context.settings, context.database
    ids = [outcome.load_id for outcome in outcomes.values() if outcome.error is None]
    loaded = retry_transient(load_statuses)(database, ids)
    undeclared = retry_transient(undeclared_columns)(database)
    shares = context.timer.share([*outcomes])
    results = {}
    for day, outcome in outcomes.items():
        if outcome.error:
            failed = result_of_error(day, outcome.error)
            results[day] = Ended(failed, outcome.load_id, outcome.error)
            continue
        published = published_result(
            loaded[outcome.load_id],
            shares[day],
            outcome.findings,
            inspected[day],
            corrected.get(day, 0),
            undeclared,
            settings,
        )
        results[day] = Ended(published, outcome.load_id, None)
    return results
