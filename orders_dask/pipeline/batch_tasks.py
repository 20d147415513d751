"""The task that takes several run dates of little data from their dumps into the storage.

What it decodes it loads, while it is in memory: one task, one transaction and few requests for all
of them. It is idempotent, and retries transient errors, as the tasks of
:mod:`orders_dask.pipeline.tasks` are and do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlalchemy import Connection, Engine

from orders_dask.cluster.task_calls import task_settings
from orders_dask.contract.envelopes import parse_envelope
from orders_dask.extract.records import Records, SourceFile, Split
from orders_dask.load.connect import engine
from orders_dask.load.copy import LoadingPart, PartRows, load_parts
from orders_dask.pipeline.batch_files import record_decoded
from orders_dask.pipeline.batch_rows import Batch
from orders_dask.pipeline.reject_limits import Limits
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.pipeline.tasks import check_database
from orders_dask.retry import retry_transient
from orders_dask.stage.layout import part_url
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.record import Part, StagedBlock
from orders_dask.stage.write import write_part
from orders_dask.step_metrics import Meter, with_metrics

MAX_BATCH_BYTES: Final = 128 << 20
"""Bytes of Arrow tables of a batch in memory: small files may become large when they are read."""

STAGE_THREADS: Final = 4
"""Dates that are staged at once, while others are decoded: the latency of requests counts."""


class DateToLoad(NamedTuple):
    """A run date that is loaded together with others.

    Attributes
    ----------
    run_date, load_id
        The date and its load, which is ``loading``.
    split
        All of its dump.
    """

    run_date: date
    load_id: int
    split: Split


class Reading(NamedTuple):
    """How dumps are read and staged: settings of the client, and the id of its database."""

    stage_url: str
    zone: str
    record: str | None
    keep_raw: bool
    database: str
    limits: Limits


@dataclass(frozen=True)
class LoadedDate:
    """What became of a run date.

    Attributes
    ----------
    part
        Its part.
    is_loaded
        Whether its rows were copied: not if too much of it was rejected.
    """

    part: Part
    is_loaded: bool


@with_metrics
@retry_transient
def load_dates(
    meter: Meter, dates: Sequence[DateToLoad], reading: Reading
) -> list[LoadedDate] | None:
    """Decode, normalise, stage, resolve and load run dates of little data.

    Files, rejected records and issues are written to the ledger in the transaction that copies the
    rows. Of a date that exceeds a limit these are written alone.

    Parameters
    ----------
    meter
        Measures the steps.
    dates
        The run dates.
    reading
        How their dumps are read.

    Returns
    -------
    list of LoadedDate or None
        What became of each; None if they are larger than they looked, and nothing was done.

    Raises
    ------
    SettingsError
        This worker has another database than the client.
    """
    settings = task_settings()
    check_database(settings, reading.database)
    batch = _decode(meter, dates, reading)
    if batch is None:
        return None
    with meter.step("resolve"):
        superseded = batch.superseded
    with meter.step("stage"), ThreadPoolExecutor(STAGE_THREADS) as pool:
        stage = partial(_stage, batch, reading)
        parts = list(pool.map(stage, range(len(dates)), dates, superseded))
    with meter.step("load"):
        allowed = [reading.limits.allow(part) for part in parts]
        sent = _load(engine(settings), dates, batch, parts, allowed)
    meter.add_bytes("decode", sum(each.split.size for each in dates))
    meter.add_bytes("stage", sum(sum(part.bytes.values()) for part in parts))
    meter.add_bytes("load", sent)
    return [LoadedDate(*each) for each in zip(parts, allowed, strict=True)]


def _decode(meter: Meter, dates: Sequence[DateToLoad], reading: Reading) -> Batch | None:
    """Decode and normalise all dumps; return None if they are too large."""
    from orders_dask.extract.decode.decode import decode_files
    from orders_dask.extract.framing.files import read_files
    from orders_dask.extract.source.object_store import prefetch_small

    date_of_file: list[int] = []

    def files() -> Iterator[tuple[SourceFile, Iterator[Records]]]:
        for zip_url, numbers in groupby(range(len(dates)), lambda n: _zip_of(dates[n].split)):
            if zip_url is None:
                splits = {number: dates[number].split for number in numbers}
                fetched = prefetch_small(splits.values())
                for number, split in splits.items():
                    for file in read_files(split, fetched):
                        date_of_file.append(number)
                        yield file
                continue
            # A zip is opened once for all dates that are in it.
            members = [(number, file) for number in numbers for file in dates[number].split.files]
            read = read_files(Split(tuple(file for _, file in members)))
            for (number, _), file in zip(members, read, strict=True):
                date_of_file.append(number)
                yield file

    envelope = parse_envelope(reading.record) if reading.record else None
    decoded = decode_files(files(), ZoneInfo(reading.zone), envelope, keep_raw=reading.keep_raw)
    staged = normalise_blocks(meter.timed_iter("decode", decoded), names_repeat=True)
    blocks: list[StagedBlock] = []
    left = MAX_BATCH_BYTES
    for block in meter.timed_iter("normalise", staged):
        blocks.append(block)
        left -= sum(table.nbytes for table in block.tables.values())
        if left < 0:
            return None
    return Batch(blocks, date_of_file, len(dates))


def _zip_of(split: Split) -> str | None:
    """Return the zip of which a split has members; None if it has other files too."""
    are_members = all(file.member is not None for file in split.files)
    return split.files[0].url if are_members else None


def _stage(
    batch: Batch, reading: Reading, number: int, each: DateToLoad, superseded: pa.Array
) -> Part:
    """Write the part of a run date and its manifest."""
    url = part_url(
        reading.stage_url, each.run_date, each.split, reading.zone, reading.record, reading.keep_raw
    )
    part = write_part(url, [batch.block_of(number)], reading.keep_raw)
    superseded_of = {part.name: superseded.to_pylist()} if len(superseded) else {}
    manifest = Manifest(reading.database, each.load_id, [part.name], superseded_of)
    write_manifest(reading.stage_url, each.run_date, manifest)
    return replace(part, columns=())


def _load(
    database: Engine,
    dates: Sequence[DateToLoad],
    batch: Batch,
    parts: Sequence[Part],
    allowed: Sequence[bool],
) -> int:
    """Load the rows of all dates in one transaction, and write their files to the ledger."""
    loading = [
        LoadingPart(each.load_id, each.run_date, part.name)
        for each, part in zip(dates, parts, strict=True)
    ]

    def rows(connection: Connection) -> PartRows:
        rejected = [batch.rejected_of(number) for number in range(len(dates))]
        ids = record_decoded(connection, [each.load_id for each in dates], parts, rejected)
        tables = batch.rows_to_load([part.name for part in parts], ids, allowed)
        totals = [
            batch.superseded_totals(number, part) if is_allowed else {}
            for number, (part, is_allowed) in enumerate(zip(ids, allowed, strict=True))
        ]
        return PartRows(sorted(tables, key=itemgetter(0)), totals)

    return load_parts(database, loading, rows)
