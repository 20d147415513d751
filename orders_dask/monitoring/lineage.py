"""Tell OpenLineage of loads: that one begins, and how it ended.

docs/monitoring.md#openlineage says what is in an event. Nothing of OpenLineage is imported unless
events are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from orders_dask.errors import OrdersDaskError, RunCancelled
from orders_dask.monitoring import lineage_client
from orders_dask.monitoring.load_lineage import LineageCounts, LoadLineage

LOG: Final = logging.getLogger("orders_dask")


@contextmanager
def reported(
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
    if not lineage_client.is_configured():
        yield
        return
    from orders_dask.monitoring.lineage_events import (
        complete_event,
        failed_event,
        new_run,
        start_event,
    )

    run = new_run(load)
    sending = lineage_client.send(start_event(load, run))
    what = f"load {load.load_id} of {load.run_date}"
    try:
        yield
    except BaseException as error:
        is_cancelled = isinstance(error, KeyboardInterrupt | RunCancelled)
        failed = failed_event(load, run, message(error), is_cancelled=is_cancelled)
        lineage_client.wait(lineage_client.send(failed, sending), what)
        raise
    counts: LineageCounts | None = None
    try:
        counts = count()
    except OrdersDaskError as error:
        LOG.warning("OpenLineage is told of %s without numbers of rows: %s", what, error)
    completed = complete_event(load, run, counts)
    lineage_client.wait(lineage_client.send(completed, sending), what)
