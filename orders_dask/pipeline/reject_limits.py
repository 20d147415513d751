"""The limits on rejected records and unreadable files.

A run that exceeds one is refused as a whole. See docs/contract.md#refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Table

from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.errors import DataRefused
from orders_dask.ledger.leases import Lease
from orders_dask.ledger.rejects import most_common_reject, unreadable_message
from orders_dask.settings import Settings
from orders_dask.stage.record import Part, StagedFile

MAX_REJECTED_COUNT: Final = 10
"""Up to this many rejected orders or lines are allowed, unless the share is 0."""


class Limits(NamedTuple):
    """The limits of the settings, for a worker.

    Attributes
    ----------
    max_rejected
        Share of the orders, and of the lines, that may be rejected.
    allow_unreadable
        Whether a file may be unreadable.
    allow_drift
        Whether records may have keys that the contract doesn't know.
    """

    max_rejected: float
    allow_unreadable: bool
    allow_drift: bool

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Return the limits of settings."""
        allow_drift = settings.schema_drift != "refuse"
        return cls(settings.max_rejected, settings.allow_unreadable, allow_drift)

    def allow(self, part: Part) -> bool:
        """Return whether a part that is all of a load exceeds none."""
        unreadable = any(file.unreadable for file in part.files)
        return (
            (self.allow_unreadable or not unreadable)
            and (self.allow_drift or not part.drift)
            and not any(_exceeding(part.files, self.max_rejected))
        )


class _Exceeding(NamedTuple):
    """Too many rejected records of a fact."""

    what: str
    fact: Table
    rejected: int
    total: int


def _exceeding(files: Sequence[StagedFile], max_rejected: float) -> Iterator[_Exceeding]:
    """Yield what was rejected too often in files."""
    for what, fact, rejected in (
        ("orders", fact_order, sum(f.rejected[fact_order.name] for f in files)),
        ("lines", fact_order_line, sum(f.lines_rejected for f in files)),
    ):
        total = sum(file.read[fact.name] for file in files)
        # A small day may have a few, but who says none means none.
        few = MAX_REJECTED_COUNT if max_rejected else 0
        if rejected > max(few, max_rejected * total):
            yield _Exceeding(what, fact, rejected, total)


def check_reject_limits(
    lease: Lease, load_id: int, settings: Settings, parts: Sequence[Part]
) -> None:
    """Refuse the run if a file was unreadable or too many records were rejected.

    The rejected records must be in the ledger: the message names their most common code.

    Parameters
    ----------
    lease, load_id
        The lease and the load.
    settings
        The settings with the limits.
    parts
        Parts of the load.

    Raises
    ------
    DataRefused
        A limit is exceeded.
    """
    files = [file for part in parts for file in part.files]
    unreadable = [file.name for file in files if file.unreadable]
    if unreadable and not settings.allow_unreadable:
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise DataRefused(
            f"{unreadable[0]}{others} could not be read to the end"
            f"{_unreadable_reason(lease, load_id, unreadable[0])}: see `orders-dask rejects`, and "
            "correct or remove the file, or set ORDERS_DASK_ALLOW_UNREADABLE=true."
        )
    for what, fact, rejected, total in _exceeding(files, settings.max_rejected):
        raise DataRefused(
            f"{rejected:,} of {total:,} {what} were rejected, more than "
            f"ORDERS_DASK_MAX_REJECTED={settings.max_rejected:g} allows"
            f"{_most_common(lease, load_id, fact, rejected)}: see `orders-dask rejects`."
        )


def _unreadable_reason(lease: Lease, load_id: int, file: str) -> str:
    with lease.transaction() as connection:
        message = unreadable_message(connection, load_id, file)
    return f" ({message.removesuffix('.')})" if message else ""


def _most_common(lease: Lease, load_id: int, fact: Table, rejected: int) -> str:
    """Return the most common reason, or nothing if the ledger has only some of the rejections.

    In a replay the others are rows of the load that is replayed.
    """
    with lease.transaction() as connection:
        reason = most_common_reject(connection, load_id, fact)
    if reason is None or reason.total != rejected:
        return ""
    return f"; most often {reason}"
