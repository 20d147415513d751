"""Synthetic dumps are reproducible, of every form, and their declared counts are true."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest

from orders_dask.contract.arrow import paths
from orders_dask.contract.envelopes import DELETION_KEYS
from orders_dask.contract.record_keys import DRAFT_KEYS
from orders_dask.contract.refund_tables import fact_refund
from orders_dask.errors import SettingsError
from orders_dask.extract.decode.block import decode_records
from orders_dask.extract.records import Records
from orders_dask.synthetic import Compression, GeneratedDay, Layout, generate
from orders_dask.synthetic.defects import DEFECTS, REJECTING
from orders_dask.transform.normalise import normalise

START = date(2025, 10, 7)
Json = dict[str, Any]
SUMS = ("total_price", "gross_line_amount", "refunded_amount")


def texts(path: str) -> Iterator[str]:
    """Yield each text in a file, decompressed, whatever its name."""
    raw = Path(path).read_bytes()
    if raw[:2] == b"PK":
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            members = [archive.read(name) for name in sorted(archive.namelist())]
    else:
        members = [gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw]
    # A byte that isn't UTF-8 stays visible in the text.
    yield from (member.decode(errors="surrogateescape") for member in members)


def is_json(text: str) -> bool:
    """Return whether a text is JSON; unlike Python's default, without ``NaN``."""
    constants: list[str] = []
    try:
        json.loads(text, parse_constant=constants.append)
    except json.JSONDecodeError:
        return False
    return not constants


def documents(day: GeneratedDay) -> list[Any]:
    """Return each record of a run date in document order; text that isn't JSON unchanged."""
    found: list[Any] = []
    for line in (line for path in day.files for text in texts(path) for line in text.splitlines()):
        line = line.removeprefix("\ufeff")
        document: Any = json.loads(line) if is_json(line) else line
        found += document["orders"] if line.startswith('{"orders":[') else [document]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def integer(value: object) -> int | None:
    """Return an integer, repaired as by the contract, or None."""
    found = re.fullmatch(r" *(-?\d+)(\.0|e0)? *", "" if value is True else str(value))
    return int(found[1]) if found and int(found[1]) < 2**63 else None


def money(value: object) -> Decimal | None:
    """Return an amount, rounded as by the contract, or None."""
    if value is True or not re.fullmatch(r"-?\d{1,18}(\.\d+)?", str(value), re.ASCII):
        return None
    return Decimal(str(value)).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def children(parent: Json, name: str) -> list[Json]:
    """Return the children that are loaded: objects with a positive id, the last of each id."""
    array = parent[name] if isinstance(parent[name], list) else []
    objects = [child for child in array if isinstance(child, dict)]
    return list({i: child for child in objects if (i := integer(child["id"])) and i > 0}.values())


DETAILS = {
    "fact_discount": "discount_applications",
    "fact_discount_code": "discount_codes",
    "fact_line_discount": "line_items.discount_allocations",
    "fact_fulfillment": "fulfillments",
    "fact_fulfillment_line": "fulfillments.line_items",
    "fact_refund_transaction": "refunds.transactions",
    "fact_refund_shipping": "refunds.refund_shipping_lines",
    "fact_line_tax": "line_items.tax_lines",
    "fact_shipping_tax": "shipping_lines.tax_lines",
    "fact_order_attribute": "note_attributes",
    "fact_line_property": "line_items.properties",
    "fact_line_staff": "line_items.attributed_staffs",
}
"""The path of each row of the tables of optional groups."""


def objects_at(parent: Json, path: list[str]) -> list[Json]:
    """Return the objects at a path of arrays, below children that are loaded."""
    name, *rest = path
    if rest:
        return [inner for each in children(parent, name) for inner in objects_at(each, rest)]
    array = parent.get(name)
    return [each for each in array if isinstance(each, dict)] if isinstance(array, list) else []


def version(order: Json) -> datetime:
    """Return `updated_at`, or `created_at` if that can't be read."""
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:00"
    readable = re.fullmatch(pattern, str(order["updated_at"]))
    return datetime.fromisoformat(order["updated_at"] if readable else order["created_at"])


def identity(document: Any) -> int | None:
    """Return the id of an order, or None if it must be rejected."""
    if not isinstance(document, dict) or "line_items" not in document:
        return None
    if any(document.get(key) for key in DELETION_KEYS):
        return None
    found = integer(document.get("id"))
    gid = document.get("admin_graphql_api_id")
    return found if found and found > 0 and gid == f"gid://shopify/Order/{found}" else None


