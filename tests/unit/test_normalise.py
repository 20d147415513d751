"""Decoded orders become the contract's flat tables, whatever shape their arrays have in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_dask.contract.arrow import (
    FILE,
    MONEY_TYPE,
    ORDER_ROW,
    POSITION,
    PRESENCE_TYPE,
    RATE_TYPE,
    TIMESTAMP_TYPE,
    decoded_schema,
    flat_schemas,
    key_schema,
    staged_schemas,
)
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.order_tables import FACTS, fact_order
from orders_dask.contract.refund_tables import fact_refund
from orders_dask.contract.rejects import Issue
from orders_dask.contract.storage_tables import DIMENSION_ROWS, DIMENSION_SOURCES
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Records
from orders_dask.synthetic import generate
from orders_dask.transform.dimensions import dimension_rows
from orders_dask.transform.normalise import Normalised, normalise

pytestmark = pytest.mark.groups

Json = dict[str, Any]
Parents = defaultdict[str, list[tuple[Json, Json]]]

GREATEST = Decimal("999999999999999999.9999")
NOON = datetime(2017, 11, 4, 12, tzinfo=UTC)


def orders(*records: Json) -> pa.Table:
    """Return decoded orders; records get an id and a position if they have none."""
    rows = [{"id": n, POSITION: n, **record} for n, record in enumerate(records, 1)]
    return pa.Table.from_pylist(rows, schema=decoded_schema())


def rows(name: str, *records: Json) -> list[Json]:
    """Return the rows of a staged table of some orders."""
    made: list[Json] = normalise(orders(*records), 0, 0).tables[name].to_pylist()
    return made


def column(table: str, name: str, *records: Json) -> list[Any]:
    return [row[name] for row in rows(table, *records)]


# ------------------------------------------------------------------------------------ any orders

# Few values, so that they often repeat, with the greatest ones among them.
SCALARS: dict[pa.DataType, list[Any]] = {
    pa.int64(): [1, 2, 3, 0, -5, 2**63 - 1, -(2**63)],
    pa.int32(): [-300, 0],
    PRESENCE_TYPE: [1],
    pa.string(): ["", "USD", "é, 🌲"],
    pa.bool_(): [True, False],
    pa.date32(): [date(2017, 11, 4)],
    RATE_TYPE: [Decimal("0.08875"), Decimal("9999999999.99999999"), Decimal(0)],
    MONEY_TYPE: [Decimal("12.34"), Decimal("-0.0001"), Decimal(0), GREATEST, -GREATEST],
    TIMESTAMP_TYPE: [NOON, NOON + timedelta(microseconds=1)],
}
TEXTS = {
    "kind": ["refund", "refund", "sale", "shipping_refund"],
    "status": ["success", "success", "failure"],
    "currency": ["USD", "USD", "EUR"],
}


def value(draw: Random, kind: pa.DataType, name: str) -> Any:
    if draw.random() < 0.2:
        return None
    if pa.types.is_list(kind):
        return [element(draw, kind.value_type, name) for _ in range(draw.randrange(4))]
    if pa.types.is_struct(kind):
        return {field.name: value(draw, field.type, field.name) for field in kind}
    return draw.choice(TEXTS.get(name, SCALARS[kind]))


def element(draw: Random, kind: pa.DataType, name: str) -> Any:
    """Draw an element of an array; a child that is loaded has an id."""
    drawn = value(draw, kind, name)
    has_id = drawn and "id" in drawn and kind.field("id").type == pa.int64()
    return drawn | {"id": draw.randrange(9)} if has_id else drawn


def records(draw: Random, size: int) -> list[Json]:
    fields = decoded_schema()
    return [
        {field.name: value(draw, field.type, field.name) for field in fields}
        | {"id": draw.randrange(9), POSITION: position}
        for position in range(size)
    ]


# From a seed, since some hundred strategies would be slow and their records sparse.
RECORDS = st.builds(records, st.randoms(use_true_random=True), st.integers(0, 6))


def reached(record: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    for key in path.split(".") if path else ():
        record = record and record[key]
    return record


def collected(name: str, parts: list[Any]) -> Any:
    """Return the value of a column that is read from the elements of an array."""
    if name in SUMS:
        return total(parts)
    present = [part for part in parts if part is not None]
    return max(present, default=None) if name == "payment_due_at" else ", ".join(present)


def total(parts: list[Decimal | int | None]) -> Any:
    return None if None in parts else sum(part for part in parts if part is not None)


def model(records: list[Json], file: int, first_row: int) -> dict[str, list[Json]]:
    """Return the tables, made one record at a time in plain Python."""
    made: dict[str, list[Json]] = {table.name: [] for table in (*FACTS, *DIMENSION_ROWS)}

    def read(table: Any, record: Json, order_row: int) -> Json:
        row = {ORDER_ROW: order_row}
        for source in (c for c in table.c if c.info["source"]):
            path, array, rest = source.info["source"].partition("[]")
            value = reached(record, path)
            if array and value is not None:
                parts = [reached(element, rest.removeprefix(".")) for element in value]
                value = collected(source.name, parts)
            elif value is None and source.info["fallback"]:
                value = reached(record, source.info["fallback"])
            row[source.name] = value
        return row

    def children(record: Json, name: str) -> Iterator[tuple[int, Json]]:
        for number, child in enumerate(record.get(name) or [], 1):
            if child is not None:
                yield number, child

    def add(table: Any, row: Json) -> None:
        made[table.name].append(row)

    def add_dimension_rows(records_at: str, record: Json, order_row: int) -> None:
        for table in (t for t in DIMENSION_ROWS if t.info["records"] == records_at):
            row = read(table, record, order_row)
            if None not in [row[key] for key in table.info["key"]]:
                add(table, row)

    def add_details(parents: Parents, order_row: int) -> None:
        """Add the rows of the facts of optional groups that are on, from pairs of JSON and row."""
        for table in (fact for fact in DETAILS if fact in FACTS):
            above, _, name = table.info["records"].removesuffix("[]").rpartition("[].")
            for record, parent in parents[above]:
                for number, child in children(record, name):
                    row = read(table, child, order_row)
                    row |= {c: parent[c] for c in table.c.keys() - row.keys() if c in parent}
                    row |= {c: number for c in table.info["key"] if c not in row}
                    if "discount_number" in table.c.keys() - row.keys():
                        index = child.get("discount_application_index")
                        row["discount_number"] = None if index is None else index + 1
                    add(table, row)
                    parents[name].append((child, row))

    _, line_table, refund_table, refund_line_table, adjustment_table, shipping_table = FACTS[:6]
    for order_row, record in enumerate(records, first_row):
        order = read(fact_order, record, order_row)
        ids = {"order_id": record["id"], "currency": record.get("currency")}
        add_dimension_rows("", record, order_row)
        lines: list[Json] = []
        parents: Parents = defaultdict(list, {"": [(record, ids)]})
        for number, child in children(record, "line_items"):
            line = read(line_table, child, order_row) | ids | {"line_number": number}
            line["is_tip"] = child.get("tip_payment_gateway") is not None
            lines.append(line | {"created_at": order["created_at"]})
            parents["line_items"].append((child, lines[-1]))
            add_dimension_rows("line_items[]", child, order_row)
        made[line_table.name] += lines
        refunds = list(children(record, "refunds"))
        for _, child in refunds:
            refund = read(refund_table, child, order_row) | ids
            shared = ids | {k: refund[k] for k in ("refund_id", "refunded_at")}
            parents["refunds"].append((child, shared))
            refunded_lines, adjustments = (
                [read(table, inner, order_row) | shared for _, inner in children(child, name)]
                for table, name in (
                    (refund_line_table, "refund_line_items"),
                    (adjustment_table, "order_adjustments"),
                )
            )
            made[refund_line_table.name] += refunded_lines
            made[adjustment_table.name] += adjustments
            shipping = shipping_refunded(child, adjustments)
            value = value_refunded(
                refunded_lines, adjustments, shipping, record.get("taxes_included")
            )
            refund |= {"refunded_shipping": shipping, "refunded_value": value}
            refund["refunded_local_date"] = child.get("refunded_local_date")
            add(refund_table, refund | {"refunded_amount": refunded(child, ids["currency"])})
        for number, child in children(record, "shipping_lines"):
            numbered = {"shipping_line_number": number}
            add(shipping_table, read(shipping_table, child, order_row) | ids | numbered)
            parents["shipping_lines"].append((child, made[shipping_table.name][-1]))
        units: list[int | None] = [line["quantity"] for line in lines]
        prices = [line["price"] for line in lines]
        gross = [
            None if None in (unit, price) else unit * price
            for unit, price in zip(units, prices, strict=True)
        ]
        made_columns = (
            "created_local_date",
            "processed_local_date",
            "created_utc_offset_min",
            POSITION,
        )
        computed = {
            "line_count": len(lines),
            "unit_count": total([*units]),
            "gross_line_amount": total(gross),
            "discount_code_count": len([*children(record, "discount_codes")]),
            "refund_count": len(refunds),
            FILE: file,
        }
        add(fact_order, order | {k: record.get(k) for k in made_columns} | computed)
        add_details(parents, order_row)
    return made


def refunded(refund: Json, currency: str | None) -> Decimal | None:
    transactions = refund.get("transactions")
    if transactions is None:
        return None
    given = [
        t or {}
        for t in transactions
        if not t or (t.get("kind"), t.get("status")) == ("refund", "success")
    ]
    foreign = any(t.get("currency") not in (None, currency) for t in given)
    amount: Decimal | None = None if foreign else total([t.get("amount") for t in given])
    return amount


def shipping_refunded(refund: Json, adjustments: list[Json]) -> Any:
    """Return the shipping that was given back: by its adjustments, else by the shipping lines."""
    adjusted = [a["amount"] for a in adjustments if a["kind"] == "shipping_refund"]
    if adjusted:
        return None if None in adjusted else -total(adjusted)
    path = "subtotal_amount_set.shop_money.amount"
    return total([reached(each, path) for each in refund.get("refund_shipping_lines") or []])


def value_refunded(
    lines: list[Json], adjustments: list[Json], shipping: Decimal | None, included: bool | None
) -> Any:
    """Return what lines with taxes and shipping come to, less the other adjustments."""
    parts = [line["subtotal"] for line in lines]
    parts += [] if included else [line["total_tax"] for line in lines]
    given_away = [a["amount"] for a in adjustments if a["kind"] != "shipping_refund"]
    given_away += [a["tax_amount"] for a in adjustments]
    return total([*parts, shipping, *(None if each is None else -each for each in given_away)])


SUMS = ("line_tax", "line_discount", "shipping_tax", "shipping_discount")
"""Columns that add up the amounts of an array."""

LIMITS = {
    **dict.fromkeys(("unit_count", "discount_number"), (-(2**63), 2**63 - 1)),
    **dict.fromkeys(
        (*SUMS, "gross_line_amount", "refunded_amount", "refunded_value", "refunded_shipping"),
        (-GREATEST, GREATEST),
    ),
}


def fitted(made: dict[str, list[Json]]) -> dict[str, int]:
    """Null the sums that don't fit, and return their number by column."""
    unfit: dict[str, int] = {}
    for row in (row for table in made.values() for row in table):
        for name, (least, most) in LIMITS.items():
            if row.get(name) is not None and not least <= row[name] <= most:
                row[name] = None
                unfit[name] = unfit.get(name, 0) + 1
    return unfit


