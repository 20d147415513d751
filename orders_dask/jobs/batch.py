"""Load and publish several run dates of little data together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import date
from functools import partial
from threading import Event
from typing import Final

from distributed import Client
from sqlalchemy import Engine

from orders_dask.checks.run import Checks
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import OrdersDaskError
from orders_dask.jobs.inspect import Inspection, result_of_error
from orders_dask.jobs.lineage import files_of, lineage_of_load
from orders_dask.jobs.run import describe_result, published_result
from orders_dask.ledger.leases import acquire_free_leases
from orders_dask.ledger.queries import load_statuses
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.schema_version import undeclared_columns
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.batch import BatchDate, BatchOutcome, load_batch
from orders_dask.pipeline.load_scope import RunContext
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.pipeline.results import RunResult
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings

MAX_DATE_BYTES: Final = 4 << 20
"""Bytes of a dump, as stored, that goes with others: one task decodes it in a second."""

MAX_DATE_FILES: Final = 64
"""Files of such a dump."""

MAX_BATCH_DATES: Final = 32
"""Run dates of a batch: what it costs by itself is shared by all."""

MAX_BATCH_BYTES: Final = 16 << 20
"""Bytes of the dumps of a batch, as stored."""


def may_go_with_others(inspection: Inspection, checks: Checks) -> bool:
    """Return whether a run date is small, and nothing about it asks for a run of its own.

    A check of somebody's own may look at what is published of the days before.
    """
    [first, *others] = inspection.splits
    whole = first.start is None and first.raw_url is None and not others
    small = first.size <= MAX_DATE_BYTES and len(first.files) <= MAX_DATE_FILES
    return whole and small and not checks.own


def load_together(
    inspected: Mapping[date, Inspection],
    settings: Settings,
    client: Client,
    database: Engine,
    checks: Checks,
    listener: Listener,
    stop: Event,
) -> dict[date, RunResult]:
    """Load and publish run dates of little data together.

    Parameters
    ----------
    inspected
        The run dates (:func:`may_go_with_others`).
    settings, client, database, checks, listener, stop
        As in :func:`orders_dask.jobs.run.run_once`.

    Returns
    -------
    dict
        Results by run date. Dates that are missing have to go alone, since somebody else works on
        them or has published them; after an error all have to.
    """
    first, last = min(inspected), max(inspected)
    timer = StepTimer(first, no_progress)
    with telemetry.span("run dates", first=str(first), last=str(last), run_dates=len(inspected)):
        outcomes = _load(inspected, settings, client, database, checks, timer, listener, stop)
        return _results(inspected, outcomes, settings, database, timer)


def _load(
    inspected: Mapping[date, Inspection],
    settings: Settings,
    client: Client,
    database: Engine,
    checks: Checks,
    timer: StepTimer,
    listener: Listener,
    stop: Event,
) -> dict[date, BatchOutcome]:
    columns = (*STORED_COLUMNS, *raw_columns(settings.keeps_raw))
    context = RunContext(settings, client, database, timer, stop)
    # OpenLineage is told of the ends when the ledger has them and the leases are released.
    with _lineage(inspected, settings, database) as (began, ended):
        with acquire_free_leases(database, [*inspected]) as held:
            dates = [_batch_date(day, inspected[day]) for day in held]
            outcomes = (
                load_batch(context, held, dates, columns, checks, began, listener) if held else {}
            )
        ended(outcomes)
    return outcomes


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
    settings: Settings,
    database: Engine,
    timer: StepTimer,
) -> dict[date, RunResult]:
    if not outcomes:
        return {}
    ids = [outcome.load_id for outcome in outcomes.values() if outcome.error is None]
    loaded = retry_transient(load_statuses)(database, ids)
    replaced = any(inspected[day].published for day in outcomes)
    corrected = retry_transient(corrected_records)(database) if replaced else {}
    undeclared = retry_transient(undeclared_columns)(database)
    shares = timer.share([*outcomes])
    results = {
        day: result_of_error(day, outcome.error)
        if outcome.error
        else published_result(
            loaded[outcome.load_id],
            shares[day],
            outcome.findings,
            inspected[day],
            corrected.get(day, 0),
            undeclared,
            settings,
        )
        for day, outcome in outcomes.items()
    }
    for day, result in results.items():
        outcome = outcomes[day]
        with suppress(OrdersDaskError), telemetry.span("run date", run_date=str(day)):
            describe_result(replace(result, load_id=outcome.load_id))
            if outcome.error:
                raise outcome.error
    return results