def independent_reading(day: GeneratedDay) -> dict[str, object]:
    """Return the counts and sums of a run date, read back with json and Decimal alone."""
    records = documents(day)
    versions: dict[int, list[Json]] = defaultdict(list)
    for document in records:
        if found := identity(document):
            versions[found].append(document)
    rows: Counter[str] = Counter()
    details: Counter[str] = Counter()
    sums: dict[str, dict[str, Decimal]] = {name: defaultdict(Decimal) for name in SUMS}
    for candidates in versions.values():
        # max() gives the first of equals, and the last is to win.
        order = max(reversed(candidates), key=version)
        lines, refunds = children(order, "line_items"), children(order, "refunds")
        rows["fact_order"] += 1
        rows["fact_order_line"] += len(lines)
        rows["fact_refund"] += len(refunds)
        for refund in refunds:
            rows["fact_refund_line"] += len(children(refund, "refund_line_items"))
            rows["fact_refund_adjustment"] += len(children(refund, "order_adjustments"))
        rows["fact_shipping_line"] += len(children(order, "shipping_lines"))
        for table, path in DETAILS.items():
            details[table] += len(objects_at(order, path.split(".")))
        parts = [(money(line["price"]), integer(line["quantity"])) for line in lines]
        gross = [price * quantity for price, quantity in parts if price and quantity]
        payments = [payment for refund in refunds for payment in refund["transactions"]]
        amounts = {
            "total_price": money(order["total_price"]),
            "gross_line_amount": sum(gross) if len(gross) == len(lines) else None,
            "refunded_amount": sum(
                Decimal(payment["amount"])
                for payment in payments
                if (payment["kind"], payment["status"]) == ("refund", "success")
            ),
        }
        for name, amount in amounts.items():
            sums[name][order["currency"]] += amount or 0
    rejected = len(records) - sum(map(len, versions.values()))
    superseded = len(records) - rejected - len(versions)
    counts = {"records": len(records), "rejected": rejected, "superseded": superseded}
    return {**counts, "rows": rows, "detail_rows": details, **sums}


def declared(day: GeneratedDay) -> dict[str, object]:
    names = ("records", "rejected", "superseded", "rows", "detail_rows", *SUMS)
    return {name: getattr(day, name) for name in names}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def write(name: str, **options: Any) -> dict[str, bytes]:
        generate(str(tmp_path / name), start=START, orders=60, defects=0.02, **options)
        return contents(tmp_path / name)

    for compression in get_args(Compression):
        first = write(f"{compression}-1", compression=compression, seed=7, layout="pages")
        second = write(f"{compression}-2", compression=compression, seed=7, layout="pages")
        other = write(f"{compression}-3", compression=compression, seed=8, layout="pages")
        assert first == second
        assert first.keys() == other.keys()
        assert all(first[name] != other[name] for name in first)


def test_a_run_date_written_alone_is_as_in_the_whole_dump(tmp_path: Path) -> None:
    options: dict[str, Any] = {"start": START, "days": 4, "orders": 50, "defects": 0.02}
    third = START + timedelta(2)
    whole = generate(str(tmp_path / "whole"), **options)
    alone = generate(str(tmp_path / "alone"), only=[third], **options)
    assert [day.run_date for day in alone.days] == [third]
    assert declared(alone.days[0]) == declared(whole.days[2])
    written = contents(tmp_path / "alone")
    assert len(written) == 1
    assert written.items() <= contents(tmp_path / "whole").items()


@pytest.mark.parametrize("compression", get_args(Compression))
@pytest.mark.parametrize("layout", get_args(Layout))
def test_every_form_opens_and_holds_the_same_orders(
    tmp_path: Path, layout: Layout, compression: Compression
) -> None:
    options: dict[str, Any] = {"start": START, "days": 2, "orders": 600, "files_per_day": 2}
    plain = generate(str(tmp_path / "plain"), **options)
    other = generate(str(tmp_path / "other"), layout=layout, compression=compression, **options)
    for expected, day in zip(plain.days, other.days, strict=True):
        assert len([text for path in day.files for text in texts(path)]) == 2
        assert len(documents(day)) == day.records
        assert documents(day) == documents(expected)
        assert declared(day) == declared(expected)