@settings(deadline=None)  # the machine may be busy
@given(RECORDS, st.integers(0, 3), st.integers(0, 2**40))
@example(records(Random(2044), 1), 0, 0)  # sums that cancel out to the greatest amount
def test_tables_are_those_of_a_model_that_takes_one_record_at_a_time(
    records: list[Json], file: int, first_row: int
) -> None:
    made = normalise(pa.Table.from_pylist(records, schema=decoded_schema()), file, first_row)
    with localcontext(prec=80):  # a product has up to 41 digits, and Python rounds to 28
        expected = model(records, file, first_row)
    unfit = fitted(expected)
    assert {name: t.schema for name, t in made.tables.items()} == staged_schemas()
    found = flat(made)
    assert {name: t.schema for name, t in found.items()} == flat_schemas()
    for name, want in expected.items():
        assert found[name].to_pylist() == want, name
    assert {issue.field: issue.count for issue in made.issues} == unfit


@settings(deadline=None)  # the machine may be busy
@given(RECORDS)
def test_keys_are_a_row_an_order_with_its_version(records: list[Json]) -> None:
    keys = normalise(pa.Table.from_pylist(records, schema=decoded_schema()), 7, 0).keys
    assert keys.schema == key_schema()
    assert keys.to_pylist() == [
        {
            "order_id": record["id"],
            "version_at": record.get("updated_at") or record.get("created_at"),
            FILE: 7,
            POSITION: record[POSITION],
        }
        for record in records
    ]


