"""Hostile files are rejected or read, in bounded memory and time, and their process survives.

One process reads them all, so its peak is a bound for each. `make test` reads the small ones. With
``ORDERS_DASK_FUZZ_SECONDS`` (`make fuzz`), files of a GB are read too."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import chain, repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.order_tables import fact_order
from orders_dask.extract.decode.decode import Decoded, decode
from orders_dask.extract.discover import discover
from orders_dask.extract.framing import json_cursor, ndjson
from orders_dask.extract.framing.ndjson import detect_ndjson
from orders_dask.extract.records import MIB
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.stage.write import write_part

FULL = "ORDERS_DASK_FUZZ_SECONDS" in os.environ

PEAK = 1536
"""MiB that reading may take at most, so that a worker with 2 GiB survives. A record of 16 MiB takes
up to 50 times its text where Python applies the rules, the libraries take 200 MiB, and the rest is
for memory that allocators don't return."""

SECONDS = 120
"""CPU seconds that a file may take; a GB is unpacked and scanned in 20."""

ADDRESS_SPACE = 16 << 30
"""Bytes of address space: a process that needs more ends before the machine swaps."""

GOOD = b'{"id":1,"line_items":[]}'


@dataclass(frozen=True)
class Outcome:
    """Orders and rejections by code of a dump, and the cost in MiB and CPU seconds."""

    orders: int
    codes: dict[str, int]
    unreadable: bool
    peak: int
    seconds: float


