"""dlt: its filesystem source, flattened to the same columns, into PostgreSQL.

``csv``, by COPY, is the fastest file format of the loader. Types are given, so nothing is inferred,
and a process a core normalises."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Final

import dlt
from dlt.sources.filesystem import filesystem
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, Numeric, Text

from orders_dask.settings import Settings
from tests.benchmarks.contenders import target
from tests.benchmarks.contenders.flat import flattened
from tests.benchmarks.dump import RUN_DATE

TARGET = target.RIVAL

ORDERS = 1_000
"""Orders in an item of the source: dlt is faster on lists than on single rows."""

_TYPES: Final[Mapping[type[object], dict[str, object]]] = {
    BigInteger: {"data_type": "bigint"},
    Integer: {"data_type": "bigint"},
    Numeric: {"data_type": "decimal", "precision": 22, "scale": 4},
    DateTime: {"data_type": "timestamp"},
    Date: {"data_type": "date"},
    Boolean: {"data_type": "bool"},
    Text: {"data_type": "text"},
}


@contextmanager
def ready(settings: Settings) -> Iterator[Callable[[], object]]:
    """Configure the pipeline, and yield its run."""
    os.environ |= {
        "NORMALIZE__WORKERS": str(os.cpu_count()),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DESTINATION__POSTGRES__CREATE_INDEXES": "true",
    }
    password = settings.pgsql_pass.get_secret_value()
    url = (
        f"postgresql://{settings.pgsql_user}:{password}@{settings.pgsql_hostname}:"
        f"{settings.pgsql_port}/{settings.pgsql_database}"
    )
    with TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "rival", folder, destination=dlt.destinations.postgres(url), dataset_name=TARGET
        )
        yield lambda: pipeline.run(
            _source(settings.source.format(run_date=RUN_DATE)), loader_file_format="csv"
        )


def _source(url: str) -> Any:
    credentials = {
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL_S3"],
    }
    found = filesystem(bucket_url=url, file_glob="*", credentials=credentials)
    hints = [
        dlt.mark.make_hints(
            table_name=table.name,
            primary_key=[column.name for column in table.primary_key],
            columns={
                c.name: _TYPES[type(c.type)] | {"nullable": bool(c.nullable)} for c in table.c
            },
        )
        for table in target.TABLES
    ]

    def rows(items: Any) -> Iterator[Any]:
        for item in items:
            with item.open() as text:
                batch = []
                for line in text:
                    batch.append(flattened(json.loads(line)))
                    if len(batch) == ORDERS:
                        yield from marked(batch)
                        batch = []
                yield from marked(batch)

    def marked(batch: list[Any]) -> Iterator[Any]:
        kinds = [row for row, _ in batch], [line for _, lines in batch for line in lines]
        for hint, of_table in zip(hints, kinds, strict=True):
            yield dlt.mark.with_hints(of_table, hint, create_table_variant=True)

    return found | dlt.transformer(rows, name="rows")
