"""The generated dump of all contenders, in several forms, in the sandbox's bucket."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import repeat
from multiprocessing import get_context
from typing import Final

from orders_dask.synthetic import Compression, generate
from orders_dask.synthetic.defects import DEFECTS

RUN_DATE: Final = date(2026, 10, 1)

_SAME_KEY: Final = {"bad_order_id", "id_mismatch", "duplicate_child"}
KINDS: Final = sorted(DEFECTS["ndjson"].keys() - _SAME_KEY)
"""Defects, without those that give two rows the same key: no rival could finish."""

SHARE: Final = 0.001
"""Share of the orders that have a defect."""

FILES: Final = 4


@dataclass(frozen=True)
class Form:
    """One form of the dump.

    Attributes
    ----------
    name
        Its name, which is also its folder.
    orders
        Number of orders.
    compression
        Compression of its files.
    defects
        Share of orders with a defect of any kind.
    """

    name: str
    orders: int
    compression: Compression
    defects: float

    def source(self, bucket: str) -> str:
        """Return the source URL."""
        return f"{bucket}{self.name}/run_date={{run_date}}/"


def write(bucket: str, forms: Sequence[Form]) -> None:
    """Write the forms, several in parallel."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(_write, repeat(bucket), forms))


def _write(bucket: str, form: Form) -> None:
    generate(
        f"{bucket}{form.name}/",
        start=RUN_DATE,
        days=1,
        orders=form.orders,
        compression=form.compression,
        files_per_day=FILES,
        duplicates=0.0,
        defects={code: form.defects / len(KINDS) for code in KINDS},
    )
