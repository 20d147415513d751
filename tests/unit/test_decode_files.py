"""Decoded blocks of the files of a split: positions, unreadable files, schema drift."""

from __future__ import annotations

import bz2
import gzip
import json
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orders_dask.extract import records
from orders_dask.extract.decode import decode as decode_module
from orders_dask.extract.decode.decode import Decoded, decode
from orders_dask.extract.discover import discover
from orders_dask.extract.framing import ndjson
from orders_dask.extract.framing.ndjson import split_lines
from orders_dask.extract.records import BOM, SourceFile, Split
from orders_dask.extract.source import compression
from tests.support.builders import zipped

UTC = ZoneInfo("UTC")
ORDER = '{{"id":{0},"line_items":[{{"id":{0}}}]}}'
ORDERS = [ORDER.format(n) for n in range(1, 6)]


def splits(folder: Path, block_size: int = 1 << 20) -> list[Split]:
    return discover(folder.as_uri(), date(2024, 5, 1), block_size)


def decoded(folder: Path, block_size: int = 1 << 20) -> list[Decoded]:
    return [
        block for split in splits(folder, block_size) for block in decode(split, ZoneInfo("UTC"))
    ]


def ids(blocks: list[Decoded]) -> list[int]:
    return [number for block in blocks for number in block.orders["id"].to_pylist()]


def positions(blocks: list[Decoded]) -> list[int]:
    return [at for block in blocks for at in block.orders["source_position"].to_pylist()]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ORDERS),
        "[" + ",\n".join(ORDERS) + "]",
        '{"orders": [\n' + ",\n".join(ORDERS) + "\n]}",
        '{"orders":[' + ",".join(ORDERS) + "]}\n",
        "\n".join(f'{{"order":{order}}}' for order in ORDERS),
        "\r\n".join(ORDERS) + "\r\n",
        "".join(ORDERS),
    ],
)
def test_every_layout_gives_the_same(tmp_path: Path, text: str) -> None:
    (tmp_path / "orders").write_text(text)
    blocks = decoded(tmp_path)
    assert ids(blocks) == [1, 2, 3, 4, 5]
    assert positions(blocks) == [1, 2, 3, 4, 5]
    assert sum(block.read for block in blocks) == 5
    assert not any(block.unreadable or block.rejected or block.issues for block in blocks)


def test_every_file_gives_a_block_also_an_empty_one(tmp_path: Path) -> None:
    for name, text in {"a": "", "b": "[]", "c": ORDERS[0], "d": '{"orders":[]}\n'}.items():
        (tmp_path / name).write_text(text)
    blocks = decoded(tmp_path)
    assert [Path(block.file.name).name for block in blocks] == ["a", "b", "c", "d"]
    assert [block.read for block in blocks] == [0, 0, 1, 0]


def test_byte_ranges_give_what_the_whole_gives(tmp_path: Path) -> None:
    (tmp_path / "orders").write_text(
        "\n".join([*ORDERS, '{"id":', '{"id":6,"name":"x"}', ORDERS[0]]) + "\n"
    )
    whole = decoded(tmp_path)
    for block_size in (1, 7, 40, 100):
        blocks = decoded(tmp_path, block_size)
        assert ids(blocks) == ids(whole)
        assert sum(block.read for block in blocks) == 8
        codes = [one.code for block in blocks for one in block.rejected]
        assert codes == ["invalid_json", "not_an_order"]


def test_a_file_that_breaks_off_is_unreadable_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"orders": [\n' + ORDERS[0] + ",\n" + ORDERS[1][:-4])
    (tmp_path / "b.gz").write_bytes(gzip.compress("\n".join(ORDERS).encode())[:-9])
    (tmp_path / "c").write_bytes("\n".join(ORDERS).encode("utf-16"))
    (tmp_path / "d").write_text(ORDERS[2])
    blocks = decoded(tmp_path)
    by_file = {
        name: [b for b in blocks if b.file.name.endswith(name)]
        for name in ("a.json", "b.gz", "c", "d")
    }
    for name in ("a.json", "b.gz", "c"):
        rejected = [one for block in by_file[name] for one in block.rejected]
        assert [one.code for one in rejected] == ["unreadable_file"], name
        assert any(block.unreadable for block in by_file[name])
        taken = ids(by_file[name])
        assert taken == [1, 2, 3, 4, 5][: len(taken)], "what stands is a prefix"
        assert rejected[0].position == len(taken) + 1
        assert sum(block.read for block in by_file[name]) == len(taken) + 1
    assert ids(by_file["d"]) == [3]


def test_a_broken_record_ends_a_page_that_is_laid_out_over_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        '{"orders": [\n' + ",\n".join([ORDERS[0], '{"id":2,}', ORDERS[2]]) + "]}"
    )
    (block,) = decoded(tmp_path)
    assert ids([block]) == [1]
    assert [(one.code, one.position) for one in block.rejected] == [("unreadable_file", 2)]
    assert block.unreadable