def test_pages_hold_at_most_250_orders(tmp_path: Path) -> None:
    dump = generate(str(tmp_path), start=START, days=1, orders=600, duplicates=0, layout="pages")
    (text,) = texts(dump.days[0].files[0])
    pages = [json.loads(line)["orders"] for line in text.splitlines()]
    assert [len(page) for page in pages] == [250, 250, 100]


@pytest.mark.parametrize(
    ("layout", "defects"), [("ndjson", 0.0), ("ndjson", 0.01), ("pages", 0.01)]
)
def test_the_declared_counts_are_those_of_an_independent_reading(
    tmp_path: Path, layout: Layout, defects: float
) -> None:
    dump = generate(
        str(tmp_path),
        start=START,
        orders=800,
        layout=layout,
        files_per_day=3,
        edited=0.1,
        duplicates=0.1,
        defects=defects,
    )
    for day in dump.days:
        assert independent_reading(day) == declared(day)
        assert day.superseded > 0
        assert day.records == day.rows["fact_order"] + day.superseded + day.rejected
        assert len(day.total_price) == 4, "all four currencies are expected in 800 orders"
        assert min(day.rows.values()) > 0, "some table gets no row"


def test_a_version_without_a_readable_updated_at_is_superseded_by_its_duplicate(
    tmp_path: Path,
) -> None:
    shares: dict[str, Any] = {"duplicates": 0.6, "defects": {"bad_instant": 0.6}}
    (day,) = generate(str(tmp_path), start=START, days=1, orders=200, **shares).days
    assert independent_reading(day) == declared(day)


def test_an_edited_order_is_newer_and_changed_on_a_later_day(tmp_path: Path) -> None:
    dump = generate(str(tmp_path), start=START, orders=300, edited=0.2, duplicates=0)
    first, *later = [{order["id"]: order for order in documents(day)} for day in dump.days]
    assert [day.edited for day in dump.days] == [0, 60, 60]
    edited = [(first[i], orders[i]) for orders in later for i in orders if i in first]
    assert len(edited) > 60
    for before, after in edited:
        assert datetime.fromisoformat(before["updated_at"]) < version(after)
        assert before["created_at"] == after["created_at"]
        assert [x["id"] for x in before["line_items"]] == [x["id"] for x in after["line_items"]]
    for key in ("total_price", "fulfillment_status", "financial_status", "cancelled_at"):
        assert any(before[key] != after[key] for before, after in edited), f"no edit changes {key}"


def test_orders_look_like_those_of_a_shop(tmp_path: Path) -> None:
    (day,) = generate(str(tmp_path), start=START, days=1, orders=2_000).days
    orders = documents(day)
    assert 6_500 < Path(day.files[0]).stat().st_size / day.records < 7_500
    lines = Counter(
        sum("tip_payment_gateway" not in line for line in order["line_items"]) for order in orders
    )
    assert set(lines) == {1, 2, 3, 4, 5}
    assert 2.4 < sum(n * count for n, count in lines.items()) / len(orders) < 2.6
    assert {order["created_at"][:10] for order in orders} == {"2025-10-07"}
    assert {order["created_at"][19:] for order in orders} == {"-05:00", "-04:00", "+01:00"}
    assert any(order["id"] > 2**53 for order in orders)
    for key in ("test", "cancelled_at", "user_id", "location_id", "device_id", "discount_codes"):
        assert 0 < sum(bool(order[key]) for order in orders) < len(orders), f"{key} never varies"
    buyers = Counter(order["customer"]["id"] for order in orders if "customer" in order)
    assert buyers.most_common(1)[0][1] > 5, "no customer recurs"
    for order in orders:
        assert sum(parts_of_total(order)) == Decimal(order["total_price"])
        lines_discount = sum(
            Decimal(allocation["amount"])
            for line in (*order["line_items"], *order["shipping_lines"])
            for allocation in line["discount_allocations"]
        )
        assert lines_discount == Decimal(order["total_discounts"])
    tips = [
        line["tip_payment_gateway"]
        for order in orders
        for line in order["line_items"]
        if "tip_payment_gateway" in line
    ]
    assert set(tips) == {None, "shopify_payments"}, "a tip has its key, be it null"


def parts_of_total(order: Json) -> Iterator[Decimal]:
    """Yield what a total is made of: lines after discounts, taxes, tips, shipping, duties, fees."""
    yield from (
        Decimal(order[key]) for key in ("subtotal_price", "total_tax", "total_tip_received")
    )
    yield from (Decimal(line["discounted_price"]) for line in order["shipping_lines"])
    for key in ("original_total_duties_set", "original_total_additional_fees_set"):
        yield Decimal(order[key]["shop_money"]["amount"] if order[key] else 0)


