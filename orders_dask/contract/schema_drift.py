"""Schema drift: the keys of orders that nobody knows, counted by their paths.

See docs/contract.md#schema-drift. The counts of blocks, files and parts add up to the same result
in any order: of all paths the least :data:`MAX_PATHS` are kept, each with all its records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import chain
from string import digits, punctuation
from typing import Any, Final

from orders_dask.contract.json_parser import DuplicateKeys, Json, Number, is_sanitised
from orders_dask.contract.known_keys import KnownObject, known_keys

MAX_PATHS: Final = 1_000
"""Paths that are counted; a run with more says so. See docs/contract.md#limits."""

MAX_KEY: Final = 100
"""Bytes of a key that is named."""

OTHER: Final = "\N{HORIZONTAL ELLIPSIS}"
"""Stands for every key of an object that can't be named: too long, not UTF-8, with a dot."""

KINDS: Final = (
    *("null", "text", "decimal text", "date", "timestamp"),
    *("integer", "decimal", "boolean", "object", "array"),
)
"""Kinds of values, in the order of :mod:`orders_dask.extract.json_scanner`'s."""

_TEXTS: Final = {"text", "decimal text", "date", "timestamp"}
_NUMBERS: Final = {"integer", "decimal"}

_MAX_SAMPLE: Final = 40
_UNMASKED: Final = f" {punctuation}"
_KINDS_OF_TEXT: Final = re.compile(
    r"(?P<decimal_text>-?[0-9]+\.[0-9]+)|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?P<timestamp>[T ][0-9]{2}:[0-9]{2}[0-9:.+Z-]*)?"
)
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key that nobody knows, of some records.

    Attributes
    ----------
    path
        Its dotted path, such as ``line_items[].colour``.
    records
        Number of records that have it.
    kinds
        The kinds of its values (:data:`KINDS`), sorted.
    sample
        The first value that isn't null or empty, without what it says (:func:`sample_of`).
    """

    path: str
    records: int
    kinds: tuple[str, ...]
    sample: str = ""

    @property
    def type(self) -> str:
        """The type that a column of it might have; ``mixed`` if its values have no common one."""
        kinds = {*self.kinds} - {"null"}
        if len(kinds) == 1:
            (kind,) = kinds
            return "decimal" if kind == "decimal text" else kind
        if not kinds:
            return "null"
        if kinds <= _TEXTS:
            return "text"
        return "decimal" if kinds <= _NUMBERS | {"decimal text"} else "mixed"


@dataclass(frozen=True, slots=True)
class Drift:
    """The unknown keys of some records.

    Attributes
    ----------
    keys
        The least :data:`MAX_PATHS` of them by path, sorted.
    more
        Whether there are more.
    """

    keys: tuple[UnknownKey, ...] = ()
    more: bool = False

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.keys)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths, sorted."""
        return tuple(key.path for key in self.keys)

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON: by path the records, the kinds and the sample."""
        keys = {key.path: [key.records, list(key.kinds), key.sample] for key in self.keys}
        return {"keys": keys, "more": self.more} if keys else {}

    @classmethod
    def from_json(cls, value: Any) -> Drift:
        """Return what :meth:`to_json` wrote, or an earlier version, which listed the paths only."""
        if isinstance(value, list):
            return cls(tuple(UnknownKey(path, 0, ()) for path in value))
        keys = sorted((value or {}).get("keys", {}).items())
        return cls(
            tuple(UnknownKey(path, n, tuple(kinds), sample) for path, (n, kinds, sample) in keys),
            bool(value and value["more"]),
        )


NO_DRIFT: Final = Drift()


@dataclass
class DriftCounter:
    """Adds up unknown keys, in any order: each comes with the rank of its records."""

    _found: dict[str, tuple[UnknownKey, int]] = field(default_factory=dict)
    _more: bool = False

    def add(self, key: UnknownKey, rank: int) -> None:
        """Add the records of a key. Of two samples that of the lower rank stays."""
        found = self._found.get(key.path)
        if found is not None:
            before = found[0]
            sampled, rank = min(found, (key, rank), key=lambda each: (not each[0].sample, each[1]))
            kinds = tuple(sorted({*before.kinds, *key.kinds}))
            key = UnknownKey(key.path, before.records + key.records, kinds, sampled.sample)
        self._found[key.path] = key, rank
        if len(self._found) > 2 * MAX_PATHS:
            self._keep_least()

    def add_order(self, order: Json, rank: int) -> None:
        """Add the keys of one order, parsed."""
        keys: dict[str, UnknownKey] = {}
        for path, value in _unknown_below(order, known_keys()):
            before = keys.get(path) or UnknownKey(path, 1, ())
            kinds = tuple(sorted({*before.kinds, kind_of_value(value)}))
            keys[path] = replace(before, kinds=kinds, sample=before.sample or sample_of(value))
        for key in keys.values():
            self.add(key, rank)

    def add_all(self, drift: Drift, rank: int) -> None:
        """Add what was counted elsewhere."""
        self._more |= drift.more
        for key in drift.keys:
            self.add(key, rank)

    def _keep_least(self) -> None:
        if len(self._found) > MAX_PATHS:
            self._more = True
            self._found = dict(nsmallest(MAX_PATHS, self._found.items()))

    def drift(self) -> Drift:
        """Return what was counted."""
        self._keep_least()
        return Drift(tuple(self._found[path][0] for path in sorted(self._found)), self._more)


def merge_drift(drifts: Iterable[Drift]) -> Drift:
    """Return the drift of records that follow each other."""
    counter = DriftCounter()
    for rank, drift in enumerate(drifts):
        counter.add_all(drift, rank)
    return counter.drift()


def name_of_key(key: str) -> str:
    """Return a key as it stands in a path, :data:`OTHER` if it can't."""
    nameable = len(key.encode(errors="surrogatepass")) <= MAX_KEY and is_sanitised(key)
    return key if nameable and key.isprintable() and key.strip() and "." not in key else OTHER


