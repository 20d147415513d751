"""Whether a database is ready for this code, which each command asks first."""

from __future__ import annotations

from sqlalchemy import Engine

from orders_dask.contract.ledger_tables import schema_info
from orders_dask.errors import DatabaseNotReady
from orders_dask.load.connect import engine
from orders_dask.load.schema_version import read_version, require_complete, require_usable
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings


def ready_database(settings: Settings) -> Engine:
    """Return an engine for the database of the settings, after :func:`ensure_ready`."""
    database = engine(settings)
    retry_transient(ensure_ready)(database)
    return database


def ensure_ready(engine: Engine) -> None:
    """Raise unless the database has all that this code needs (``init``, ``migrate``).

    Raises
    ------
    DatabaseNotReady
        It has not.
    """
    with engine.connect() as connection:
        version = read_version(connection)
        if version is None:
            raise DatabaseNotReady(
                f"The table {schema_info} is not there, or not ours: run `orders-dask init`, "
                "or use another database."
            )
        require_usable(version)
        require_complete(connection)
