"""Read names of locations, staff and apps from a file: JSON as the Admin API gives it, or CSV.

https://shopify.dev/docs/api/admin-rest/latest/resources/location
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Table

from orders_dask.contract.json_parser import sanitise
from orders_dask.contract.storage_tables import DIMENSION_NAMES
from orders_dask.errors import SettingsError
from orders_dask.filesystem import filesystem, translate_storage_errors

Names: TypeAlias = Mapping[Table, Sequence[Mapping[str, Any]]]
"""Rows of a dimension's key and names, by dimension."""

_ID: Final = re.compile(r"(?:gid://[^/]+/([A-Za-z]+)/)?([1-9][0-9]{0,18})")


def read_names(url: str) -> Names:
    """Return the names that a file has, by dimension.

    Parameters
    ----------
    url
        Path or URL of the file, which is small: it is read at once.

    Raises
    ------
    SettingsError
        There is no such file, it is neither JSON nor CSV with names, or a record has no id.
    ServiceUnavailable
        The store can't be reached.
    """
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(url if "://" in url else os.path.abspath(url))
            content = fs.cat_file(path)
    except FileNotFoundError:
        raise SettingsError(f"There is no file {url}: name one with names.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{url} is no text in UTF-8: export it as such.") from None
    found = _from_json(text, url) if text.lstrip()[:1] in ("{", "[") else _from_csv(text, url)
    return {dimension: _last_of_each_key(rows, dimension) for dimension, rows in found.items()}


def _from_json(text: str, url: str) -> Names:
    try:
        lists = [*_lists(json.loads(text))]
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{url} is no JSON ({error}): export it once more.") from None
    known = {key: dimension for dimension in DIMENSION_NAMES for key in dimension.info["lists"]}
    found: dict[Table, list[dict[str, Any]]] = defaultdict(list)
    for key, records in lists:
        dimension = known.get(key)
        if dimension is not None:
            found[dimension] += [
                _row_of_record(record, dimension, f"{url}, {key}[{number}]")
                for number, record in enumerate(records)
            ]
    if not found:
        raise SettingsError(f"{url} has none of the lists {', '.join(known)}: export one of them.")
    return found


def _lists(value: Any, key: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield the lists of a document with the key that they stand at; GraphQL puts nodes below."""
    if isinstance(value, list):
        yield key, [_unwrapped(each) for each in value]
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _lists(inner, key if name in ("nodes", "edges") else name)


def _unwrapped(record: Any) -> Any:
    """Return the record below ``node`` (of an edge) or ``app`` (of an installation)."""
    for key in ("node", "app"):
        if isinstance(record, dict) and isinstance(record.get(key), dict):
            record = record[key]
    return record


def _row_of_record(record: Any, dimension: Table, where: str) -> dict[str, Any]:
    [key] = dimension.info["key"]
    return {key: _id(_value(record, "id"), dimension, where)} | {
        column.name: next(
            filter(None, (_joined(record, each) for each in column.info["keys"])), None
        )
        for column in dimension.info["names"]
    }


def _joined(record: Any, paths: str) -> str | None:
    """Return the texts at some paths, joined by a space; None if there are none."""
    texts = (_value(record, path) for path in paths.split())
    return _name(" ".join(text for text in texts if isinstance(text, str)))


def _value(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _from_csv(text: str, url: str) -> Names:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows.fieldnames = [header.strip() for header in rows.fieldnames or ()]
        dimension, names = _named_by(rows.fieldnames, url)
        [key] = dimension.info["key"]
        return {
            dimension: [
                {key: _id(row[key], dimension, f"{url}, line {rows.line_num}")}
                | {name: _name(row[name]) for name in names}
                for row in rows
            ]
        }
    except csv.Error as error:
        raise SettingsError(f"{url} is no CSV ({error}): export it once more.") from None


def _named_by(header: Sequence[str], url: str) -> tuple[Table, list[str]]:
    """Return the dimension whose key a CSV file has, and its columns that the file has."""
    keyed = [each for each in DIMENSION_NAMES if each.info["key"][0] in header]
    if len(keyed) == 1:
        [dimension] = keyed
        if names := [c.name for c in dimension.info["names"] if c.name in header]:
            return dimension, names
    keys = ", ".join(f"{d.info['key'][0]} and {d.info['names'][0].name}" for d in DIMENSION_NAMES)
    raise SettingsError(
        f"The first line of {url} doesn't name the columns of one of: {keys}; commas separate them."
    )


def _name(text: str | None) -> str | None:
    """Return a name as it can be stored; None without one."""
    return sanitise(text or "").strip() or None


def _id(value: Any, dimension: Table, where: str) -> int:
    matched = _ID.fullmatch(str(value).strip())
    if matched is None or int(matched[2]) >= 2**63:
        raise SettingsError(f"{where} has no id of digits, or as gid://: correct it.")
    resources = dict.fromkeys(dimension.info["lists"].values())
    if matched[1] and matched[1] not in resources:
        wanted = " or ".join(resources)
        raise SettingsError(f"{where} has an id of {matched[1]}, not of {wanted}: correct it.")
    return int(matched[2])


def _last_of_each_key(
    rows: Sequence[Mapping[str, Any]], dimension: Table
) -> list[Mapping[str, Any]]:
    [key] = dimension.info["key"]
    return list({row[key]: row for row in rows}.values())