def flat(made: Normalised) -> dict[str, pa.Table]:
    """Return the facts, and the rows of every dimension from its source table."""
    dimensions = {
        table.name: dimension_rows(table, made.tables[DIMENSION_SOURCES[table.name].table.name])
        for table in DIMENSION_ROWS
    }
    return {**made.tables, **dimensions}


def assert_same(made: Normalised, expected: dict[str, pa.Table]) -> None:
    for name, table in expected.items():
        assert made.tables[name].equals(table), name


@settings(deadline=None)  # the machine may be busy
@given(RECORDS, RECORDS)
def test_concatenated_orders_give_the_concatenated_tables(
    first: list[Json], second: list[Json]
) -> None:
    pieces = [pa.Table.from_pylist(part, schema=decoded_schema()) for part in (first, second)]
    starts = (5, 5 + len(first))
    alone = [normalise(p, 0, start).tables for p, start in zip(pieces, starts, strict=True)]
    expected = {name: pa.concat_tables([a[name] for a in alone]) for name in staged_schemas()}
    assert_same(normalise(pa.concat_tables(pieces), 0, 5), expected)


@settings(deadline=None)  # the machine may be busy
@given(RECORDS, st.integers(0, 4), st.integers(0, 4))
def test_a_slice_gives_what_a_fresh_table_gives(records: list[Json], start: int, size: int) -> None:
    slice_ = pa.Table.from_pylist(records, schema=decoded_schema()).slice(start, size)
    fresh = pa.Table.from_pylist(records[start : start + size], schema=decoded_schema())
    assert_same(normalise(slice_, 0, 0), normalise(fresh, 0, 0).tables)


