"""Envelopes: what another system puts around each order of a dump, and how an order is taken out.

The setting ``ORDERS_DASK_RECORD`` names one. See docs/contract.md#envelopes for the formats:

- Airbyte: https://docs.airbyte.com/understanding-airbyte/airbyte-protocol
- Singer: https://hub.meltano.com/singer/spec
- Amazon EventBridge with Shopify: https://shopify.dev/docs/apps/build/webhooks/subscribe
- Debezium: https://debezium.io/documentation/reference/stable/connectors/postgresql.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, NamedTuple, TypeAlias

from orders_dask.contract.issue_codes import RejectedCode
from orders_dask.contract.json_parser import DuplicateKeys, Json, NotJson, Number, parse_text

VARIABLE: Final = "ORDERS_DASK_RECORD"

Path: TypeAlias = tuple[str, ...]
"""Keys of objects within objects."""


@dataclass(frozen=True)
class Envelope:
    """What stands around each order.

    Attributes
    ----------
    setting
        The value of :data:`VARIABLE`.
    paths
        Where the order may stand; the first of them that has a value counts.
    kind_paths
        Where a record says of which kind it is; the first of them that has a value counts. A record
        that doesn't say it has an order.
    orders, messages, deletions
        Kinds of records with an order, without one, and of those that delete orders. There are no
        others.
    tombstone
        The path at which null means that there is no order, as the whole record does; None if null
        is an error.
    """

    setting: str
    paths: tuple[Path, ...]
    kind_paths: tuple[Path, ...] = ()
    orders: frozenset[str] = frozenset()
    messages: frozenset[str] = frozenset()
    deletions: frozenset[str] = frozenset()
    tombstone: Path | None = None


KNOWN: Final[Mapping[str, Envelope]] = {
    each.setting: each
    for each in (
        Envelope(
            "airbyte",
            (("_airbyte_data",), ("record", "data")),
            (("type",),),
            frozenset({"RECORD"}),
            frozenset({"STATE", "LOG", "SPEC", "CONNECTION_STATUS", "CATALOG", "TRACE", "CONTROL"}),
        ),
        Envelope(
            "singer",
            (("record",),),
            (("type",),),
            frozenset({"RECORD"}),
            frozenset({"SCHEMA", "STATE", "ACTIVATE_VERSION"}),
        ),
        Envelope(
            "eventbridge",
            (("detail", "payload"),),
            (("detail", "metadata", "X-Shopify-Topic"),),
            frozenset(
                f"orders/{change}"
                for change in (
                    *("create", "updated", "paid", "cancelled", "fulfilled"),
                    "partially_fulfilled",
                )
            ),
            deletions=frozenset({"orders/delete"}),
        ),
        Envelope(
            "debezium",
            (("payload", "after"), ("after",), ("payload",)),
            (("payload", "op"), ("op",)),
            frozenset({"c", "r", "u"}),
            frozenset({"m"}),
            frozenset({"d", "t"}),
            tombstone=("payload",),
        ),
    )
}
"""The envelopes that have a name."""

CONTAINER_KEYS: Final = ("orders", "order")
"""Outside of containers, an object with one of these keys is a page or a wrapper."""

DELETION_KEYS: Final = ("__deleted", "_sdc_deleted_at", "_ab_cdc_deleted_at", "deleted_at")
"""Keys by which Debezium, Singer, Airbyte and soft deletion mark an order that was deleted."""

NOT_DELETED: Final = ("false", "")
"""Texts of these keys that mean, as null and false do, that the order was not deleted."""

MAX_KEYS: Final = 8
"""Keys that the path of an order has at most."""

_FORBIDDEN_FIRST: Final = ("orders", "order")
_KEY: Final = re.compile(r"[^\s.\0-\x1f]([^.\0-\x1f]*[^\s.\0-\x1f])?")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_MAX_TEXT: Final = 1 << 20
"""Characters of a text in which an order is looked for."""


@cache
def parse_envelope(setting: str) -> Envelope:
    """Return the envelope that a value of :data:`VARIABLE` means.

    Parameters
    ----------
    setting
        A dotted path of keys, or the name of an envelope, or the name and a path within what the
        envelope contains, such as ``debezium.body``.

    Raises
    ------
    ValueError
        It is none of these.
    """
    first, *rest = keys = setting.split(".")
    if len(keys) > MAX_KEYS or not all(map(_KEY.fullmatch, keys)):
        raise ValueError(
            f"must be {', '.join(KNOWN)}, or the keys that lead to the order, joined by dots, such "
            "as detail.payload"
        )
    if first in _FORBIDDEN_FIRST:
        raise ValueError(
            f"must not begin with {first}: pages and wrappers are opened without this setting"
        )
    if known := KNOWN.get(first):
        return replace(known, setting=setting, paths=tuple((*p, *rest) for p in known.paths))
    return Envelope(setting, (tuple(keys),))


class Opened(NamedTuple):
    """What stands at the path of the order.

    Attributes
    ----------
    order
        The value.
    path
        The path.
    in_text
        The envelope has it as a text that holds JSON.
    overwritten
        Path and value of each key on the way that occurs again later in its object.
    """

    order: Json
    path: Path
    in_text: bool
    overwritten: tuple[tuple[str, Json], ...] = ()


class Message(NamedTuple):
    """A record that has no order by its kind.

    Attributes
    ----------
    path
        Dotted path of what says so.
    kind
        Its kind.
    """

    path: str
    kind: str


class Closed(NamedTuple):
    """Why a record has no order: the issue code, and the message for people.

    Attributes
    ----------
    code, message
        Code and message.
    is_missing
        Whether nothing stands where the order should be, so that another setting may fit.
    """

    code: RejectedCode
    message: str
    is_missing: bool = False


DELETED: Final = "The source deleted this order, and a deletion can't be loaded."


def is_deleted(value: Mapping[str, Json]) -> bool:
    """Return whether an object says that it was deleted where it comes from."""
    given = [value[key] for key in DELETION_KEYS if key in value]
    return any(each not in (None, False) and each not in NOT_DELETED for each in given)


def open_envelope(envelope: Envelope, record: Json) -> Opened | Message | Closed:
    """Take the order out of a record."""
    kind_path, kind = _first(record, envelope.kind_paths)
    if kind is not None:
        name = kind if isinstance(kind, str) else ""
        if name in envelope.messages:
            return Message(".".join(kind_path), name)
        if name in envelope.deletions:
            return Closed("deleted_order", DELETED)
        if name not in envelope.orders:
            dotted = ".".join(kind_path)
            message = f"Nothing is known of orders in a record of {VARIABLE}={envelope.setting} "
            return Closed("not_an_order", f"{message}with this value of {dotted}.")
    elif envelope.tombstone and _is_tombstone(record, envelope.tombstone):
        return Message(".".join(envelope.tombstone), "null")
    for path in envelope.paths:
        opened = _walk(record, path)
        if isinstance(opened, Closed) or opened.order is not None:
            return opened
    message = f"There is no order at {VARIABLE}={envelope.setting}."
    return Closed("not_an_order", message, is_missing=True)


def _first(record: Json, paths: tuple[Path, ...]) -> tuple[Path, Json]:
    """Return the first path that has a value, and the value; null if none has one."""
    for path in paths:
        value = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return path, value
    return (), None


def _is_tombstone(record: Json, path: Path) -> bool:
    value = record
    for key in path:
        if not isinstance(value, dict) or key not in value:
            break
        value = value[key]
    return value is None


def _walk(record: Json, path: Path) -> Opened | Closed:
    """Return the value at a path; null if there is none. If it is a text of JSON, it is parsed."""
    value, deleted = record, False
    overwritten: list[tuple[str, Json]] = []
    for depth, key in enumerate(path):
        if not isinstance(value, dict):
            return Opened(None, path, in_text=False)
        deleted |= is_deleted(value)
        if isinstance(value, DuplicateKeys):
            dotted = ".".join(path[: depth + 1])
            overwritten += [(dotted, other) for name, other in value.overwritten if name == key]
        value = value.get(key)
    order, in_text = _parsed(value)
    if deleted and order is not None:
        return Closed("deleted_order", DELETED)
    return Opened(order, path, in_text, tuple(overwritten))


def _parsed(value: Json) -> tuple[Json, bool]:
    """Return the value of a text that holds JSON, and whether it does; others as they are."""
    if not isinstance(value, str) or isinstance(value, Number):
        return value, False
    try:
        return parse_text(value), True
    except NotJson:
        return value, False


def suggested_setting(record: Json, is_order: Callable[[Mapping[str, Json]], bool]) -> str | None:
    """Return the value of :data:`VARIABLE` with which an order is found in a record, if any.

    It consists of keys that look like names, and of no values.

    Parameters
    ----------
    record
        The record.
    is_order
        Whether an object looks like an order.
    """
    path = next(_orders_below(record, is_order, ()), None)
    if not path or not all(map(_PLAIN_KEY.fullmatch, path)) or path[0] in _FORBIDDEN_FIRST:
        return None
    for name, known in KNOWN.items():
        _, kind = _first(record, known.kind_paths)
        is_known = kind in known.orders if kind is not None else path[0] in _TELLING
        for base in known.paths if is_known else ():
            if path[: len(base)] == base:
                return ".".join((name, *path[len(base) :]))
    return ".".join(path)


_TELLING: Final = ("_airbyte_data",)
"""First keys that name the envelope, without a kind of the record."""


def _orders_below(
    value: Json, is_order: Callable[[Mapping[str, Json]], bool], path: Path
) -> Iterator[Path]:
    """Yield the paths of the orders within a value: ``after`` before ``before``, as it happened."""
    if isinstance(value, str) and value.startswith("{") and len(value) <= _MAX_TEXT:
        value = _parsed(value)[0]
    if not isinstance(value, dict) or len(path) > MAX_KEYS // 2:
        return
    if is_order(value):
        yield path
        return
    for key in sorted(value.keys() - {"before"}):
        yield from _orders_below(value[key], is_order, (*path, key))
