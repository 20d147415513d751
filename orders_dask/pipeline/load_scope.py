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

from orders_dask.cluster.submit import Calls, in_window
from orders_dask.errors import DataRefused, OrdersDaskError, RunDateHeld, TransientError
from orders_dask.ledger import leases
from orders_dask.ledger import loads as ledger
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.queries import LoadStatus, published_load
from orders_dask.load.partitions import ensure_leaves
from orders_dask.pipeline.progress import Clock
from orders_dask.settings import Settings

Refusal = Literal["refused", "failed"]


@dataclass(frozen=True)
class Work:
    """What a run date is worked on with.

    Attributes
    ----------
    settings
        The run's.
    client
        Of the Dask cluster.
    database
        Initialised.
    clock
        Times the steps, and tells how far they are.
    stop
        Set when the run is to stop at its next look.
    """

    settings: Settings
    client: Client
    database: Engine
    clock: Clock
    stop: Event = field(default_factory=Event)


@dataclass(frozen=True)
class Load:
    """A load that is being made.

    Attributes
    ----------
    lease
        The right to work on its run date.
    load_id
        The load in the ledger.
    work
        What it is made with.
    calls
        Calls functions on the workers, for this load.
    """

    lease: Lease
    load_id: int
    work: Work
    calls: Calls

    @property
    def run_date(self) -> date:
        """The date of the dump."""
        return self.lease.run_date


@contextmanager
def loading(
    work: Work,
    run_date: date,
    standing: LoadStatus | None,
    fingerprint: str,
    texts_of: int | None = None,
    refusal: Refusal = "refused",
) -> Iterator[Load]:
    """Hold a run date and begin a load of it; at the end write down how it ended, where it was not published.

    Parameters
    ----------
    standing
        What was published when the run looked.
    fingerprint
        What tells whether the same would be loaded again.
    texts_of
        The load whose rejected records this one carries over.
    refusal
        What a load becomes whose data is refused: only of one that ``run`` made people are shown what was.

    Raises
    ------
    RunDateHeld
        Another run holds the run date, or published it since the run looked.
    """
    with leases.hold(work.database, run_date) as lease:
        now = published_load(work.database, run_date)
        if (now and now.load_id) != (standing and standing.load_id):
            raise RunDateHeld(
                f"Another run published {run_date} meanwhile: give the same command again if it is still needed."
            )
        load_id = ledger.begin(lease, work.settings.source, fingerprint, _holder(), texts_of)
        with _ending(lease, load_id, work.clock, refusal), ExitStack() as stack:
            ensure_leaves(lease.connection, run_date)
            # Load ids are a database's own, and a cluster may serve several.
            name = f"{load_id}-{uuid4().hex[:8]}"
            calls = partial(in_window, work.client, of=name, stop=work.stop)
            yield Load(lease, load_id, work, partial(_made, stack, calls, work.clock))


def _made(
    stack: ExitStack, calls: Calls, clock: Clock, *args: Any, **kwargs: Any
) -> Generator[tuple[int, Any]]:
    """Make calls of metered tasks; those still under way when the load ends are cancelled then.

    A generator that an error leaves behind lives as long as the error's traceback, and so longer than the client: it
    could cancel nothing any more, and said so on standard error.
    """
    made = stack.enter_context(closing(calls(*args, **kwargs)))
    return _charged(made, clock)


def _charged(made: Iterator[tuple[int, Any]], clock: Clock) -> Generator[tuple[int, Any]]:
    """Charge the clock's meter with what calls of metered tasks cost."""
    for number, (result, costs) in made:
        clock.meter.add(costs)
        yield number, result


@contextmanager
def _ending(lease: Lease, load_id: int, clock: Clock, refusal: Refusal) -> Iterator[None]:
    """Write down how a load ended that was not published."""
    try:
        yield
    except BaseException as error:
        status: Refusal = refusal if isinstance(error, DataRefused) else "failed"
        with suppress(OrdersDaskError):  # without the database the next run finds it abandoned
            ledger.remember(lease, load_id, clock.seconds, clock.meter.costs)
            leases.finish(lease, load_id, status, _reason(error))
        raise
    # The load has ended well, also where its session broke with the last commit: then its seconds are not known.
    with suppress(TransientError):
        ledger.remember(lease, load_id, clock.seconds, clock.meter.costs)


def _reason(error: BaseException) -> str:
    """Say for the ledger why a load ended."""
    if isinstance(error, OrdersDaskError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "It was stopped."
    # Only the kind: what a library says may quote people's data, and `status` shows this to all.
    return f"A fault of ours, {type(error).__name__}."


def _holder() -> str:
    """Say who runs this, for another run that finds the run date held."""
    return f"process {os.getpid()} on {socket.gethostname()}"
