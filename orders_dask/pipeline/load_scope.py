"""The scope of one load: it takes the lease, creates the load, and records its outcome.

The outcome of a load that is not published is written to the ledger here, whatever the error was.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from sqlalchemy import Engine

from orders_dask.cluster.clients import map_tasks
from orders_dask.cluster.task_calls import MapTasks
from orders_dask.contract.storage_tables import STORED_COLUMNS
from orders_dask.errors import (
    DataRefused,
    LoadHeld,
    OrdersDaskError,
    RunDateLocked,
    TransientError,
    failure_message,
)
from orders_dask.ledger import leases, loads
from orders_dask.ledger.leases import EndedStatus, Lease
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.partitions import ensure_partitions
from orders_dask.pipeline.progress import StepTimer
from orders_dask.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

RefusedStatus = Literal["refused", "failed"]


@dataclass(frozen=True)
class RunContext:
    """What the steps of a run date need.

    Attributes
    ----------
    settings
        Settings of the run.
    client
        Client of the Dask cluster; None if this process does the tasks.
    database
        Engine of the initialised database.
    timer
        Times the steps and reports their progress.
    stop
        Event that cancels the run. It is checked while tasks run.
    """

    settings: Settings
    client: Client | None
    database: Engine
    timer: StepTimer
    stop: Event = field(default_factory=Event)

    @property
    def map_tasks(self) -> MapTasks:
        """Calls tasks, on the workers or in this process."""
        return map_tasks(self.client, self.settings, self.stop)


@dataclass(frozen=True)
class OpenLoad:
    """A load in status ``loading``, with the lease that protects it.

    Attributes
    ----------
    lease
        Lease of the run date.
    load_id
        Id of the load in the ledger.
    context
        Settings, client and database of the run.
    map_tasks
        Calls tasks on the workers and adds up their step metrics. Calls that are still running
        when the load ends are cancelled.
    replaces
        Whether another load of the run date is published.
    """

    lease: Lease
    load_id: int
    context: RunContext
    map_tasks: MapTasks
    replaces: bool

    @property
    def run_date(self) -> date:
        """The date of the dump."""
        return self.lease.run_date


@contextmanager
def open_load(
    context: RunContext,
    run_date: date,
    published: LoadStatus | None,
    fingerprint: str,
    columns: Sequence[str] = STORED_COLUMNS,
    inherits_texts_from: int | None = None,
    status_if_refused: RefusedStatus = "refused",
) -> Iterator[OpenLoad]:
    """Acquire the lease of a run date and create a load, then record how the load ended.

    Parameters
    ----------
    context
        What the steps of the run date need.
    run_date
        Date of the dump.
    published
        The published load when the run date was inspected; None if there was none.
    fingerprint
        Hash of all that decides what the load contains.
    columns
        The columns that its rows will have; all that are declared by default.
    inherits_texts_from
        Id of the load whose rejected records this one copies, in a replay.
    status_if_refused
        Status of the load if its data is refused. A replay or a diff uses ``failed``, so that
        ``orders-dask rejects`` goes on listing the rejected records of the published load.

    Yields
    ------
    OpenLoad
        The load.

    Raises
    ------
    RunDateLocked
        Another run has the lease, or has published the run date since it was inspected.
    """
    with leases.acquire_lease(context.database, run_date) as lease:
        now = published_load(context.database, run_date)
        if (now and now.load_id) != (published and published.load_id):
            raise RunDateLocked(
                f"Another run published {run_date} meanwhile: give the same command again if it is "
                "still needed."
            )
        load_id = loads.create_load(
            lease,
            context.settings.source,
            fingerprint,
            run_by(),
            columns,
            inherits_texts_from,
        )
        with (
            _record_outcome(lease, load_id, context.timer, status_if_refused),
            ExitStack() as stack,
        ):
            ensure_partitions(lease.connection, run_date)
            # A load id is unique in its database only, and a cluster may serve several databases.
            key_suffix = f"{load_id}-{uuid4().hex[:8]}"
            submit = partial(context.map_tasks, key_suffix=key_suffix)
            map_tasks = partial(_map_in_load, stack, submit, context.timer)
            yield OpenLoad(lease, load_id, context, map_tasks, now is not None)


def _map_in_load(
    stack: ExitStack, map_tasks: MapTasks, timer: StepTimer, *args: Any, **kwargs: Any
) -> Generator[tuple[int, Any]]:
    """Call tasks with metrics, and cancel those still running when the load ends.

    After an error the traceback keeps the generator alive longer than the client. It could then
    no longer cancel its calls, and would complain on standard error.
    """
    results = stack.enter_context(closing(map_tasks(*args, **kwargs)))
    return _add_metrics(results, timer)


def _add_metrics(
    results: Iterator[tuple[int, Any]], timer: StepTimer
) -> Generator[tuple[int, Any]]:
    """Yield the bare results of calls, and add their step metrics to the timer's meter."""
    for number, (result, metrics) in results:
        timer.meter.add(metrics)
        yield number, result


@contextmanager
def _record_outcome(
    lease: Lease, load_id: int, timer: StepTimer, status_if_refused: RefusedStatus
) -> Iterator[None]:
    """Record the outcome of a load that is not published, and the step metrics of every load."""
    try:
        yield
    except BaseException as error:
        status: EndedStatus = "failed"
        if isinstance(error, DataRefused):
            status = status_if_refused
        elif isinstance(error, LoadHeld):
            status = "held"
        with suppress(OrdersDaskError):  # the next run marks it as abandoned
            loads.save_metrics(lease, load_id, timer.seconds, timer.meter.metrics)
            leases.finish(lease, load_id, status, failure_message(error))
        raise
    # The load is published even if its session broke at the last commit: only its metrics are lost.
    with suppress(TransientError):
        loads.save_metrics(lease, load_id, timer.seconds, timer.meter.metrics)


def run_by() -> str:
    """Return the process and host of this run, for another run that finds the run date locked."""
    return f"process {os.getpid()} on {socket.gethostname()}"
