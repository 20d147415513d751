"""The contenders: ``ready`` of each module prepares it, and yields the function to time.

Each runs in a process of its own (``python -m tests.benchmarks.contenders NAME``), on a new
database in which ``init`` has been run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from orders_dask.settings import Settings

Ready = Callable[[Settings], AbstractContextManager[Callable[[], object]]]
