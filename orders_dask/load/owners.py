"""The owner of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, text


@dataclass(frozen=True)
class Owner:
    """The owner of a table.

    Attributes
    ----------
    name
        The owner's role.
    ours
        Whether this session has the rights of that role.
    """

    name: str
    ours: bool


def owner_of(connection: Connection, table: Table) -> Owner | None:
    """Return the owner of a table; None if there is no such table."""
    names = {"schema": table.schema, "table": table.name}
    owner = connection.execute(_OWNER, names).one_or_none()
    return Owner(*owner) if owner else None


_OWNER: Final = text(
    """
    select pg_get_userbyid(relowner), pg_has_role(relowner, 'usage')
    from pg_class join pg_namespace n on n.oid = relnamespace
    where nspname = :schema and relname = :table
    """
)
