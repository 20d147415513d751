"""Load and publish a range of run dates, several at a time."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from orders_dask.cluster.clients import given_client
from orders_dask.contract.raw_text import raw_columns
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import SettingsError
from orders_dask.jobs.dates import date_range
from orders_dask.jobs.load_dates import load_dates
from orders_dask.ledger.queries import dates_without
from orders_dask.ledger.replay import corrected_records
from orders_dask.load.ready import ready_database
from orders_dask.pipeline.progress import Listener
from orders_dask.pipeline.results import RunResult
from orders_dask.settings import Settings, load_settings

if TYPE_CHECKING:
    from distributed import Client


def backfill(
    start: date,
    end: date,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    force: bool = False,
    dry_run: bool = False,
    max_parallel: int = 2,
    listener: Listener | None = None,
) -> list[RunResult]:
    """Load and publish a range of run dates, several at a time.

    A date that fails does not stop the others: its result has the message. A date that another run
    has locked is waited for.

    Parameters
    ----------
    start, end
        First and last run date.
    settings, client, force, dry_run, listener
        As in :func:`orders_dask.jobs.run.run`. The listener is called from several threads.
    max_parallel
        Number of run dates to work on at once.

    Returns
    -------
    list of RunResult
        One per run date, in order; ``missing`` for a date without a file.

    Raises
    ------
    SettingsError
        A setting is missing or malformed, the client can't be used, the range is empty, or the
        source has no ``{run_date}`` and there are several.
    DatabaseNotReady
        ``orders-dask init`` has not been run.
    """
    settings = settings or load_settings()
    return load_dates(
        given_client(client),
        date_range(start, end),
        settings,
        force=force,
        dry_run=dry_run,
        max_parallel=max_parallel,
        listener=listener,
    )


def refresh_dates(
    column: str,
    *,
    settings: Settings | None = None,
    between: tuple[date, date] | None = None,
    corrected: bool = False,
) -> list[date]:
    """Return the published run dates whose loads lack a column: their force is to give it to them.

    Parameters
    ----------
    column
        A column such as ``fact_order.note`` or ``note``, a table such as ``fact_order``, ``raw``
        for the raw texts if they are to be kept, or ``all``.
    settings
        Settings; from the environment by default.
    between
        First and last run date; all by default.
    corrected
        Whether those count with records that were corrected and replayed: the dump has them as
        they were.

    Raises
    ------
    SettingsError
        No column or table has the name.
    DatabaseNotReady
        ``orders-dask init`` or ``orders-dask migrate`` has not been run.
    """
    settings = settings or load_settings()
    declared = (*STORED_COLUMNS, *raw_columns(settings.keeps_raw))
    wanted = {name for name in declared if column in ("all", *_names_of(name))}
    if not wanted:
        raise SettingsError(
            f"There is no column or table {column!r}: name one as fact_order.note, or all."
        )
    database = ready_database(settings)
    lacking = dates_without(database, settings.keeps_raw)
    dates = {day for name in wanted for day in lacking.get(name, ())}
    if not corrected:
        dates = dates.difference(corrected_records(database))
    return sorted(day for day in dates if between is None or between[0] <= day <= between[1])


def _names_of(stored_column: str) -> tuple[str, ...]:
    """Return what people may call a column of the storage, its table included."""
    name = stored_column.partition(" ")[0]
    table, _, column = name.partition(".")
    return name, table, column
