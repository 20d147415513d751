"""What a loader must find in a synthetic dump, counted while it is written."""

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
    """What a loader must find in the dump of one run date.

    Attributes
    ----------
    run_date
        The local day on which its orders were made or edited.
    files
        URLs written, in the order of the sorted listing; a zip stands for its members.
    records
        Order records in the files, of whatever kind: loaded + superseded + rejected.
    edited
        Orders made on an earlier run date that come again, changed.
    superseded
        Versions that lose against another one of the same order in this run date.
    rejected
        Records refused whole; children that are refused by themselves are not among them.
    rows
        Rows to be loaded, by fact table.
    total_price, gross_line_amount, refunded_amount
        Sums over the loaded orders by currency, each amount as it is to be stored, nulls left out.
    defects
        Defects made, by code. Each gives one entry in `rejected_record` or one count in
        `data_issue`, and none under another code.
    """

    run_date: date
    files: tuple[str, ...]
    records: int
    edited: int
    superseded: int
    rejected: int
    rows: Mapping[str, int]
    total_price: Mapping[str, Decimal]
    gross_line_amount: Mapping[str, Decimal]
    refunded_amount: Mapping[str, Decimal]
    defects: Mapping[str, int]


@dataclass(frozen=True)
class Generated:
    """A dump as written: the source URL that reads it, and what each run date holds."""

    source: str
    days: tuple[GeneratedDay, ...]


@dataclass
class Tally:
    """The counts of a run date while it is written."""

    files: list[str] = field(default_factory=list)
    records: int = 0
    edited: int = 0
    superseded: int = 0
    rejected: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    total_price: dict[str, Decimal] = field(default_factory=dict)
    gross_line_amount: dict[str, Decimal] = field(default_factory=dict)
    refunded_amount: dict[str, Decimal] = field(default_factory=dict)
    defects: Counter[str] = field(default_factory=Counter)

    def load(self, order: Order) -> None:
        """Count an order that stands and wins."""
        self.rows["fact_order"] += 1
        self.rows["fact_order_line"] += order.lines
        self.rows["fact_refund"] += order.refunds
        self.rows["fact_refund_line"] += order.refund_lines
        self.rows["fact_refund_adjustment"] += order.adjustments
        for sums, amount in (
            (self.total_price, order.total_price),
            (self.gross_line_amount, order.gross),
            (self.refunded_amount, order.refunded),
        ):
            if amount is not None:
                sums[order.currency] = sums.get(order.currency, Decimal(0)) + amount

    def mark(self, code: str) -> None:
        """Count a defect, and its record as rejected where the code says so."""
        self.defects[code] += 1
        self.rejected += code in REJECTING

    def result(self, run_date: date) -> GeneratedDay:
        """Freeze the counts."""
        return GeneratedDay(run_date, **{**vars(self), "files": tuple(self.files)})
