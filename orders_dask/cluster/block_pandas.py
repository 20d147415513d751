"""Block ``import pandas`` in our own processes: commands, and the workers of their clusters.

pyarrow would import pandas at the first ``pa.array``, to check for a Series. We never use it, and
it costs 0.4 s and 40 MB per process.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _PandasBlocker(MetaPathFinder, Loader):
    """Finds a pandas that fails to import, so that bokeh can still look for its spec."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "pandas" else None

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(
            "No pandas in this process: see orders_dask.cluster.block_pandas."
        )


def block() -> None:
    """Make ``import pandas`` fail in this process, unless it is imported already."""
    sys.meta_path.insert(0, _PandasBlocker())


def dask_setup(worker: Any) -> None:
    """Block pandas on a worker, as a Dask preload.

    See https://docs.dask.org/en/stable/how-to/customize-initialization.html.
    """
    block()
