"""Take orders out of their envelopes, a block at a time: the reader looks for them at a path.

It takes the lines of one form: those that have the order at the same path, as an object or as a
text. All others are left to the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.contract.envelopes import (
    CONTAINER_KEYS,
    DELETION_KEYS,
    Envelope,
    Opened,
    Path,
    open_envelope,
)
from orders_dask.contract.json_parser import NotJson, parse
from orders_dask.extract.decode.suspects import Flags, marks_deletion
from orders_dask.extract.lines import Lines

_PROBED_LINES: Final = 16
"""First lines of a block in which an order is looked for: Singer begins with other messages."""


class Form(NamedTuple):
    """How most records of a block have their order.

    Attributes
    ----------
    envelope
        What stands around it.
    path
        Where it stands.
    in_text
        It is a text that holds JSON.
    """

    envelope: Envelope
    path: Path
    in_text: bool


def form_of(lines: Lines, envelope: Envelope) -> Form | None:
    """Return the form of the first record with an order; None if the first lines have none."""
    for line in islice(_iterate(lines), _PROBED_LINES):
        try:
            opened = open_envelope(envelope, parse(line))
        except NotJson:
            continue
        if isinstance(opened, Opened) and isinstance(opened.order, dict):
            return Form(envelope, opened.path, opened.in_text)
    return None


def _iterate(lines: Lines) -> Iterator[bytes]:
    return (lines[number] for number in range(len(lines)))


@cache
def schema(form: Form, order: pa.StructType) -> pa.StructType:
    """Return the schema of lines of a form.

    Besides the order it has what the rules look at: the record's kind, and the marks of deletions
    on the way. Keys are forbidden that make the line a container, or have the order instead.
    """
    tree: dict[str, Any] = {}
    if form.in_text:
        _put(tree, form.path, pa.string())
    else:
        for item in order:
            _put(tree, (*form.path, item.name), item.type)
    instead = form.envelope.paths[: form.envelope.paths.index(form.path)]
    for path in (*((key,) for key in CONTAINER_KEYS if key in order.names), *instead):
        _put(tree, path, pa.null())
    for path in (*form.envelope.kind_paths, *_marks(form)):
        _put(tree, path, pa.string())
    return _struct(tree)


def _marks(form: Form) -> Iterator[Path]:
    """Yield the paths of keys that mark a deletion, in the objects around the order."""
    for depth in range(len(form.path)):
        yield from ((*form.path[:depth], key) for key in DELETION_KEYS)


def _put(tree: dict[str, Any], path: Path, kind: pa.DataType) -> None:
    """Put a type at a path, unless something else stands on the way or at its end."""
    node: Any = tree
    for key in path[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            return
    node.setdefault(path[-1], kind)


def _struct(tree: dict[str, Any]) -> pa.StructType:
    return pa.struct(
        [
            pa.field(key, _struct(inner) if isinstance(inner, dict) else inner)
            for key, inner in tree.items()
        ]
    )


def orders(raw: pa.Table, form: Form) -> tuple[pa.Table | pa.StringArray, Flags]:
    """Return the orders of lines that were read, or their texts, and which lines have one.

    Parameters
    ----------
    raw
        Lines with the schema of :func:`schema`.
    form
        Their form.
    """
    values = _at(raw, form.path)
    assert values is not None
    good = np.asarray(values.is_valid().to_numpy(zero_copy_only=False))
    for path in form.envelope.kind_paths:
        kinds = _at(raw, path)
        if kinds is not None:
            known = pc.is_in(kinds, pa.array(sorted(form.envelope.orders), pa.string()))
            good &= pc.or_(kinds.is_null(), known).to_numpy(zero_copy_only=False)
    for path in _marks(form):
        texts = _at(raw, path)
        if texts is not None:
            good &= ~marks_deletion(texts)
    if form.in_text:
        # No line ends: each text becomes a line.
        ends = pc.match_substring(values.cast(pa.binary()), b"\n").fill_null(False)
        good &= ~ends.to_numpy(zero_copy_only=False)
        return values.filter(pa.array(good)), good
    columns = {item.name: values.field(item.name) for item in values.type}
    table = pa.table(columns)
    return (table if good.all() else table.filter(pa.array(good))), good


def _at(raw: pa.Table, path: Path) -> pa.Array | None:
    """Return the values at a path; None if they are not read there.

    A value is null wherever an object on its way is: the reader saw neither.
    """
    first, *rest = path
    if first not in raw.column_names:
        return None
    values = raw[first].combine_chunks()
    for key in rest:
        if not pa.types.is_struct(values.type) or values.type.get_field_index(key) < 0:
            return None
        values = values.field(key)
    return values


def lines_of(texts: pa.StringArray) -> Lines:
    """Return texts without line ends as lines."""
    together = pa.ListArray.from_arrays([0, len(texts)], texts.cast(pa.binary()))
    return Lines(pc.binary_join(together, b"\n")[0].as_py() + b"\n")