def test_a_large_dump_gives_the_same_however_it_is_cut(tmp_path: Path) -> None:
    day = date(2026, 3, 1)
    generate(tmp_path.as_uri(), start=day, days=1, orders=3000, defects=0.01)
    [split] = discover(f"{tmp_path.as_uri()}/run_date={{run_date}}/", day, 1 << 30)
    decoded = pa.concat_tables(block.orders for block in decode(split, ZoneInfo("UTC")))
    whole = normalise(decoded.combine_chunks(), 0, 0)
    starts = range(0, len(decoded), 40)
    pieces = [normalise(decoded.slice(start, 40), 0, start).tables for start in starts]
    assert_same(whole, {name: pa.concat_tables([p[name] for p in pieces]) for name in pieces[0]})


def test_no_orders_give_every_table_without_rows() -> None:
    made = normalise(decoded_schema().empty_table(), 0, 0)
    assert {name: t.schema for name, t in made.tables.items()} == staged_schemas()
    assert sum(t.num_rows for t in made.tables.values()) == made.keys.num_rows == 0


def test_values_under_a_null_struct_or_list_are_not_seen() -> None:
    line = {"id": 8, "quantity": 1, "price": Decimal(5), "tax_lines": [{"price": Decimal(1)}]}
    table = orders(
        {"customer": {"id": 1}, "line_items": [line]},
        {"customer": {"id": 2}, "line_items": [line, line]},
        {"customer": {"id": 3}, "line_items": [line]},
    )
    mask = pa.array([False, True, False])
    customer = table["customer"].combine_chunks()
    lists = table["line_items"].combine_chunks()
    hidden = {
        "customer": pa.StructArray.from_arrays(
            customer.flatten(), fields=list(customer.type), mask=mask
        ),
        "line_items": pa.ListArray.from_arrays(lists.offsets, lists.values, mask=mask),
    }
    for name, array in hidden.items():
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), array
        )
    made = normalise(table, 0, 0).tables
    assert made["fact_order"]["customer_id"].to_pylist() == [1, None, 3]
    assert made["fact_order"]["line_count"].to_pylist() == [1, 0, 1]
    assert made["fact_order_line"]["order_id"].to_pylist() == [1, 3]
    assert made["dim_customer"]["customer_id"].to_pylist() == [1, 3]


# ------------------------------------------------------------------------- rules of the contract


