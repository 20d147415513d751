"""What of the stage nobody needs any more, and the texts in it that are to be forgotten.

A manifest is kept until its load is pruned. Those of other databases, for several may share a
stage, and of loads that the ledger doesn't know, for it may be a restored one, are theirs to
remove. A part is kept while a kept manifest names it, or as long as it is young: its age counts
from when a run last used it.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from orders_dask.contract.ledger_tables import rejected_record
from orders_dask.errors import StoredObjectChanged
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.layout import PART_RECORD, REJECTED, REPLAYED, read_json, run_date_folder
from orders_dask.stage.manifest import MANIFEST_NAME
from orders_dask.stage.parts import PARQUET_OPTIONS, find_part, write_record
from orders_dask.stage.record import Part, StagedFile
from orders_dask.stage.tables import row_groups

PARALLEL_DELETES: Final = 16
"""Objects that are removed at once: it is latency that counts."""

_TEXTS: Final = (REJECTED, REPLAYED)
"""Tables of a part with texts of the dump: as they stood, and in sentences that may quote them."""
_RAW: Final = rejected_record.c.raw.name
_ORDER_RAW: Final = rejected_record.c.order_raw.name
_MESSAGE: Final = rejected_record.c.message.name
_CODE: Final = rejected_record.c.code.name


@dataclass(frozen=True)
class PrunedLoads:
    """Whose manifests go.

    Attributes
    ----------
    database_id
        This database's (``schema_info.installation``).
    loads
        Its loads that are pruned.
    """

    database_id: str
    loads: Collection[int]


@dataclass(frozen=True)
class StageGarbage:
    """What of a run date's folder nobody needs.

    Attributes
    ----------
    parts
        How many whole parts.
    delete_first
        Objects: manifests, and the records of parts.
    delete_then
        Objects: the others.
    bytes
        Size of these objects.
    redact
        Parts that stay, and have texts of the dump that are to go.
    """

    parts: int
    delete_first: tuple[str, ...]
    delete_then: tuple[str, ...]
    bytes: int
    redact: tuple[Part, ...]

    def __bool__(self) -> bool:
        """Say whether there is anything."""
        return bool(self.delete_first or self.delete_then or self.redact)


@dataclass(frozen=True)
class _Object:
    path: str
    size: int
    changed: datetime


def staged_run_dates(stage_url: str) -> list[date]:
    """List the run dates that have a folder on the stage."""
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
    """Find what is not needed of a run date's folder.

    Parameters
    ----------
    pruned
        Whose manifests go. All others stay, and with them the parts that they name.
    before
        Only parts, and folders of attempts, that nobody used since then.
    texts_before
        Only texts in parts that nobody used since then.
    """
    manifests, parts = _list_objects(stage_url, run_date)
    over = [m for m in manifests if _is_over(m, pruned)]
    named = _parts_in_manifests(stage_url, [m for m in manifests if m not in over])
    records: list[_Object] = []
    rest: list[_Object] = []
    texts: list[Part] = []
    for name, objects in parts.items():
        record = next((o for o in objects if o.path.endswith(f"/{name}/{PART_RECORD}")), None)
        used = record.changed if record else max(o.changed for o in objects)
        if name not in named and used < before:
            records += [record] if record else []
            rest += [o for o in objects if o is not record]
            continue
        attempts = _attempts(name, objects)
        part = None
        if record and (len(attempts) > 1 or used < texts_before):
            part = find_part(f"{run_date_folder(stage_url, run_date)}/{name}")
        if part:
            attempts.pop(part.attempt, None)
            rest += [o for a in attempts.values() if max(o.changed for o in a) < before for o in a]
            if used < texts_before and (_has_samples(part) or _has_texts(part)):
                texts.append(part)
    return StageGarbage(
        parts=len(records),
        delete_first=tuple(o.path for o in (*over, *records)),
        delete_then=tuple(o.path for o in rest),
        bytes=sum(o.size for o in (*over, *records, *rest)),
        redact=tuple(texts),
    )


def delete_garbage(stage_url: str, found: StageGarbage) -> None:
    """Remove the objects, and the texts by writing objects anew: their parts stay as usable as before.

    The records of parts go before what they tell of. Where this ends half-way, the next look finds
    the rest.
    """
    with translate_storage_errors(stage_url):
        fs, _ = filesystem(stage_url)
        with ThreadPoolExecutor(PARALLEL_DELETES) as pool:
            for paths in (found.delete_first, found.delete_then):
                list(pool.map(partial(_delete, fs), paths))
    for part in found.redact:
        _redact(part)


def _delete(fs: AbstractFileSystem, path: str) -> None:
    # One by one: what takes several takes their names as patterns, and some names are somebody
    # else's.
    with suppress(FileNotFoundError):  # another prune removed it since it was listed
        fs.rm_file(path)


def _list_objects(
    stage_url: str, run_date: date
) -> tuple[list[_Object], Mapping[str, list[_Object]]]:
    """List a run date's folder: its manifests, and the objects of each part."""
    manifests, parts = [], defaultdict(list)
    url = run_date_folder(stage_url, run_date)
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        for name, details in fs.find(path, detail=True).items():
            changed = details.get("LastModified") or fs.modified(name)
            found = _Object(name, details["size"], changed)
            top, _, below = name.removeprefix(f"{path}/").partition("/")
            if below and top.startswith("part="):
                parts[top].append(found)
            elif MANIFEST_NAME.fullmatch(top):
                manifests.append(found)
    return manifests, parts


