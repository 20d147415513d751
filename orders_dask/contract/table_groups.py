"""Groups of fact tables, and which of them this process has: ``ORDERS_DASK_FACTS``.

The variable is read once, where the tables are declared: a table of a group that is off is in no
schema, no file and no query. So it has to be set before :mod:`orders_dask` is imported. See
docs/contract.md#groups-of-tables.
"""

from __future__ import annotations

import os
from typing import Final, Literal, TypeAlias, get_args

from orders_dask.errors import SettingsError

Group: TypeAlias = Literal["sales", "discounts", "fulfilments", "payments", "taxes", "attributes"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)

ALWAYS: Final[Group] = "sales"
"""The group that is always there: orders, lines, refunds."""

VARIABLE: Final = "ORDERS_DASK_FACTS"


def parse_groups(setting: str) -> tuple[Group, ...]:
    """Return the groups of a setting such as ``sales,taxes``, in the order of :data:`GROUPS`.

    Raises
    ------
    ValueError
        It names something else.
    """
    names = {name.strip() for name in setting.split(",")} - {""}
    if unknown := names.difference(GROUPS):
        raise ValueError(f"names {', '.join(sorted(unknown))}: the groups are {', '.join(GROUPS)}")
    return tuple(group for group in GROUPS if group in names | {ALWAYS})


def _groups_of_this_process() -> tuple[Group, ...]:
    try:
        return parse_groups(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise SettingsError(f"{VARIABLE} {error}.") from error


ACTIVE_GROUPS: Final[tuple[Group, ...]] = _groups_of_this_process()
"""The groups whose tables this process has."""
