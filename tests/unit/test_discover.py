"""Discover cuts the files of a source URL into splits, here on local files."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import pytest

from orders_dask.errors import DataRefused, SettingsError, SourceMissing
from orders_dask.extract.discover import discover, discover_dump
from orders_dask.extract.records import MIB, Split
from tests.support.builders import zipped
from tests.support.decoding import text_of

DAY = date(2024, 2, 3)
BLOCK = 1000
LINES = b'{"id": 1}\n{"id": 2}\n'


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes files below a folder, and returns its URL with a slash."""

    def write(files: Mapping[str, bytes]) -> str:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return f"{tmp_path.as_uri()}/"

    return write


def names(splits: list[Split], base: str) -> list[str]:
    return [file.name.replace(base, "") for split in splits for file in split.files]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("{run_date}.json", ["2024-02-03.json"]),
        ("{run_date:%Y/%m/%d}/", ["2024/02/03/a.json", "2024/02/03/b/c.json"]),
        ("{run_date:%Y/%m/%d}", ["2024/02/03/a.json", "2024/02/03/b/c.json"]),
        ("{run_date:%Y/%m}/*/a.json", ["2024/02/03/a.json"]),
        ("2024/*/*", ["2024/02/03/a.json", "2024/02/03/b/c.json"]),
        ("**/[ac].json", ["2024/02/03/a.json", "2024/02/03/b/c.json"]),
        ("2024-02-0?.json", ["2024-02-03.json", "2024-02-04.json"]),
    ],
)
def test_a_source_is_a_file_a_folder_or_a_glob_of_the_run_date(
    put: Callable[..., str], source: str, found: list[str]
) -> None:
    base = put(
        dict.fromkeys(
            ["2024-02-03.json", "2024-02-04.json", "2024/02/03/a.json", "2024/02/03/b/c.json"],
            LINES,
        )
        | {"2024/02/03/.orders_dask/stage.parquet": b"the stage is no dump"}
    )
    assert names(discover(base + source, DAY, BLOCK), base) == found


HIDDEN = ["_SUCCESS", "_temporary/0/a.json", ".a.json.crc", "b/_c.json"]


@pytest.mark.parametrize(
    ("source", "found", "left_out"),
    [
        ("", ["a.json"], [".a.json.crc", "_SUCCESS", "_temporary/0/a.json", "b/_c.json"]),
        ("*", ["a.json"], [".a.json.crc", "_SUCCESS", "_temporary/0/a.json", "b/_c.json"]),
        ("**/*.json", ["a.json"], ["_temporary/0/a.json", "b/_c.json"]),
        # Who names it wants it.
        ("_temporary/", ["_temporary/0/a.json"], []),
        ("_temporary", ["_temporary/0/a.json"], []),
        ("_*", ["_SUCCESS", "_temporary/0/a.json"], []),
        ("b/_c.json", ["b/_c.json"], []),
    ],
)
def test_names_that_are_no_dump_by_convention_are_left_out_and_named(
    put: Callable[..., str], source: str, found: list[str], left_out: list[str]
) -> None:
    base = put(dict.fromkeys(["a.json", *HIDDEN], LINES))
    dump = discover_dump(base + source, DAY, BLOCK)
    assert names(dump.splits, base) == found
    assert [name.replace(base, "") for name in dump.left_out] == left_out


def test_what_is_left_out_is_named_if_there_is_nothing_else(put: Callable[..., str]) -> None:
    base = put({"_SUCCESS": b""})
    with pytest.raises(SourceMissing, match=r"yet but .*/_SUCCESS, which is no dump by its name"):
        discover(base, DAY, BLOCK)


def test_the_listing_is_in_the_byte_order_of_full_names(put: Callable[..., str]) -> None:
    wanted = sorted(["B", "a", "a.b", "a/b", "é", "z", "\U0001f600", "￼"], key=str.encode)
    base = put(
        dict.fromkeys([f"{name}.json" for name in wanted if name != "a/b"], b"") | {"a/b": b""}
    )
    assert names(discover(base, DAY, BLOCK), base) == sorted(
        (f"{name}.json" if name != "a/b" else name for name in wanted), key=str.encode
    )


@pytest.mark.parametrize(
    "source", ["{foo}/", "{}/", "{run_date", "{run_date.foo}", "{run_date:%Y}/a**b"]
)
def test_a_malformed_source_is_a_settings_error(put: Callable[..., str], source: str) -> None:
    with pytest.raises(SettingsError, match="_AWS_S3_URL_SOURCE"):
        discover(put({}) + source, DAY, BLOCK)


@pytest.mark.parametrize("source", ["{run_date}.json", "{run_date}/", "*.json", "missing/*.json"])
def test_no_file_is_an_error_that_names_source_and_date(
    put: Callable[..., str], source: str
) -> None:
    with pytest.raises(SourceMissing, match=r"2024-02-03 at file://"):
        discover(put({}) + source, DAY, BLOCK)


def test_large_newline_delimited_text_is_cut_into_byte_ranges(put: Callable[..., str]) -> None:
    base = put({"a": b"\xef\xbb\xbf" + LINES * 125})
    splits = discover(base, DAY, BLOCK)
    assert [(split.start, split.end) for split in splits] == [(0, 1000), (1000, 2000), (2000, 2503)]
    assert text_of(splits) == LINES * 125


