"""The steps of a load, in their order, and what the ledger keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from orders_dask.cluster.submit import TaskCall
from orders_dask.contract.control_totals import ControlTotals
from orders_dask.extract.records import Split
from orders_dask.ledger import loads as ledger
from orders_dask.ledger.queries import database_id
from orders_dask.pipeline import tasks
from orders_dask.pipeline.load_scope import OpenLoad
from orders_dask.pipeline.reject_limits import check_reject_limits
from orders_dask.publish.pointer import PublishPlan
from orders_dask.publish.publish import precompute, seal
from orders_dask.publish.verify import verify
from orders_dask.stage.collect import collect_parts
from orders_dask.stage.layout import REJECTED
from orders_dask.stage.ledger_part import LedgerPart, assign_ids
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.record import Part, merge_files
from orders_dask.stage.tables import read_table

MAX_KEYS_PER_TASK: Final = 1_000_000
"""Keys that one resolve task keeps of those of all parts: 5 million took 120 MB, and a worker has
some 510 MB from what it decoded before, of 600."""

MAX_DECODING: Final = 256
"""Decode tasks submitted at once: enough for a large cluster, and few for a scheduler with 20,000 splits to see."""


def decode(load: OpenLoad, splits: Sequence[Split]) -> tuple[list[Part], dict[str, ControlTotals]]:
    """Make the part of every split, or use the one that is there: decode, normalise and stage are one task.

    Returns
    -------
    list of Part
        In the order of the splits, as :func:`~orders_dask.stage.collect.collect_parts` gives them.
    dict
        The books of all, by fact.
    """
    settings = load.context.settings
    where = settings.stage_url, load.run_date, settings.shop_timezone
    calls = (TaskCall(str(split), (split, *where)) for split in splits)
    task, step = tasks.decode_normalise_stage, "decode-normalise-stage"
    with load.context.timer.step("decode", len(splits)) as ended:

        def made() -> Iterator[tuple[int, Part]]:
            for number, part in load.map_tasks(task, calls, step=step, max_in_flight=MAX_DECODING):
                ended(part.orders)
                yield number, part

        return collect_parts(made())


def resolve_and_load(
    load: OpenLoad, parts: Sequence[Part], *, manifest: bool = True
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
    placed = _record_files(load, parts)
    check_reject_limits(load, parts)
    with load.context.timer.step("resolve"):
        losers = _resolve(load, placed)
        if manifest:
            names = [part.name for part in parts]
            of_database = database_id(load.context.database)
            made = Manifest(of_database, load.load_id, names, losers)
            write_manifest(load.context.settings.stage_url, load.run_date, made)
    with load.context.timer.step("load", len(placed)) as ended:
        calls = (
            TaskCall(str(part), (where, load.run_date, load.load_id, losers.get(part.name, [])))
            for part, where in zip(parts, placed, strict=True)
        )
        copies = load.context.settings.copy_connections
        for _, orders in load.map_tasks(tasks.load, calls, step="load", max_in_flight=copies):
            ended(orders)
    return losers


def seal_and_verify(load: OpenLoad, parts: int, totals: Mapping[str, ControlTotals]) -> PublishPlan:
    """See to it that nothing can be copied into the load any more, and that its books balance.

    Parameters
    ----------
    parts
        How many it has.
    totals
        Of all that was decoded, by fact.

    Returns
    -------
    Foreseen
        What its publish found out meanwhile, in a session of its own: a sealed load doesn't change.
    """
    with load.context.timer.step("verify"), ThreadPoolExecutor(1) as beside:
        seal(load.lease, load.load_id)
        plan = beside.submit(precompute, load.context.database, load.run_date, load.load_id)
        verify(load.lease, load.load_id, parts=parts, decoded=totals)
        return plan.result()


def _record_files(load: OpenLoad, parts: Sequence[Part]) -> list[LedgerPart]:
    """Write down the files, what was refused and what was repaired, and give each part its place in the ledger."""
    lease, load_id = load.lease, load.load_id
    files = merge_files(parts)
    ids = dict(zip(files, ledger.record_files(lease, load_id, list(files.values())), strict=True))
    placed = assign_ids(parts, ids)
    rejected = (p.with_ledger_ids(read_table(p.part, REJECTED)) for p in placed)
    ledger.record_rejected(lease, load_id, rejected)
    issues = ((ids[name], issue) for name, file in files.items() for issue in file.issues)
    ledger.record_issues(lease, load_id, issues)
    ledger.record_drift(lease, load_id, sorted({p for f in files.values() for p in f.drift}))
    return placed


def _resolve(load: OpenLoad, placed: Sequence[LedgerPart]) -> dict[str, list[int]]:
    """Find the losers of each part, from keys alone, in as many tasks as bound a task's memory."""
    ranges = 1 + sum(p.part.orders for p in placed) // MAX_KEYS_PER_TASK
    about = f"the keys of {load.run_date}"
    calls = (TaskCall(about, (placed, ranges, number)) for number in range(ranges))
    losers: dict[str, list[int]] = {}
    for _, found in load.map_tasks(tasks.resolve, calls, step="resolve", max_in_flight=ranges):
        for part, rows in found.items():
            losers.setdefault(placed[part].part.name, []).extend(rows)
    return losers
