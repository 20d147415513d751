"""The limits on rejected records and unreadable files.

A run that exceeds one is refused as a whole. See docs/contract.md#refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.errors import DataRefused
from orders_dask.ledger.rejects import most_common_reject, unreadable_message
from orders_dask.pipeline.load_scope import OpenLoad
from orders_dask.stage.record import Part

MAX_REJECTED_COUNT: Final = 10
"""Up to this many rejected orders or lines are allowed, unless the share is 0."""


def check_reject_limits(load: OpenLoad, parts: Sequence[Part]) -> None:
    """Refuse the run if a file was unreadable or too many records were rejected.

    The rejected records must be in the ledger: the message names their most common code.

    Parameters
    ----------
    load
        The load.
    parts
        Its parts.

    Raises
    ------
    DataRefused
        A limit is exceeded.
    """
    settings = load.context.settings
    files = [file for part in parts for file in part.files]
    unreadable = [file.name for file in files if file.unreadable]
    if unreadable and not settings.allow_unreadable:
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise DataRefused(
            f"{unreadable[0]}{others} could not be read to the end"
            f"{_unreadable_reason(load, unreadable[0])}: see `orders-dask rejects`, and correct or "
            "remove the file, or set ORDERS_DASK_ALLOW_UNREADABLE=true."
        )
    for what, fact, rejected in (
        ("orders", fact_order, sum(f.rejected[fact_order.name] for f in files)),
        ("lines", fact_order_line, sum(f.lines_rejected for f in files)),
    ):
        total = sum(file.read[fact.name] for file in files)
        # A small day may have a few, but who says none means none.
        few = MAX_REJECTED_COUNT if settings.max_rejected else 0
        if rejected > max(few, settings.max_rejected * total):
            raise DataRefused(
                f"{rejected:,} of {total:,} {what} were rejected, more than "
                f"ORDERS_DASK_MAX_REJECTED={settings.max_rejected:g} allows"
                f"{_most_common(load, fact, rejected)}: see `orders-dask rejects`."
            )


def _unreadable_reason(load: OpenLoad, file: str) -> str:
    with load.lease.transaction() as connection:
        message = unreadable_message(connection, load.load_id, file)
    return f" ({message.removesuffix('.')})" if message else ""


def _most_common(load: OpenLoad, fact: Table, rejected: int) -> str:
    """Return the most common reason, or nothing if the ledger has only some of the rejections.

    In a replay the others are rows of the load that is replayed.
    """
    with load.lease.transaction() as connection:
        reason = most_common_reject(connection, load.load_id, fact)
    if reason is None or reason.total != rejected:
        return ""
    return f"; most often {reason}"
