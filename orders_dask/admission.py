"""Whether what was decoded may be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orders_dask.contract.tables import fact_order, fact_order_line
from orders_dask.errors import DataRefused
from orders_dask.settings import Settings
from orders_dask.stage.record import Part

REJECTED_ALLOWED: Final = 10
"""So many rejected orders, or lines, never refuse a run, whatever their share (the contract)."""


def admit(parts: Sequence[Part], settings: Settings) -> None:
    """Refuse the run when a file was unreadable or too much was rejected (the contract's last rule on bad values)."""
    files = [file for part in parts for file in part.files]
    unreadable = [file.name for file in files if file.unreadable]
    if unreadable and not settings.allow_unreadable:
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        raise DataRefused(
            f"{unreadable[0]}{others} could not be read to the end: see `orders-dask rejects`, and mend or remove the "
            "file, or set ORDERS_DASK_ALLOW_UNREADABLE=true."
        )
    for what, read, rejected in (
        ("orders", fact_order.name, sum(f.rejected[fact_order.name] for f in files)),
        ("lines", fact_order_line.name, sum(f.lines_rejected for f in files)),
    ):
        total = sum(file.read[read] for file in files)
        if rejected > max(REJECTED_ALLOWED, settings.max_rejected * total):
            raise DataRefused(
                f"{rejected:,} of {total:,} {what} were rejected, more than ORDERS_DASK_MAX_REJECTED="
                f"{settings.max_rejected:g} allows: see `orders-dask rejects`."
            )
