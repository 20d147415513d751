"""The ledger: who works on a run date, what each load is made of, how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, Protocol

import pyarrow as pa
from sqlalchemy import (
    Connection,
    insert,
    select,
    update,
)

from orders_dask.contract.arrow import FILE, POSITION
from orders_dask.contract.ledger_tables import (
    counter_column,
    data_issue,
    load_file,
    load_run,
    rejected_record,
)
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rules import Issue
from orders_dask.errors import LoadNotActive
from orders_dask.ledger.leases import (
    Lease,
)
from orders_dask.load.connect import driver_cursor
from orders_dask.load.copy import copy_into
from orders_dask.load.error_translation import translating_errors
from orders_dask.step_metrics import MetricsByStep

BATCH_ROWS: Final = 1_000
"""Files or issues that are written down at once: each takes some 6 KB of the client's memory meanwhile."""


def create_load(
    lease: Lease, source: str, fingerprint: str, run_by: str, inherits_texts_from: int | None = None
) -> int:
    """Begin a load, ``loading``.

    Parameters
    ----------
    source
        The source URL as configured.
    fingerprint
        What tells whether the same would be loaded again.
    run_by
        Who runs it, for people: process and host.
    inherits_texts_from
        The load whose texts this one carries over, and with them their age.

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
    )
    if inherits_texts_from is not None:
        had = load_run.alias()
        as_old = select(had.c.source_read_at).where(had.c.load_id == inherits_texts_from)
        row = row.values(source_read_at=as_old.scalar_subquery())
    with lease.transaction() as connection:
        return int(connection.execute(row.returning(load_run.c.load_id)).scalar_one())


class FileRecord(Protocol):
    """What the ledger keeps of a file when it was read."""

    @property
    def name(self) -> str:
        """Its full name."""

    @property
    def etag(self) -> str:
        """Its ETag, or what stands for it."""

    @property
    def size(self) -> int:
        """Bytes as stored."""

    @property
    def unreadable(self) -> bool:
        """It could not be read to its end."""

    @property
    def read(self) -> Mapping[str, int]:
        """Number of its records by the name of their fact table, refused ones counted."""

    @property
    def rejected(self) -> Mapping[str, int]:
        """Number of those refused, likewise."""


def record_files(lease: Lease, load_id: int, files: Sequence[FileRecord]) -> list[int]:
    """Write down the files of a load; what is loaded of them follows when the load is verified.

    Parameters
    ----------
    files
        In the order of the sorted listing; a name may occur once.

    Returns
    -------
    list of int
        The id of each, growing in the order given.
    """
    row = insert(load_file).returning(load_file.c.file_id, sort_by_parameter_order=True)
    ids: list[int] = []
    with lease.transaction() as connection:
        rows = (_file_row(load_id, file) for file in files)
        while some := list(islice(rows, BATCH_ROWS)):
            ids += connection.scalars(row, some)
    return ids


def _file_row(load_id: int, file: FileRecord) -> dict[str, Any]:
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
    """Write down what was repaired or nulled.

    Parameters
    ----------
    issues
        A file's id and an issue in it; each field and code once a file.
    """
    rows = (
        {
            "load_id": load_id,
            "file_id": file_id,
            "field": issue.field,
            "code": issue.code,
            "value_count": issue.count,
            "samples": [list(sample) for sample in issue.samples],
        }
        for file_id, issue in issues
    )
    with lease.transaction() as connection:
        while some := list(islice(rows, BATCH_ROWS)):
            connection.execute(insert(data_issue), some)


def record_rejected(lease: Lease, load_id: int, tables: Iterable[pa.Table]) -> None:
    """Write down what was refused.

    Parameters
    ----------
    tables
        As staged (:data:`orders_dask.stage.REJECTED_SCHEMA`), with the ledger's file ids; copied
        one after another, so there may be any number.
    """
    names = {FILE: rejected_record.c.file_id.name, POSITION: rejected_record.c.position.name}
    with lease.transaction() as connection, translating_errors():
        copy_into(
            driver_cursor(connection),
            rejected_record,
            (
                table.rename_columns([names.get(c, c) for c in table.column_names])
                for table in tables
            ),
            {"load_id": load_id, **dict.fromkeys(_REPLAY_COLUMNS)},
        )


_REPLAY_COLUMNS: Final = [
    c.name
    for c in (
        rejected_record.c.corrected_raw,
        rejected_record.c.replay_load_id,
        rejected_record.c.replay_result,
    )
]
"""What a refused record has only once somebody mended or replayed it."""


def record_drift(lease: Lease, load_id: int, paths: Sequence[str]) -> None:
    """Write down the dotted paths of keys that the contract doesn't know."""
    _update_load(lease, load_id, schema_drift=list(paths))


def save_metrics(
    lease: Lease, load_id: int, seconds: Mapping[str, float], metrics: MetricsByStep
) -> None:
    """Write down the wall seconds of each step, and what its tasks cost."""
    told = {step: asdict(cost) for step, cost in metrics.items()}
    _update_load(lease, load_id, step_seconds=dict(seconds), step_metrics=told)


def _update_load(lease: Lease, load_id: int, **values: Any) -> None:
    row = update(load_run).where(load_run.c.load_id == load_id)
    with lease.transaction() as connection:
        connection.execute(row.values(values))


def transition(connection: Connection, load_id: int, before: str, after: str) -> None:
    """Move a load from one status to the next, in the open transaction.

    Raises
    ------
    LoadWithdrawn
        It has another status: another run took the run date over.
    """
    step = update(load_run).where(load_run.c.load_id == load_id, load_run.c.status == before)
    if not connection.execute(step.values(status=after)).rowcount:
        raise LoadNotActive(
            f"Load {load_id} was taken over by another run: see `orders-dask status`."
        )
