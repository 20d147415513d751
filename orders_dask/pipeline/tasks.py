"""The functions that run on the workers, one per task.

Each is idempotent: Dask may run it twice, and it retries transient errors
(:func:`~orders_dask.retry.retry_transient`). Arguments and results are small records. Frames stay
on the worker and in the stage. Secrets never travel with a task, they come from
:func:`~orders_dask.cluster.task_calls.task_settings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from orders_dask.cluster.task_calls import task_settings
from orders_dask.contract.arrow import ORDER_ROW, staged_schemas
from orders_dask.contract.envelopes import parse_envelope
from orders_dask.contract.raw_text import RAW
from orders_dask.errors import SettingsError, StoredObjectChanged
from orders_dask.extract.records import Records, SourceFile, Split
from orders_dask.ledger.queries import database_id
from orders_dask.ledger.replay import replay_identity, replayable
from orders_dask.load.connect import engine, snapshot
from orders_dask.load.copy import load_part
from orders_dask.pipeline.staged_rows import (
    ledger_keys,
    normalise_blocks,
    normalise_replayed,
    rows_to_load,
    superseded_totals,
)
from orders_dask.retry import retry_transient
from orders_dask.settings import Settings
from orders_dask.stage.layout import KEYS, REPLAYED, part_url, replay_url
from orders_dask.stage.ledger_part import LedgerPart
from orders_dask.stage.parts import find_part, use_part
from orders_dask.stage.record import Part
from orders_dask.stage.tables import prefetch_small, read_table, read_tables, row_groups
from orders_dask.stage.write import write_part
from orders_dask.step_metrics import Meter, with_metrics
from orders_dask.transform.resolve import ORDER_ID, PART, drop_superseded, superseded

# The decoder is imported inside of tasks: the client imports this module too, and Numba would cost
# it 58 MB.


@with_metrics
@retry_transient
def decode_normalise_stage(
    meter: Meter,
    split: Split,
    others: Sequence[str],
    stage_url: str,
    run_date: date,
    zone: str,
    record: str | None,
    keep_raw: bool = False,
) -> Part:
    """Return the part of a split: the staged one, or else decode, normalise and stage it.

    Parameters
    ----------
    meter
        Measures the steps.
    split
        The split.
    others
        Names of parts of the same split with other columns.
    stage_url, run_date
        Stage and run date of the part.
    zone
        Time zone of the shop.
    record
        Where the order stands in each record, as ``ORDERS_DASK_RECORD`` has it.
    keep_raw
        Whether the part has to have the raw texts of its records.
    """
    # The name hashes the decoder's version and the columns, so the worker that writes it makes it.
    url = part_url(stage_url, run_date, split, zone, record, keep_raw)
    with meter.step("stage"):
        if part := use_part(url, others, keep_raw):
            return replace(part, columns=())
        from orders_dask.extract.decode.decode import decode_files

        envelope = parse_envelope(record) if record else None
        files, size = _files_of(split)
        decoded = decode_files(files, ZoneInfo(zone), envelope, keep_raw=keep_raw)
        blocks = meter.timed_iter("decode", decoded)
        staged = meter.timed_iter("normalise", normalise_blocks(blocks))
        part = write_part(url, staged, keep_raw)
    meter.add_bytes("decode", size)
    meter.add_bytes("stage", sum(part.bytes.values()))
    return replace(part, columns=())


def _files_of(split: Split) -> tuple[Iterator[tuple[SourceFile, Iterator[Records]]], int]:
    """Return the files of a split with their records, and the bytes that are read."""
    from orders_dask.extract.framing.files import read_files
    from orders_dask.stage.raw import read_raw

    if split.raw_url is None:
        return read_files(split), split.size
    part = find_part(split.raw_url)
    if part is None:
        raise StoredObjectChanged(
            f"{split.raw_url} of the stage was removed: its run date needs its dump now."
        )
    return read_raw(part), part.bytes.get(RAW, 0)


@with_metrics
@retry_transient
def replay_rejects(
    meter: Meter,
    stage_url: str,
    run_date: date,
    load_id: int,
    code: str | None,
    zone: str,
    record: str | None,
) -> Part:
    """Return the part of a load's replayable rejected records: the staged one, or else make it.

    Parameters
    ----------
    meter
        Measures the steps.
    stage_url, run_date
        Stage and run date of the part.
    load_id
        Id of the load that rejected the records.
    code
        Only records with this code; None for all.
    zone
        Time zone of the shop.
    record
        Where the order stands in each record, as ``ORDERS_DASK_RECORD`` has it.
    """
    with meter.step("decode"), snapshot(engine(task_settings())) as connection:
        identity = replay_identity(connection, load_id, code)
        url = replay_url(stage_url, run_date, identity, zone, record)
        if part := use_part(url):
            return replace(part, columns=())
        from orders_dask.extract.decode.replay import replay_records

        records = replayable(connection, load_id, code)
        envelope = parse_envelope(record) if record else None
        replayed = replay_records(records, ZoneInfo(zone), envelope)
        return replace(write_part(url, normalise_replayed(replayed)), columns=())


@with_metrics
@retry_transient
def resolve(
    meter: Meter, parts: Sequence[LedgerPart], ranges: int, number: int
) -> dict[int, list[int]]:
    """Deduplicate the orders of a run date: return the superseded ones, from keys alone.

    Parameters
    ----------
    meter
        Measures the steps.
    parts
        All parts of the run date.
    ranges, number
        Only orders whose id modulo `ranges` is `number`, which bounds the memory of a task.

    Returns
    -------
    dict
        Superseded order rows by the index of the part, for each part that has any.
    """
    with meter.step("resolve"):
        tables = read_tables([part.part for part in parts], KEYS)
        keys, replayed = [], []
        for index, (part, table) in enumerate(zip(parts, tables, strict=True)):
            part_keys = ledger_keys(part, table)
            index_column = pa.repeat(pa.scalar(index, pa.int64()), len(part_keys))
            part_keys = part_keys.append_column(PART, index_column)
            keys.append(_in_range(part_keys, ranges, number))
            if part.part.rows.get(REPLAYED):
                replayed.append(part_keys)
        found = superseded(pa.concat_tables(keys), pa.concat_tables(replayed) if replayed else None)
        rows = found.group_by(PART).aggregate([(ORDER_ROW, "list")])
    return dict(zip(rows[PART].to_pylist(), rows[f"{ORDER_ROW}_list"].to_pylist(), strict=True))


def _in_range(keys: pa.Table, ranges: int, number: int) -> pa.Table:
    if ranges == 1:
        return keys
    order_id = keys[ORDER_ID]
    remainder = pc.subtract(order_id, pc.multiply(pc.divide(order_id, ranges), ranges))
    return keys.filter(pc.equal(remainder, number))


@with_metrics
@retry_transient
def load(
    meter: Meter,
    ledger_part: LedgerPart,
    run_date: date,
    load_id: int,
    database: str,
    superseded: Sequence[int],
) -> int:
    """Load a part without its superseded orders; idempotent by the name of the part.

    Parameters
    ----------
    meter
        Measures the steps.
    ledger_part
        The part, with the ids that the ledger assigned.
    run_date, load_id, database
        The load, and the id of its database.
    superseded
        Order rows of the superseded orders of the part.

    Returns
    -------
    int
        Number of orders of the part that are loaded.

    Raises
    ------
    SettingsError
        This worker has another database than the client.
    """
    settings = task_settings()
    check_database(settings, database)
    part, superseded_rows = ledger_part.part, pa.array(superseded, pa.int64())
    with meter.step("load"):
        prefetched = prefetch_small(part, [KEYS, *staged_schemas()])
        read = partial(row_groups, part, prefetched=prefetched)
        keys = ledger_keys(ledger_part, read_table(part, KEYS, prefetched=prefetched))
        orders = drop_superseded(keys, superseded_rows)
        bytes_sent = load_part(
            engine(settings),
            load_id,
            run_date,
            part.name,
            rows_to_load(ledger_part, [part.name], read, orders, superseded_rows),
            superseded=superseded_totals(read, keys, superseded_rows),
        )
    meter.add_bytes("load", bytes_sent)
    return int(orders.num_rows)


_CHECKED_DATABASES: Final[set[tuple[str, int, str, str]]] = set()
"""Servers and databases of this worker with the ids that were found there."""


def check_database(settings: Settings, expected: str) -> None:
    """Raise unless a worker's database is the client's: names and load ids may be the same."""
    server = settings.pgsql_hostname, settings.pgsql_port, settings.pgsql_database
    if (*server, expected) in _CHECKED_DATABASES:
        return
    if database_id(engine(settings)) != expected:
        raise SettingsError(
            f"Database {settings.pgsql_database} at {settings.pgsql_hostname}:"
            f"{settings.pgsql_port} is not the one of the client: correct the _PGSQL_* settings of "
            "one of them."
        )
    _CHECKED_DATABASES.add((*server, expected))
