"""Raw texts that a part keeps: decoded once more, they give what the dump gave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders_dask import SourceMissing, read_orders, read_staged
from orders_dask.contract.arrow import POSITION
from orders_dask.contract.envelopes import parse_envelope
from orders_dask.contract.raw_text import FRAMING, ORDER_ID, RAW, RAW_COLUMN, TEXT
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.extract.decode.decode import Decoded, decode, decode_files
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.stage.layout import KEYS, content_of, part_url, run_date_folder
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.parts import find_part, use_part
from orders_dask.stage.raw import read_raw
from orders_dask.stage.record import Part
from orders_dask.stage.tables import read_table
from orders_dask.stage.write import write_part
from orders_dask.synthetic import generate
from tests.support.builders import DAY, lines, order, zipped
from tests.support.fuzz_checks import small_pieces
from tests.support.fuzz_corpus import RECORDS, made

UTC = ZoneInfo("UTC")
WHOLE = 1 << 30


def splits(dump: Path, block_size: int = WHOLE) -> list[Split]:
    return discover(f"{dump}/", DAY, block_size)


def stored(split: Split, folder: Path, setting: str | None = None) -> tuple[list[Decoded], Part]:
    """Decode a split and keep its raw texts; return the blocks, and the part they are staged in."""
    envelope = parse_envelope(setting) if setting else None
    blocks = list(decode(split, UTC, envelope, keep_raw=True))
    url = part_url(folder.as_uri(), DAY, split, "UTC", setting, keep_raw=True)
    write_part(url, normalise_blocks(blocks), keep_raw=True)
    part = find_part(url)
    assert part is not None
    return blocks, part


def assert_raw_gives_the_same(split: Split, folder: Path, setting: str | None = None) -> Part:
    """Decode a split from its raw texts, which gives the blocks and counters of the dump."""
    blocks, part = stored(split, folder, setting)
    envelope = parse_envelope(setting) if setting else None
    without = list(decode(split, UTC, envelope))
    from_raw = list(decode_files(read_raw(part), UTC, envelope, keep_raw=True))
    assert len(from_raw) == len(blocks)
    for plain, first, second in zip(without, blocks, from_raw, strict=True):
        named = replace(second.file, url=first.file.url, member=first.file.member)
        assert first.orders.equals(second.orders)
        assert plain.orders.equals(first.orders)
        assert _rows(first.raw) == _rows(second.raw)
        nothing: dict[str, Any] = {"orders": None, "raw": None}
        assert replace(first, **nothing) == replace(second, **nothing, file=named)
        assert replace(first, **nothing) == replace(plain, **nothing)
    files = {file.name: file for file in part.files}
    twice = write_part(f"{part.url}-again", normalise_blocks(from_raw), keep_raw=True)
    assert {file.name: file for file in twice.files} == files
    assert (twice.rows, twice.totals, twice.drift) == (part.rows, part.totals, part.drift)
    return part


def _rows(raw: pa.Table | None) -> list[Any]:
    return [] if raw is None else raw.to_pylist()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.booleans())
def test_any_input_is_decoded_the_same_from_its_raw_texts(random: Random, small: bool) -> None:
    given_ = made(random)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dump").mkdir()
        (folder / "dump" / "a").write_bytes(given_.file)
        (folder / "dump" / "b").write_bytes(lines(order(1)))
        if small:
            with small_pieces(max(200, len(given_.file) // 8)):
                for split in splits(folder / "dump", max(200, len(given_.file) // 3)):
                    assert_raw_gives_the_same(split, folder)
        else:
            for split in splits(folder / "dump"):
                assert_raw_gives_the_same(split, folder)


@pytest.mark.parametrize("layout", ["ndjson", "pages"])
def test_a_dump_with_every_defect_is_decoded_the_same_from_its_raw_texts(
    layout: Any, tmp_path: Path
) -> None:
    dump = tmp_path / "dump"
    generate(
        dump.as_uri(),
        start=DAY,
        days=1,
        orders=300,
        layout=layout,
        compression="zip" if layout == "pages" else "gzip",
        files_per_day=2,
        defects=0.01,
    )
    [split] = discover(f"{dump}/run_date={DAY}/", DAY, WHOLE)
    part = assert_raw_gives_the_same(split, tmp_path)
    texts = pq.read_table(f"{part.url}/{part.attempt}/raw.parquet".removeprefix("file://"))
    assert sum(file.positions for file in part.files) == len(texts[POSITION].drop_null())
    assert set(texts[ORDER_ID].drop_null().to_pylist()) == set(
        read_table(part, KEYS)[ORDER_ID].to_pylist()
    )


@pytest.mark.parametrize(
    ("setting", "record"),
    [
        ("singer", '{"type":"RECORD","stream":"orders","record":%s}'),
        ("airbyte", '{"_airbyte_data":%s}'),
        ("detail.payload", '{"detail":{"payload":%s}}'),
    ],
)
@pytest.mark.parametrize("quoted", [False, True], ids=["object", "text"])
def test_raw_texts_have_their_envelopes_and_messages_are_still_counted(
    setting: str, record: str, quoted: bool, tmp_path: Path
) -> None:
    texts = [json.dumps(order(n, note="é\x7f", colour=n)) for n in range(3)]
    messages = ['{"type":"STATE","value":{}}', '{"type":"SCHEMA","stream":"orders"}', "oops"]
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "a.ndjson").write_bytes(
        lines(*messages, *(record % (json.dumps(text) if quoted else text) for text in texts))
    )
    [split] = splits(tmp_path / "dump")
    part = assert_raw_gives_the_same(split, tmp_path, setting)
    assert part.rows["fact_order"] == 2, "an id of 0 is none"


def test_what_stands_around_records_is_counted_from_their_raw_texts_too(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    mark = b"\xef\xbb\xbf"
    bare = lines(order(1))
    page = json.dumps({"orders": [order(2), {"id": None}, order(3)]}).encode()
    overwritten = b'{"order":{"id":5},"order":{"id":6}}\n'
    (dump / "a.ndjson").write_bytes(bare + mark + page + b"\n" + overwritten + mark + bare)
    (dump / "b.json").write_bytes(b"")
    (dump / "c.json").write_bytes(mark + b"\n".join(RECORDS[:4]) + mark + page + b'{"orders":[]}')
    (dump / "d.csv").write_bytes(b"id,name\n1,#1\n2,#2\n")
    (dump / "e.zip").write_bytes(zipped({"x.json": page, "y.json": bare + b'{"id": 1, "tot'}))
    (dump / "f.ndjson").write_bytes(bare + b'{"id":2,"note":"\xff\xfe"}\n\xff\n\r\n' + page)
    [split] = splits(dump)
    part = assert_raw_gives_the_same(split, tmp_path)
    assert len(part.files) == 7
    codes = {issue.code for file in part.files for issue in file.issues}
    assert {"byte_order_mark", "duplicate_key"} <= codes
    texts = pq.read_table(f"{part.url}/{part.attempt}/raw.parquet".removeprefix("file://"))
    assert b"\xff" in texts[TEXT].to_pylist(), "a record that is not UTF-8"


def test_a_line_too_long_for_memory_is_decoded_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders_dask.extract.framing.ndjson.MAX_RECORD_BYTES", 600)
    monkeypatch.setattr("orders_dask.extract.framing.files.CHUNK_BYTES", 300)
    dump = tmp_path / "dump"
    dump.mkdir()
    many = [order(n) for n in range(1, 9)]
    page = json.dumps({"orders": many})
    broken = page.replace('"id": 5', '"id": oops')
    for number, text in enumerate((page, broken, page[:-2], json.dumps(many))):
        (dump / f"{number}.ndjson").write_bytes(lines(order(1), text, text, order(2)))
    [split] = splits(dump)
    part = assert_raw_gives_the_same(split, tmp_path)
    path = f"{part.url}/{part.attempt}/raw.parquet".removeprefix("file://")
    framing = [json.loads(each) for each in pq.read_table(path)[FRAMING].unique().to_pylist()]
    assert {name for each in framing for name in each} >= {"long_line", "framing_error", "strict"}


def test_without_the_setting_no_text_is_stored_and_parts_have_their_former_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_bytes(lines(order(1), order(2)) + b"oops\n")
    [split] = splits(tmp_path)
    monkeypatch.setattr("orders_dask.extract.decode.block.raw_runs", None)
    monkeypatch.setattr("orders_dask.extract.decode.block.raw_table", None)
    blocks = list(decode(split, UTC))
    assert [block.raw for block in blocks] == [None]
    url = part_url(tmp_path.as_uri(), DAY, split, "UTC")
    part = write_part(url, normalise_blocks(blocks))
    assert part.columns == STORED_COLUMNS
    assert RAW not in part.rows
    folder = Path(f"{part.url}/{part.attempt}".removeprefix("file://"))
    assert not (folder / "raw.parquet").exists()
    with_raw = part_url(tmp_path.as_uri(), DAY, split, "UTC", keep_raw=True)
    assert (content_of(with_raw), with_raw == url) == (content_of(url), False)


def test_a_part_without_raw_texts_is_staged_anew_when_they_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(order(1)))
    [split] = splits(tmp_path)
    without = part_url(tmp_path.as_uri(), DAY, split, "UTC")
    write_part(without, normalise_blocks(decode(split, UTC)))
    wanted = part_url(tmp_path.as_uri(), DAY, split, "UTC", keep_raw=True)
    names = [url.rpartition("/")[2] for url in (without, wanted)]
    assert use_part(wanted, names, keep_raw=True) is None
    _, part = stored(split, tmp_path)
    assert part.columns == (*STORED_COLUMNS, RAW_COLUMN)
    used = use_part(wanted, names, keep_raw=True)
    assert used is not None
    assert used.url == wanted
    used = use_part(f"{without}-gone", names)
    assert used is None
    Path(f"{without}/part.json".removeprefix("file://")).unlink()
    used = use_part(without, names)
    assert used is not None, "a part that has more is used where they are not wanted"
    assert used.url == wanted


def test_raw_texts_have_row_groups_of_their_own_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders_dask.stage.write.RAW_GROUP_BYTES", 20_000)
    monkeypatch.setattr("orders_dask.extract.records.BLOCK_BYTES", 8_000)
    monkeypatch.setattr("orders_dask.extract.framing.ndjson.CHUNK_BYTES", 4_000)
    monkeypatch.setattr("orders_dask.extract.framing.files.CHUNK_BYTES", 4_000)
    (tmp_path / "a.json").write_bytes(lines(*(order(n, note="x" * 400) for n in range(1, 200))))
    [split] = splits(tmp_path)
    part = assert_raw_gives_the_same(split, tmp_path)
    path = f"{part.url}/{part.attempt}/raw.parquet".removeprefix("file://")
    groups = pq.ParquetFile(path)
    assert groups.num_row_groups > 3
    for number in range(groups.num_row_groups):
        blocks = groups.read_row_group(number)
        assert blocks[TEXT].nbytes < 40_000
    assert groups.metadata.row_group(0).column(3).compression == "ZSTD"


def staged(dump: Path, stage: str, block_size: int, *, keep_raw: bool = True) -> None:
    """Stage a dump as a load would, with its manifest."""
    names = []
    for split in splits(dump, block_size):
        url = part_url(stage, DAY, split, "UTC", keep_raw=keep_raw)
        write_part(url, normalise_blocks(decode(split, UTC, keep_raw=keep_raw)), keep_raw)
        names.append(url.rpartition("/")[2])
    assert run_date_folder(stage, DAY)
    write_manifest(stage, DAY, Manifest("database", 1, names, {}))


def test_raw_texts_are_read_as_a_frame_with_positions_in_whole_files(tmp_path: Path) -> None:
    dump, stage = tmp_path / "dump", f"{tmp_path}/stage/"
    dump.mkdir()
    texts = [*(json.dumps(order(n)) for n in range(1, 30)), "oops"]
    (dump / "a.ndjson").write_bytes(lines(*texts))
    staged(dump, stage, 1_000)
    frame = read_staged(DAY, RAW, stage_url=stage)
    assert frame.npartitions > 2
    rows = frame.compute(scheduler="sync")
    assert list(rows.dtypes) == list(frame.dtypes)
    assert set(rows["run_date"]) == {DAY}
    assert set(rows["file"]) == {f"file://{dump}/a.ndjson"}
    assert rows["position"].tolist() == [*range(1, 31)]
    assert rows["order_id"].dropna().tolist() == [*range(1, 30)]
    assert rows["text"].tolist() == [text.encode() for text in texts]
    of_dump = read_orders(f"{dump}/", DAY, RAW, columns=["order_id", "text"])
    assert of_dump.compute(scheduler="sync")["text"].tolist() == rows["text"].tolist()


def test_a_stage_without_raw_texts_raises_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "a.ndjson").write_bytes(lines(order(1)))
    staged(tmp_path / "dump", f"{tmp_path}/stage/", WHOLE, keep_raw=False)
    with pytest.raises(SourceMissing, match="has no raw texts: with ORDERS_DASK_KEEP_RAW=parquet"):
        read_staged(DAY, RAW, stage_url=f"{tmp_path}/stage/")
