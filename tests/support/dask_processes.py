"""Start ``dask scheduler`` and ``dask worker`` as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import REPOSITORY


@contextmanager
def dask(folder: Path, *arguments: str, **environment: str) -> Iterator[None]:
    """Run ``dask ...`` until the block ends, with its temporary files in a folder."""
    with subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "DASK_TEMPORARY_DIRECTORY": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()
