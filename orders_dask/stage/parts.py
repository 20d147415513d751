"""Find parts by their record, which is written last: a part without one is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from typing import Any, Final

from sqlalchemy import Table

from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.rejects import Issue
from orders_dask.contract.schema_drift import Drift
from orders_dask.contract.storage_tables import stored_name
from orders_dask.contract.versions import STAGE_FORMAT_VERSION
from orders_dask.errors import SettingsError
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.former_names import renamed
from orders_dask.stage.layout import (
    PART_RECORD,
    content_of,
    read_json,
    run_date_folder,
)
from orders_dask.stage.record import Part, StagedFile

PARQUET_OPTIONS: Final[dict[str, Any]] = {
    "compression": "lz4",
    "use_dictionary": False,
    "write_statistics": False,
}
"""Fast before small, since parts are soon read and pruned: 10 us an order, with zstd 20."""

BUFFER_BYTES: Final = 8 << 20
"""Bytes of a part's files per request: s3fs's default of 50 MiB would buffer whole files."""

TOUCH_AFTER: Final = timedelta(hours=1)
"""Age from which a reused part's record is rewritten: far below the least age of prune, a day."""

READ_THREADS: Final = 8
"""Threads that fetch or send small files of parts: the latency of requests is what counts."""

LOOKUP_THREADS: Final = 16
"""Threads that look up records of parts: they are small, so latency is what counts."""


def find_part(url: str) -> Part | None:
    """Return the record of the part at `url`, or None if there is no complete one.

    Raises
    ------
    SettingsError
        A later version of orders_dask wrote it, so its content may mean something else.
    ServiceUnavailable
        The stage can't be reached.
    """
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(f"{url}/{PART_RECORD}")
            record = read_json(fs, path)
    except FileNotFoundError:
        return None
    if record is None:
        return None
    record = renamed(record)
    if record.setdefault("format", 5) > STAGE_FORMAT_VERSION:  # formats before 6 don't have it
        raise SettingsError(
            f"{url} was staged by a later version of orders_dask: use that one, or another "
            "ORDERS_DASK_STAGE_URL."
        )
    files = [_file_from_json(file) for file in record.pop("files")]
    if isinstance(record["bytes"], int):  # before format 5: the sum, an upper bound for each table
        record["bytes"] = dict.fromkeys(record["rows"], record["bytes"])
    columns = tuple(record.pop("columns", ()))  # formats before 8 don't have them
    totals = {
        fact.name: _declared_totals(fact, record["totals"].get(fact.name, _NOTHING), columns)
        for fact in FACTS
    }
    drift = Drift.from_json(record.pop("drift", None))
    changed = {"files": files, "totals": totals, "columns": columns, "drift": drift}
    return Part(url, **{**record, **changed})


def find_usable_part(url: str, others: Iterable[str] = (), keep_raw: bool = False) -> Part | None:
    """Return the part at `url`, or another one of the same content that has all its columns.

    Parameters
    ----------
    url
        URL of the part as it would be staged now.
    others
        Names of parts of the same content.
    keep_raw
        Whether it needs the raw texts of its records.
    """
    folder = url.rpartition("/")[0]
    as_good = (f"{folder}/{name}" for name in others)
    candidates = [url, *(each for each in as_good if content_of(each) == content_of(url) != "")]
    parts = filter(None, map(find_part, dict.fromkeys(candidates)))
    return next((part for part in parts if part.has_all_columns(keep_raw)), None)


def use_part(url: str, others: Iterable[str] = (), keep_raw: bool = False) -> Part | None:
    """Return the same as :func:`find_usable_part` for a load, and restart its age for prune."""
    part = find_usable_part(url, others, keep_raw)
    if part is None:
        return None
    record = f"{part.url}/{PART_RECORD}"
    try:
        with translate_storage_errors(record):
            fs, path = filesystem(record)
            if datetime.now(UTC) - fs.modified(path) > TOUCH_AFTER:
                change_record(part, lambda record: record)
    except FileNotFoundError:
        return None
    return part


def write_record(part: Part) -> None:
    """Write the record of a part, which completes it."""
    record = asdict(part) | {"drift": part.drift.to_json()}
    del record["url"]
    url = f"{part.url}/{PART_RECORD}"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(record).encode())


def change_record(part: Part, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite the record of a part, with all that only other declarations know in it."""
    url = f"{part.url}/{PART_RECORD}"
    with suppress(FileNotFoundError), translate_storage_errors(url):
        fs, path = filesystem(url)
        record = read_json(fs, path)
        if record is not None:
            fs.pipe_file(path, json.dumps(change(record)).encode())


def invalidate_part(part: Part) -> None:
    """Delete the record of a damaged part, unless another attempt has rewritten the part."""
    url = f"{part.url}/{PART_RECORD}"
    with suppress(FileNotFoundError), translate_storage_errors(url):
        current = find_part(part.url)
        if current and current.attempt == part.attempt:
            fs, path = filesystem(url)
            fs.rm_file(path)


def find_parts(urls: Iterable[str]) -> Iterator[Part | None]:
    """Yield the records of several parts (:func:`find_part`), looked up in parallel."""
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        yield from pool.map(find_part, urls)


def find_usable_parts(
    urls: Sequence[str], staged: StagedNames, keep_raw: bool = False
) -> Iterator[Part | None]:
    """Yield usable parts (:func:`find_usable_part`), looked up in parallel."""
    others = (staged.get(content_of(url.rpartition("/")[2]), ()) for url in urls)
    with ThreadPoolExecutor(LOOKUP_THREADS) as pool:
        yield from pool.map(find_usable_part, urls, others, repeat(keep_raw))


StagedNames = Mapping[str, Sequence[str]]
"""Names of parts by what they begin with (:func:`~orders_dask.stage.layout.content_of`)."""


def staged_names(stage_url: str, run_date: date) -> StagedNames:
    """Return the names of a run date's parts, whole or not."""
    url = run_date_folder(stage_url, run_date)
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        try:
            listed = fs.ls(path, detail=False)
        except FileNotFoundError:
            return {}
    names: dict[str, list[str]] = {}
    for each in sorted(listed):
        name = each.rstrip("/").rpartition("/")[2]
        if name.startswith("part="):
            names.setdefault(content_of(name), []).append(name)
    return names


_NOTHING: Final = ControlTotals().to_json()
"""Control totals of a fact that a part of before has no table of."""


def _declared_totals(
    fact: Table, totals: dict[str, Any], columns: Collection[str]
) -> dict[str, Any]:
    """Return the control totals of a part without columns that a load of it leaves null."""
    counted = {
        column.name
        for column in fact.c
        if not column.info["custom"] or stored_name(fact, column) in columns
    }
    return {**totals, "sums": [each for each in totals["sums"] if each[1] in counted]}


def _file_from_json(record: dict[str, Any]) -> StagedFile:
    issues = [
        Issue(i["field"], i["code"], i["count"], tuple((p, text) for p, text in i["samples"]))
        for i in record["issues"]
    ]
    record.pop("drift", None)  # before format 8: dotted paths, of the first records
    counts = {
        name: {fact.name: record[name].get(fact.name, 0) for fact in FACTS}
        for name in ("read", "rejected")
    }
    return StagedFile(**{**record, **counts, "issues": issues})
