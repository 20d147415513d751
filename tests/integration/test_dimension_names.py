"""`orders-dask dimensions load`: names that no order has."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from orders_dask.errors import SettingsError
from orders_dask.extract.names_file import read_names
from orders_dask.jobs.dimension_names import load_names
from orders_dask.jobs.rollback import rollback
from orders_dask.settings import Settings
from tests.support.loads import published
from tests.support.types import Query

DAY = date(2017, 10, 30)
ORDER = {"order_id": 1, "location_id": 7, "user_id": 8, "app_id": 9}
OF_ORDER = {
    name: [{key: ORDER[key]}]
    for name, key in (
        ("dim_location", "location_id"),
        ("dim_user", "user_id"),
        ("dim_app", "app_id"),
    )
}

REST = {"locations": [{"id": 7, "name": "Kreuzberg", "city": "Berlin", "country_code": "DE"}]}
GRAPHQL = {
    "data": {
        "locations": {
            "nodes": [
                {
                    "id": "gid://shopify/Location/7",
                    "name": "Kreuzberg",
                    "address": {"city": "Berlin", "countryCode": "DE"},
                }
            ]
        },
        "appInstallations": {
            "edges": [
                {
                    "node": {
                        "id": "gid://x/Y/1",
                        "app": {"id": "gid://shopify/App/9", "title": "Till"},
                    }
                }
            ]
        },
    }
}
USERS = {"users": [{"id": 8, "first_name": "Ana", "last_name": "Lima"}]}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: Any, name: str = "names") -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_names_reach_the_dimensions_before_and_after_the_orders(
    before: bool, write: Any, warehouse: Engine, settings: Settings, query: Query
) -> None:
    def load_all() -> None:
        assert load_names(write(GRAPHQL)) == {"dim_location": 1, "dim_app": 1}
        assert load_names(write(USERS)) == {"dim_user": 1}

    if before:
        load_all()
    published(warehouse, DAY, {"fact_order": [ORDER], **OF_ORDER})
    if not before:
        load_all()
    names = "select name, city, country_code from orders.dim_location"
    assert query(names) == [("Kreuzberg", "Berlin", "DE")]
    assert query("select name from orders.dim_user") == [("Ana Lima",)]
    assert query("select name from orders.dim_app") == [("Till",)]
    load_names(write("location_id,name\n7,Mitte\n"))
    assert query(names) == [("Mitte", "Berlin", "DE")], "a CSV without city leaves it"
    rollback(DAY, settings=settings)
    assert query(names) == []
    published(warehouse, DAY + timedelta(days=1), {"fact_order": [ORDER], **OF_ORDER})
    assert query(names) == [("Mitte", "Berlin", "DE")], "names outlive their orders"


def test_rest_and_graphql_give_the_same_names(write: Any) -> None:
    of_rest, of_graphql = read_names(write(REST)), read_names(write(GRAPHQL))
    [location] = of_rest
    assert of_rest[location] == of_graphql[location]


def test_all_lists_of_a_dimension_count(write: Any) -> None:
    of_staff = {"staffMembers": [{"id": "gid://shopify/StaffMember/9", "name": "Bo"}]}
    [rows] = read_names(write(USERS | of_staff)).values()
    assert [row["name"] for row in rows] == ["Ana Lima", "Bo"]


@pytest.mark.parametrize(
    "content",
    ['{"apps": [{"id": 9, "title": "T\\u0000ill\\ud800"}]}', "app_id,name\n9,T\0ill\ufffd\n"],
    ids=["JSON", "CSV"],
)
def test_what_postgres_can_not_store_is_replaced(
    content: str, write: Any, warehouse: Engine, settings: Settings, query: Query
) -> None:
    load_names(write(content))
    assert query("select name from orders_store.dim_app_names") == [("T\ufffdill\ufffd",)]


def test_a_file_of_many_names_is_loaded(
    write: Any, warehouse: Engine, settings: Settings, query: Query
) -> None:
    rows = "".join(f"{n},Till {n}\n" for n in range(1, 5_001))
    assert load_names(write("app_id,name\n" + rows)) == {"dim_app": 5_000}
    assert query("select count(distinct name) from orders_store.dim_app_names") == [(5_000,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a":' * 3_000 + "1" + "}" * 3_000, "is no JSON"),
        ({"customers": [{"id": 1}]}, "has none of the lists users, staffMembers, locations"),
        ({"locations": [{"name": "x"}]}, r"locations\[0\] has no id of digits"),
        ({"locations": [{"id": 1.5}]}, r"locations\[0\] has no id of digits"),
        ({"locations": ["x"]}, r"locations\[0\] has no id of digits"),
        ("a,b\n1,2\n", "doesn't name the columns of one of: user_id and name, location_id"),
        ("user_id,name\nx,Ana\n", "line 2 has no id of digits"),
        ("user_id\n1\n", "doesn't name the columns"),
        ("user_id,location_id,name\n1,2,x\n", "doesn't name the columns"),
        ('user_id,name\n1,"Ana\n2,Ben\n', "is no CSV"),
        ({"apps": [{"id": "gid://x/AppInstallation/1"}]}, "id of AppInstallation, not of App:"),
        ("user_id,name\n1," + "x" * 200_000, "is no CSV"),
    ],
)
def test_a_file_that_has_no_names_is_one_sentence(write: Any, content: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_names(write(content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"There is no file .*/no"):
        read_names(str(tmp_path / "no"))


def test_a_name_that_is_no_text_is_none(write: Any) -> None:
    [rows] = read_names(write({"apps": [{"id": 1, "name": {"text": "x"}}]})).values()
    assert [row["name"] for row in rows] == [None]


def test_the_last_of_several_records_of_an_id_counts(write: Any) -> None:
    [rows] = read_names(write("app_id,name\n1,a\n2,b\n1,c\n")).values()
    assert {row["app_id"]: row["name"] for row in rows} == {1: "c", 2: "b"}
