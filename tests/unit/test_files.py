"""Records are read from the bytes of a file, whatever its compression."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_dask.errors import ServiceUnavailable, StoredObjectChanged
from orders_dask.extract.framing import ndjson
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.framing.ndjson import is_ndjson, lines_in_range, split_lines
from orders_dask.extract.lines import line_ends
from orders_dask.extract.records import (
    MAX_RECORD_BYTES,
    MIB,
    Records,
    SourceFile,
    Split,
    Unreadable,
)
from orders_dask.extract.source.object_store import etag
from orders_dask.filesystem import filesystem
from tests.support.builders import zipped

LINES = b'{"id": 1}\n{"id": 2}\n{"id": 3}\n'


def listed(path: Path) -> SourceFile:
    """Return one local file as `discover` lists it."""
    fs, name = filesystem(path.as_uri())
    info = fs.info(name)
    return SourceFile(path.as_uri(), path.as_uri(), None, info["size"], etag(info))


def read(path: Path) -> list[tuple[str, bytes, str]]:
    """Return for each text of a file: the name, the records, and why reading ended early."""
    found = []
    for file, records in read_files(Split((listed(path),))):
        content, message = b"", ""
        try:
            for some in records:
                content += some.text
        except Unreadable as error:
            message = error.message
        found.append((file.name, content, message))
    return found


@pytest.fixture
def dump(tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes a file whose name has no suffix."""

    def write(content: bytes) -> Path:
        path = tmp_path / "dump"
        path.write_bytes(content)
        return path

    return write


PACKED = {
    "plain": LINES,
    "gzip": gzip.compress(LINES),
    "gzip, several streams": b"".join(gzip.compress(line) for line in LINES.splitlines(True)),
    "gzip, padded": gzip.compress(LINES) + bytes(1000),
    "bzip2": bz2.compress(LINES),
    "bzip2, several streams": bz2.compress(LINES[:7]) + bz2.compress(LINES[7:]),
    "zstd": zstandard.compress(LINES),
    "zstd, several frames": zstandard.compress(LINES[:7]) + zstandard.compress(LINES[7:]),
    "zstd, a frame to be skipped": b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    + zstandard.compress(LINES),
    "marked": b"\xef\xbb\xbf" + LINES,
    "gzip, marked": gzip.compress(b"\xef\xbb\xbf" + LINES),
    "pages": b'{"orders": [{"id": 1},{"id": 2}]}{"orders":\n[{"id": 3}]}',
}


@pytest.mark.parametrize("packing", PACKED)
def test_what_a_file_is_packed_in_makes_no_difference(
    dump: Callable[[bytes], Path], packing: str
) -> None:
    [(_, content, message)] = read(dump(PACKED[packing]))
    assert (content, message) == (LINES, "")


def test_a_member_may_be_compressed_and_unwanted_ones_are_left_out(
    dump: Callable[[bytes], Path],
) -> None:
    unwanted = dict.fromkeys(("__MACOSX/a", ".hidden/a", "c/.DS_Store"), b"junk")
    packed = {"b": LINES, "a": gzip.compress(LINES), "c/d": zstandard.compress(LINES), "c/": b""}
    path = dump(zipped(unwanted | packed, zipfile.ZIP_DEFLATED))
    zip_name = path.as_uri()
    assert read(path) == [(f"zip://{name}::{zip_name}", LINES, "") for name in ("a", "b", "c/d")]


def test_members_named_in_a_split_are_read_alone(dump: Callable[[bytes], Path]) -> None:
    file = listed(dump(zipped({"a": b'{"id": 1}', "b": b'{"id": 2}', "c": b'{"id": 3}'})))
    wanted = tuple(
        SourceFile(f"zip://{name}::{file.name}", file.url, name, 1, file.etag) for name in "ca"
    )
    read = [
        (found.member, [some.text for some in records])
        for found, records in read_files(Split(wanted))
    ]
    assert read == [("c", [b'{"id": 3}']), ("a", [b'{"id": 1}'])]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n \r\n\t", b"\xef\xbb\xbf", gzip.compress(b""), zipped({})],
    ids=["nothing", "blanks", "mark", "gzip", "zip"],
)
def test_an_empty_file_has_no_records(dump: Callable[[bytes], Path], content: bytes) -> None:
    assert [found[1:] for found in read(dump(content))] == [(b"", "")]


NOISE = b"".join(
    b'{"id": %d, "note": "%s"}\n' % (n, os.urandom(40).hex().encode()) for n in range(50_000)
)


