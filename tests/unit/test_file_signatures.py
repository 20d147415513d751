"""A file that is no JSON is described by its signature."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.framing.file_signatures import HEAD_BYTES, describe
from tests.support.builders import DAY

ORDERS = b'{"id": 1, "line_items": []}\n{"id": 2, "line_items": []}\n'
TABLE = pa.table({"id": [1, 2]})
CSV = b"id,name,total_price\n1,#1,10.00\n"


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    made = io.BytesIO()
    write(made)
    return made.getvalue()


def zipped(content: bytes) -> bytes:
    def write(made: io.BytesIO) -> None:
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("a", content)

    return written(write)


def tarred(content: bytes) -> bytes:
    def write(made: io.BytesIO) -> None:
        with tarfile.open(fileobj=made, mode="w") as archive:
            info = tarfile.TarInfo("orders.ndjson")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    return written(write)


FILES = {
    "CSV": CSV,
    "CSV ": b'"id";"name"\r\n1;"a;\r\nb"\r\n',
    "CSV  ": b"\xef\xbb\xbfid\tname",
    "CSV   ": gzip.compress(b"id,name\n"),
    "Parquet": written(lambda made: pq.write_table(TABLE, made)),
    "ORC": written(lambda made: orc.write_table(TABLE, made)),
    "Arrow": written(lambda made: feather.write_feather(TABLE, made)),
    "HTML": b"\n<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>",
    "HTML ": b"<HTML><body>",
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "gzip within": gzip.compress(gzip.compress(gzip.compress(ORDERS))),
    "gzip within ": zipped(bz2.compress(gzip.compress(gzip.compress(ORDERS)))),
    "bzip2 within": gzip.compress(gzip.compress(bz2.compress(ORDERS))),
    "zstd within": gzip.compress(gzip.compress(zstandard.compress(ORDERS))),
    "a zip within": zipped(zipped(ORDERS)),
    "a zip within ": gzip.compress(zipped(ORDERS)),
    "xz": lzma.compress(ORDERS),
    "xz ": zipped(lzma.compress(ORDERS)),
    "tar": gzip.compress(tarred(ORDERS)),
    "tar ": tarred(ORDERS * 500),
    "tar  ": zipped(gzip.compress(tarred(ORDERS))),
    "tar   ": gzip.compress(gzip.compress(tarred(ORDERS))),
    "7z": zipped(b"7z\xbc\xaf\x27\x1c\0\4" + b"\0" * 99),
    "UTF-16": ORDERS.decode().encode("utf-16"),
    "UTF-16 ": ORDERS.decode().encode("utf-16-le"),
    "UTF-16  ": ORDERS.decode().encode("utf-16-be"),
    "UTF-32": ORDERS.decode().encode("utf-32"),
    "binary data": b"\x01\x02\x00\x03" * 9,
    "text that is no JSON": b"The export failed.\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_an_unreadable_file_is_named_for_what_it_looks_like(tmp_path: Path, kind: str) -> None:
    (tmp_path / "dump").write_bytes(FILES[kind])
    [split] = discover(f"{tmp_path.as_uri()}/", DAY, 1000)
    blocks = list(decode(split, ZoneInfo("UTC")))
    assert [block.orders.num_rows for block in blocks] == [0] * len(blocks)
    block = blocks[-1]  # before it, of CSV, a first cell that is JSON
    [one] = block.rejected
    assert (one.code, block.unreadable) == ("unreadable_file", True)
    assert one.message.startswith(f"The file can't be read further: it looks like {kind.strip()}")
    assert ", so " in one.message, "it says what to do"


@pytest.mark.parametrize(
    "text", [ORDERS, b"[", b'{"id": 1, "note": "a,b', b"", b" \n", b"1 2", b"null", b'"a"', b"-1"]
)
def test_text_that_begins_as_json_is_not_described(text: bytes) -> None:
    assert describe(text) is None


def test_a_file_of_json_that_breaks_off_has_a_message_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"[" + ORDERS.replace(b"\n", b",")[:-9])
    [split] = discover(f"{tmp_path.as_uri()}/", DAY, 1000)
    messages = [one.message for block in decode(split, ZoneInfo("UTC")) for one in block.rejected]
    assert messages == ["The file can't be read further: the text ends in the middle of a record."]


@given(st.binary(max_size=400) | st.text('",;\t|\r\n \x0bab').map(str.encode))
def test_any_beginning_can_be_described(head: bytes) -> None:
    description = describe(head[:HEAD_BYTES])
    assert description is None or description.startswith("it looks like ")


@pytest.mark.parametrize(
    ("method", "name"),
    [(9, "Deflate64"), (12, "bzip2"), (14, "LZMA"), (93, "zstd"), (95, "xz"), (98, "PPMd")],
)
def test_a_member_that_is_packed_by_another_method_is_named(
    tmp_path: Path, method: int, name: str
) -> None:
    archive = bytearray(zipped(ORDERS))
    entry = archive.find(b"PK\x01\x02")
    archive[8:10] = archive[entry + 10 : entry + 12] = method.to_bytes(2, "little")
    (tmp_path / "dump").write_bytes(archive)
    [split] = discover(f"{tmp_path.as_uri()}/", DAY, 1000)
    [block] = decode(split, ZoneInfo("UTC"))
    assert f"packed by {name} (method {method}), so pack it by deflate" in block.rejected[0].message