@pytest.mark.parametrize(
    ("names", "joined"),
    [(["a", None, "b"], "a, b"), ([""], ""), ([None], ""), ([], ""), (None, None)],
)
def test_texts_of_an_array_are_joined_without_null_ones(
    names: list[str | None] | None, joined: str | None
) -> None:
    codes = None if names is None else [{"code": name} for name in names]
    (order,) = rows("fact_order", {"payment_gateway_names": names, "discount_codes": codes})
    assert (order["payment_gateway_names"], order["discount_codes"]) == (joined, joined)
    assert order["discount_code_count"] == len(names or [])


def test_a_code_that_could_not_be_read_is_left_out_of_the_codes_and_their_number() -> None:
    (order,) = rows("fact_order", {"discount_codes": [{"code": "A"}, None, {"code": None}]})
    assert (order["discount_codes"], order["discount_code_count"]) == ("A", 2)


def test_a_rejected_line_is_no_row_but_counts_for_line_numbers() -> None:
    record = {"line_items": [{"id": 5}, None, {"id": 7}]}
    assert column("fact_order_line", "line_number", record) == [1, 3]
    assert column("fact_order", "line_count", record) == [2]


@pytest.mark.parametrize(
    ("prices", "tax"),
    [
        ([Decimal("0.1"), Decimal("0.2")], Decimal("0.3")),
        ([], Decimal(0)),
        (None, None),
        ([Decimal(1), None], None),
    ],
)
def test_line_tax_is_the_sum_of_the_tax_lines(
    prices: list[Decimal | None] | None, tax: Decimal | None
) -> None:
    taxes = None if prices is None else [{"price": price} for price in prices]
    record = {"line_items": [{"id": 5, "tax_lines": taxes}]}
    assert column("fact_order_line", "line_tax", record) == [tax]


def due_at(time: datetime | None) -> Json:
    return {"due_at": time}


def test_of_several_timestamps_the_last_counts() -> None:
    later = NOON + timedelta(days=30)
    schedules: list[list[datetime | None] | None]
    schedules = [[NOON, later, None], [later, NOON], [None], [], None]
    records: list[Json] = [
        {"payment_terms": {"payment_schedules": None if times is None else [*map(due_at, times)]}}
        for times in schedules
    ]
    due = column("fact_order", "payment_due_at", *records, {"payment_terms": None})
    assert due == [later, later, None, None, None, None]


def test_an_older_key_gives_the_value_where_the_column_s_own_has_none() -> None:
    def in_shop(amount: str | None) -> Json:
        return {"shop_money": {"amount": amount and Decimal(amount)}}

    lines = [
        {"id": 1, "subtotal": Decimal(5), "subtotal_set": in_shop("60.93")},
        {"id": 2, "subtotal": Decimal(5), "subtotal_set": in_shop(None)},
        {"id": 3, "subtotal": Decimal(5)},
        {"id": 4, "subtotal_set": in_shop("60.93")},
        {"id": 5},
    ]
    record = {"refunds": [{"id": 3, "refund_line_items": lines}]}
    found = column("fact_refund_line", "subtotal", record)
    assert found == [Decimal("60.93"), Decimal(5), Decimal(5), Decimal("60.93"), None]


def transaction(amount: str | None, currency: str | None = None, **other: str) -> Json:
    given = None if amount is None else Decimal(amount)
    return {"kind": "refund", "status": "success", "amount": given, "currency": currency} | other


@pytest.mark.parametrize(
    ("transactions", "amount"),
    [
        ([transaction("1.50"), transaction("2", "USD")], Decimal("3.50")),
        ([transaction("9", status="failure"), transaction("9", kind="Refund")], Decimal(0)),
        ([transaction(None, status="failure"), transaction("9", "EUR", kind="sale")], Decimal(0)),
        ([transaction("1"), transaction(None)], None),
        ([transaction("1"), transaction("1", "EUR")], None),
        ([transaction("1"), None], None),
        ([], Decimal(0)),
        (None, None),
    ],
)
def test_refunded_amount_is_the_sum_of_successful_refunds_in_the_orders_currency(
    transactions: list[Json | None] | None, amount: Decimal | None
) -> None:
    record = {"currency": "USD", "refunds": [{"id": 3, "transactions": transactions}]}
    assert column(fact_refund.name, "refunded_amount", record) == [amount]


