"""Count what a loader must find in a synthetic dump, while the dump is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from orders_dask.synthetic.defects import REJECTING
from orders_dask.synthetic.order import Order


@dataclass(frozen=True)
class GeneratedDay:
    """The counts and sums that a loader must find in the dump of one run date.

    Attributes
    ----------
    run_date
        The run date: the local day on which its orders were made or edited.
    files
        URLs of the files, in the order of the sorted listing. A zip is one file.
    records
        Order records in the files: loaded + superseded + rejected.
    edited
        Orders that were made on an earlier run date and edited on this one.
    superseded
        Versions that are superseded by another version of the same order in this run date.
    rejected
        Records that are rejected as a whole. Rejected children are not counted.
    rows
        Rows to be loaded, by fact table.
    detail_rows
        Rows to be loaded into the tables of optional groups, where these are on.
    total_price, gross_line_amount, refunded_amount
        Sums over the loaded orders by currency, of the amounts as they are stored, without nulls.
    defects
        Number of defects by issue code. Each gives one row in `rejected_record`, or adds one to a
        count in `data_issue`, under this code alone.
    """

    run_date: date
    files: tuple[str, ...]
    records: int
    edited: int
    superseded: int
    rejected: int
    rows: Mapping[str, int]
    detail_rows: Mapping[str, int]
    total_price: Mapping[str, Decimal]
    gross_line_amount: Mapping[str, Decimal]
    refunded_amount: Mapping[str, Decimal]
    defects: Mapping[str, int]


@dataclass(frozen=True)
class Generated:
    """A dump as written: its source URL, and the expected counts of each run date."""

    source: str
    days: tuple[GeneratedDay, ...]


@dataclass
class Tally:
    """Counts of a run date while it is written; see :class:`GeneratedDay`."""

    files: list[str] = field(default_factory=list)
    records: int = 0
    edited: int = 0
    superseded: int = 0
    rejected: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    detail_rows: Counter[str] = field(default_factory=Counter)
    total_price: dict[str, Decimal] = field(default_factory=dict)
    gross_line_amount: dict[str, Decimal] = field(default_factory=dict)
    refunded_amount: dict[str, Decimal] = field(default_factory=dict)
    defects: Counter[str] = field(default_factory=Counter)

    def count_loaded(self, order: Order) -> None:
        """Count the rows and amounts of an order that is loaded."""
        self.rows["fact_order"] += 1
        self.rows["fact_order_line"] += order.lines
        self.rows["fact_refund"] += order.refunds
        self.rows["fact_refund_line"] += order.refund_lines
        self.rows["fact_refund_adjustment"] += order.adjustments
        self.rows["fact_shipping_line"] += order.shipping_lines
        self.detail_rows.update(order.details)
        for sums, amount in (
            (self.total_price, order.total_price),
            (self.gross_line_amount, order.gross),
            (self.refunded_amount, order.refunded),
        ):
            if amount is not None:
                sums[order.currency] = sums.get(order.currency, Decimal(0)) + amount

    def count_defect(self, code: str) -> None:
        """Count a defect, and the record as rejected if the code is a rejecting one."""
        self.defects[code] += 1
        self.rejected += code in REJECTING

    def result(self, run_date: date) -> GeneratedDay:
        """Return the counts."""
        return GeneratedDay(run_date, **{**vars(self), "files": tuple(self.files)})
