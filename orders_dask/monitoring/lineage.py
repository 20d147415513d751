"""Tell OpenLineage of loads: that one begins, and how it ended.

docs/monitoring.md#openlineage says what is in an event. Nothing of OpenLineage is imported unless
events are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from orders_dask.errors import OrdersDaskError, RunCancelled
from orders_dask.monitoring import lineage_client
from orders_dask.monitoring.load_lineage import LineageCounts, LoadLineage

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

LOG: Final = logging.getLogger("orders_dask")


@contextmanager
def sending_lineage(
    load: LoadLineage,
    count: Callable[[], LineageCounts],
    message: Callable[[BaseException], str],
) -> Iterator[None]:
    """Tell OpenLineage that a load begins, and how it ended; a failure to do so is a warning.

    Parameters
    ----------
    load
        The load.
    count
        Returns what a load that is published read and wrote.
    message
        Returns what people are told of an error, without personal data.
    """
    run_id = str(uuid4())
    sending = lineage_client.send(partial(_started, load, run_id))
    what = f"load {load.load_id} of {load.run_date}"
    try:
        yield
    except BaseException as error:
        is_cancelled = isinstance(error, KeyboardInterrupt | RunCancelled)
        failed = partial(_failed, load, run_id, message(error), is_cancelled)
        lineage_client.wait(lineage_client.send(failed, sending), what)
        raise
    counts: LineageCounts | None = None
    try:
        counts = count()
    except OrdersDaskError as error:
        LOG.warning("OpenLineage is told of %s without numbers of rows: %s", what, error)
    completed = partial(_completed, load, run_id, counts)
    lineage_client.wait(lineage_client.send(completed, sending), what)


# OpenLineage is imported in the background, where an error is a warning.


def _started(load: LoadLineage, run_id: str) -> RunEvent:
    from orders_dask.monitoring.lineage_events import start_event

    return start_event(load, run_id)


def _completed(load: LoadLineage, run_id: str, counts: LineageCounts | None) -> RunEvent:
    from orders_dask.monitoring.lineage_events import complete_event

    return complete_event(load, run_id, counts)


def _failed(load: LoadLineage, run_id: str, message: str, is_cancelled: bool) -> RunEvent:
    from orders_dask.monitoring.lineage_events import failed_event

    return failed_event(load, run_id, message, is_cancelled=is_cancelled)
