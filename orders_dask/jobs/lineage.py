"""Tell OpenLineage of a load: its dump, its tables, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from functools import partial
from typing import Final

from sqlalchemy import Engine

from orders_dask.errors import LoadHeld, OrdersDaskError, failure_message
from orders_dask.extract.records import Split
from orders_dask.ledger.queries import files_of_load, row_counts
from orders_dask.monitoring.lineage import sending_lineage
from orders_dask.monitoring.lineage_client import is_configured
from orders_dask.monitoring.load_lineage import DumpFile, LoadLineage, dump_name, server_name
from orders_dask.settings import Settings

LOG: Final = logging.getLogger("orders_dask")


def lineage_of_load(
    run_date: date,
    load_id: int,
    fingerprint: str,
    files: Callable[[], Sequence[DumpFile]],
    settings: Settings,
    database: Engine,
) -> AbstractContextManager[None]:
    """Return a context that tells OpenLineage of a load, until it is published.

    Parameters
    ----------
    run_date, load_id
        The load.
    fingerprint
        Its fingerprint.
    files
        Returns the files of the dump; only called if events are sent.
    settings
        Settings of the run.
    database
        Engine of the database.
    """
    if not is_configured():
        return nullcontext()
    try:
        of_dump = files()
    except OrdersDaskError as error:
        LOG.warning("OpenLineage is told of load %d without its files: %s", load_id, error)
        of_dump = []
    load = LoadLineage(
        run_date=run_date,
        load_id=load_id,
        zone=settings.zone,
        dump=dump_name(settings.source, run_date),
        fingerprint=fingerprint,
        files=of_dump,
        server=server_name(settings.pgsql_hostname, settings.pgsql_port),
        database=settings.pgsql_database,
    )
    return sending_lineage(load, partial(row_counts, database, load_id), partial(_message, load_id))


def files_of(splits: Sequence[Split]) -> list[DumpFile]:
    """Return the files of some splits, in their order."""
    files = {file.name: file for split in splits for file in split.files}
    return [DumpFile(file.name, file.etag, file.size) for file in files.values()]


def stored_files(database: Engine, load_id: int) -> list[DumpFile]:
    """Return the files of a load in the ledger."""
    return [DumpFile(*file) for file in files_of_load(database, load_id)]


def _message(load_id: int, error: BaseException) -> str:
    """Return why a load is not published; a check of somebody's own may have quoted the data."""
    if isinstance(error, LoadHeld):
        return f"A check holds load {load_id}: see `orders-dask status`."
    return failure_message(error)
