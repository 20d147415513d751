"""Every error that orders_dask raises, in one tree.

::

    OrdersDaskError
    ├── TerminalError             a retry can't help
    │   ├── SettingsError         a setting is missing or malformed         exit code 2
    │   ├── VersionMismatch       client and workers differ in versions     exit code 2
    │   ├── DatabaseNotReady      `orders-dask init` has not been run       exit code 2
    │   ├── DataRefused           the dump was refused, nothing published   exit code 3
    │   │   ├── ReconciliationError  control totals differ
    │   │   └── FetchIncomplete      a shop's counts contradict its orders
    │   ├── LoadHeld              a check holds it, not published yet       exit code 5
    │   ├── WorkersDied           repeatedly, over the same file            exit code 3
    │   ├── NothingToRestore      the load needed is missing or pruned      exit code 3
    │   └── OutcomeUnknown        whether it was done can't be found out    exit code 4
    └── TransientError            the same command may work later           exit code 4
        ├── ServiceUnavailable    PostgreSQL or S3 can't be reached
        ├── ClusterLost           the Dask cluster can't be reached
        ├── RunDateLocked         another run has the run date locked
        ├── LeaseLost             this run lost its lease of the run date
        ├── LoadNotActive         the load was sealed or ended meanwhile
        ├── SourceMissing         no file for the run date yet            exit code 6
        ├── StoredObjectChanged   a file of the dump or the stage has changed
        ├── PartitionInUse        others' transactions still use a partition
        ├── TableInUse            others hold locks on a table to be migrated
        └── RunCancelled          the caller cancelled the run

Each message is one sentence for people: what is wrong, where, and what to do. The message is the
only argument of each class, so errors survive pickling from a worker to the client.
"""

from __future__ import annotations

from typing import ClassVar


class OrdersDaskError(Exception):
    """Base class of all errors of this package."""

    exit_code: ClassVar[int] = 1


class TerminalError(OrdersDaskError):
    """A retry can't help: something has to change first."""


class SettingsError(TerminalError):
    """A setting is missing or malformed."""

    exit_code = 2


class VersionMismatch(TerminalError):
    """Client, scheduler and workers run different versions of a package that they share."""

    exit_code = 2


class WorkersDied(TerminalError):
    """Workers died repeatedly over the same input, for example for lack of memory."""

    exit_code = 3


class NothingToRestore(TerminalError):
    """A rollback, diff or replay needs a load that never existed or was pruned."""

    exit_code = 3


class OutcomeUnknown(TerminalError):
    """PostgreSQL broke off during a rollback, and a retry might roll back one more load."""

    exit_code = 4


class DatabaseNotReady(TerminalError):
    """The schemas are missing or of another version: run ``orders-dask init``."""

    exit_code = 2


class DataRefused(TerminalError):
    """The data of a run date was refused as a whole. What was published before stands."""

    exit_code = 3


class ReconciliationError(DataRefused):
    """The control totals of a load differ: it is not reconciled."""


class FetchIncomplete(DataRefused):
    """What a shop gives contradicts its own counts: orders may be missing, so none is loadable."""


class LoadHeld(TerminalError):
    """A check holds a load: it is whole, and not published until somebody accepts it."""

    exit_code = 5


class TransientError(OrdersDaskError):
    """The same command may work later; most of these errors were retried before."""

    exit_code = 4


class ServiceUnavailable(TransientError):
    """PostgreSQL or S3 can't be reached, or broke the connection."""


class ClusterLost(TransientError):
    """The Dask cluster can't be reached, or the connection to it was lost."""


class SchedulerEnded(ClusterLost):
    """The Dask scheduler ended in the middle: a run goes on with a new one at its address."""


class SourceMissing(TransientError):
    """There is nothing for the run date yet: no file in the dump, no part in the stage, no load."""

    exit_code = 6


class RunDateLocked(TransientError):
    """Another run has the run date locked."""


class LeaseLost(TransientError):
    """The session with the run's lease ended, and with it the right to publish."""


class LoadNotActive(TransientError):
    """The load was sealed or ended while a task still worked on it."""


class StoredObjectChanged(TransientError):
    """A file of the dump changed after its listing, or a stage file is missing or damaged."""


class PartitionInUse(TransientError):
    """A partition waits for transactions that began before it was attached or detached."""


class TableInUse(TransientError):
    """Others hold locks on a table that a migration is to change."""


class RunCancelled(TransientError):
    """The caller cancelled the run. What was published stands."""


def failure_message(error: BaseException) -> str:
    """Return the reason why a load ended, for the ledger."""
    if isinstance(error, OrdersDaskError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "It was stopped."
    # The type alone: a library's message may quote personal data, and `status` shows this one.
    return f"A fault of ours, {type(error).__name__}."
