"""A file of columns is read, or refused by one sentence that names file, column and what to do."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from distributed import Worker
from sqlalchemy import MetaData, Table

from orders_dask.cluster.versions import installed_versions
from orders_dask.cluster.workers import RunPlugin
from orders_dask.contract.columns_file import MAX_BYTES, MAX_COLUMNS, read_columns
from orders_dask.contract.custom_columns import Tables, column_for
from orders_dask.contract.declaration import declared, difference
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.dimension_tables import DIMENSIONS
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.sources import parse_source
from orders_dask.contract.storage_tables import identity_of
from orders_dask.contract.suggested_columns import suggest_column, toml_lines
from orders_dask.contract.table_groups import ACTIVE_GROUPS
from orders_dask.settings import Settings
from tests.support.declared import call


def declare(file: Path, text: str | bytes) -> dict[str, Table]:
    """Declare the columns of a file in copies of the facts; return these by name."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    copies = [fact.to_metadata(MetaData()) for fact in FACTS]
    off = {fact.name: fact.info["group"] for fact in DETAILS if fact not in FACTS}
    for column in read_columns(file):
        table, made = column_for(column, Tables(copies, off, DIMENSIONS))
        table.append_column(made)
    return {table.name: table for table in copies}


def column(table: str = "fact_order", name: str = "mine", **given: str) -> str:
    """Return the lines of a column."""
    values = {"type": "text", "source": "mine"} | given
    keys = "\n".join(f"{key} = '{value}'" for key, value in values.items())
    return f"[{table}.{name}]\n{keys}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "columns.toml"


def test_a_column_stands_last_nullable_and_with_its_comment(file: Path) -> None:
    tables = declare(file, column(type="money", source="a.b", comment="My amount"))
    mine = [*tables["fact_order"].c][-1]
    assert (mine.name, str(mine.type), mine.nullable) == ("mine", "NUMERIC(22, 4)", True)
    assert (mine.comment, mine.info["source"]) == ("My amount", "a.b")


def test_without_a_comment_a_column_has_its_source_for_one(file: Path) -> None:
    mine = declare(file, column(source="tags_of_mine[]"))["fact_order"].c["mine"]
    assert mine.comment == "As in tags_of_mine[]"


@pytest.mark.parametrize(
    ("source", "path", "name_path", "name"),
    [
        ("a", "a", None, None),
        ("a.b c.d-é", "a.b c.d-é", None, None),
        ("a[]", "a[]", None, None),
        ("a.b[].c.d", "a.b[].c.d", None, None),
        ("properties[name=v1.2 x].value", "properties[].value", "properties[].name", "v1.2 x"),
        ("a.b[key=c].d.e", "a.b[].d.e", "a.b[].key", "c"),
    ],
)
def test_a_source_is_a_path_with_one_array_at_most(
    source: str, path: str, name_path: str | None, name: str | None
) -> None:
    found = parse_source(source)
    assert (found.path, found.name_path, found.name) == (path, name_path, name)


