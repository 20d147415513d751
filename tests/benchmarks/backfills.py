"""Timed backfills into a new database. Needs no rival, since CI's guard has none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from statistics import median
from typing import Any, Final
from uuid import uuid4

from distributed import Client
from psycopg2 import sql

from orders_dask.jobs.backfill import backfill
from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.sandbox import sandbox
from orders_dask.settings import Settings, load_settings, without_service_variables
from orders_dask.synthetic import generate
from tests.support.services import administer

FIRST: Final = date(2026, 1, 1)


def beside_one_date(dates: int, orders: int, rounds: int) -> float:
    """Return the time of small run dates beside that of one run date of all of their orders.

    This process does all, without a cluster. The first round, which imports everything, is left out.
    """
    few: list[float] = []
    one: list[float] = []
    with sandbox() as box:
        os.environ |= without_service_variables(os.environ) | box.environment
        bucket = box.environment["_AWS_S3_URL_SOURCE"]
        made = partial(generate, start=FIRST, compression="gzip", duplicates=0.0)
        small = made(f"{bucket}small/", days=dates, orders=orders).source
        large = made(f"{bucket}large/", days=1, orders=dates * orders).source
        for _ in range(rounds + 1):
            last = FIRST + timedelta(dates - 1)
            few.append(loaded(box.environment, small, (FIRST, last), None)["seconds"])
            one.append(loaded(box.environment, large, (FIRST, FIRST), None)["seconds"])
    return median(few[1:]) / median(one[1:])


@contextmanager
def timed(found: dict[str, Any]) -> Iterator[None]:
    """Add the seconds that the block takes."""
    began = time.monotonic()
    yield
    found["seconds"] = time.monotonic() - began


def loaded(
    environment: dict[str, str], source: str, dates: tuple[date, date], client: Client | None
) -> dict[str, Any]:
    """Return seconds, published dates and orders of one backfill."""
    settings, found = fresh(environment, source), dict[str, Any]()
    with timed(found):
        results = backfill(*dates, settings=settings, client=client)
    published = [each for each in results if each.outcome == "published"]
    assert {each.outcome for each in results} <= {"published", "missing"}, results
    return found | {"dates": len(published), "orders": sum(each.orders for each in published)}


def fresh(environment: dict[str, str], source: str) -> Settings:
    """Return the settings of a new database and stage."""
    name = f"bench_{uuid4().hex}"
    create = sql.SQL("create database {}").format(sql.Identifier(name))
    administer(environment, create, sql.SQL("checkpoint"))
    stage = f"{environment['_AWS_S3_URL_SOURCE']}stage/{name}/"
    settings = load_settings(source=source).model_copy(
        update={"pgsql_database": name, "stage_url": stage}
    )
    initialise(engine(settings))
    return settings
