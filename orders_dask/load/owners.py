"""Who owns a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    Connection,
    Table,
    text,
)


@dataclass(frozen=True)
class Owner:
    """Who owns a table.

    Attributes
    ----------
    name
        The user.
    ours
        Whether this session may do what that user may.
    """

    name: str
    ours: bool


def owner_of(connection: Connection, table: Table) -> Owner | None:
    """Say who owns a table; None where there is none."""
    named = {"schema": table.schema, "table": table.name}
    owner = connection.execute(_OWNER, named).one_or_none()
    return Owner(*owner) if owner else None


_OWNER: Final = text(
    """
    select pg_get_userbyid(relowner), pg_has_role(relowner, 'usage')
    from pg_class join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = :table
    """
)
