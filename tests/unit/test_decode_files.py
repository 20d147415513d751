"""Decoded blocks of the files of a split: positions, unreadable files, schema drift."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orders_dask.extract import records
from orders_dask.extract.decode import decode as decode_module
from orders_dask.extract.decode.decode import Decoded, decode
from orders_dask.extract.discover import discover
from orders_dask.extract.framing import ndjson
from orders_dask.extract.framing.ndjson import split_lines
from orders_dask.extract.records import SourceFile, Split

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


def test_drift_names_unknown_keys_of_the_first_hundred_records(tmp_path: Path) -> None:
    known = '{"id":1,"line_items":[],"tags":"a"}'
    early = '{"id":1,"line_items":[{"id":1,"colour":"red","tax_lines":[{"rate":1}]}],"customer":{"vip":1},"zz":{"a":1}}'
    late = '{"id":1,"line_items":[],"late":1}'
    (tmp_path / "a").write_text("\n".join([early, "not JSON", '{"data":1}', *[known] * 97, late]))
    (tmp_path / "b").write_text(f'{{"orders":[{known},{early}],"next":1}}\n' + known)
    paths = ("customer.vip", "line_items[].colour", "line_items[].tax_lines[].rate", "zz")
    drift: dict[str, set[str]] = {}
    for block in decoded(tmp_path):
        drift.setdefault(Path(block.file.name).name, set()).update(block.drift)
    assert drift == {"a": set(paths), "b": set(paths)}


def test_drift_is_sampled_at_the_beginning_of_a_file(tmp_path: Path) -> None:
    text = "\n".join(['{"id":1,"line_items":[],"zz":1}'] * 50) + "\n"
    (tmp_path / "a").write_text(text)
    first, *others = splits(tmp_path, 400)
    assert {path for block in decode(first, UTC) for path in block.drift} == {"zz"}
    assert others
    assert not any(block.drift for split in others for block in decode(split, UTC))


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
    blocks = list(decode_module._decode_file(file, split_lines(chunks), UTC, beginning=True))
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
