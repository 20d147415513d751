"""Every error that orders_dask raises, in one tree.

::

    OrdersDaskError
    ├── TerminalError             trying again can't help
    │   ├── SettingsError         a setting is missing or malformed         exit code 2
    │   ├── ClusterMismatch       client and workers differ in versions     exit code 2
    │   ├── DataRefused           the dump was refused, nothing published   exit code 3
    │   │   ├── SourceMissing     no file for the run date
    │   │   └── OutOfBalance      the books don't balance
    │   └── DatabaseNotReady      `orders-dask init` has not been run       exit code 2
    └── TransientError            the same command may work later           exit code 4
        ├── ServiceUnavailable    PostgreSQL, S3 or the cluster can't be reached
        ├── RunDateHeld           another run holds the run date
        ├── LoadWithdrawn         this load was sealed or given up meanwhile
        ├── SourceChanged         a file changed between listing and reading
        └── RunStopped            the caller stopped the run

Each message is one sentence for people: what is wrong, where, and what to do. Each class takes that sentence as its
only argument, so it survives pickling from a worker to the client.
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


class ClusterMismatch(TerminalError):
    """Client, scheduler and workers run different versions of what they share."""

    exit_code = 2


class DatabaseNotReady(TerminalError):
    """The schemas are missing or of another version: run ``orders-dask init``."""

    exit_code = 2


class DataRefused(TerminalError):
    """The data of a run date was refused as a whole; what was published before stands."""

    exit_code = 3


class SourceMissing(DataRefused):
    """The source has no file for the run date."""


class OutOfBalance(DataRefused):
    """What was read is not what was loaded, superseded and rejected, or a sum differs."""


class TransientError(OrdersDaskError):
    """The same command may work when tried again."""

    exit_code = 4


class ServiceUnavailable(TransientError):
    """PostgreSQL, S3 or the Dask cluster can't be reached."""


class RunDateHeld(TransientError):
    """Another run holds the run date."""


class LoadWithdrawn(TransientError):
    """The load was sealed or given up while this task was still at work."""


class SourceChanged(TransientError):
    """A source file changed between its listing and its reading."""


class RunStopped(TransientError):
    """The caller stopped the run; what was published stands."""
