"""Any bytes at all: no crash, no hang, nothing lost in silence, and the same however they are cut.

With ``ORDERS_DASK_FUZZ_SECONDS`` (`make fuzz`), inputs are tried for that long. A failure is
reproduced from its number: ``check(folder, made(Random(number)))``."""

from __future__ import annotations

import faulthandler
import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_checks import SECONDS, check
from tests.support.fuzz_corpus import RECORDS, Input, made

FUZZ_SECONDS = os.environ.get("ORDERS_DASK_FUZZ_SECONDS", "")
PROCESSES = 2


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_any_input_is_read_the_same_however_it_is_cut_and_loses_nothing(random: Random) -> None:
    with TemporaryDirectory() as folder:
        check(Path(folder), made(random))


def test_every_form_of_the_contract_is_read_among_others(tmp_path: Path) -> None:
    text = b"\n".join(RECORDS) + b"\n"
    check(tmp_path, Input(text, text, damaged=False))


def fuzzed(folder: Path, first: int, seconds: float, numbers: Connection) -> None:
    """Check every input of number `first` + n * `PROCESSES`; send each number before its check.

    The files of an input that fails stay in `folder`.
    """
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        numbers.send(number)
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        path = folder / str(number)
        check(path, made(Random(number)))
        rmtree(path)
        number += PROCESSES
    faulthandler.cancel_dump_traceback_later()
    numbers.send(None)


def test_processes_that_read_one_input_after_another_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = time.time_ns() if FUZZ_SECONDS else 0
    context = get_context("spawn")
    running: dict[Connection[Any, Any], BaseProcess] = {}
    for first in range(begin, begin + PROCESSES):
        mine, theirs = context.Pipe(duplex=False)
        arguments = (tmp_path, first, float(FUZZ_SECONDS or 3), theirs)
        process = context.Process(target=fuzzed, args=arguments)
        process.start()
        theirs.close()
        running[mine] = process
    tried = 0
    last: dict[Connection[Any, Any], int] = {}
    while running:
        for ready in wait(list(running)):
            mine = cast("Connection[Any, Any]", ready)
            try:
                number = mine.recv()
            except EOFError:
                path = f"{tmp_path}/{last.get(mine)}/dump/a"
                pytest.fail(f"An input, perhaps {path}, ended the process that read it.")
            if number is None:
                running.pop(mine).join()
            else:
                tried, last[mine] = tried + 1, number
    assert tried >= PROCESSES
    with capsys.disabled():
        if FUZZ_SECONDS:
            os.write(1, f"\n{tried} inputs tried from number {begin} on, none failed\n".encode())
