"""One load of a run date, from its beginning to its end: who holds the date, and how the load ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from threading import Event
from typing import Any, Literal
from uuid import uuid4

from distributed import Client
from sqlalchemy import Engine

from orders_dask.cluster.submit import MapTasks, map_bounded
from orders_dask.errors import DataRefused, OrdersDaskError, RunDateLocked, TransientError
from orders_dask.ledger import leases
from orders_dask.ledger import loads as ledger
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.partitions import ensure_partitions
from orders_dask.pipeline.progress import StepTimer
from orders_dask.settings import Settings

RefusedStatus = Literal["refused", "failed"]


@dataclass(frozen=True)
class RunContext:
    """What a run date is worked on with.

    Attributes
    ----------
    settings
        The run's.
    client
        Of the Dask cluster.
    database
        Initialised.
    timer
        Times the steps, and tells how far they are.
    stop
        Set when the run is to stop at its next look.
    """

    settings: Settings
    client: Client
    database: Engine
    timer: StepTimer
    stop: Event = field(default_factory=Event)


@dataclass(frozen=True)
class OpenLoad:
    """A load that is being made.

    Attributes
    ----------
    lease
        The right to work on its run date.
    load_id
        The load in the ledger.
    context
        What it is made with.
    map_tasks
        Calls functions on the workers, for this load.
    """

    lease: Lease
    load_id: int
    context: RunContext
    map_tasks: MapTasks

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
    inherits_texts_from: int | None = None,
    status_if_refused: RefusedStatus = "refused",
) -> Iterator[OpenLoad]:
    """Hold a run date and begin a load of it; at the end write down how it ended, where it was not published.

    Parameters
    ----------
    published
        What was published when the run looked.
    fingerprint
        What tells whether the same would be loaded again.
    inherits_texts_from
        The load whose rejected records this one carries over.
    status_if_refused
        What a load becomes whose data is refused: only of one that ``run`` made people are shown
        what was.

    Raises
    ------
    RunDateHeld
        Another run holds the run date, or published it since the run looked.
    """
    with leases.acquire_lease(context.database, run_date) as lease:
        now = published_load(context.database, run_date)
        if (now and now.load_id) != (published and published.load_id):
            raise RunDateLocked(
                f"Another run published {run_date} meanwhile: give the same command again if it is still needed."
            )
        load_id = ledger.create_load(
            lease, context.settings.source, fingerprint, _run_by(), inherits_texts_from
        )
        with (
            _record_outcome(lease, load_id, context.timer, status_if_refused),
            ExitStack() as stack,
        ):
            ensure_partitions(lease.connection, run_date)
            # Load ids are a database's own, and a cluster may serve several.
            name = f"{load_id}-{uuid4().hex[:8]}"
            calls = partial(map_bounded, context.client, key_suffix=name, stop=context.stop)
            yield OpenLoad(
                lease, load_id, context, partial(_map_in_load, stack, calls, context.timer)
            )


def _map_in_load(
    stack: ExitStack, map_tasks: MapTasks, clock: StepTimer, *args: Any, **kwargs: Any
) -> Generator[tuple[int, Any]]:
    """Make calls of metered tasks; those still under way when the load ends are cancelled then.

    A generator that an error leaves behind lives as long as the error's traceback, and so longer
    than the client: it could cancel nothing any more, and said so on standard error.
    """
    made = stack.enter_context(closing(map_tasks(*args, **kwargs)))
    return _with_recorded_metrics(made, clock)


def _with_recorded_metrics(
    results: Iterator[tuple[int, Any]], timer: StepTimer
) -> Generator[tuple[int, Any]]:
    """Charge the clock's meter with what calls of metered tasks cost."""
    for number, (result, costs) in results:
        timer.meter.add(costs)
        yield number, result


@contextmanager
def _record_outcome(
    lease: Lease, load_id: int, timer: StepTimer, status_if_refused: RefusedStatus
) -> Iterator[None]:
    """Write down how a load ended that was not published."""
    try:
        yield
    except BaseException as error:
        status: RefusedStatus = status_if_refused if isinstance(error, DataRefused) else "failed"
        with suppress(OrdersDaskError):  # without the database the next run finds it abandoned
            ledger.save_metrics(lease, load_id, timer.seconds, timer.meter.metrics)
            leases.finish(lease, load_id, status, _failure_message(error))
        raise
    # The load has ended well, also where its session broke with the last commit: then its seconds
    # are not known.
    with suppress(TransientError):
        ledger.save_metrics(lease, load_id, timer.seconds, timer.meter.metrics)


def _failure_message(error: BaseException) -> str:
    """Say for the ledger why a load ended."""
    if isinstance(error, OrdersDaskError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "It was stopped."
    # Only the kind: what a library says may quote people's data, and `status` shows this to all.
    return f"A fault of ours, {type(error).__name__}."


def _run_by() -> str:
    """Say who runs this, for another run that finds the run date held."""
    return f"process {os.getpid()} on {socket.gethostname()}"
