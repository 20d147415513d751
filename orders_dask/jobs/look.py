"""How a run date stands: what its dump holds now, and what of it is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from hashlib import sha256

from sqlalchemy import Engine

from orders_dask.contract.tables import CONTRACT
from orders_dask.extract.decode import DECODER
from orders_dask.extract.discover import discover
from orders_dask.extract.records import Split
from orders_dask.load.report import LoadStatus, published_load
from orders_dask.results import Clock, Outcome, RunResult
from orders_dask.settings import Settings


def looked(
    run_date: date, settings: Settings, database: Engine, clock: Clock
) -> tuple[list[Split], str, LoadStatus | None]:
    """Discover a run date: its splits, what tells whether they are published already, and what is."""
    with clock.step("discover"):
        splits = discover(settings.source, run_date, settings.block_size)
    return splits, _fingerprint(splits, settings), published_load(database, run_date)


def _fingerprint(splits: Sequence[Split], settings: Settings) -> str:
    """Hash all that decides what a run date's tables hold."""
    files = {file.name: file.etag for split in splits for file in split.files}
    decides = json.dumps([CONTRACT, DECODER, settings.shop_timezone, *files.items()])
    return sha256(decides.encode()).hexdigest()


def standing_result(outcome: Outcome, load: LoadStatus, clock: Clock) -> RunResult:
    """Say how a run date stands, from the ledger."""
    return RunResult(
        load.run_date,
        outcome,
        load_id=load.load_id,
        files=load.files,
        orders=load.orders,
        lines=load.lines,
        superseded=load.superseded,
        rejected=load.rejected,
        seconds=clock.total,
    )
