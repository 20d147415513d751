"""The ledger rows of the files of several run dates, written with the rows that stem from them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pyarrow as pa
from sqlalchemy import Connection, insert

from orders_dask.contract.ledger_tables import data_issue, load_file
from orders_dask.ledger.loads import BATCH_ROWS, copy_rejected, file_row, issue_row
from orders_dask.stage.ledger_part import LedgerPart, assign_ids
from orders_dask.stage.record import Part, merge_files


def record_decoded(
    connection: Connection,
    load_ids: Sequence[int],
    parts: Sequence[Part],
    rejected: Sequence[pa.Table | None],
) -> list[LedgerPart]:
    """Write the files of loads of one part each, their rejected records and issues.

    Parameters
    ----------
    connection
        The transaction that copies the parts.
    load_ids, parts
        The loads and their parts.
    rejected
        The rejected records of each as staged; None if there are none.

    Returns
    -------
    list of LedgerPart
        The parts with ledger ids.
    """
    listed = [list(merge_files([part]).values()) for part in parts]
    file = insert(load_file).returning(load_file.c.file_id, sort_by_parameter_order=True)
    rows = (
        file_row(load_id, each)
        for load_id, files in zip(load_ids, listed, strict=True)
        for each in files
    )
    ids: list[int] = []
    while batch := list(islice(rows, BATCH_ROWS)):
        ids += connection.scalars(file, batch)
    numbers = iter(ids)
    by_name = [{each.name: next(numbers) for each in files} for files in listed]
    issues = (
        issue_row(load_id, of_load[each.name], issue)
        for load_id, files, of_load in zip(load_ids, listed, by_name, strict=True)
        for each in files
        for issue in each.issues
    )
    while batch := list(islice(issues, BATCH_ROWS)):
        connection.execute(insert(data_issue), batch)
    ledger_parts = [assign_ids([part], of)[0] for part, of in zip(parts, by_name, strict=True)]
    for load_id, ledger_part, table in zip(load_ids, ledger_parts, rejected, strict=True):
        if table is not None:
            copy_rejected(connection, load_id, [ledger_part.with_ledger_ids(table)])
    return ledger_parts
