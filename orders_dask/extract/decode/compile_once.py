"""Compile the scanner once on a machine, however many processes need it at the same time."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

_SAMPLE: Final = (
    b'{"id":1,"name":"\\u00e9","total_price":"1.00","new":[1],"line_items":[{"id":2}]}\n'
)
"""An order for which every function of the scanner is called."""

_is_ensured = False


def is_to_compile() -> bool:
    """Return whether no process of this machine has compiled the scanner, as it is now."""
    marker = _marker()
    return marker is not None and not marker.exists()


def ensure_compiled() -> None:
    """Compile the scanner, unless that was done: then it is loaded at its first call.

    Processes that need it meanwhile wait, and then load it. Where its machine code can't be stored
    each process compiles it.
    """
    global _is_ensured
    if _is_ensured:
        return
    _is_ensured = True
    marker = _marker()
    if marker is None or marker.exists():
        return
    with _alone(marker.with_name("compiling.lock")):
        if marker.exists():
            return
        _compile()
        with suppress(OSError):
            marker.touch()


def _marker() -> Path | None:
    """Return the file that says that the scanner is compiled; None without a folder for it."""
    import numba

    from orders_dask.extract import json_scanner

    scan: Any = json_scanner.scan
    if not hasattr(scan, "stats") or scan.stats.cache_path is None:  # NUMBA_DISABLE_JIT, no folder
        return None
    compiled_for = (
        Path(json_scanner.__file__).read_bytes(),
        numba.__version__,
        sys.implementation.cache_tag,
        scan.targetctx.codegen().magic_tuple(),  # the processor, as Numba's own index has it
    )
    identity = sha256(repr(compiled_for).encode()).hexdigest()[:16]
    return Path(scan.stats.cache_path) / f"compiled-{identity}"


def _compile() -> None:
    import numpy as np

    from orders_dask.contract.schema_drift import DriftCounter
    from orders_dask.extract.decode.json_reader import read_lines
    from orders_dask.extract.decode.schema_drift import count_unknown_keys
    from orders_dask.extract.lines import Lines

    _, _, unknown_keys = read_lines(Lines(_SAMPLE), in_page=True)
    count_unknown_keys(unknown_keys, np.ones(1, np.int64), DriftCounter())


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait for other processes that compile; without a folder to write to there is no lock."""
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks: each process compiles
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