def _unknown_below(value: Json, known: KnownObject) -> Iterator[tuple[str, Json]]:
    """Yield path and value of each unknown key, in the order of the text."""
    if isinstance(value, list):
        for element in value:
            yield from _unknown_below(element, known)
    elif isinstance(value, dict):
        overwritten = value.overwritten if isinstance(value, DuplicateKeys) else ()
        for key, inner in chain(overwritten, value.items()):
            if key not in known.keys and not known.is_free:
                yield known.prefix + name_of_key(key), inner
            elif (below := known.keys.get(key)) is not None:
                yield from _unknown_below(inner, below)


def kind_of_value(value: Json) -> str:
    """Return which of :data:`KINDS` a value is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Number):
        return "decimal" if re.search("[.eE]", value) else "integer"
    if isinstance(value, str):
        return kind_of_text(value)
    return "object" if isinstance(value, dict) else "array"


def kind_of_text(text: str) -> str:
    """Return which kind of text it is."""
    match = _KINDS_OF_TEXT.fullmatch(text) if len(text) <= _MAX_SAMPLE else None
    return (match.lastgroup or "text").replace("_", " ") if match else "text"


def sample_of(value: Json) -> str:
    """Return a value without what it says: of letters and digits only where they stood.

    Of an object it has the keys. The sample of null, an empty text and an empty array is empty.
    """
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _masked(value)
    if isinstance(value, list):
        return f"[{sample_of(value[0])[:_MAX_SAMPLE]}]"
    keys = (key if _PLAIN_KEY.fullmatch(key) else OTHER for key in value)
    return f"{{{_cut(', '.join(keys))}}}"


def _masked(text: str) -> str:
    return "".join("9" if c in digits else c if c in _UNMASKED else "x" for c in _cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SAMPLE else text[: _MAX_SAMPLE - 3] + "..."