def flipped(packed: bytes) -> bytes:
    """Return packed bytes with damage in the middle."""
    middle = len(packed) // 2
    return (
        packed[:middle]
        + bytes(byte ^ 0xFF for byte in packed[middle : middle + 50])
        + packed[middle + 50 :]
    )


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "garbage behind"])
@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, zstandard.ZstdCompressor(write_checksum=True).compress],
)
def test_damaged_compression_is_unreadable_after_a_prefix(
    dump: Callable[[bytes], Path], compress: Callable[[bytes], bytes], damage: str
) -> None:
    packed = compress(NOISE)
    damaged = {
        "truncated": packed[: len(packed) // 2],
        "corrupt": flipped(packed),
        "garbage behind": packed + b"garbage",
    }[damage]
    [(_, content, message)] = read(dump(damaged))
    assert message
    if damage == "garbage behind":
        assert content == NOISE
    elif damage == "truncated":
        assert content
        assert NOISE.startswith(content)


@pytest.mark.parametrize("damage", ["truncated", "no directory", "corrupt", "encrypted"])
def test_a_damaged_zip_is_unreadable(dump: Callable[[bytes], Path], damage: str) -> None:
    packed = bytearray(zipped({"a": NOISE, "b": LINES}, zipfile.ZIP_DEFLATED))
    if damage == "truncated":
        packed = packed[: len(packed) // 2]
    elif damage == "no directory":
        packed = packed[: packed.index(b"PK\x01\x02")]
    elif damage == "corrupt":
        packed[1000:1050] = bytes(50)
    else:
        at = packed.index(b"PK\x01\x02")
        packed[at + 8] |= 1
    found = read(dump(bytes(packed)))
    assert found[0][2]
    if damage in ("corrupt", "encrypted"):
        assert found[1][1:] == (LINES, ""), "the other member stands"


def test_a_zip_with_two_members_of_one_name_is_unreadable(dump: Callable[[bytes], Path]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a", LINES)
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a", LINES)
    [(_, content, message)] = read(dump(archive.getvalue()))
    assert (content, message) == (b"", "the zip has 2 members named a")


@pytest.mark.parametrize(
    "content",
    [
        '{"id": 1}\n'.encode("utf-16"),
        '{"id": 1}\n'.encode("utf-16-le"),
        bytes(range(255, 0, -1)) * 9,
    ],
)
def test_what_is_no_utf8_text_has_no_records(dump: Callable[[bytes], Path], content: bytes) -> None:
    [(_, records, message)] = read(dump(content))
    assert (records, bool(message)) == (b"", True)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zstandard.compress])
def test_a_bomb_is_read_in_bounded_memory(
    dump: Callable[[bytes], Path],
    compress: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORD_BYTES", 4 * MIB)
    bomb = dump(compress(b'{"id": 1}\n' + b" " * (96 * MIB) + b"\n"))
    tracemalloc.start()
    try:
        [(_, content, message)] = read(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (content, message) == (b'{"id": 1}\n', "")
    assert peak < 72 * MIB


def test_a_file_that_changed_is_transient(dump: Callable[[bytes], Path]) -> None:
    path = dump(LINES)
    split = Split((listed(path),))
    path.write_bytes(LINES * 2)
    with pytest.raises(StoredObjectChanged, match="dump changed"):
        next(read_files(split))
    path.unlink()
    with pytest.raises(StoredObjectChanged):
        next(read_files(split))


def test_a_file_that_cant_be_read_is_transient_not_unreadable(tmp_path: Path) -> None:
    folder = SourceFile(tmp_path.as_uri(), tmp_path.as_uri(), None, 1, "1")
    with pytest.raises(ServiceUnavailable, match="can't be read"):
        next(read_files(Split((folder,))))


# Newline-delimited or not


@pytest.mark.parametrize(
    ("text", "delimited"),
    [
        (b'{"id": 1}\n{"id": 2}', True),
        (b'\n \r\n  {"id": 1}  \r\n', True),
        (b"[]\nrubbish", True),
        (b'{"orders": [{"id": 1}]}', True),
        (b'rubbish\n{"id": 2}', True),
        (b'{"id": 1, tru}\n\n[2]\n', True),
        (b'{"id": 1}{"id": 2}\n{"id": 3}', True),
        (b'{\n{"id": 1}', False),
        (b'[\r\n{"id": 1}\r\n]', False),
        (b'{"orders": [{"id": 1},\n{"id": 2}\n]}', False),
        (b'{"orders":\n[]}', False),
        (b"1\n2\n", False),
        (b'{"id": NaN}\n{"id": NaN}\n', False),
        (b'{"id": 1', False),
        (b'{\n  "id": 1\n}\n', False),
    ],
)
def test_newline_delimited_text_is_detected_by_the_first_two_lines(
    text: bytes, delimited: bool
) -> None:
    assert is_ndjson(text, complete=True) is delimited
    answers = [is_ndjson(text[:size], complete=False) for size in range(len(text) + 1)]
    assert set(answers) <= {None, delimited}, (
        "told from the beginning otherwise than from the whole"
    )


def test_lines_too_long_for_memory_are_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORD_BYTES", 100)
    line = b'{"note": "%b"}' % (b"x" * 100)
    assert is_ndjson(line + b"\n{}\n", complete=True) is True
    assert is_ndjson(line + b"\n1\n", complete=True) is False
    assert is_ndjson(line[:101], complete=False) is False


def lines_of_chunks(text: bytes, sizes: list[int]) -> list[Records]:
    """Cut a text into chunks and return its lines."""
    bounds = [0, *sorted(size % (len(text) + 1) for size in sizes), len(text)]
    return list(split_lines([text[start:end] for start, end in pairwise(bounds)]))


line = st.sampled_from([b"{}", b'{"id": 1}', b"", b" ", b"\t\r", b"x" * 30, b"\xff", b"[1]\r"])


@settings(deadline=None)
@given(st.lists(line), st.booleans(), st.lists(st.integers(0), max_size=6))
def test_all_lines_but_blank_ones_are_read(some: list[bytes], ended: bool, cuts: list[int]) -> None:
    text = b"\n".join(some) + b"\n" * ended
    given_lines = b"".join(records.text for records in lines_of_chunks(text, cuts))
    wanted = (
        b"".join(one for one in text.splitlines(True) if one.strip(b" \t\r\n"))
        if b"\r" not in text
        else (b"".join(one for one in io.BytesIO(text) if one.strip()))
    )
    assert given_lines == wanted


@settings(deadline=None)
@given(st.lists(line), st.booleans(), st.integers(1, 80))
def test_byte_ranges_part_the_lines_exactly(some: list[bytes], ended: bool, size: int) -> None:
    text = b"\n".join(some) + b"\n" * ended
    ranges = [(start, min(start + size, len(text))) for start in range(0, len(text), size)]
    parts = [
        b"".join(lines_in_range(io.BytesIO(text[: within[1]]), io.BytesIO(text), *within))
        for within in ranges
    ]
    assert b"".join(parts) == text
    begins = [0, *(at + 1 for at, byte in enumerate(text) if byte == 0x0A and at + 1 < len(text))]
    for (start, end), part in zip(ranges, parts, strict=True):
        assert part.count(b"\n") + (part[-1:] not in (b"", b"\n")) == sum(
            start <= begin < end for begin in begins
        )


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\n", b"x", b"x" * 63, b"x" * 600])))
def test_every_line_end_is_found(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert line_ends(text).tolist() == [at for at, byte in enumerate(text) if byte == 0x0A]


def test_ranges_of_a_file_hold_its_lines_once(dump: Callable[[bytes], Path]) -> None:
    file = listed(dump(b"\xef\xbb\xbf" + LINES))
    parts = [
        b"".join(some.text for some in records)
        for start in range(0, file.size, 7)
        for _, records in read_files(Split((file,), start, min(start + 7, file.size)))
    ]
    assert b"".join(parts) == LINES


def test_a_line_too_long_for_memory_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORD_BYTES", 1000)
    orders = [{"id": number} for number in range(1000)]
    text = b'{"id": -1}\n%b\n{"id": -2}\n' % json.dumps({"orders": orders}).encode()
    found = split_lines([text[at : at + 100] for at in range(0, len(text), 100)])
    read = b"".join(some.text for some in found).splitlines()
    assert [json.loads(line) for line in read] == [{"id": -1}, *orders, {"id": -2}]


@pytest.mark.parametrize("size", [1000, 5000, 2 * MAX_RECORD_BYTES])
def test_lines_beside_one_too_long_for_memory_that_is_not_json_are_read(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(ndjson, "MAX_RECORD_BYTES", 1000)
    text = b'{"id": 1}\n[{"id": 2}, %b\n{"id": 3}\n' % (b"x" * 4000)
    found = b"".join(
        some.text
        for some in split_lines([text[at : at + size] for at in range(0, len(text), size)])
    )
    first, *middle, last = found.splitlines()
    assert (first, last) == (b'{"id": 1}', b'{"id": 3}')
    assert middle[-1].startswith(b'[{"id": 2}, xx')
