"""What is read of splits, and records that go to the rules where a test wants that."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from orders_dask.contract.arrow import raw_schema
from orders_dask.extract.decode import block
from orders_dask.extract.framing.files import read_files
from orders_dask.extract.lines import Lines
from orders_dask.extract.records import Split


def only_the_rules() -> AbstractContextManager[Any]:
    """Have every record sent to the rules first: they and the fast way must agree."""

    def none_taken(lines: Lines, *, in_page: bool) -> tuple[pa.Table, np.ndarray]:
        return raw_schema().empty_table(), np.zeros(0, np.int64)

    return patch.object(block, "read_lines", none_taken)


def text_of(splits: list[Split]) -> bytes:
    """Read the text of all records of some splits."""
    return b"".join(
        some.text for split in splits for _, records in read_files(split) for some in records
    )