def test_a_transaction_that_names_a_currency_is_foreign_to_an_order_without_one() -> None:
    record = {"refunds": [{"id": 3, "transactions": [transaction("1", "USD")]}]}
    assert column(fact_refund.name, "refunded_amount", record) == [None]


def line(quantity: int | None, price: str | None) -> Json:
    return {"id": 1, "quantity": quantity, "price": None if price is None else Decimal(price)}


@pytest.mark.parametrize(
    ("lines", "units", "gross"),
    [
        ([(2, "1.25"), (-1, "0.0001")], 1, Decimal("2.4999")),
        ([(2, "1.25"), (1, None)], 3, None),
        ([(2, "1.25"), (None, "1")], None, None),
        ([], 0, Decimal(0)),
        (None, 0, Decimal(0)),
    ],
)
def test_units_and_gross_are_sums_over_the_lines(
    lines: list[tuple[int | None, str | None]] | None, units: int | None, gross: Decimal | None
) -> None:
    items = None if lines is None else [line(*parts) for parts in lines]
    (order,) = rows("fact_order", {"line_items": items})
    assert (order["unit_count"], order["gross_line_amount"]) == (units, gross)


def test_a_sum_that_does_not_fit_is_null_and_counted_under_its_columns_code() -> None:
    lines = [line(2**63 - 1, str(GREATEST))] * 2
    made = normalise(orders({}, *[{"line_items": lines}] * 4), 0, 0)
    order = made.tables["fact_order"]
    for column in ("unit_count", "gross_line_amount"):
        assert order[column].to_pylist() == [0] + [None] * 4
    units = str(2 * (2**63 - 1))
    assert made.issues[0] == Issue(
        "unit_count", "bad_integer", 4, ((2, units), (3, units), (4, units))
    )
    assert [(i.field, i.code, i.count) for i in made.issues[1:]] == [
        ("gross_line_amount", "bad_money", 4)
    ]


def test_greatest_sums_fit() -> None:
    lines = [
        {"id": 1, "quantity": 2**63 - 2, "price": Decimal(0)},
        {"id": 2, "quantity": 1, "price": GREATEST},
    ]
    made = normalise(orders({"line_items": lines}), 0, 0)
    (order,) = made.tables["fact_order"].to_pylist()
    assert (order["unit_count"], order["gross_line_amount"]) == (2**63 - 1, GREATEST)
    assert not made.issues


def test_a_dimension_has_a_row_for_each_record_with_the_whole_key() -> None:
    line = {"id": 1, "product_id": 10, "variant_id": 20, "sku": "S"}
    record = {"user_id": 4, "email": "a@b", "line_items": [line, line | {"variant_id": None}]}
    made = flat(normalise(orders({}, record), 0, 100))
    assert made["dim_user"].to_pylist() == [
        {
            ORDER_ROW: 101,
            "user_id": 4,
            "last_order_email": "a@b",
            "last_order_phone": None,
            "last_order_locale": None,
        }
    ]
    assert made["dim_product_variant"].select([ORDER_ROW, "variant_id", "sku"]).to_pylist() == [
        {ORDER_ROW: 101, "variant_id": 20, "sku": "S"}
    ]
    assert made["dim_customer"].num_rows == 0


@pytest.mark.parametrize(
    ("currency", "amount"),
    [('"USD"', Decimal(5)), ("null", Decimal(5)), ('"EUR"', None), ('""', None), ("5", None),
     ("true", None), ("{}", None), ('["USD"]', None)],
)  # fmt: skip
def test_a_refund_in_a_currency_that_is_no_text_has_no_amount(
    currency: str, amount: Decimal | None
) -> None:
    transaction = (
        f'{{"id":4,"kind":"refund","status":"success","amount":"5.00","currency":{currency}}}'
    )
    text = f'{{"id":1,"currency":"USD","line_items":[],"refunds":[{{"id":3,"transactions":[{transaction}]}}]}}\n'
    block = decode_records(Records(text.encode(), in_page=False, strict=False), ZoneInfo("UTC"))
    refunds = normalise(block.orders, 0, 0).tables[fact_refund.name]
    assert refunds["refunded_amount"].to_pylist() == [amount]
    codes = {"5": "text_from_scalar", "true": "text_from_scalar", "{}": "bad_text"}
    expected = codes.get(currency, "bad_text" if currency.startswith("[") else None)
    assert [issue.code for issue in block.issues] == ([expected] if expected else [])
