"""The steps of a run date that the client hands to the workers, and what the ledger keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any, Final

from orders_dask import stage, tasks
from orders_dask.books import Books
from orders_dask.contract.tables import FACTS
from orders_dask.extract.records import Split
from orders_dask.load import ledger
from orders_dask.load.ledger import Lease
from orders_dask.parts import Part, Placed, joined_files, place
from orders_dask.settings import Settings

Calls = Callable[..., Iterator[tuple[int, Any]]]
"""`in_window` with its client and stop."""

KEYS_A_TASK: Final = 5_000_000
"""Keys that one resolve task takes: 5 million took 2 s and 120 MB."""

DECODE_WINDOW: Final = 256
"""Decode tasks submitted at once: enough for a large cluster, and few for a scheduler with 20,000 splits to see."""


def recorded(lease: Lease, load_id: int, parts: Sequence[Part]) -> list[Placed]:
    """Write down the files, what was refused and what was repaired, and give each part its place in the ledger."""
    files = joined_files(parts)
    ids = dict(zip(files, ledger.record_files(lease, load_id, list(files.values())), strict=True))
    placed = place(parts, ids)
    rejected = (p.place(stage.read_table(p.part, stage.REJECTED)) for p in placed)
    ledger.record_rejected(lease, load_id, rejected)
    issues = ((ids[name], issue) for name, file in files.items() for issue in file.issues)
    ledger.record_issues(lease, load_id, issues)
    ledger.record_drift(lease, load_id, sorted({p for f in files.values() for p in f.drift}))
    return placed


def decoded_books(parts: Sequence[Part]) -> dict[str, Books]:
    """Add up what the parts decoded, by fact table."""
    return {
        fact.name: sum((Books.from_json(p.books[fact.name]) for p in parts), Books())
        for fact in FACTS
    }


def decoded(
    calls: Calls,
    splits: Sequence[Split],
    run_date: date,
    settings: Settings,
    ended: Callable[[int], None],
) -> list[Part]:
    """Make the part of every split, or use the one that is there: decode, normalise and stage are one task."""
    zone = settings.shop_timezone
    arguments = [
        (split, stage.part_url(settings.stage_url, run_date, split, zone), zone) for split in splits
    ]
    parts: list[Part | None] = [None] * len(splits)
    step = "decode-normalise-stage"
    for number, part in calls(
        tasks.decode_normalise_stage, arguments, step=step, window=DECODE_WINDOW
    ):
        parts[number] = part
        ended(part.orders)
    return [part for part in parts if part is not None]


def resolved(calls: Calls, placed: Sequence[Placed]) -> dict[int, list[int]]:
    """Find the losers of each part, from keys alone, in as many tasks as bound a task's memory."""
    ranges = 1 + sum(p.part.orders for p in placed) // KEYS_A_TASK
    arguments = [(placed, ranges, number) for number in range(ranges)]
    losers: dict[int, list[int]] = {}
    for _, found in calls(tasks.resolve, arguments, step="resolve", window=ranges):
        for part, rows in found.items():
            losers.setdefault(part, []).extend(rows)
    return losers


def loaded(
    calls: Calls,
    placed: Sequence[Placed],
    losers: dict[int, list[int]],
    run_date: date,
    load_id: int,
    settings: Settings,
    ended: Callable[[int], None],
) -> None:
    """Load every part without its losers."""
    arguments = ((p, run_date, load_id, losers.get(n, [])) for n, p in enumerate(placed))
    for _, orders in calls(tasks.load, arguments, step="load", window=settings.copy_connections):
        ended(orders)