CONTENTS = [
    ("[", "is no TOML: Invalid initial character"),
    (b"\xff", "is no TOML: it is no UTF-8"),
    ("a = [" + "[" * 5000, "is no TOML"),
    ("a = " + "9" * 5000, "is no TOML"),
    ("#" * (MAX_BYTES + 1), "is larger than 256 KiB"),
    ("fact_order = 5", "has fact_order, which is no table"),
    ("[fact_order]\nmine = 5", "has fact_order.mine, which is no column"),
    (column(colour="red"), "has fact_order.mine with the key colour: it may have type, source"),
    ("[fact_order.mine]\ntype = 'text'", "has fact_order.mine without a source: add one"),
    ("[fact_order.mine]\nsource = 'a'", "has fact_order.mine without a type: add one"),
    ("[fact_order.mine]\ntype = 5", "has fact_order.mine with a type that is no text"),
    (column(source=""), "has fact_order.mine with a source that is no text, or empty"),
    (column(source="$.a.b"), "begins with $: leave that out"),
    (
        '[fact_order_line.mine]\ntype = "text"\nsource = "line_items[].colour"',
        "a path begins in a record of fact_order_line, so leave out line_items[]",
    ),
    (column(comment=" "), "has fact_order.mine with a comment that is no text"),
    (column(type="flag"), "of the type flag: the types are id, count, money, rate, timestamp"),
    (
        "\n".join(column(name=f"c{n}", source=f"c{n}") for n in range(MAX_COLUMNS + 1)),
        "has 201 columns: more than 200 can't be read",
    ),
]
NAMES = [
    (column("fact_orders"), "has fact_orders.mine, and there is no such fact: those that can be"),
    (column("dim_user"), "has dim_user.mine, and there is no such fact"),
    (column(name="Mine"), "whose name can't be: use small letters"),
    (column(name="m" * 64), "whose name can't be: use small letters, digits and _, at most 63"),
    (column(name="1st"), "whose name can't be"),
    (column(name='"a b"'), "has fact_order.a b, whose name can't be"),
    (column(name='"a\\nb"'), r"has fact_order.'a\\nb', whose name can't be"),
    (column(name="order"), "whose name is a word of SQL"),
    (column(name="note"), "has fact_order.note, a name that fact_order itself has"),
    (column(name="load_id"), "a name that fact_order itself has"),
    (column(name="order_row"), "a name that orders_dask or PostgreSQL has"),
    (column(name="is_current"), "a name that orders_dask or PostgreSQL has"),
    (column(name="ctid"), "a name that orders_dask or PostgreSQL has"),
    (column(name="line_number"), "a name that fact_order_line has"),
]
SOURCES = [
    (column(source="a..b"), "from a..b, which has an empty key"),
    (column(source=" a"), "which has an empty key, or a blank beside one"),
    (column(source="a[].b[].c"), "from a[].b[].c, which has two arrays"),
    (column(source="a[].b[name=c].d"), "which has two arrays"),
    (column(source="a[name=b]"), "which ends with an array of names and values: name the key"),
    (column(source="a[name]"), "which can't be read: keys are separated by points"),
    (column(source="a[=b].c"), "which can't be read"),
    (column(source="a[].[]"), "which has an empty key"),
    (column(source="a]"), "which can't be read"),
    (column(source="a[name=\t].b"), "which has characters that can't be printed"),
    (column(source='a"b'), "which can't be read"),
    (column(source="a" * 201), "which is longer than 200 bytes"),
    (column(source=".".join("a" * 11)), "which has more than 10 keys"),
    (column(source="a[]", type="count"), "of the type count from the array a[]: of an array"),
    (
        column(source="customer"),
        "reads customer as the type text, and fact_order.customer_id needs an object",
    ),
    (column(source="line_items"), "reads line_items as the type text, and"),
    (column(source="line_items.sku"), "reads line_items as an object, and"),
    (
        column(source="note.text"),
        "reads note as an object, and fact_order.note needs the type text",
    ),
    (column(source="note", type="count"), "reads note as the type count, and fact_order.note"),
    (column(source="created_at"), "needs the type timestamp there: a key is read as one type"),
    (column("fact_order_line", source="tip_payment_gateway"), "needs something else there"),
    (column(source="created_local_date"), "and fact_order.created_local_date needs"),
    (column(source="source_position"), "and fact_order.source_position needs something else"),
    (column(source="refunds[].refunded_local_date"), "fact_refund.refunded_local_date needs"),
    (column(source="invoice_url"), "from invoice_url, which says that this is no order"),
    (column(source="orders[].id"), "from orders, which says that this is no order"),
    (column(source="deleted_at"), "from deleted_at, which says that this is no order"),
    (
        column(source="x") + column(name="other", source="x.y"),
        "has fact_order.other, which reads x as an object, and fact_order.mine needs the type text",
    ),
    (
        column("fact_order", source="line_items[].x") + column("fact_order_line", source="x[]"),
        "has fact_order_line.mine, which reads line_items[].x as an array",
    ),
]