def test_a_refund_is_worth_what_was_paid_back(tmp_path: Path) -> None:
    (day,) = generate(str(tmp_path), start=START, days=1, orders=3_000).days
    text = "".join(texts(day.files[0])).encode()
    block = decode_records(Records(text, in_page=False, strict=False), ZoneInfo("UTC"))
    refunds = normalise(block.orders, 0, 0).tables[fact_refund.name]
    assert refunds["refunded_value"].equals(refunds["refunded_amount"])
    shipping = Counter(refunds["refunded_shipping"].to_pylist())
    assert set(shipping) == {Decimal(0), Decimal(3)}
    by_form = [
        (
            any(each["kind"] == "shipping_refund" for each in refund["order_adjustments"]),
            bool(refund["refund_shipping_lines"]),
        )
        for order in documents(day)
        for refund in order["refunds"]
    ]
    assert len(set(by_form)) == 4, "adjustments, shipping lines, both and neither"


def paths_given(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every scalar but null, in the notation of the contract."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from paths_given(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for element in value:
            yield from paths_given(element, f"{path}[]")
    elif value is not None:
        yield path


def test_some_order_gives_each_value_that_the_contract_reads(tmp_path: Path) -> None:
    (day,) = generate(str(tmp_path), start=START, days=1, orders=1_000).days
    given = {path for order in documents(day) for path in paths_given(order)}
    assert dict(paths()).keys() - given == {*DRAFT_KEYS, *DELETION_KEYS}, "an order has none"


def key_twice(text: str) -> bool:
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


INTEGERS = ("id", "number", "order_number", "total_weight", "user_id", "checkout_id")
BOOLEANS = ("test", "confirmed", "taxes_included", "buyer_accepts_marketing")
TEXTS = ("note", "phone", "tags", "name", "email", "po_number")
AMOUNTS = ("total_price", "total_tax", "current_total_tax", "price")


ARRAYS = ("line_items", "refunds", "discount_codes", "shipping_lines")
OBJECTS = ("customer", "shipping_address", "billing_address", "payment_terms")


def values(order: Json, keys: tuple[str, ...]) -> list[Any]:
    """Return the values of the order and its first line under some keys."""
    return [owner[k] for owner in (order, order["line_items"][0]) for k in keys if k in owner]


# For each code: is the record, as text, bad in this way?
def rates(text: str) -> list[Any]:
    lines = json.loads(text)["line_items"]
    return [tax["rate"] for line in lines for tax in line["tax_lines"]]


BAD: dict[str, Callable[[str], bool]] = {
    "invalid_json": lambda text: not is_json(text),
    "not_an_order": lambda text: "line_items" not in text,
    "bad_order_id": lambda text: not 0 < (integer(json.loads(text).get("id")) or 0) < 2**63,
    "id_mismatch": lambda text: (
        not json.loads(text)["admin_graphql_api_id"].endswith(f"/{json.loads(text)['id']}")
    ),
    "deleted_order": lambda text: any(json.loads(text).get(key) for key in DELETION_KEYS),
    "integer_from_text": lambda text: any(
        isinstance(value, str | float) and integer(value) is not None
        for value in values(json.loads(text), (*INTEGERS, "quantity"))
    ),
    "bad_integer": lambda text: any(
        value is not None and integer(value) is None
        for value in values(json.loads(text), (*INTEGERS, "grams", "variant_id"))
    ),
    "money_rounded": lambda text: (
        Decimal(str(json.loads(text)["total_price"])) != money(json.loads(text)["total_price"])
    ),
    "bad_money": lambda text: None in map(money, values(json.loads(text), AMOUNTS)),
    "instant_without_offset": lambda text: (
        datetime.fromisoformat(json.loads(text)["processed_at"]).tzinfo is None
    ),
    "instant_with_zone_name": lambda text: json.loads(text)["processed_at"].endswith(" UTC"),
    "bad_instant": lambda text: (
        not all(
            re.fullmatch(r"[\d-]{10}T[\d:]{8}[+-]\d\d:00", str(json.loads(text)[key]))
            for key in ("processed_at", "updated_at")
        )
    ),
    "flag_from_text": lambda text: any(
        str(value).lower() in ("true", "false", "0", "1") and not isinstance(value, bool)
        for value in values(json.loads(text), BOOLEANS)
    ),
    "bad_flag": lambda text: any(
        value in ("yes", "", "1", -1, 2, []) and not isinstance(value, bool)
        for value in values(json.loads(text), BOOLEANS)
    ),
    "text_from_scalar": lambda text: any(
        isinstance(value, bool | int | float) for value in values(json.loads(text), TEXTS)
    ),
    "text_from_array": lambda text: isinstance(json.loads(text)["tags"], list),
    "byte_order_mark": lambda text: text.startswith("\ufeff"),
    "bad_text": lambda text: any(
        isinstance(value, dict | list) for value in values(json.loads(text), TEXTS)
    ),
    "bad_unicode": lambda text: bool(re.search(r"\\u0000|\\ud83d|\\uDE00|\udcff", text)),
    "bad_children": lambda text: any(
        value is not None and not isinstance(value, kind)
        for order in [json.loads(text)]
        for value, kind in [
            *((order[key], list) for key in ARRAYS),
            *((order.get(key), dict) for key in OBJECTS),
            *((code, dict) for code in order["discount_codes"]),
        ]
    ),
    "bad_child_id": lambda text: (
        not all(
            isinstance(line, dict) and (integer(line["id"]) or 0) > 0
            for key in ("line_items", "shipping_lines")
            for line in json.loads(text)[key]
        )
    ),
    "duplicate_child": lambda text: (
        len({line["id"] for line in json.loads(text)["line_items"]})
        < len(json.loads(text)["line_items"])
    ),
    "duplicate_key": key_twice,
    "rate_rounded": lambda text: any(
        Decimal(str(rate)) != round(Decimal(str(rate)), 8) for rate in rates(text)
    ),
    "bad_rate": lambda text: any(
        share is None or share >= 10**10 for share in map(money, rates(text))
    ),
}


@pytest.mark.parametrize("layout", get_args(Layout))
def test_every_defect_has_a_description_here(layout: Layout) -> None:
    assert DEFECTS[layout].keys() <= BAD.keys()


@pytest.mark.parametrize("code", BAD)
def test_a_defect_makes_exactly_the_records_asked_for_bad(tmp_path: Path, code: str) -> None:
    options: dict[str, Any] = {"start": START, "days": 1, "orders": 300}
    (clean,) = generate(str(tmp_path / "clean"), **options).days
    (defective,) = generate(str(tmp_path / "spoilt"), defects={code: 0.1}, **options).days
    before, after = (
        next(texts(day.files[0])).removesuffix("\n").split("\n") for day in (clean, defective)
    )
    assert len(before) == len(after) == clean.records
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 30
    assert defective.defects == {code: 30}
    assert not any(map(BAD[code], before)), "a clean record counts as bad"
    assert [text for text in changed if not BAD[code](text)] == []
    assert defective.rejected == (30 if code in REJECTING else 0)


def test_an_unreadable_file_ends_within_one_more_record(tmp_path: Path) -> None:
    for layout in get_args(Layout):
        (day,) = generate(
            str(tmp_path / layout),
            start=START,
            days=1,
            orders=40,
            files_per_day=4,
            layout=layout,
            defects={"unreadable_file": 0.5},
        ).days
        files = [text for path in day.files for text in texts(path)]
        torn = [text for text in files if not text.endswith("\n")]
        assert len(torn) == day.defects["unreadable_file"] == day.rejected == 2
        for text in torn:
            *whole, last = text.splitlines()
            assert all(map(is_json, whole))
            assert not is_json(last)
            assert last.startswith('{"orders":[{' if layout == "pages" else '{"id":')


def test_progress_counts_the_records(tmp_path: Path) -> None:
    steps: list[int] = []
    (day,) = generate(str(tmp_path), start=START, days=1, orders=700, progress=steps.append).days
    assert len(steps) > 1
    assert sum(steps) == day.records


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"defects": {"bad_weather": 0.1}}, "bad_weather"),
        ({"defects": {"invalid_json": 0.1}, "layout": "pages"}, "invalid_json"),
        ({"defects": 0.2}, "defect"),
        ({"edited": 1.5}, "edited"),
        ({"orders": 0}, "0 orders"),
        ({"orders": 3, "files_per_day": 4}, "4 files"),
    ],
)
def test_an_argument_out_of_range_is_named_and_nothing_is_written(
    tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        generate(str(tmp_path / "dump"), start=START, **options)
    assert not (tmp_path / "dump").exists()
