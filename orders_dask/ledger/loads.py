"""Write a load's ledger rows: the load itself, its files, issues, rejects and status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, Protocol

import pyarrow as pa
from sqlalchemy import Connection, insert, select, update

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.ledger_tables import (
    counter_column,
    data_issue,
    load_file,
    load_run,
    rejected_record,
)
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import Issue
from orders_dask.contract.schema_drift import Drift
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import LoadNotActive
from orders_dask.ledger.leases import Lease
from orders_dask.load.connect import driver_cursor
from orders_dask.load.copy import copy_into
from orders_dask.load.error_translation import translating_errors
from orders_dask.step_metrics import MetricsByStep

BATCH_ROWS: Final = 1_000
"""Files or issues written at once: each takes about 6 KB of the client's memory meanwhile."""


def create_load(
    lease: Lease,
    source: str,
    fingerprint: str,
    run_by: str,
    columns: Sequence[str] = STORED_COLUMNS,
    inherits_texts_from: int | None = None,
) -> int:
    """Create a load with status ``loading``.

    Parameters
    ----------
    lease
        The lease of its run date.
    source
        The source URL as configured.
    fingerprint
        Hash of all that decides what the load contains. A run date is up to date while the
        fingerprint is the same.
    run_by
        Process and host, for people.
    columns
        The columns that its rows will have; all that are declared by default.
    inherits_texts_from
        The load whose raw texts this one takes over, and with them their age.

    Returns
    -------
    int
        Its id, never used again.
    """
    row = insert(load_run).values(
        run_date=lease.run_date,
        status="loading",
        source=source,
        fingerprint=fingerprint,
        run_by=run_by,
        columns=list(columns),
    )
    if inherits_texts_from is not None:
        former = load_run.alias()
        age = select(former.c.source_read_at).where(former.c.load_id == inherits_texts_from)
        row = row.values(source_read_at=age.scalar_subquery())
    with lease.transaction() as connection:
        return int(connection.execute(row.returning(load_run.c.load_id)).scalar_one())


class FileRecord(Protocol):
    """A file that was decoded, as the ledger records it."""

    @property
    def name(self) -> str:
        """Its full name."""

    @property
    def etag(self) -> str:
        """Its ETag, or the store's substitute for one."""

    @property
    def size(self) -> int:
        """Size in bytes as stored."""

    @property
    def unreadable(self) -> bool:
        """Whether it could not be read to its end."""

    @property
    def read(self) -> Mapping[str, int]:
        """Number of its records, rejected ones included, by name of the fact."""

    @property
    def rejected(self) -> Mapping[str, int]:
        """Number of its rejected records by name of the fact."""


def record_files(lease: Lease, load_id: int, files: Sequence[FileRecord]) -> list[int]:
    """Write the files of a load; verify adds how many of their rows were loaded.

    Parameters
    ----------
    lease, load_id
        The lease and the load.
    files
        In the order of the sorted listing (docs/contract.md#source-url), without duplicate names.

    Returns
    -------
    list of int
        The id of each file, ascending in the order of `files`.
    """
    row = insert(load_file).returning(load_file.c.file_id, sort_by_parameter_order=True)
    ids: list[int] = []
    with lease.transaction() as connection:
        rows = (file_row(load_id, file) for file in files)
        while batch := list(islice(rows, BATCH_ROWS)):
            ids += connection.scalars(row, batch)
    return ids


def file_row(load_id: int, file: FileRecord) -> dict[str, Any]:
    """Return the row of a file in the ledger."""
    return {
        "load_id": load_id,
        "name": file.name,
        "etag": file.etag,
        "bytes": file.size,
        "unreadable": file.unreadable,
        **{counter_column(fact, "read"): file.read[fact.name] for fact in FACTS},
        **{counter_column(fact, "rejected"): file.rejected[fact.name] for fact in FACTS},
    }


def record_issues(lease: Lease, load_id: int, issues: Iterable[tuple[int, Issue]]) -> None:
    """Write the repaired and nulled values of a load. See docs/contract.md#bad-values.

    Parameters
    ----------
    lease, load_id
        The lease and the load.
    issues
        Pairs of a file's id and an issue in that file; each field and code occurs once a file.
    """
    rows = (issue_row(load_id, file_id, issue) for file_id, issue in issues)
    with lease.transaction() as connection:
        while batch := list(islice(rows, BATCH_ROWS)):
            connection.execute(insert(data_issue), batch)


def issue_row(load_id: int, file_id: int, issue: Issue) -> dict[str, Any]:
    """Return the row of an issue in the ledger."""
    return {
        "load_id": load_id,
        "file_id": file_id,
        "field": issue.field,
        "code": issue.code,
        "value_count": issue.count,
        "samples": [list(sample) for sample in issue.samples],
    }


def record_rejected(lease: Lease, load_id: int, tables: Iterable[pa.Table]) -> None:
    """Write the rejected records of a load (the quarantine). See docs/contract.md#bad-values.

    Parameters
    ----------
    lease, load_id
        The lease and the load.
    tables
        As staged (:data:`orders_dask.stage.layout.REJECTED_SCHEMA`), with file ids of the ledger.
        They are consumed one after another, so any number fits in memory.
    """
    with lease.transaction() as connection:
        copy_rejected(connection, load_id, tables)


def copy_rejected(connection: Connection, load_id: int, tables: Iterable[pa.Table]) -> None:
    """Do the same in an open transaction."""
    names = {FILE: rejected_record.c.file_id.name, POSITION: rejected_record.c.position.name}
    renamed = (
        table.rename_columns([names.get(c, c) for c in table.column_names]) for table in tables
    )
    constants = {"load_id": load_id, **dict.fromkeys(_REPLAY_COLUMNS)}
    with translating_errors():
        copy_into(driver_cursor(connection), rejected_record, renamed, constants)


_REPLAY_COLUMNS: Final = [
    c.name
    for c in (
        rejected_record.c.corrected_raw,
        rejected_record.c.replay_load_id,
        rejected_record.c.replay_result,
    )
]
"""Columns that are null until somebody corrects or replays the record."""


def record_drift(lease: Lease, load_id: int, drift: Drift) -> None:
    """Write the unknown keys of a load. See docs/contract.md#schema-drift."""
    _update_load(lease, load_id, schema_drift=drift.to_json())


def record_left_out(lease: Lease, load_id: int, names: Sequence[str]) -> None:
    """Write the names of objects beside the dump that are no dump by convention."""
    if names:
        _update_load(lease, load_id, left_out=list(names))


def save_metrics(
    lease: Lease, load_id: int, seconds: Mapping[str, float], metrics: MetricsByStep
) -> None:
    """Write the wall seconds and the metrics of each step."""
    by_step = {step: asdict(of_step) for step, of_step in metrics.items()}
    _update_load(lease, load_id, step_seconds=dict(seconds), step_metrics=by_step)


def _update_load(lease: Lease, load_id: int, **values: Any) -> None:
    row = update(load_run).where(load_run.c.load_id == load_id)
    with lease.transaction() as connection:
        connection.execute(row.values(values))


def transition(connection: Connection, load_id: int, before: str, after: str) -> None:
    """Move a load from status `before` to status `after`, in the open transaction.

    Raises
    ------
    LoadNotActive
        It has another status: another run took the run date over.
    """
    move = update(load_run).where(load_run.c.load_id == load_id, load_run.c.status == before)
    if not connection.execute(move.values(status=after)).rowcount:
        raise LoadNotActive(
            f"Load {load_id} was taken over by another run: see `orders-dask status`."
        )
