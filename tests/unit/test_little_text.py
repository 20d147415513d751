"""Little text is read without the compiled scanner, and a machine compiles that once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import lines, order

READ = """
import sys
from zoneinfo import ZoneInfo
from orders_dask.cluster import block_pandas
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.records import Records

block_pandas.block()
for path in sys.argv[1:]:
    text = open(path, "rb").read()
    records = Records(text, False, False, text.count(b"\\n"))
    block = decode_records(records, ZoneInfo("UTC"))
    print(block.orders.num_rows, "numba" in sys.modules)
"""

READ_TOGETHER = """
import sys
from zoneinfo import ZoneInfo
from orders_dask.cluster import block_pandas
from orders_dask.extract.decode.decode import decode_files
from orders_dask.extract.records import Records, SourceFile

block_pandas.block()

def files():
    for path in sys.argv[1:]:
        text = open(path, "rb").read()
        yield SourceFile(path, path, None, len(text), ""), iter(
            [Records(text, False, False, text.count(b"\\n"))]
        )

print(sum(each.orders.num_rows for each in decode_files(files(), ZoneInfo("UTC"))))
print("numba" in sys.modules)
"""

COMPILE = """
from orders_dask.extract import json_scanner
from orders_dask.extract.decode.compile_once import ensure_compiled, is_to_compile

print(is_to_compile())
ensure_compiled()
functions = [getattr(json_scanner, name) for name in ("scan", "copy_texts", "line_ends")]
print(sum(sum(function.stats.cache_misses.values()) for function in functions) > 0)
print(is_to_compile())
"""


def read(*paths: Path) -> list[str]:
    """Read files in a new process; for each, how many orders, and whether Numba is there then."""
    command = [sys.executable, "-c", READ, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_process_needs_the_scanner_once_it_has_read_more_than_a_little_text(
    tmp_path: Path,
) -> None:
    few, more, many = (tmp_path / name for name in ("few", "more", "many"))
    few.write_bytes(lines(*(order(number) for number in range(1, 28))))
    more.write_bytes(lines(*(order(number, note="x" * 6000) for number in range(1, 200))))
    many.write_bytes(lines(*(order(number) for number in range(1, 502))))
    assert read(few, few, more, few) == ["27 False", "27 False", "199 True", "27 True"]
    assert read(many) == ["501 True"]


def test_small_files_that_go_together_count_once(tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(9)]
    for number, path in enumerate(paths):
        Path(path).write_bytes(
            lines(*(order(number * 9 + n, note="x" * 9000) for n in range(1, 10)))
        )
    command = [sys.executable, "-c", READ_TOGETHER, *paths]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["81", "False"], "0.7 MiB of text needs no scanner"


@pytest.mark.long
def test_processes_that_need_the_scanner_at_the_same_time_compile_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMPILE]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = sorted(process.communicate(timeout=300)[0].split() for process in both)
    assert ended == [["True", "False", "False"], ["True", "True", "False"]]
    third = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert third.stdout.split() == ["False", "False", "False"]