def _is_over(manifest: _Object, pruned: PrunedLoads) -> bool:
    match = MANIFEST_NAME.fullmatch(manifest.path.rpartition("/")[2])
    assert match, manifest.path
    return match["database_id"] == pruned.database_id and int(match["load"]) in pruned.loads


def _parts_in_manifests(stage_url: str, manifests: list[_Object]) -> set[str]:
    """Read which parts some manifests name."""
    named: set[str] = set()
    with translate_storage_errors(stage_url):
        fs, _ = filesystem(stage_url)
        for manifest in manifests:
            with suppress(FileNotFoundError):  # another prune removed it since it was listed
                record = read_json(fs, manifest.path)
                named.update(record["parts"] if record else ())
    return named


def _attempts(part: str, objects: list[_Object]) -> dict[str, list[_Object]]:
    """Group the objects of a part by the attempt that wrote them."""
    attempts = defaultdict(list)
    for each in objects:
        attempt, inside, _ = each.path.rpartition(f"/{part}/")[2].partition("/")
        if inside:
            attempts[attempt].append(each)
    return attempts


def _has_samples(part: Part) -> bool:
    return any(issue.samples for file in part.files for issue in file.issues)


def _has_texts(part: Part) -> bool:
    with suppress(StoredObjectChanged):  # another prune was here since it was listed
        return any(
            group != _redacted_rows(group) for name in _TEXTS for group in row_groups(part, name)
        )
    return False


def _redacted_rows(group: pa.Table) -> pa.Table:
    """Give rejects without their texts, as :func:`orders_dask.retention.loads.redact_texts` does."""
    empty = pa.nulls(group.num_rows, pa.string())
    redacted = {_MESSAGE: group[_CODE], _RAW: empty, _ORDER_RAW: empty}
    redacted["of_order"] = empty  # the name of the latter before format 7
    columns = [redacted.get(name, group[name]) for name in group.column_names]
    return pa.table(columns, schema=group.schema)


def _redact(part: Part) -> None:
    """Write refused records without their texts, and the record of the part without samples."""
    for name in _TEXTS:
        if not part.rows.get(name):
            continue
        groups = map(_redacted_rows, row_groups(part, name))
        first = next(groups)
        written = io.BytesIO()
        # Its own schema: the part may be of an earlier format.
        with pq.ParquetWriter(written, first.schema, **PARQUET_OPTIONS) as writer:
            for group in chain((first,), groups):
                writer.write_table(group)
        url = f"{part.url}/{part.attempt}/{name}.parquet"
        with translate_storage_errors(url):
            fs, path = filesystem(url)
            fs.pipe_file(path, written.getvalue())
    if _has_samples(part):
        write_record(replace(part, files=[_without_samples(file) for file in part.files]))


def _without_samples(file: StagedFile) -> StagedFile:
    return replace(file, issues=[replace(issue, samples=()) for issue in file.issues])