def test_blocks_of_a_file_go_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK_BYTES", 1)
    (tmp_path / "a.gz").write_bytes(gzip.compress("\n".join([*ORDERS, "x", *ORDERS]).encode()))
    blocks = decoded(tmp_path)
    assert len(blocks) == 2, "the last line has no newline, so it comes by itself"
    assert positions(blocks) == [*range(1, 6), *range(7, 12)]
    assert [one.position for block in blocks for one in block.rejected] == [6]


@pytest.mark.parametrize("layout", ["{{{0}}}\n", "{{\n{0}\n}}\n"])
@pytest.mark.parametrize(("last", "loaded"), [(ORDERS[1], [2]), ("null", [])])
def test_the_last_order_of_a_wrapper_is_loaded_and_the_others_are_counted(
    tmp_path: Path, layout: str, last: str, loaded: list[int]
) -> None:
    (tmp_path / "orders").write_text(layout.format(f'"order":{ORDERS[0]},"order":{last}'))
    blocks = decoded(tmp_path)
    assert ids(blocks) == loaded
    assert [(i.field, i.code, i.count) for b in blocks for i in b.issues] == [
        ("order", "duplicate_key", 1)
    ]


def test_an_order_line_too_large_to_read_is_rejected_with_that_as_the_reason(
    tmp_path: Path,
) -> None:
    large = '{"id":9,"line_items":[],"note":"%s"}' % ("x" * records.MAX_RECORD_BYTES)
    (tmp_path / "orders").write_text("\n".join([ORDERS[0], large, ORDERS[1], ""]))
    blocks = decoded(tmp_path, 1 << 30)
    assert (ids(blocks), positions(blocks)) == ([1, 2], [1, 3])
    [rejected] = [one for block in blocks for one in block.rejected]
    assert (rejected.position, rejected.code) == (2, "invalid_json")
    assert rejected.message == "The line can't be read further: a record is larger than 16 MiB."
    assert rejected.raw == large[: 64 * 1024], "nothing but the text of the dump"
    assert not any(block.unreadable for block in blocks)


def test_a_record_that_is_not_json_ends_a_line_too_long_for_memory_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORD_BYTES", 100)
    page = '{"orders":[' + ",".join([ORDERS[0], '{"id":01}', *ORDERS[1:]]) + "]}"
    text = "\n".join([page, ORDERS[4], page, ORDERS[3], ""]).encode()
    chunks = [text[at : at + 64] for at in range(0, len(text), 64)]
    file = SourceFile("a", "a", None, len(text), "")
    blocks = list(decode_module._decode_file(file, split_lines(chunks), UTC))
    assert ids(blocks) == [1, 5, 1, 4]
    assert positions(blocks) == [1, 3, 4, 6]
    rejected = [(r.position, r.code) for block in blocks for r in block.rejected]
    assert rejected == [(2, "unreadable_file"), (5, "unreadable_file")]
    assert any(block.unreadable for block in blocks)


def test_a_line_of_several_documents_gives_the_orders_of_each(tmp_path: Path) -> None:
    several = ORDERS[1] + ' {"orders": [' + ORDERS[2] + "]}\t" + ORDERS[3]
    (tmp_path / "orders").write_text("\n".join([ORDERS[0], several, ORDERS[4]]))
    blocks = decoded(tmp_path)
    assert (ids(blocks), positions(blocks)) == ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert sum(block.read for block in blocks) == 5
    assert not any(block.rejected for block in blocks)


