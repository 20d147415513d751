"""Read the text of splits, and force records through the rules."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import raw_schema
from orders_dask.contract.envelopes import Envelope
from orders_dask.extract.decode import block
from orders_dask.extract.decode.schema_drift import NO_UNKNOWN_KEYS, UnknownKeys
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import Split


def only_the_rules() -> AbstractContextManager[Any]:
    """Send every record to the rules, which must agree with the fast path."""

    def none_taken(
        lines: Lines, *, in_page: bool, envelope: Envelope | None = None
    ) -> tuple[pa.Table, np.ndarray, UnknownKeys]:
        return raw_schema().empty_table(), np.zeros(0, np.int64), NO_UNKNOWN_KEYS

    return patch.object(block, "read_lines", none_taken)


def text_of(splits: list[Split]) -> bytes:
    """Return the text of all records of some splits."""
    return b"".join(
        some.text for split in splits for _, records in read_files(split) for some in records
    )
