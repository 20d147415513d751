"""Garbage collection of stage files, and redaction of raw texts in the parts that stay.

A manifest stays until its load is pruned. Manifests of other databases stay, since several may
share a stage. So do those of loads that the ledger doesn't know, since it may be restored from a
backup. A part stays while a manifest that stays names it, or while it is young: its age counts from
its last use by a run.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from orders_dask.contract.ledger_tables import rejected_record
from orders_dask.errors import StoredObjectChanged
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.layout import PART_RECORD, REJECTED, REPLAYED, read_json, run_date_folder
from orders_dask.stage.manifest import MANIFEST_NAME
from orders_dask.stage.parts import PARQUET_OPTIONS, change_record, find_part
from orders_dask.stage.record import Part
from orders_dask.stage.tables import row_groups

PARALLEL_DELETES: Final = 16
"""Objects deleted at once: the time is latency."""

_TEXTS: Final = (REJECTED, REPLAYED)
"""Tables of a part that contain raw texts, or messages that may quote them."""
_RAW: Final = rejected_record.c.raw.name
_ORDER_RAW: Final = rejected_record.c.order_raw.name
_MESSAGE: Final = rejected_record.c.message.name
_CODE: Final = rejected_record.c.code.name


@dataclass(frozen=True)
class PrunedLoads:
    """The loads whose manifests are garbage.

    Attributes
    ----------
    database_id
        Id of this database (``schema_info.database_id``).
    loads
        Ids of its pruned loads.
    """

    database_id: str
    loads: Collection[int]


@dataclass(frozen=True)
class StageGarbage:
    """The objects of a run date's folder that nobody needs, and the parts to redact.

    Attributes
    ----------
    parts
        Number of whole parts among the garbage.
    delete_first
        Paths of manifests and part records.
    delete_then
        Paths of all other objects.
    bytes
        Size of all these objects.
    redact
        Parts that stay, with texts that are too old.
    """

    parts: int
    delete_first: tuple[str, ...]
    delete_then: tuple[str, ...]
    bytes: int
    redact: tuple[Part, ...]

    def __bool__(self) -> bool:
        """Return whether there is anything to delete or redact."""
        return bool(self.delete_first or self.delete_then or self.redact)


@dataclass(frozen=True)
class _Object:
    path: str
    size: int
    changed: datetime


def staged_run_dates(stage_url: str) -> list[date]:
    """Return the run dates that have a folder on the stage."""
    with translate_storage_errors(stage_url):
        fs, path = filesystem(stage_url)
        fs.invalidate_cache()
        folders = fs.ls(path, detail=False) if fs.exists(path) else []
    return sorted(filter(None, map(_run_date, folders)))


def _run_date(folder: str) -> date | None:
    named = folder.rpartition("/run_date=")[2]
    try:
        return date.fromisoformat(named)
    except ValueError:  # somebody else's
        return None


def find_garbage(
    stage_url: str, run_date: date, pruned: PrunedLoads, before: datetime, texts_before: datetime
) -> StageGarbage:
    """Return the garbage of a run date's folder.

    Parameters
    ----------
    stage_url, run_date
        The stage and the run date.
    pruned
        The loads whose manifests are garbage. Other manifests stay, with the parts that they name.
    before
        Parts and folders of attempts are garbage only if last used before this timestamp.
    texts_before
        Texts are redacted in parts that were last used before this timestamp.
    """
    manifests, parts = _list_objects(stage_url, run_date)
    old_manifests = [m for m in manifests if _is_pruned(m, pruned)]
    named = _parts_in_manifests(stage_url, [m for m in manifests if m not in old_manifests])
    records: list[_Object] = []
    others: list[_Object] = []
    redact: list[Part] = []
    for name, objects in parts.items():
        record = next((o for o in objects if o.path.endswith(f"/{name}/{PART_RECORD}")), None)
        used = record.changed if record else max(o.changed for o in objects)
        if name not in named and used < before:
            records += [record] if record else []
            others += [o for o in objects if o is not record]
            continue
        attempts = _attempts(name, objects)
        part = None
        if record and (len(attempts) > 1 or used < texts_before):
            part = find_part(f"{run_date_folder(stage_url, run_date)}/{name}")
        if part:
            attempts.pop(part.attempt, None)
            others += [
                o for a in attempts.values() if max(o.changed for o in a) < before for o in a
            ]
            if used < texts_before and (_has_samples(part) or _has_texts(part)):
                redact.append(part)
    return StageGarbage(
        parts=len(records),
        delete_first=tuple(o.path for o in (*old_manifests, *records)),
        delete_then=tuple(o.path for o in others),
        bytes=sum(o.size for o in (*old_manifests, *records, *others)),
        redact=tuple(redact),
    )


def delete_garbage(stage_url: str, garbage: StageGarbage) -> None:
    """Delete the garbage, and redact parts by rewriting objects: runs can still use these parts.

    Part records are deleted before the files that they name. If this is interrupted,
    :func:`find_garbage` finds the remaining objects.
    """
    with translate_storage_errors(stage_url):
        fs, _ = filesystem(stage_url)
        with ThreadPoolExecutor(PARALLEL_DELETES) as pool:
            for paths in (garbage.delete_first, garbage.delete_then):
                list(pool.map(partial(_delete, fs), paths))
    for part in garbage.redact:
        _redact(part)


def _delete(fs: AbstractFileSystem, path: str) -> None:
    # One by one: the call for several takes globs, and names of others may look like globs.
    with suppress(FileNotFoundError):  # another prune deleted it since it was listed
        fs.rm_file(path)


def _list_objects(
    stage_url: str, run_date: date
) -> tuple[list[_Object], Mapping[str, list[_Object]]]:
    """Return the manifests of a run date's folder, and the objects of each part."""
    manifests, parts = [], defaultdict(list)
    url = run_date_folder(stage_url, run_date)
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        for name, details in fs.find(path, detail=True).items():
            changed = details.get("LastModified") or fs.modified(name)
            listed = _Object(name, details["size"], changed)
            top, _, below = name.removeprefix(f"{path}/").partition("/")
            if below and top.startswith("part="):
                parts[top].append(listed)
            elif MANIFEST_NAME.fullmatch(top):
                manifests.append(listed)
    return manifests, parts


