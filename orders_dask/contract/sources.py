"""Parse the source of a custom column: a path, with at most one array in it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_PATH: Final = 200
"""Bytes of a path: the reader's hash table of keys has room for 200 columns of such paths."""

MAX_KEYS: Final = 10
"""Keys of a path; see :data:`MAX_PATH`."""

_STEP: Final = re.compile(
    r'(?P<key>[^.\[\]"\\]*)(?P<array>\[(?:(?P<by>[^.\[\]=]+)=(?P<name>[^\[\]]+))?\])?(?P<end>\.|\Z)'
)


class Source(NamedTuple):
    """Where the values of a custom column stand in a record of its table.

    Attributes
    ----------
    text
        The path as somebody wrote it, such as ``properties[name=engraving].value``.
    path
        The path that is read: ``properties[].value``.
    name_path
        The path of the names of which one is wanted, ``properties[].name``; None without.
    name
        That name, ``engraving``; None without.
    """

    text: str
    path: str
    name_path: str | None = None
    name: str | None = None

    @property
    def is_selected(self) -> bool:
        """Whether the value is that of the first element with a name."""
        return self.name is not None

    @property
    def array(self) -> str | None:
        """The path of the array, without its ``[]``; None without one."""
        before, brackets, _ = self.path.partition("[]")
        return before if brackets else None


def parse_source(text: str) -> Source:
    """Parse a path such as ``company.id``, ``tags[]`` or ``properties[name=engraving].value``.

    Raises
    ------
    ValueError
        It can't be read; the message is the rest of a sentence that begins with the path.
    """
    if len(text.encode()) > MAX_PATH:
        raise ValueError(f"is longer than {MAX_PATH} bytes")
    if not text.isprintable():
        raise ValueError("has characters that can't be printed")
    steps: list[re.Match[str]] = []
    at = 0
    while not steps or steps[-1]["end"]:
        step = _STEP.match(text, at)
        if step is None:
            raise ValueError(
                "can't be read: keys are separated by points, an array ends in [], and one of "
                "names and values in [name=...]"
            )
        if not step["key"].strip() or step["key"] != step["key"].strip():
            raise ValueError("has an empty key, or a blank beside one")
        steps.append(step)
        at = step.end()
    if steps[0]["key"] == "$":
        raise ValueError("begins with $: leave that out, and begin with a key of the record")
    arrays = [index for index, step in enumerate(steps) if step["array"]]
    if len(steps) > MAX_KEYS:
        raise ValueError(f"has more than {MAX_KEYS} keys")
    if len(arrays) > 1:
        raise ValueError(
            "has two arrays: a column is read from one at most, in a record of its table"
        )
    path = ".".join(step["key"] + ("[]" if step["array"] else "") for step in steps)
    if not arrays or steps[arrays[0]]["by"] is None:
        return Source(text, path)
    selecting = steps[arrays[0]]
    if arrays[0] + 1 == len(steps):
        raise ValueError(
            "ends with an array of names and values: name the key of the value, as in "
            "properties[name=engraving].value"
        )
    array = path.partition("[]")[0]
    return Source(text, path, f"{array}[].{selecting['by']}", selecting["name"])
