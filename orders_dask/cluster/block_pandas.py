"""A process that seems to have no pandas, for those that are all ours: commands and the workers of their clusters.

pyarrow imports pandas at the first ``pa.array``, to ask whether it was given a series. No task of
ours uses any, and it takes 0.4 s and 40 MB of each process: a command that loaded 2,000 orders took
4.3 s for 5.2 without it (six turns).
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _PandasBlocker(MetaPathFinder, Loader):
    """Finds a pandas that can't be imported: to ask whether there is one, as bokeh does, stays harmless."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "pandas" else None

    def exec_module(self, module: ModuleType) -> None:
        raise ModuleNotFoundError(
            "No pandas in this process: see orders_dask.cluster.block_pandas."
        )


def block() -> None:
    """Hide it from who has not imported it yet."""
    sys.meta_path.insert(0, _PandasBlocker())


def dask_setup(worker: Any) -> None:
    """Block pandas on a worker, as a Dask preload.

    See https://docs.dask.org/en/stable/how-to/customize-initialization.html.
    """
    block()