def _is_pruned(manifest: _Object, pruned: PrunedLoads) -> bool:
    match = MANIFEST_NAME.fullmatch(manifest.path.rpartition("/")[2])
    assert match, manifest.path
    return match["database_id"] == pruned.database_id and int(match["load"]) in pruned.loads


def _parts_in_manifests(stage_url: str, manifests: list[_Object]) -> set[str]:
    """Return the parts that manifests name."""
    named: set[str] = set()
    with translate_storage_errors(stage_url):
        fs, _ = filesystem(stage_url)
        for manifest in manifests:
            with suppress(FileNotFoundError):  # another prune deleted it since it was listed
                record = read_json(fs, manifest.path)
                named.update(record["parts"] if record else ())
    return named


def _attempts(part: str, objects: list[_Object]) -> dict[str, list[_Object]]:
    """Return the objects of a part by the attempt that wrote them."""
    attempts = defaultdict(list)
    for item in objects:
        attempt, slash, _ = item.path.rpartition(f"/{part}/")[2].partition("/")
        if slash:
            attempts[attempt].append(item)
    return attempts


def _has_samples(part: Part) -> bool:
    return any(issue.samples for file in part.files for issue in file.issues)


def _has_texts(part: Part) -> bool:
    with suppress(StoredObjectChanged):  # another prune changed it since it was listed
        return any(
            group != _redacted_rows(group) for name in _TEXTS for group in row_groups(part, name)
        )
    return False


def _redacted_rows(group: pa.Table) -> pa.Table:
    """Return rejects without texts, as :func:`orders_dask.retention.loads.redact_texts` does."""
    empty = pa.nulls(group.num_rows, pa.string())
    redacted = {_MESSAGE: group[_CODE], _RAW: empty, _ORDER_RAW: empty}
    columns = [redacted.get(name, group[name]) for name in group.column_names]
    return pa.table(columns, schema=group.schema)


def _redact(part: Part) -> None:
    """Rewrite a part's rejects without texts, and its record without samples."""
    for name in _TEXTS:
        if not part.rows.get(name):
            continue
        groups = map(_redacted_rows, row_groups(part, name))
        first = next(groups)
        content = io.BytesIO()
        # The file's own schema: the part may be of an earlier stage format.
        with pq.ParquetWriter(content, first.schema, **PARQUET_OPTIONS) as writer:
            for group in chain((first,), groups):
                writer.write_table(group)
        url = f"{part.url}/{part.attempt}/{name}.parquet"
        with translate_storage_errors(url):
            fs, path = filesystem(url)
            fs.pipe_file(path, content.getvalue())
    if _has_samples(part):
        change_record(part, _without_samples)


def _without_samples(record: dict[str, Any]) -> dict[str, Any]:
    files = [
        {**file, "issues": [{**issue, "samples": []} for issue in file["issues"]]}
        for file in record["files"]
    ]
    return {**record, "files": files}
