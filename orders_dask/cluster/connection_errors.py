"""Errors of Dask's connections, as errors for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from distributed import CancelledError
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError

from orders_dask.errors import ClusterLost, SchedulerEnded

DISCONNECT_ERRORS: Final = (CancelledError, ClosedClientError, CommClosedError)
"""Errors that a client raises when its scheduler is lost."""


@contextmanager
def translate_cluster_errors() -> Iterator[None]:
    """Translate the loss of the scheduler or a worker.

    Raises
    ------
    SchedulerEnded
        The scheduler was lost.
    ClusterLost
        A worker can't be reached.
    """
    try:
        yield
    except DISCONNECT_ERRORS as error:
        raise SchedulerEnded(
            "The Dask scheduler was lost: see that it runs, then give the same command again."
        ) from error
    except OSError as error:  # of a worker that died and is still listed
        raise ClusterLost(
            f"A process of the Dask cluster can't be reached ({error}): give the command again."
        ) from error