def taken(dump: Path) -> Outcome:
    """Decode, normalise and stage a dump, as a worker does."""
    began = time.process_time()
    orders, codes, unreadable = 0, Counter[str](), False

    def watched(blocks: Iterator[Decoded]) -> Iterator[Decoded]:
        nonlocal orders, unreadable
        for block in blocks:
            codes.update(one.code for one in block.rejected)
            unreadable |= block.unreadable
            yield block

    for number, split in enumerate(discover(f"{dump}/", date(2026, 10, 1), 32 * MIB)):
        blocks = watched(decode(split, ZoneInfo("UTC")))
        part = write_part(f"{dump}.stage/{number}", normalise_blocks(blocks))
        orders += part.rows.get(fact_order.name, 0)
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Outcome(orders, dict(codes), unreadable, int(peak) // 1024, time.process_time() - began)


def reader(orders: Connection) -> None:
    """Read one dump after another, as they are requested."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    while (dump := orders.recv()) is not None:
        orders.send(taken(dump))


@pytest.fixture(scope="module")
def process() -> Iterator[Connection]:
    """Yield the connection to a process that reads dumps; a dead one raises EOFError."""
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=reader, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    yield mine
    mine.close()
    process.kill()
    process.join()


# How to write them.


def gzipped(*parts: tuple[bytes, int]) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    chunks = chain.from_iterable(repeat(chunk, times) for chunk, times in parts)
    return b"".join(map(packer.compress, chunks)) + packer.flush()


def zipped(*members: tuple[str, bytes, int], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method, compresslevel=1) as made:
        for name, chunk, times in members:
            with made.open(name, "w", force_zip64=True) as member:
                for _ in range(times):
                    member.write(chunk)
    return archive.getvalue()


def overlapping() -> bytes:
    """Return a zip with two directory entries for the same bytes."""
    packed = bytearray(zipped(("a", GOOD, 1), ("b", GOOD, 1)))
    second = packed.rindex(b"PK\x01\x02")
    packed[second + 42 : second + 46] = bytes(4)  # the offset of its header
    return bytes(packed)


def among_lines(order: bytes) -> bytes:
    return b'%b\n{"id":2,"line_items":[],%b}\n%b\n' % (GOOD, order, GOOD)


def in_page(order: bytes) -> bytes:
    return b'{"orders":[\n%b,\n{"id":2,"line_items":[],%b},\n%b\n]}' % (GOOD, order, GOOD)


def keys(count: int) -> bytes:
    return b",".join(b'"key%d":1' % number for number in range(count))


def many(text: bytes, times: int) -> bytes:
    return b",".join([text] * times)


DEEP: Final = b"[" * 10_000 + b"]" * 10_000
ODD: Final = b"'; drop table orders.fact_order; -- ../../etc/passwd %s %(a)s {} {0} $1 \\u0000 \\n \\ud800 \\\" \xff"
ODD_NAMES: Final = (
    "../../a",
    "./b",
    "/c",
    "'; drop table x;--",
    "%s{}\n\\",
    "\xfc\N{GRINNING FACE}",
)
M: Final = 1_000_000
LONG: Final = 100 * MIB
UNREADABLE: Final = {"unreadable_file": 1}

Case = tuple[Callable[[], bytes], int, dict[str, int], bool]
"""Function that makes a file, and the expected orders, rejections by code, and unreadable."""


def case(make: Callable[[], bytes], orders: int, codes: dict[str, int] | None = None) -> Case:
    return make, orders, codes or {}, "unreadable_file" in (codes or {})


def within(text: Callable[[], bytes], orders: int = 3, **codes: int) -> dict[str, Case]:
    """Return the cases of an order that contains `text`, as a line and in a page."""
    return {
        "in a line": case(lambda: among_lines(text()), orders, codes),
        "in a page": case(lambda: in_page(text()), orders, codes),
    }


def too_long(text: Callable[[], bytes]) -> dict[str, Case]:
    """Return the cases of an order that is too long for memory.

    Of lines the others are read, of a page those before it.
    """
    return {
        "in a line": case(lambda: among_lines(text()), 2, {"invalid_json": 1}),
        "in a page": case(lambda: in_page(text()), 1, UNREADABLE),
    }


ORDERS: Final[dict[str, dict[str, Case]]] = {
    "deep in an unknown key": within(lambda: b'"x":' + DEEP),
    "deep in a text": within(lambda: b'"note":' + DEEP),
    "deep in children": within(lambda: b'"refunds":' + DEEP, bad_child_id=1),
    "deep objects": within(lambda: b'"customer":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "100 MB of a text": too_long(lambda: b'"note":"%b"' % (b"a" * LONG)),
    "100 MB of an unknown key's text": too_long(lambda: b'"x":"%b"' % (b"a" * LONG)),
    "100 MB of a key": too_long(lambda: b'"%b":1' % (b"a" * LONG)),
    "100 MB of digits": too_long(lambda: b'"total_price":' + b"1" * LONG),
    "10 MB of a text": within(lambda: b'"note":"%b"' % (b"a" * 10 * MIB)),
    "10 MB of NULs": within(lambda: b'"note":"%b"' % (b"\\u0000" * 2 * MIB)),
    "10 MB of digits": within(lambda: b'"order_number":' + b"1" * 10 * MIB),
    "10 MB of an amount": within(lambda: b'"total_price":"0.%b1"' % (b"0" * 10 * MIB)),
    "10 MB of an instant": within(lambda: b'"created_at":"2026-10-01T10:00:00.%bZ"' % (b"1" * 10 * MIB)),
    "10 MB of a key": within(lambda: b'"%b":1' % (b"a" * 10 * MIB)),
    "an unknown key a million times": within(lambda: many(b'"x":1', M)),
    "a known key a million times": within(lambda: many(b'"note":"a"', M)),
    "a million lines that are none": within(lambda: b'"line_items":[%b]' % many(b"0", M), 2, bad_child_id=1),
    "odd keys and texts": within(lambda: b'"%b":1,"note":"%b"' % (ODD, ODD)),
}  # fmt: skip

# These take ten seconds and more each, so only `make fuzz` reads them.
LARGE_ORDERS: Final[dict[str, dict[str, Case]]] = {
    "10 MB that are no UTF-8": within(lambda: b'"note":"%b"' % (b"\xff" * 10 * MIB)),
    "a million unknown keys": within(lambda: keys(M)),
    "a million keys of a customer": within(lambda: b'"customer":{%b}' % keys(M)),
    "a million lines": within(lambda: b'"line_items":[%b]' % b",".join(b'{"id":%d}' % n for n in range(1, M + 1))),
    "a line a million times": within(lambda: b'"line_items":[%b]' % many(b'{"id":1}', M), 2, bad_child_id=1),
    "a million tax lines": within(lambda: b'"line_items":[{"id":1,"tax_lines":[%b]}]' % many(b'{"price":"x"}', M)),
}  # fmt: skip

FILES: Final[dict[str, Case]] = {
    "deep arrays": case(lambda: DEEP, 0, {"not_an_order": 1}),
    "endless brackets": case(lambda: b"[" * LONG, 0, UNREADABLE),
    "a line of endless brackets": case(lambda: GOOD + b"\n" + b"[" * LONG, 1, UNREADABLE),
    "a page on a line of 100 MB": case(
        lambda: b'{"orders":[%b]}\n%b\n' % (many(b'{"id":1,"note":"%b"}' % (b"a" * 6000), 17_000), GOOD), 17_001
    ),
    "scalars without end": case(lambda: b"0 " * M, 0, {"not_an_order": 150_000, **UNREADABLE}),
    "lines of scalars without end": case(lambda: GOOD + b"\n0" * M + b"\n", 1, {"not_an_order": 149_999, **UNREADABLE}),
    "a zip within a zip": case(lambda: zipped(("a", zipped(("b", GOOD, 1)), 1), ("c", GOOD, 1)), 1, UNREADABLE),
    "a gzip within a gzip": case(lambda: gzipped((gzipped((GOOD, 1)), 1)), 1),
    "a gzip within two": case(lambda: gzipped((gzipped((gzipped((GOOD, 1)), 1)), 1)), 0, UNREADABLE),
    "overlapping members": case(overlapping, 0, UNREADABLE),
    "a bzip2 bomb of a member": case(
        lambda: zipped(("a", b" " * 64 * MIB, 1), ("b", GOOD, 1), method=zipfile.ZIP_BZIP2), 0, {"unreadable_file": 2}
    ),
    "names as an attacker would have them": case(
        lambda: zipped(*((name, GOOD, 1) for name in ODD_NAMES)), len(ODD_NAMES)
    ),
}  # fmt: skip

G: Final = 1024
BOMBS: Final[dict[str, Case]] = {
    "an array of scalars": case(lambda: b"[%b]\n%b" % (many(b"0", M), GOOD), 0, UNREADABLE),
    "a million orders of a wrapper": case(lambda: b"{%b}" % many(b'"order":{"id":1}', M), 1),
    "gzip: blanks": case(lambda: gzipped((GOOD + b"\n", 1), (b" " * MIB, G), (b"\n" + GOOD, 1)), 2),
    "gzip: newlines": case(lambda: gzipped((GOOD, 1), (b"\n" * MIB, G), (GOOD, 1)), 2),
    "gzip: newlines behind a bad line": case(
        lambda: gzipped((b"bad\n", 1), (b"\n" * MIB, G), (GOOD + b"\n", 1)), 1, {"invalid_json": 1}
    ),
    "gzip: a text": case(lambda: gzipped((b'{"note":"', 1), (b"a" * MIB, G)), 0, UNREADABLE),
    "gzip: brackets": case(lambda: gzipped((b"[" * MIB, G)), 0, UNREADABLE),
    "gzip: objects": case(lambda: gzipped((b'{"a":' * (MIB // 5), G)), 0, UNREADABLE),
    "gzip: backslashes": case(lambda: gzipped((b'{"note":"', 1), (b"\\" * MIB, G)), 0, UNREADABLE),
    "gzip: texts": case(
        lambda: gzipped((b'"' * MIB, G)), 0, {"not_an_order": 150_000, **UNREADABLE}
    ),
    "zip: a member": case(
        lambda: zipped(("a", b" " * MIB, 4 * G), ("b", gzipped((b" " * MIB, G)), 1), ("c", GOOD, 1)), 1
    ),
}  # fmt: skip


def flat(orders: dict[str, dict[str, Case]]) -> dict[str, Case]:
    return {f"{name}, {where}": one for name, both in orders.items() for where, one in both.items()}


CASES: Final = {**flat(ORDERS), **FILES, **({**flat(LARGE_ORDERS), **BOMBS} if FULL else {})}


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_ends_in_bounded_memory_and_time(
    name: str, process: Connection, tmp_path: Path
) -> None:
    make, orders, codes, unreadable = CASES[name]
    dump = tmp_path / "dump"
    dump.mkdir()
    (dump / "orders").write_bytes(make())
    process.send(dump)
    found: Outcome = process.recv()
    assert (found.orders, found.codes, found.unreadable) == (orders, codes, unreadable)
    assert found.peak < PEAK
    assert found.seconds < SECONDS
    if FULL:
        os.write(2, f"\n{name}: {json.dumps(found.__dict__)}".encode())


def test_blank_lines_behind_a_bad_line_are_not_buffered() -> None:
    delimited, head = detect_ndjson(chain([b"bad\n"], repeat(b"\n" * MIB, 64), [b"{}\n"]))
    assert (delimited, head) == (True, b"bad\n{}\n")


@pytest.mark.parametrize("size", [300, 1000, 1 << 20])
def test_which_line_is_too_long_does_not_depend_on_how_the_text_is_cut(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ndjson, json_cursor):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 1000)
    within, beyond = (b'{"line_items":[],"id":2,"note":"%b"}' % (b"a" * n) for n in (900, 1100))
    text = b"\n".join([GOOD, beyond, b" ", within, beyond, GOOD, b"", within]) + b"\n"
    found = b"".join(
        some.text
        for some in ndjson.split_lines(text[at : at + size] for at in range(0, len(text), size))
    )
    assert [line if line in (GOOD, within) else None for line in found.splitlines()] == [
        GOOD, None, within, None, GOOD, within,
    ]  # fmt: skip


def test_a_zip_of_hidden_members_is_a_file_of_the_dump_whatever_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped((".hidden", GOOD, 1)))
    for block_size in (1, MIB):
        (split,) = discover(f"{tmp_path}/", date(2026, 10, 1), block_size)
        (block,) = decode(split, ZoneInfo("UTC"))
        assert (block.file.name.endswith("a.zip"), block.read) == (True, 0)


def test_a_zip_of_100_000_members_is_many_splits(tmp_path: Path) -> None:
    members = ((str(number), GOOD, 1) for number in range(100_000))
    (tmp_path / "a.zip").write_bytes(zipped(*members, method=zipfile.ZIP_STORED))
    found = discover(f"{tmp_path}/", date(2026, 10, 1), MIB)
    assert sum(len(split.files) for split in found) == 100_000
    assert max(len(split.files) for split in found) <= 256