def test_plain_text_is_cut_finer_where_few_workers_would_have_work(put: Callable[..., str]) -> None:
    base = put({"a": LINES * (40 * MIB // len(LINES))})
    assert [split.start for split in discover(base, DAY, 128 * MIB)] == [0, 32 * MIB]
    assert [split.start for split in discover(base, DAY, 16 * MIB)] == [0, 16 * MIB, 32 * MIB]


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(LINES * 10_000),
        b"[\n" + b",\n".join([b'{"id": 1}'] * 500) + b"]",
        b"rubbish" * 500,
    ],
    ids=["gzip", "array", "rubbish"],
)
def test_other_large_files_are_splits_of_their_own(put: Callable[..., str], content: bytes) -> None:
    assert len(content) > 200
    splits = discover(put({"a": LINES, "b": content, "c": LINES}), DAY, 100)
    assert [len(split.files) for split in splits] == [1, 1, 1] or [
        split.files[0].name[-1] for split in splits
    ] == ["a", "b"]
    assert [split.start for split in splits] == [None] * len(splits)


def test_a_day_of_some_files_makes_work_for_several_workers(put: Callable[..., str]) -> None:
    splits = discover(put({f"{number}": b"x" * (3 * MIB) for number in range(3)}), DAY, 64 * MIB)
    assert [len(split.files) for split in splits] == [1, 1, 1], "3 MiB are worth a task"
    more = discover(put({"3": b"x" * (3 * MIB)}), DAY, 64 * MIB)
    assert more[:3] == splits, "a file more moves no other"


def test_small_files_go_together_up_to_the_block_size(put: Callable[..., str]) -> None:
    base = put({f"{number:03}": b"x" * 300 for number in range(10)})
    splits = discover(base, DAY, BLOCK)
    assert [len(split.files) for split in splits] == [3, 3, 3, 1]
    assert splits == discover(base, DAY, BLOCK)


def test_many_tiny_files_are_not_one_split(put: Callable[..., str]) -> None:
    splits = discover(put({f"{number:03}": b"" for number in range(600)}), DAY, BLOCK)
    assert [len(split.files) for split in splits] == [256, 256, 88]


def test_a_small_zip_is_read_whole_and_a_large_one_by_member(
    put: Callable[..., str], tmp_path: Path
) -> None:
    base = put({})
    (tmp_path / "a.zip").write_bytes(zipped({"y": LINES * 20, "x": LINES * 20}))
    [whole] = discover(base, DAY, 10_000)
    assert names([whole], base) == ["a.zip"]
    by_member = discover(base, DAY, 500)
    assert [names([split], base) for split in by_member] == [["zip://x::a.zip"], ["zip://y::a.zip"]]
    assert text_of([whole]) == text_of(by_member) == LINES * 40


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("{run_date}.json", ["2024-02-03.json"]),
        ("*.json", ["2024-02-03.json", "2024-02-04.json"]),
        ("**/*.json", ["2024-02-03.json", "2024-02-04.json", "sub/a.json"]),
        ("sub", ["sub/a.json"]),
        ("sub/", ["sub/a.json"]),
        ("", ["2024-02-03.json", "2024-02-04.json", "sub/a.json"]),
    ],
)
def test_chained_zips_give_the_members_that_match(
    put: Callable[..., str], tmp_path: Path, pattern: str, found: list[str]
) -> None:
    base = put({})
    members = dict.fromkeys(
        ["2024-02-04.json", "sub/a.json", "2024-02-03.json", "__MACOSX/b.json"], LINES
    )
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).write_bytes(zipped(members))
    splits = discover(f"zip://{pattern}::{base}*.zip", DAY, BLOCK)
    assert names(splits, base) == [f"zip://{member}::{z}.zip" for member in found for z in "ab"]
    assert text_of(splits) == LINES * 2 * len(found)


def test_a_chained_zip_without_the_member_is_missing_and_a_broken_one_is_a_split(
    put: Callable[..., str], tmp_path: Path
) -> None:
    base = put({"broken": b"PK\x03\x04broken"})
    (tmp_path / "good").write_bytes(zipped({"a.json": LINES}))
    with pytest.raises(SourceMissing):
        discover(f"zip://{{run_date}}.json::{base}good", DAY, BLOCK)
    splits = discover(f"zip://*.json::{base}*", DAY, BLOCK)
    assert names(splits, base) == ["broken", "zip://a.json::good"]


def test_a_split_is_small_picklable_and_identifies_what_it_depends_on(
    put: Callable[..., str], tmp_path: Path
) -> None:
    base = put({"a": LINES})
    [split] = discover(base, DAY, BLOCK)
    assert pickle.loads(pickle.dumps(split)) == split
    put({"a": LINES + b"\n"})
    [changed] = discover(base, DAY, BLOCK)
    part = Split(split.files, 0, 5)
    assert len({split.identity, changed.identity, part.identity}) == 3


def test_members_of_what_is_no_zip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "orders.zip").write_text('{"id": 1, "total_price": "1"}\n')
    with pytest.raises(DataRefused, match="is no zip"):
        discover(
            f"zip://{{run_date}}.json::{tmp_path.as_uri()}/orders.zip", date(2026, 10, 1), 1 << 20
        )
