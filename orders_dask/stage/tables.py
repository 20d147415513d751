"""Read the staged tables of parts, a row group at a time, with small ones prefetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EINVAL
from functools import partial
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from s3fs.utils import FileExpired

from orders_dask.contract.ledger_tables import counter_column
from orders_dask.contract.order_tables import FACTS
from orders_dask.errors import OrdersDaskError, StoredObjectChanged
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.former_names import FORMER_NAME_OF, NAME_OF
from orders_dask.stage.layout import PACKED, empty_table
from orders_dask.stage.parts import BUFFER_BYTES, READ_THREADS, invalidate_part
from orders_dask.stage.record import Part
from orders_dask.stage.staged_names import STAGED_NAMES, with_declared_names


def prefetch_small(part: Part, tables: Iterable[str]) -> dict[str, bytes]:
    """Prefetch the small tables of a part in parallel, to pay the latency of a request once.

    Parameters
    ----------
    part
        The part.
    tables
        Names of the tables that will be read.

    Returns
    -------
    dict
        Parquet files by table, for :func:`row_groups`: the smallest ones, up to
        :data:`~orders_dask.stage.parts.BUFFER_BYTES` together.
    """
    sized = sorted((part.bytes[name], name) for name in tables if part.rows.get(name))
    totals = accumulate(size for size, _ in sized)
    names = [name for (_, name), total in zip(sized, totals, strict=True) if total <= BUFFER_BYTES]
    packed = [name for name in names if name in part.packed]
    whole = _whole_zip(part, packed) if len(packed) > 1 else {}
    others = [name for name in names if name not in whole]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return whole | dict(zip(others, pool.map(partial(_content, part), others), strict=True))


def _whole_zip(part: Part, tables: Sequence[str]) -> dict[str, bytes]:
    """Fetch tables of a small part with one request."""
    with _translate_damage(part, tables[0]):
        fs, path = filesystem(_table_url(part, tables[0]))
        content = fs.cat_file(path)
    ranges = ((name, part.packed[name], part.bytes[name]) for name in tables)
    return {name: content[begin : begin + size] for name, begin, size in ranges}


def row_groups(
    part: Part,
    table: str,
    columns: list[str] | None = None,
    *,
    prefetched: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[pa.Table]:
    """Yield the row groups of a staged table of a part; none if it has no rows.

    Parameters
    ----------
    part
        The part.
    table
        A name of :func:`~orders_dask.contract.arrow.staged_schemas`,
        :data:`~orders_dask.stage.layout.KEYS`, :data:`~orders_dask.stage.layout.REJECTED` or
        :data:`~orders_dask.stage.layout.REPLAYED`.
    columns
        Columns to read; all by default.
    prefetched
        Files of the part that were fetched before (:func:`prefetch_small`).

    Raises
    ------
    StoredObjectChanged
        The file was removed or is damaged. The part is invalidated, so a retry stages it again.
    """
    if not part.rows.get(table):
        return
    with (
        _translate_damage(part, table),
        _open(part, table, prefetched) as file,
        pq.ParquetFile(file) as parquet,
    ):
        own = STAGED_NAMES.get(table, {})
        stored = columns and [
            name for c in columns for name in (own.get(c, c), FORMER_NAME_OF.get(c, c))
        ]
        for number in range(parquet.num_row_groups):
            # A worker runs as many tasks as it has threads already.
            group = parquet.read_row_group(number, columns=stored, use_threads=False)
            yield with_all_columns(with_declared_names(group, table), table, columns)


def with_all_columns(rows: pa.Table, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return rows of a staged table with the columns of this declaration, in its order.

    A part of before may lack some, which are null, or counters that are 0; it may have more.
    """
    rows = rows.rename_columns([NAME_OF.get(name, name) for name in rows.column_names])
    schema = empty_table(table).schema
    wanted = [schema.field(name) for name in columns] if columns else list(schema)
    if rows.schema.names == [field.name for field in wanted]:
        return rows
    missing = {
        field.name: pa.repeat(_missing_value(field), rows.num_rows)
        for field in wanted
        if field.name not in rows.schema.names
    }
    has = {name: rows[name] for name in rows.schema.names}
    filled = has | missing
    return pa.table([filled[field.name] for field in wanted], schema=pa.schema(wanted))


def _missing_value(field: pa.Field) -> pa.Scalar:
    counters = {counter_column(fact, "rejected") for fact in FACTS}
    return pa.scalar(0 if field.name in counters else None, field.type)


def read_tables(parts: Sequence[Part], table: str) -> Iterator[pa.Table]:
    """Yield a small staged table of each of several parts, prefetched in parallel."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(parts), READ_THREADS):
            batch = parts[start : start + READ_THREADS]
            contents = pool.map(partial(_content, table=table), batch)
            for part, content in zip(batch, contents, strict=True):
                yield read_table(part, table, prefetched={table: content})


def _content(part: Part, table: str) -> bytes:
    if not part.rows.get(table):
        return b""
    begin = part.packed.get(table)
    end = None if begin is None else begin + part.bytes[table]
    with _translate_damage(part, table):
        fs, path = filesystem(_table_url(part, table))
        try:
            content: bytes = fs.cat_file(path, start=begin, end=end)
        except OSError as error:
            if error.errno == EINVAL and begin is not None:
                raise pa.ArrowInvalid("The zip of its tables is cut off.") from error
            raise
    return content


def _open(part: Part, table: str, prefetched: Mapping[str, bytes]) -> Any:
    """Open the file of a table that has rows; a small one is fetched with a single request."""
    if table in prefetched:
        return pa.BufferReader(prefetched[table])
    if part.bytes[table] <= BUFFER_BYTES or table in part.packed:
        return pa.BufferReader(_content(part, table))
    fs, path = filesystem(_table_url(part, table))
    return fs.open(path, "rb", block_size=BUFFER_BYTES)


def _table_url(part: Part, table: str) -> str:
    file = PACKED if table in part.packed else f"{table}.parquet"
    return f"{part.url}/{part.attempt}/{file}"


@contextmanager
def _translate_damage(part: Part, table: str) -> Iterator[None]:
    """Raise StoredObjectChanged for a missing or damaged file, and invalidate its part."""
    url = _table_url(part, table)
    try:
        with translate_storage_errors(url):
            yield
    except (FileNotFoundError, FileExpired, pa.ArrowInvalid) as error:
        with suppress(OrdersDaskError):  # a reader without the right to delete
            invalidate_part(part)
        raise StoredObjectChanged(
            f"{url} of the stage was removed, written anew or damaged: try again, and it is made "
            "anew."
        ) from error


def read_table(
    part: Part,
    table: str,
    columns: list[str] | None = None,
    *,
    prefetched: Mapping[str, bytes] = MappingProxyType({}),
) -> pa.Table:
    """Return a whole staged table of a part; parameters and errors as in :func:`row_groups`."""
    empty = empty_table(table)
    if columns is not None:
        empty = empty.select(columns)
    return pa.concat_tables([empty, *row_groups(part, table, columns, prefetched=prefetched)])
