"""The steps of a load, in their order, and what the ledger keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from orders_dask.cluster.submit import Call
from orders_dask.contract.control_totals import Books
from orders_dask.extract.records import Split
from orders_dask.ledger import loads as ledger
from orders_dask.ledger.queries import installation
from orders_dask.pipeline import tasks
from orders_dask.pipeline.load_scope import Load
from orders_dask.pipeline.reject_limits import admit
from orders_dask.publish.pointer import Foreseen
from orders_dask.publish.publish import foresee, seal
from orders_dask.publish.verify import verify
from orders_dask.stage.collect import gathered
from orders_dask.stage.layout import REJECTED
from orders_dask.stage.ledger_part import Placed, place
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.record import Part, joined_files
from orders_dask.stage.tables import read_table

KEYS_A_TASK: Final = 1_000_000
"""Keys that one resolve task keeps of those of all parts: 5 million took 120 MB, and a worker has some 510 MB from what
it decoded before, of 600."""

DECODE_WINDOW: Final = 256
"""Decode tasks submitted at once: enough for a large cluster, and few for a scheduler with 20,000 splits to see."""


def decode(load: Load, splits: Sequence[Split]) -> tuple[list[Part], dict[str, Books]]:
    """Make the part of every split, or use the one that is there: decode, normalise and stage are one task.

    Returns
    -------
    list of Part
        In the order of the splits, as :func:`~orders_dask.stage.collect.gathered` gives them.
    dict
        The books of all, by fact.
    """
    settings = load.work.settings
    where = settings.stage_url, load.run_date, settings.shop_timezone
    calls = (Call(str(split), (split, *where)) for split in splits)
    task, step = tasks.decode_normalise_stage, "decode-normalise-stage"
    with load.work.clock.step("decode", len(splits)) as ended:

        def made() -> Iterator[tuple[int, Part]]:
            for number, part in load.calls(task, calls, step=step, window=DECODE_WINDOW):
                ended(part.orders)
                yield number, part

        return gathered(made())


def resolve_and_load(
    load: Load, parts: Sequence[Part], *, manifest: bool = True
) -> dict[str, list[int]]:
    """Take staged parts into the storage: written down, admitted, resolved and loaded.

    Parameters
    ----------
    manifest
        Whether this is the load that people find in the stage from now on.

    Returns
    -------
    dict
        For the name of each part that has losers: their order rows.
    """
    placed = _recorded(load, parts)
    admit(load, parts)
    with load.work.clock.step("resolve"):
        losers = _resolved(load, placed)
        if manifest:
            names = [part.name for part in parts]
            of_database = installation(load.work.database)
            made = Manifest(of_database, load.load_id, names, losers)
            write_manifest(load.work.settings.stage_url, load.run_date, made)
    with load.work.clock.step("load", len(placed)) as ended:
        calls = (
            Call(str(part), (where, load.run_date, load.load_id, losers.get(part.name, [])))
            for part, where in zip(parts, placed, strict=True)
        )
        copies = load.work.settings.copy_connections
        for _, orders in load.calls(tasks.load, calls, step="load", window=copies):
            ended(orders)
    return losers


def seal_and_verify(load: Load, parts: int, books: Mapping[str, Books]) -> Foreseen:
    """See to it that nothing can be copied into the load any more, and that its books balance.

    Parameters
    ----------
    parts
        How many it has.
    books
        Of all that was decoded, by fact.

    Returns
    -------
    Foreseen
        What its publish found out meanwhile, in a session of its own: a sealed load doesn't change.
    """
    with load.work.clock.step("verify"), ThreadPoolExecutor(1) as beside:
        seal(load.lease, load.load_id)
        foreseen = beside.submit(foresee, load.work.database, load.run_date, load.load_id)
        verify(load.lease, load.load_id, parts=parts, decoded=books)
        return foreseen.result()


def _recorded(load: Load, parts: Sequence[Part]) -> list[Placed]:
    """Write down the files, what was refused and what was repaired, and give each part its place in the ledger."""
    lease, load_id = load.lease, load.load_id
    files = joined_files(parts)
    ids = dict(zip(files, ledger.record_files(lease, load_id, list(files.values())), strict=True))
    placed = place(parts, ids)
    rejected = (p.place(read_table(p.part, REJECTED)) for p in placed)
    ledger.record_rejected(lease, load_id, rejected)
    issues = ((ids[name], issue) for name, file in files.items() for issue in file.issues)
    ledger.record_issues(lease, load_id, issues)
    ledger.record_drift(lease, load_id, sorted({p for f in files.values() for p in f.drift}))
    return placed


def _resolved(load: Load, placed: Sequence[Placed]) -> dict[str, list[int]]:
    """Find the losers of each part, from keys alone, in as many tasks as bound a task's memory."""
    ranges = 1 + sum(p.part.orders for p in placed) // KEYS_A_TASK
    about = f"the keys of {load.run_date}"
    calls = (Call(about, (placed, ranges, number)) for number in range(ranges))
    losers: dict[str, list[int]] = {}
    for _, found in load.calls(tasks.resolve, calls, step="resolve", window=ranges):
        for part, rows in found.items():
            losers.setdefault(placed[part].part.name, []).extend(rows)
    return losers
