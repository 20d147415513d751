"""Read the text of splits, and force records through the rules."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from orders_dask.extract.decode import reader
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.records import Split


def only_the_rules() -> AbstractContextManager[Any]:
    """Send every record to the rules, as little text is read, which must agree with the scanner."""
    return patch.multiple(reader, is_little=_always, reads_in_python=_always)


def _always(*texts: bytes) -> bool:
    return True


def text_of(splits: list[Split]) -> bytes:
    """Return the text of all records of some splits."""
    return b"".join(
        some.text for split in splits for _, records in read_files(split) for some in records
    )
