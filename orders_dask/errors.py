"""Every error that orders_dask raises, in one tree.

::

    OrdersDaskError
    ├── TerminalError             trying again can't help
    │   ├── SettingsError         a setting is missing or malformed         exit code 2
    │   ├── ClusterMismatch       client and workers differ in versions     exit code 2
    │   ├── DataRefused           the dump was refused, nothing published   exit code 3
    │   │   ├── SourceMissing     no file for the run date
    │   │   └── OutOfBalance      the books don't balance
    │   ├── WorkersDied           again and again over the same file        exit code 3
    │   ├── NotKept               what to go back to isn't there (any more) exit code 3
    │   ├── Undecided             whether it was done can't be found out    exit code 4
    │   └── DatabaseNotReady      `orders-dask init` has not been run       exit code 2
    └── TransientError            the same command may work later           exit code 4
        ├── ServiceUnavailable    PostgreSQL or S3 can't be reached
        ├── ClusterLost           the Dask cluster can't be reached
        ├── RunDateHeld           another run holds the run date
        ├── LeaseLost             this run doesn't hold its run date any more
        ├── LoadWithdrawn         this load was sealed or given up meanwhile
        ├── SourceChanged         a file of the dump or the stage is not what it was
        ├── StillInUse            others' transactions are in the way of a partition
        └── RunStopped            the caller stopped the run

Each message is one sentence for people: what is wrong, where, and what to do. Each class takes that
sentence as its only argument, so it survives pickling from a worker to the client.
"""

from __future__ import annotations

from typing import ClassVar


class OrdersDaskError(Exception):
    """Base of all errors of this package."""

    exit_code: ClassVar[int] = 1


class TerminalError(OrdersDaskError):
    """Trying the same again can't help: something has to change first."""


class SettingsError(TerminalError):
    """A setting is missing or malformed."""

    exit_code = 2


class VersionMismatch(TerminalError):
    """Client, scheduler and workers run different versions of what they share."""

    exit_code = 2


class WorkersDied(TerminalError):
    """Workers died again and again over the same input: out of memory, say."""

    exit_code = 3


class NothingToRestore(TerminalError):
    """What a rollback or a comparison needs was never there, or was pruned."""

    exit_code = 3


class OutcomeUnknown(TerminalError):
    """A service broke off at the last moment, and doing the same again would do more: look first."""

    exit_code = 4


class DatabaseNotReady(TerminalError):
    """The schemas are missing or of another version: run ``orders-dask init``."""

    exit_code = 2


class DataRefused(TerminalError):
    """The data of a run date was refused as a whole; what was published before stands."""

    exit_code = 3


class SourceMissing(DataRefused):
    """The source has no file for the run date."""


class ReconciliationError(DataRefused):
    """What was read is not what was loaded, superseded and rejected, or a sum differs."""


class TransientError(OrdersDaskError):
    """The same command may work when tried again."""

    exit_code = 4


class ServiceUnavailable(TransientError):
    """PostgreSQL or S3 can't be reached, or broke off."""


class ClusterLost(TransientError):
    """The Dask cluster can't be reached, or was lost."""


class RunDateLocked(TransientError):
    """Another run holds the run date."""


class LeaseLost(TransientError):
    """The session that held the run date is gone, and with it the right to publish."""


class LoadNotActive(TransientError):
    """The load was sealed or given up while this task was still at work."""


class StoredObjectChanged(TransientError):
    """A file of the dump changed between its listing and its reading, or one of the stage is gone or damaged."""


class PartitionInUse(TransientError):
    """Transactions of others began before a partition came or went, and have to end first."""


class RunCancelled(TransientError):
    """The caller stopped the run; what was published stands."""