@pytest.mark.parametrize(("text", "problem"), [*CONTENTS, *NAMES, *SOURCES])
def test_a_file_that_can_not_be_is_refused_by_one_sentence(
    file: Path, text: str | bytes, problem: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        declare(file, text)
    sentence = str(caught.value)
    assert problem.replace("\\\\", "\\") in sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")


def test_a_file_that_is_not_there_is_refused_by_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ValueError, match=r"^can't be read: (No such file|Is a directory)"):
            read_columns(path)


@pytest.mark.skipif(len(FACTS) > 6, reason="no group is off")
def test_a_fact_of_a_group_that_is_off_is_named_with_its_group(file: Path) -> None:
    with pytest.raises(ValueError, match="the group taxes is off: add it to ORDERS_DASK_FACTS"):
        declare(file, column("fact_line_tax"))


def test_the_same_key_may_be_read_twice_as_one_type(file: Path) -> None:
    text = column(source="note") + column(name="a", source="total_price", type="money")
    both = declare(file, text + column(name="b", source="note_attributes[name=b].value"))
    assert {"mine", "a", "b"} <= {*both["fact_order"].c.keys()}


def test_a_process_with_a_bad_file_is_refused_however_often_it_imports() -> None:
    program = """
from orders_dask.errors import SettingsError
for _ in range(2):
    try:
        import orders_dask.contract
    except SettingsError as error:
        print(error)
"""
    ended = call("-c", program, columns=column(name="note"))
    sentences = ended.stdout.decode().splitlines()
    assert ended.returncode == 0, ended.stderr.decode()
    assert len(sentences) == 2
    assert sentences[0] == sentences[1]
    assert sentences[0].startswith("ORDERS_DASK_COLUMNS: /")
    assert sentences[0].endswith("use that one, or another name for this.")


def test_a_column_of_another_type_or_source_is_another_one_and_the_same_stays_it(
    file: Path,
) -> None:
    def identity(**given: str) -> str:
        return identity_of(declare(file, column(**given))["fact_order"].c["mine"])

    # Parts and loads of years have it: were it another one, all of them would lack the column.
    assert identity() == identity(comment="Mine") == "mine fca54488"
    assert len({identity(), identity(source="yours"), identity(type="count")}) == 3
    assert identity_of(FACTS[0].c["note"]) == "note"


# ---------------------------------------------------------------------------- lines that are printed

UNKNOWN = [
    ("loyalty_tier", "text", "xxxx", "fact_order.loyalty_tier text loyalty_tier"),
    ("line_items[].colour", "text", "xxx", "fact_order_line.colour text colour"),
    ("line_items[].bundleId", "integer", "9", "fact_order_line.bundle_id count bundleId"),
    ("line_items[].bundle_id", "integer", "9", "fact_order_line.bundle_id id bundle_id"),
    ("fee", "decimal", "9.99", "fact_order.fee money fee"),
    ("wanted_by", "date", "9999-99-99", "fact_order.wanted_by day wanted_by"),
    ("seen_at", "timestamp", "9999", "fact_order.seen_at timestamp seen_at"),
    ("vip", "boolean", "true", "fact_order.vip boolean vip"),
    ("odd", "mixed", "9", "fact_order.odd text odd"),
    ("older", None, "", "fact_order.older text older"),
    ("refunds[].x.note", "text", "x", "fact_refund.x_note text x.note"),
    ("labels", "array", "[xxx]", "fact_order.labels text labels[]"),
    ("tax_lines[].rank", "integer", "9", "fact_order.rank text tax_lines[].rank"),
    ("tax_lines[].fee", "decimal", "9.9", "fact_order.fee money tax_lines[].fee"),
    ("order", "text", "x", "fact_order.order_2 text order"),
    ("Größe", "text", "x", "fact_order.gr_e text Größe"),
    ("2nd", "text", "x", "fact_order._2nd text 2nd"),
]


