"""Garbage of the stage, by age and manifests, on a file system where files can be made older."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from orders_dask.contract.arrow import key_schema, staged_schemas
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.versions import STAGE_FORMAT_VERSION
from orders_dask.errors import SettingsError, SourceMissing, StoredObjectChanged
from orders_dask.retention.stage_garbage import (
    PrunedLoads,
    StageGarbage,
    delete_garbage,
    find_garbage,
    staged_run_dates,
)
from orders_dask.stage.layout import KEYS, PART_RECORD, REJECTED, REJECTED_SCHEMA, run_date_folder
from orders_dask.stage.manifest import Manifest, latest_manifest, write_manifest
from orders_dask.stage.parts import find_part, use_part
from orders_dask.stage.record import Part, StagedBlock, StagedFile
from orders_dask.stage.tables import read_table
from orders_dask.stage.write import write_part

DAY = date(2017, 11, 3)
OURS = "8f3a-ours"
PRUNED = PrunedLoads(OURS, {3})


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/stage"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stage" / f"run_date={DAY}"


def write(url: str, name: str, text: str = "raw") -> Part:
    """Write a part of one rejected record, with its raw text in a column."""
    none = dict.fromkeys((fact.name for fact in FACTS), 0)
    file = StagedFile("a.json", "etag", 1, 1, none, none, 0, False, [])
    rejected = {field.name: [None] for field in REJECTED_SCHEMA} | {
        "code": ["invalid_json"],
        "message": ["Not JSON: oops"],
        text: ["oops"],
    }
    tables = {
        **{table: schema.empty_table() for table, schema in staged_schemas().items()},
        KEYS: key_schema().empty_table(),
        REJECTED: pa.table(rejected, schema=REJECTED_SCHEMA),
    }
    return write_part(f"{run_date_folder(url, DAY)}/part={name}", [StagedBlock((file,), tables)])


def age(folder: Path, days: int) -> None:
    """Make all files below a folder some days older."""
    then = time.time() - 86_400 * days
    for file in folder.rglob("*"):
        os.utime(file, (then, then))


def garbage_of(url: str, days: int = 30, texts: int = 90) -> StageGarbage:
    now = datetime.now(UTC)
    return find_garbage(url, DAY, PRUNED, now - timedelta(days), now - timedelta(texts))


def names(folder: Path) -> set[str]:
    return {part.name for part in folder.glob("part=*") if any(part.rglob("*.*"))}


def test_an_old_part_is_garbage_unless_a_manifest_names_it(url: str, folder: Path) -> None:
    for name in ("ours", "others", "pruned", "nobodys", "young", "unknown"):
        write(url, name)
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=ours"], {}))
    write_manifest(url, DAY, Manifest(OURS, 3, ["part=pruned", "part=ours"], {}))
    write_manifest(url, DAY, Manifest(OURS, 99, ["part=unknown"], {}))
    write_manifest(url, DAY, Manifest("another", 3, ["part=others"], {}))
    age(folder, 40)
    age(folder / "part=young", 20)
    assert staged_run_dates(url) == [DAY]
    found = garbage_of(url)
    assert found.parts == 2
    delete_garbage(url, found)
    assert names(folder) == {"part=ours", "part=others", "part=young", "part=unknown"}
    assert sorted(each.name.split("-", 2)[2] for each in folder.glob("manifest-*")) == [
        f"17-{OURS}.json",
        "3-another.json",
        f"99-{OURS}.json",
    ]
    assert not garbage_of(url)


def test_objects_of_a_dead_attempt_are_garbage_by_the_age_of_the_newest(
    url: str, folder: Path
) -> None:
    write(url, "dead")
    write(url, "dying")
    for name in ("dead", "dying"):
        (folder / f"part={name}" / PART_RECORD).unlink()
    age(folder, 40)
    newest = next((folder / "part=dying").rglob("*.parquet"))
    os.utime(newest)
    found = garbage_of(url)
    assert (found.parts, len(found.delete_then)) == (0, 1)
    delete_garbage(url, found)
    assert names(folder) == {"part=dying"}


def test_the_folder_of_another_attempt_is_garbage_and_the_part_stays(
    url: str, folder: Path
) -> None:
    for _ in range(2):
        part = write(url, "twice")
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=twice"], {}))
    assert not garbage_of(url)
    age(folder, 40)
    delete_garbage(url, garbage_of(url))
    assert [each.parent.name for each in folder.glob("part=twice/*/*")] == [part.attempt]
    assert find_part(part.url) == part


def test_a_part_that_is_reused_counts_as_young(url: str, folder: Path) -> None:
    part = write(url, "used")
    age(folder, 40)
    assert garbage_of(url).parts == 1
    assert find_part(part.url) == part
    assert garbage_of(url).parts == 1
    assert use_part(part.url) == part
    assert not garbage_of(url)
    assert use_part(f"{part.url}-not") is None


def test_a_table_that_is_deleted_while_it_is_read_is_a_transient_error(
    url: str, folder: Path
) -> None:
    part = write(url, "going")
    age(folder, 40)
    delete_garbage(url, garbage_of(url))
    with pytest.raises(StoredObjectChanged, match="was removed, written anew or damaged"):
        read_table(part, REJECTED)


def test_half_written_records_and_manifests_name_nothing_and_are_rewritten(
    url: str, folder: Path
) -> None:
    part = write(url, "half")
    (folder / "part=half" / PART_RECORD).write_text("")
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=half"], {}))
    [empty] = folder.glob("manifest-*")
    empty.write_text('{"parts": [')
    assert find_part(part.url) is None
    with pytest.raises(SourceMissing):
        latest_manifest(url, DAY)
    age(folder, 40)
    delete_garbage(url, garbage_of(url))
    assert names(folder) == set()
    assert find_part(write(url, "half").url)


def test_names_of_others_and_globs_harm_nothing(url: str, folder: Path) -> None:
    write(url, "kept")
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=kept"], {}))
    (folder / "part=*").mkdir()
    (folder / "part=*" / PART_RECORD).write_text("{}")
    for foreign in ("run_date=2026-99-99", "run_date=", "else"):
        (folder.parent / foreign).mkdir()
    age(folder, 40)
    assert staged_run_dates(url) == [DAY]
    found = garbage_of(url)
    for _ in range(2):
        delete_garbage(url, found)  # two prunes that listed the same
    assert names(folder) == {"part=kept"}


def test_manifests_are_found_where_the_stage_has_brackets_in_its_name(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/stage[1]"
    write(url, "one")
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=one"], {}))
    assert latest_manifest(url, DAY).load_id == 17


@pytest.mark.parametrize("text", ["raw", "order_raw"])
def test_texts_are_redacted_in_parts_that_stay(url: str, folder: Path, text: str) -> None:
    part = write(url, "old", text)
    write_manifest(url, DAY, Manifest(OURS, 17, ["part=old"], {}))
    age(folder, 40)
    assert not garbage_of(url)
    age(folder, 100)
    found = garbage_of(url)
    assert [each.url for each in found.redact] == [part.url]
    delete_garbage(url, found)
    [rejected] = read_table(part, REJECTED).to_pylist()
    assert (rejected[text], rejected["message"]) == (None, "invalid_json"), "messages quote texts"
    age(folder, 100)
    assert not garbage_of(url)


def test_a_part_of_an_earlier_format_can_be_read(url: str, folder: Path) -> None:
    part = write(url, "before")
    path = folder / "part=before" / PART_RECORD
    record = json.loads(path.read_text())
    assert set(record["bytes"]) == {REJECTED}
    record["bytes"] = record["bytes"][REJECTED] + 1  # of all tables together
    del record["format"]
    path.write_text(json.dumps(record))
    found = find_part(part.url)
    assert found
    assert read_table(found, REJECTED).equals(read_table(part, REJECTED))


def test_a_part_of_a_later_format_is_refused(url: str, folder: Path) -> None:
    part = write(url, "after")
    path = folder / "part=after" / PART_RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": STAGE_FORMAT_VERSION + 1}))
    with pytest.raises(SettingsError, match=r"part=after was staged by a later version"):
        find_part(part.url)


@pytest.mark.parametrize("left", [0, 100, -20])
def test_a_part_whose_file_is_damaged_is_made_anew(url: str, folder: Path, left: int) -> None:
    part = write(url, "damaged")
    path = folder / "part=damaged" / part.attempt / f"{REJECTED}.parquet"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        StoredObjectChanged, match=f"{REJECTED}.parquet of the stage was .* damaged"
    ):
        read_table(part, REJECTED)
    assert find_part(part.url) is None, "the next run stages it again"

    anew = write(url, "damaged")
    with pytest.raises(StoredObjectChanged):
        read_table(part, REJECTED)
    assert find_part(part.url) == anew, "who read the old files does not invalidate the new"
