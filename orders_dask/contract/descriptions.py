"""Describe records and values in the messages of rejections.

Everybody who sees how a run ended reads them, so they quote no personal data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Table

from orders_dask.contract.json_parser import Json, Number, preview, to_json
from orders_dask.contract.record_keys import id_key

MAX_PREVIEW_KEYS: Final = 10
_NAME: Final = re.compile(r"(?!\d)[\w-]{1,40}")


def preview_keys(record: Mapping[str, Json]) -> str:
    """Return the first keys of an object; others, and such as an email address, are counted."""
    names = [key for key in record if _NAME.fullmatch(key)][:MAX_PREVIEW_KEYS]
    others = len(record) - len(names)
    named = preview(", ".join(names)) or "(none)"
    return f"{named} and {others:,} more" if others else named


def kind_of(value: Json) -> str:
    """Describe a value without quoting any text, array or object."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str) and not isinstance(value, Number):
        return "a text" if value else "an empty text"
    return to_json(value)[:40]


def kind_of_id(record: Mapping[str, Json], fact: Table) -> str:
    """Describe the id of a record, which may be missing."""
    return kind_of(record[id_key(fact)]) if id_key(fact) in record else "missing"
