"""DuckDB with all facts that are on, and not with orders and lines alone."""

from __future__ import annotations

from functools import partial

from orders_dask.contract.order_tables import FACTS
from tests.benchmarks.contenders import with_duckdb

TARGET = with_duckdb.TARGET

ready = partial(with_duckdb.ready, facts=FACTS)
