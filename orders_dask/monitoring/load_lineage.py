"""What OpenLineage is told of a load, and the names of its data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

from orders_dask.urls import split_zip_url


class DatasetName(NamedTuple):
    """The name of a data set, without user or password."""

    namespace: str
    name: str


class DumpFile(NamedTuple):
    """A file of a dump: its name, ETag or what stands for it, and bytes as stored."""

    name: str
    etag: str
    bytes: int


LineageCounts = tuple[int, Mapping[str, int]]
"""Number of records that a load read, and of the rows that it loaded, by the name of the fact."""


@dataclass(frozen=True)
class LoadLineage:
    """A load, as OpenLineage is told of it.

    Attributes
    ----------
    run_date, load_id
        The load.
    zone
        The shop's time zone.
    dump
        Name of the dump of the run date.
    fingerprint
        Version of the dump: it is another one for other files or ETags.
    files
        Its files.
    server
        Namespace of the tables.
    database
        Name of the database.
    """

    run_date: date
    load_id: int
    zone: ZoneInfo
    dump: DatasetName
    fingerprint: str
    files: Sequence[DumpFile]
    server: str
    database: str


def dump_name(source: str, run_date: date) -> DatasetName:
    """Return the name of a run date's dump: its folder, its file, or the zip that it is in."""
    _, stored = split_zip_url(source.format(run_date=run_date))
    fixed = re.split(r"[*?\[]", stored, maxsplit=1)[0]
    folder = fixed if fixed == stored else fixed.rpartition("/")[0]
    protocol, separator, path = folder.partition("://")
    if not separator or protocol in ("file", "local"):
        return DatasetName("file", f"/{(path or folder).strip('/')}")
    bucket, _, key = path.partition("/")
    return DatasetName(f"{protocol.replace('s3a', 's3')}://{bucket}", key.rstrip("/") or "/")


def server_name(host: str, port: int) -> str:
    """Return the namespace of the tables; the host may be the folder of a socket."""
    return f"postgres://{host if not host.startswith('/') else 'localhost'}:{port}"
