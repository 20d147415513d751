"""The steps of a load, in their order.

Each step submits its tasks (:mod:`orders_dask.pipeline.tasks`) and records the results in the
ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from orders_dask.checks.comparison import Finding
from orders_dask.checks.measures import Rows, measure_rows
from orders_dask.checks.run import Checks, check_load, held_message, is_held
from orders_dask.cluster.task_calls import TaskCall
from orders_dask.contract.control_totals import ControlTotals
from orders_dask.contract.schema_drift import Drift
from orders_dask.errors import LoadHeld
from orders_dask.extract.records import Split
from orders_dask.ledger import loads
from orders_dask.ledger.queries import database_id
from orders_dask.pipeline import tasks
from orders_dask.pipeline.load_scope import OpenLoad
from orders_dask.pipeline.reject_limits import check_reject_limits
from orders_dask.pipeline.schema_drift import check_drift, record_drift
from orders_dask.publish.pointer import PublishPlan
from orders_dask.publish.publish import discard_earlier, precompute, publish, seal
from orders_dask.publish.verify import verify
from orders_dask.stage.collect import CollectedParts, collect_parts
from orders_dask.stage.layout import REJECTED, content_of, part_url
from orders_dask.stage.ledger_part import LedgerPart, assign_ids
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.parts import staged_names
from orders_dask.stage.record import Part, merge_files
from orders_dask.stage.tables import read_table

MAX_KEYS_PER_TASK: Final = 1_000_000
"""Keys that one resolve task holds at most, to bound its memory: 5 million took 120 MB."""

MAX_DECODING: Final = 256
"""Decode tasks in flight: enough for a large cluster, and few for its scheduler."""


def decode(load: OpenLoad, splits: Sequence[Split]) -> CollectedParts:
    """Decode, normalise and stage every split that has no part yet.

    The three steps of a split are one task, so frames never travel between workers. The parts are
    in the order of the splits.
    """
    settings = load.context.settings
    stage = settings.stage_url, load.run_date
    reading = settings.shop_timezone, settings.record
    keep_raw = settings.keeps_raw
    staged = staged_names(*stage)

    def call(split: Split) -> TaskCall:
        name = part_url(*stage, split, *reading, keep_raw=keep_raw).rpartition("/")[2]
        others = staged.get(content_of(name), ())
        return TaskCall(str(split), (split, others, *stage, *reading, keep_raw))

    calls = map(call, splits)
    task, step = tasks.decode_normalise_stage, "decode-normalise-stage"
    with load.context.timer.step("decode", len(splits)) as advance:

        def parts() -> Iterator[tuple[int, Part]]:
            for number, part in load.map_tasks(task, calls, step=step, max_in_flight=MAX_DECODING):
                advance(part.orders)
                yield number, part

        return collect_parts(parts())


def resolve_and_load(
    load: OpenLoad, parts: Sequence[Part], drift: Drift, *, manifest: bool = True
) -> dict[str, list[int]]:
    """Record the files of staged parts in the ledger, resolve versions, and load the rest.

    Parameters
    ----------
    load
        The load.
    parts
        Its parts, in the order of the listing.
    drift
        Their schema drift.
    manifest
        Whether to write a manifest, which makes this the latest staged load of the run date.

    Returns
    -------
    dict
        Superseded order rows by the name of the part, for each part that has any.

    Raises
    ------
    DataRefused
        Too many records were rejected, or a file was unreadable, or it has unknown keys and the
        settings refuse them.
    """
    ledger_parts = _record_files(load, parts)
    record_drift(load, drift)
    settings = load.context.settings
    check_reject_limits(load.lease, load.load_id, settings, parts)
    check_drift(load.run_date, settings, drift)
    database = database_id(load.context.database)
    with load.context.timer.step("resolve"):
        superseded = _resolve(load, ledger_parts)
        if manifest:
            content = Manifest(
                database,
                load.load_id,
                [part.name for part in parts],
                superseded,
            )
            write_manifest(settings.stage_url, load.run_date, content)
    with load.context.timer.step("load", len(parts)) as advance:
        calls = (
            TaskCall(
                str(part),
                (ledger_part, load.run_date, load.load_id, database, superseded.get(part.name, [])),
            )
            for part, ledger_part in zip(parts, ledger_parts, strict=True)
        )
        copies = settings.copy_connections
        for _, orders in load.map_tasks(tasks.load, calls, step="load", max_in_flight=copies):
            advance(orders)
    return superseded


def verify_and_publish(
    load: OpenLoad, parts: int, totals: Mapping[str, ControlTotals], checks: Checks
) -> list[Finding]:
    """Seal, verify, check and publish the load; return what is only worth a warning.

    Raises
    ------
    ReconciliationError
        The control totals differ.
    LoadHeld
        A check holds the load.
    """
    seal(load.lease, load.load_id)
    with ThreadPoolExecutor(1) as pool:
        rows = pool.submit(_measure_rows, load)  # meanwhile: it takes as long as to verify
        plan = verify_load(load, parts, totals)
        findings = _check(load, checks, rows)
    with load.context.timer.step("publish"):
        publish(load.lease, load.load_id, plan)
    return findings


def verify_load(load: OpenLoad, parts: int, totals: Mapping[str, ControlTotals]) -> PublishPlan:
    """Reconcile the control totals of a sealed load, and precompute its publish meanwhile.

    Parameters
    ----------
    load
        The load.
    parts
        Number of its parts.
    totals
        Control totals of all that was decoded, by the name of the fact.

    Returns
    -------
    PublishPlan
        What the publish needs to know. It is precomputed in a session of its own, while the load
        is verified: a sealed load doesn't change.

    Raises
    ------
    ReconciliationError
        The control totals differ.
    """
    with load.context.timer.step("verify"), ThreadPoolExecutor(1) as pool:
        plan = pool.submit(precompute, load.context.database, load.run_date, load.load_id)
        verify(load.lease, load.load_id, parts=parts, decoded=totals)
        return plan.result()


def _measure_rows(load: OpenLoad) -> dict[int, Rows]:
    with load.context.database.begin() as connection:
        return measure_rows(connection, {load.run_date: load.load_id})


def _check(load: OpenLoad, checks: Checks, rows: Future[dict[int, Rows]]) -> list[Finding]:
    """Check a verified load before readers see it, and return what is only worth a warning.

    Parameters
    ----------
    load
        The load.
    checks
        The checks.
    rows
        What its rows measure.

    Raises
    ------
    LoadHeld
        A check holds the load.
    """
    with load.context.timer.step("check"):
        findings = check_load(load.lease, load.load_id, checks, rows.result())
    if is_held(findings):
        with load.lease.transaction() as connection:
            discard_earlier(connection, load.run_date, load.load_id)
        raise LoadHeld(held_message(load.load_id, load.run_date, findings, load.replaces))
    return findings


def _record_files(load: OpenLoad, parts: Sequence[Part]) -> list[LedgerPart]:
    """Record files, rejected records and issues; return the parts with ledger ids."""
    lease, load_id = load.lease, load.load_id
    files = merge_files(parts)
    ids = dict(zip(files, loads.record_files(lease, load_id, list(files.values())), strict=True))
    ledger_parts = assign_ids(parts, ids)
    rejected = (p.with_ledger_ids(read_table(p.part, REJECTED)) for p in ledger_parts)
    loads.record_rejected(lease, load_id, rejected)
    issues = ((ids[name], issue) for name, file in files.items() for issue in file.issues)
    loads.record_issues(lease, load_id, issues)
    return ledger_parts


def _resolve(load: OpenLoad, parts: Sequence[LedgerPart]) -> dict[str, list[int]]:
    """Return the superseded order rows by part name, found from keys alone.

    The keys are split by order id into as many tasks as bound the memory of one.
    """
    ranges = 1 + sum(p.part.orders for p in parts) // MAX_KEYS_PER_TASK
    label = f"the keys of {load.run_date}"
    calls = (TaskCall(label, (parts, ranges, number)) for number in range(ranges))
    superseded: dict[str, list[int]] = {}
    for _, found in load.map_tasks(tasks.resolve, calls, step="resolve", max_in_flight=ranges):
        for index, rows in found.items():
            superseded.setdefault(parts[index].part.name, []).extend(rows)
    return superseded