@pytest.mark.parametrize(("path", "kind", "sample", "expected"), UNKNOWN)
def test_the_lines_for_an_unknown_key_can_be_read(
    file: Path, path: str, kind: str | None, sample: str, expected: str
) -> None:
    if path == "order":
        with pytest.raises(ValueError, match="says that this is no order"):
            suggest_column(path, kind, sample, ())
        return
    found = suggest_column(path, kind, sample, ())
    assert f"{found.table}.{found.name} {found.kind} {found.source.text}" == expected
    assert found.name in declare(file, toml_lines(found))[found.table].c


def test_names_of_lines_are_never_the_same(file: Path) -> None:
    taken: set[tuple[str, str]] = set()
    text = ""
    for path in ("a.x", "b.x", "A.x", "a_x", "a.X"):
        found = suggest_column(path, "text", "x", taken)
        taken.add((found.table, found.name))
        text += toml_lines(found) + "\n"
    assert [*tomllib.loads(text)["fact_order"]] == ["x", "b_x", "a_x", "a_x_2", "a_x_3"]
    declare(file, text)


@pytest.mark.parametrize(
    ("path", "kind", "sample", "problem"),
    [
        ("extra", "object", "{a, b}", "has objects: read a key of them, such as extra.a"),
        ("extra", "object", "{…}", "has objects: read a key of them, such as extra.KEY"),
        ("extra", "object", "{}", "has objects: read a key of them, such as extra.KEY"),
        ("extra", "object", "{aaaaaaa...}", "has objects: read a key of them, such as extra.KEY"),
        ("extra", "array", "[{a}]", "has objects: read a key of them, such as extra[].a"),
        ("extra", "array", "", "was always empty"),
        ("extra.…", "text", "x", "can't be named"),
        ('a"b', "text", "x", "can't be read"),
    ],
)
def test_a_key_that_can_be_no_column_is_explained(
    path: str, kind: str, sample: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        suggest_column(path, kind, sample, ())


# ------------------------------------------------------------------------------ client and workers


@dataclass
class LateWorker:
    """A worker as a plugin sees it."""

    address: str = "tcp://late:1"
    periodic_callbacks: dict[str, Any] = field(default_factory=dict)


def test_a_worker_that_joins_late_with_other_tables_takes_no_part(no_settings: None) -> None:
    settings = Settings(
        pgsql_hostname="db",
        pgsql_user="u",
        pgsql_database="shop",
        source="s3://b/{run_date}/",
        facts=",".join(ACTIVE_GROUPS),
    )

    def error_with(more: dict[str, str]) -> str:
        declaration = {**declared(), **more}
        versions = installed_versions()
        plugin = RunPlugin("run", versions, settings, "shop", declaration, {}, is_local=True)
        plugin.setup(cast(Worker, LateWorker()))
        return str(plugin.error)

    assert error_with({}) == "None"
    assert "not declared on worker tcp://late:1. Give ORDERS_DASK_FACTS" in error_with(
        {"fact_order.mine": "text from mine"}
    )


def test_processes_that_declare_other_tables_are_named_with_what_differs() -> None:
    client = {"ORDERS_DASK_FACTS": "sales", "fact_order.mine": "text from mine"}
    other_groups = client | {"ORDERS_DASK_FACTS": "sales,taxes"}
    other_source = client | {"fact_order.mine": "text from yours"}
    no_columns = {"ORDERS_DASK_FACTS": "sales"}
    assert difference(client, {"worker a": client, "worker b": {**client}}) is None
    error = difference(
        client,
        {
            "worker a": other_groups,
            "worker b": no_columns,
            "worker c": client,
            "worker d": no_columns,
        },
    )
    assert str(error) == (
        "The cluster has other tables: ORDERS_DASK_FACTS is sales on the client and sales,taxes on "
        "worker a; fact_order.mine is text from mine on the client and not declared on worker b, "
        "worker d. Give ORDERS_DASK_FACTS and ORDERS_DASK_COLUMNS the same value, and the file the "
        "same content, everywhere, and start the workers anew."
    )
    assert "is not declared on the client and text from yours on worker a" in str(
        difference(no_columns, {"worker a": other_source})
    )
