"""Upgrade a database to what this code declares, while people read. See docs/upgrading.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Engine, func, select, text, update

from orders_dask.contract.ledger_tables import schema_info
from orders_dask.contract.versions import CONTRACT_VERSION, OLDEST_CODE_VERSION
from orders_dask.errors import DatabaseNotReady, RunDateLocked
from orders_dask.load.connect import engine
from orders_dask.load.locks import Lock
from orders_dask.load.schema import check_owner, grant_roles
from orders_dask.load.schema_version import SchemaVersion, read_version
from orders_dask.migration.additions import find_additions
from orders_dask.migration.changes import Change
from orders_dask.migration.execute import execute
from orders_dask.migration.steps import STEPS, Step
from orders_dask.settings import Settings, load_settings

MAX_COMPARISONS: Final = 10
"""Comparisons of one migration: each run that makes a partition meanwhile may need one more."""

POLL_SECONDS: Final = 0.2
"""Seconds between looks whether another migration has ended."""

COMPARABLE_FROM: Final = 6
"""Version whose tables have today's names: older ones can't be compared before its step is made."""


@dataclass(frozen=True)
class Migration:
    """What a migration has changed, or would change.

    Attributes
    ----------
    from_version, to_version
        Contract versions before and after.
    changes
        The changes, in order.
    complete
        False if changes of a dry run are missing, that can be known only after the first ones.
    """

    from_version: int
    to_version: int
    changes: tuple[Change, ...]
    complete: bool = True


def migrate(
    *, settings: Settings | None = None, progress: Callable[[Change, float], None] | None = None
) -> Migration:
    """Upgrade the database to what this code declares, while people read and runs load.

    Each change is a transaction of its own, and is tried again while somebody holds a lock that it
    needs. A migration that was killed is completed by the next one.

    Parameters
    ----------
    settings
        Settings of the owner of the tables; :func:`~orders_dask.settings.load_settings` by default.
    progress
        Called after each change, with the seconds that it took.

    Raises
    ------
    DatabaseNotReady
        There are no tables, or those of a later version.
    SettingsError
        Another user owns the tables, an object under one of our names is not ours, or a column has
        another type.
    RunDateLocked
        A run loads, and what is changed would break its code.
    TableInUse
        Somebody holds locks on a table, still.
    ServiceUnavailable
        PostgreSQL can't be reached, or broke off. What was changed by then stays.
    """
    database = engine(settings or load_settings())
    made: list[Change] = []
    with _only_migration(database):
        version = _version_to_migrate(database)
        steps = _pending_steps(version)
        if version.contract < OLDEST_CODE_VERSION:
            _require_no_runs(database)
        for change in _changes(database, version, steps):
            began = time.monotonic()
            execute(database, change)
            made.append(change)
            if progress:
                progress(change, time.monotonic() - began)
        grant_roles(database, roles=False)
        _finish(database, steps)
    return Migration(version.contract, CONTRACT_VERSION, tuple(made))


def plan_migration(*, settings: Settings | None = None) -> Migration:
    """Return the changes that :func:`migrate` would make, without making any.

    Raises
    ------
    DatabaseNotReady, SettingsError, ServiceUnavailable
        As :func:`migrate` does.
    """
    database = engine(settings or load_settings())
    version = _version_to_migrate(database)
    changes = _before(_pending_steps(version))
    comparable = version.contract >= COMPARABLE_FROM
    if comparable:
        changes += _additions(database, version)
    return Migration(version.contract, CONTRACT_VERSION, tuple(changes), comparable)


@contextmanager
def _only_migration(database: Engine) -> Iterator[None]:
    """Hold the lock of migrations in a session of its own: another one waits for its end.

    Nobody drops partitions meanwhile: one that was half detached when its table gets a column can
    never be detached.
    """
    with database.connect() as connection:
        for lock in (Lock.MIGRATION, Lock.DROP_PARTITIONS):
            # Not one statement that waits: CREATE INDEX CONCURRENTLY would wait for its snapshot.
            while not connection.scalar(select(func.pg_try_advisory_lock(lock, 0))):
                connection.rollback()
                time.sleep(POLL_SECONDS)
        connection.commit()
        yield


def _version_to_migrate(database: Engine) -> SchemaVersion:
    with database.connect() as connection:
        version = read_version(connection)
        if version is not None:
            check_owner(connection)
    if version is None:
        raise DatabaseNotReady("There are no tables of ours to migrate: run `orders-dask init`.")
    if version.contract > CONTRACT_VERSION:
        raise DatabaseNotReady(
            f"The tables are of version {version.contract} of the contract already, and this is "
            f"version {CONTRACT_VERSION}: install a later orders_dask to change them."
        )
    return version


def _pending_steps(version: SchemaVersion) -> list[Step]:
    return [step for step in STEPS if step.version > version.contract]


def _require_no_runs(database: Engine) -> None:
    """Raise if a run of older code holds a run date: what it does next would fail half-way."""
    with database.connect() as connection:
        locked = connection.scalars(_LOCKED_DATES, {"class": int(Lock.RUN_DATE)}).all()
    if locked:
        first, *others = sorted(map(date.fromordinal, locked))
        more = f" and {len(others):,} more" if others else ""
        raise RunDateLocked(
            f"A run of an earlier orders_dask has locked the run date {first}{more}, and can't go "
            "on with the tables as they will be: give the same command again when it has ended."
        )


_LOCKED_DATES: Final = text(
    """
    select objid from pg_locks where locktype = 'advisory' and classid = :class and objsubid = 2
      and database = (select oid from pg_database where datname = current_database())
    """
)


def _changes(database: Engine, version: SchemaVersion, steps: Sequence[Step]) -> Iterator[Change]:
    """Yield the changes to make, each after the one before was made."""
    yield from _before(steps)
    for _ in range(MAX_COMPARISONS):
        additions = _additions(database, version)
        if not additions:
            break
        yield from additions
    for step in steps:
        if step.contents:
            with database.connect() as connection:
                found = list(step.contents(connection))
            yield from found


def _before(steps: Sequence[Step]) -> list[Change]:
    return [step.before for step in steps if step.before]


def _additions(database: Engine, version: SchemaVersion) -> list[Change]:
    with database.connect() as connection:
        return find_additions(connection, version.partition_width)


def _finish(database: Engine, steps: Sequence[Step]) -> None:
    """Change contents, and record the version: from then on, this code works on the tables."""
    with database.begin() as connection:
        for step in steps:
            if step.after:
                step.after(connection)
        connection.execute(
            update(schema_info).values(
                contract_version=CONTRACT_VERSION, oldest_code_version=OLDEST_CODE_VERSION
            )
        )
