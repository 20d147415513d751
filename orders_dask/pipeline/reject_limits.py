"""Whether what was decoded may be loaded."""

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
"""So many rejected orders, or lines, never refuse a run, whatever their share (the contract)."""


def check_reject_limits(load: OpenLoad, parts: Sequence[Part]) -> None:
    """Refuse the run when a file was unreadable or too much was rejected (the contract's last rule on bad values).

    What was rejected is written down: why most of it was stands in the refusal.
    """
    settings = load.context.settings
    files = [file for part in parts for file in part.files]
    unreadable = [file.name for file in files if file.unreadable]
    if unreadable and not settings.allow_unreadable:
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise DataRefused(
            f"{unreadable[0]}{others} could not be read to the end{_unreadable_reason(load, unreadable[0])}: see "
            "`orders-dask rejects`, and mend or remove the file, or set ORDERS_DASK_ALLOW_UNREADABLE=true."
        )
    for what, fact, rejected in (
        ("orders", fact_order, sum(f.rejected[fact_order.name] for f in files)),
        ("lines", fact_order_line, sum(f.lines_rejected for f in files)),
    ):
        total = sum(file.read[fact.name] for file in files)
        if rejected > max(MAX_REJECTED_COUNT, settings.max_rejected * total):
            raise DataRefused(
                f"{rejected:,} of {total:,} {what} were rejected, more than ORDERS_DASK_MAX_REJECTED="
                f"{settings.max_rejected:g} allows{_most_common(load, fact, rejected)}: see `orders-dask rejects`."
            )


def _unreadable_reason(load: OpenLoad, file: str) -> str:
    with load.lease.transaction() as connection:
        message = unreadable_message(connection, load.load_id, file)
    return f" ({message.removesuffix('.')})" if message else ""


def _most_common(load: OpenLoad, fact: Table, rejected: int) -> str:
    """Say why most were rejected; nothing where others of them are written down elsewhere, as in a replay."""
    with load.lease.transaction() as connection:
        found = most_common_reject(connection, load.load_id, fact)
    if found is None or found.total != rejected:
        return ""
    return f"; most often {found.code} ({found.records:,}): {found.message.removesuffix('.')}"
