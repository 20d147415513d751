"""Who accepted, discarded or rolled back a load, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func

from orders_dask.contract.ledger_tables import load_run


def _before() -> ColumnElement[str]:
    """Return the decision that the row has already, such as one to accept before a rollback."""
    at = func.to_char(load_run.c.reviewed_at, 'YYYY-MM-DD HH24:MI "UTC"')
    text = func.concat_ws(" ", "before:", load_run.c.reviewed_by, at, load_run.c.review_note)
    return case((load_run.c.reviewed_at.is_not(None), text))


@dataclass(frozen=True)
class Review:
    """The decision of somebody about a load.

    Attributes
    ----------
    by
        Who: user and host.
    because
        Why, in their words; None if they said nothing.
    """

    by: str
    because: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The columns of the load's ledger row, by name."""
        return {
            load_run.c.reviewed_at.name: func.clock_timestamp(),
            load_run.c.reviewed_by.name: self.by,
            load_run.c.review_note.name: func.nullif(
                func.concat_ws("; ", self.because, _before()), ""
            ),
        }