@pytest.mark.parametrize("rest", [" junk", " 7", ' {"id": NaN}', ' {"id": 1', ","])
def test_a_line_that_is_not_documents_alone_is_rejected_as_one(tmp_path: Path, rest: str) -> None:
    (tmp_path / "orders").write_text(f"{ORDERS[0]}\n{ORDERS[1]}{rest}\n{ORDERS[2]}\n")
    [block] = decoded(tmp_path)
    assert ids([block]) == [1, 3]
    assert [(one.code, one.position) for one in block.rejected] == [("invalid_json", 2)]


@pytest.mark.parametrize("page", ['{"errors": "Not Found"}', '{"errors":[{}],"data":null}'])
def test_an_error_document_of_an_api_makes_a_file_unreadable(tmp_path: Path, page: str) -> None:
    (tmp_path / "orders").write_text(f'{{"orders":[{ORDERS[0]}]}}\n{page}\n')
    blocks = decoded(tmp_path)
    assert ids(blocks) == [1]
    assert any(block.unreadable for block in blocks)
    [rejected] = [one for block in blocks for one in block.rejected]
    assert (rejected.code, rejected.position) == ("unreadable_file", 2)


@pytest.mark.parametrize("key", ["invoice_url", "abandoned_checkout_url"])
@pytest.mark.parametrize("layout", ['{{"orders":[{}]}}', "{}\n"])
def test_a_draft_or_checkout_is_no_order(tmp_path: Path, key: str, layout: str) -> None:
    link = f'"{key}": "https://shop.example.com/1",'
    draft = ORDERS[0].replace("{", "{" + link, 1)
    order = ORDERS[1].replace("{", "{" + link + '"order_number": 2,', 1)
    (tmp_path / "a").write_text(layout.format(draft))
    (tmp_path / "b").write_text(layout.format(order))
    blocks = decoded(tmp_path)
    assert ids(blocks) == [2]
    assert [one.code for block in blocks for one in block.rejected] == ["not_an_order"]


@pytest.mark.parametrize("link", ['""', "false", "null"])
@pytest.mark.parametrize("key", ["invoice_url", "abandoned_checkout_url", "deleted_at"])
def test_an_order_with_an_empty_mark_of_something_else_is_an_order(
    tmp_path: Path, key: str, link: str
) -> None:
    (tmp_path / "a").write_text(f'{{"id":1,"line_items":[],"{key}":{link}}}\n')
    [block] = decoded(tmp_path)
    assert (ids([block]), block.rejected, block.issues) == ([1], (), ())


def test_an_order_with_a_bad_number_and_a_link_is_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"id":1,"line_items":[],"order_number":"x","invoice_url":"y"}\n')
    [block] = decoded(tmp_path)
    assert (ids([block]), block.rejected) == ([1], ())
    assert [issue.code for issue in block.issues] == ["bad_integer"]


PRETTY = json.dumps(json.loads(ORDERS[1]), indent=1)
MARK = BOM.decode()


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (f"{MARK}{ORDERS[0]}\n{MARK}{ORDERS[1]}\n{ORDERS[2]}\n", 1),
        (f"{MARK}{ORDERS[0]}{MARK}{ORDERS[1]}\n{MARK}{ORDERS[2]}", 2),
        (f"{ORDERS[0]}\n{ORDERS[1]}\n{MARK}\n{ORDERS[2]}\n{MARK}", 2),
        (f'{MARK}{{"orders":[{ORDERS[0]}]}}\n{MARK}{{"orders":[{ORDERS[1]},{ORDERS[2]}]}}', 1),
        (f"{ORDERS[0]}\n {MARK} [{ORDERS[1]},{ORDERS[2]}]\n", 1),
        (f'{{"orders":[\n{ORDERS[0]}]}}{MARK}[\n{PRETTY}]\n{MARK}{MARK}\n{ORDERS[2]}', 3),
        (f"{MARK}{PRETTY.replace('2', '1')}{MARK}{PRETTY}{ORDERS[2]}{MARK}", 2),
    ],
)
def test_files_that_were_joined_have_marks_in_the_middle_which_are_counted(
    tmp_path: Path, text: str, marks: int
) -> None:
    (tmp_path / "orders").write_text(text)
    for block_size in (1 << 20, 64):
        blocks = decoded(tmp_path, block_size)
        assert ids(blocks) == [1, 2, 3]
        issues = [issue for block in blocks for issue in block.issues]
        assert {(issue.field, issue.code) for issue in issues} == {("", "byte_order_mark")}
        assert sum(issue.count for issue in issues) == marks
        assert not any(block.rejected for block in blocks)


