"""Load names of locations, staff and apps, which no order has, into their dimensions."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from orders_dask.contract.storage_tables import DIMENSION_NAMES
from orders_dask.extract.names_file import read_names
from orders_dask.load.ready import ready_database
from orders_dask.publish.dimensions import set_names
from orders_dask.publish.pointer import lock_publishing
from orders_dask.settings import Settings, load_settings


def load_names(url: str, *, settings: Settings | None = None) -> dict[str, int]:
    """Load names from a file, in one transaction; those of other keys stay.

    Parameters
    ----------
    url
        Path or URL of a file: JSON as the Admin API gives it, or CSV. See
        docs/operations.md#names-of-locations-staff-and-apps.
    settings
        Settings; from the environment by default.

    Returns
    -------
    dict
        Number of keys with names in the file, by dimension.

    Raises
    ------
    SettingsError
        The file can't be read as names: the message says why.
    DatabaseNotReady
        ``orders-dask init`` or ``orders-dask migrate`` has not been run.
    ServiceUnavailable
        PostgreSQL or the store can't be reached.
    """
    settings = settings or load_settings()
    names = read_names(url)
    with ready_database(settings).begin() as connection:
        lock_publishing(connection)
        for dimension, rows in names.items():
            if rows:
                new = insert(DIMENSION_NAMES[dimension])
                key = dimension.info["key"]
                changed = {name: new.excluded[name] for name in rows[0] if name not in key}
                connection.execute(
                    new.on_conflict_do_update(index_elements=key, set_=changed), rows
                )
        set_names(connection)
    return {dimension.name: len(rows) for dimension, rows in names.items()}
