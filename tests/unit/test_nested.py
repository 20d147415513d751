"""Sums and greatest values of the lists of an array, beside plain Python."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from orders_dask.transform.nested import Elements, max_by_row, sum_by_row

SIZE = 5000


def lists_with_gaps(share: float, seed: int) -> dict[int, list[int]]:
    """Return values by row, of a share of all rows."""
    draw = Random(seed)
    rows = sorted(draw.sample(range(SIZE), int(SIZE * share)))
    return {row: [draw.randrange(10**6) for _ in range(draw.randint(1, 3))] for row in rows}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.001, 0.03, 0.1, 0.5, 0.9, 1.0])
def test_each_row_has_its_own_values_however_many_rows_have_none(share: float, seed: int) -> None:
    values = lists_with_gaps(share, seed)
    rows = np.array([row for row, each in values.items() for _ in each])
    elements = pa.array([value for each in values.values() for value in each])
    sums = sum_by_row(elements.cast(pa.decimal128(19, 0)), rows, SIZE).to_pylist()
    greatest = max_by_row(Elements(elements, rows, rows), SIZE).to_pylist()
    known = defaultdict(list, values)
    expected = [(Decimal(sum(known[row])), max(known[row], default=None)) for row in range(SIZE)]
    found = list(zip(sums, greatest, strict=True))
    wrong = [row for row in range(SIZE) if found[row] != expected[row]]
    assert not wrong, f"{len(wrong)} of {SIZE} rows have the values of others, first row {wrong[0]}"
