"""Read the raw texts of a part as records, to decode them once more."""

from __future__ import annotations

from collections.abc import Iterator

from orders_dask.contract.raw_text import RAW
from orders_dask.extract.decode.raw_text import records_by_file
from orders_dask.extract.records import Records, SourceFile
from orders_dask.stage.record import Part, StagedFile
from orders_dask.stage.tables import row_groups


def read_raw(part: Part) -> Iterator[tuple[SourceFile, Iterator[Records]]]:
    """Read the records of a part that has raw texts.

    Yields
    ------
    SourceFile
        Each file of the part, as it was discovered.
    iterator of Records
        Its records as decode saw them, to be consumed before the next file is requested.

    Raises
    ------
    StoredObjectChanged
        The file was removed or is damaged.
    """
    records = records_by_file(row_groups(part, RAW), len(part.files))
    yield from zip(map(source_file, part.files), records, strict=True)


def source_file(file: StagedFile) -> SourceFile:
    """Return a file of a part as it was discovered."""
    return SourceFile(file.name, file.name, None, file.size, file.etag)