def test_a_mark_in_a_text_is_a_character_and_one_within_a_record_no_json(tmp_path: Path) -> None:
    marked = ORDERS[0].replace("{", f'{{"note":"{MARK}",', 1)
    broken = ORDERS[1].replace(":", f":{MARK}", 1).replace(":[", ":[,")
    (tmp_path / "orders").write_text(f"{marked}\n{broken}\n")
    [block] = decoded(tmp_path)
    assert block.orders["note"].to_pylist() == [MARK]
    assert (block.issues, [one.code for one in block.rejected]) == ((), ["invalid_json"])


TEXT = "\n".join(ORDERS).encode()
TWICE = {
    "gzip": gzip.compress(gzip.compress(TEXT)),
    "bzip2 in gzip": gzip.compress(bz2.compress(TEXT)),
    "gzip in bzip2": bz2.compress(gzip.compress(TEXT)),
    "in a zip": zipped({"a.gz": gzip.compress(gzip.compress(TEXT))}),
}


@pytest.mark.parametrize("packing", TWICE)
def test_a_second_layer_of_compression_is_read_and_counted(tmp_path: Path, packing: str) -> None:
    (tmp_path / "orders").write_bytes(TWICE[packing])
    [block] = decoded(tmp_path)
    assert ids([block]) == [1, 2, 3, 4, 5]
    assert [(i.field, i.code, i.count) for i in block.issues] == [("", "nested_compression", 1)]
    (tmp_path / "orders").write_bytes(gzip.compress(gzip.compress(TEXT)[:-9]))
    assert any(block.unreadable for block in decoded(tmp_path)), "it is truncated"
    (tmp_path / "orders").write_bytes(gzip.compress(TWICE["gzip"]))
    [block] = decoded(tmp_path)
    assert "gzip within what it is packed in" in block.rejected[0].message


def test_a_bomb_that_is_packed_twice_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_NESTED_ALLOWANCE", 0)
    layer = BytesIO()
    with gzip.GzipFile(fileobj=layer, mode="wb") as file:
        for _ in range(64):
            file.write(b" " * (1 << 20))
    (tmp_path / "orders").write_bytes(gzip.compress(layer.getvalue()))
    [block] = decoded(tmp_path)
    assert "grows out of all proportion" in block.rejected[0].message


@pytest.mark.parametrize("pattern", ["", "*.json", "a.json"])
def test_a_member_may_be_named_from_the_folder_that_it_was_packed_in(
    tmp_path: Path, pattern: str
) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"./a.json": TEXT}))
    source = f"zip://{pattern}::{tmp_path.as_uri()}/a.zip"
    for url in (source, tmp_path.as_uri()):
        [split] = discover(url, date(2024, 5, 1), 1 << 20)
        assert ids(list(decode(split, UTC))) == [1, 2, 3, 4, 5]


def test_a_local_day_off_the_calendar_is_counted(tmp_path: Path) -> None:
    created = ["0000-12-31T23:00:00-02:00", "9999-12-31T23:30:00Z", "2026-10-01T00:00:00Z", None]
    texts = [
        json.dumps(json.loads(o) | {"created_at": c}) for o, c in zip(ORDERS, created, strict=False)
    ]
    (tmp_path / "orders").write_text("\n".join(texts))
    [split] = splits(tmp_path)
    [block] = decode(split, ZoneInfo("Asia/Tokyo"))
    assert block.orders["created_at"].null_count == 1
    assert block.orders["created_local_date"].to_pylist() == [None, None, date(2026, 10, 1), None]
    [issue, of_processed] = block.issues
    assert (issue.field, issue.code, issue.count) == ("created_local_date", "bad_instant", 2)
    assert issue.samples == ((1, created[0]), (2, created[1]))
    assert of_processed == replace(issue, field="processed_local_date"), "it is made of created_at"
