"""A process that seems to have no pandas, for those that are all ours: commands and the workers of their clusters.

pyarrow imports pandas at the first ``pa.array``, to ask whether it was given a series. No task of ours uses any, and it
takes 0.4 s and 40 MB of each process: a command that loaded 2,000 orders took 0.72 of the time without it.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _Without(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("No pandas in this process: see orders_dask.without_pandas.")


def hide() -> None:
    """Hide it from who has not imported it yet."""
    sys.meta_path.insert(0, _Without())


def dask_setup(worker: Any) -> None:
    """Do so on a worker, as Dask asks of a preload: https://docs.dask.org/en/stable/how-to/customize-initialization.html."""
    hide()
