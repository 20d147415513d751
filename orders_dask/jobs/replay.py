"""Rejected records of a published run date are read again, and what is good now is published with the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain
from typing import Any, Final
from uuid import uuid4

from distributed import Client
from sqlalchemy import Connection, Engine

from orders_dask.cluster.connect import resolve_client
from orders_dask.cluster.submit import TaskCall, map_bounded
from orders_dask.contract.arrow import ORDER_ROW
from orders_dask.errors import NothingToRestore, SourceMissing
from orders_dask.jobs.inspect import inspect_run_date, result_from_ledger
from orders_dask.ledger import leases
from orders_dask.ledger import replay as rejected
from orders_dask.ledger.queries import (
    LoadStatus,
    database_id,
    latest_refused_after,
    load_status,
    loaded_parts,
    published_load,
)
from orders_dask.load.schema import ready_database
from orders_dask.pipeline import steps, tasks
from orders_dask.pipeline.load_scope import OpenLoad, RunContext, open_load
from orders_dask.pipeline.progress import Listener, StepTimer, no_progress
from orders_dask.pipeline.results import ReplayResult
from orders_dask.publish.publish import publish
from orders_dask.retry import retry_run, retry_transient
from orders_dask.settings import Settings, load_settings
from orders_dask.stage.collect import collect_parts
from orders_dask.stage.layout import REJECTED, REPLAYED, run_date_folder
from orders_dask.stage.manifest import load_manifest
from orders_dask.stage.parts import find_parts
from orders_dask.stage.record import Part
from orders_dask.stage.tables import row_groups

OUTCOMES_PER_STATEMENT: Final = 10_000
"""Records whose results are written down by one statement."""


def replay(
    run_date: date,
    code: str | None = None,
    *,
    settings: Settings | None = None,
    client: Client | None = None,
    listener: Listener | None = None,
) -> ReplayResult:
    """Read the rejected records of a published run date again, and publish those that are good now.

    After a fix of the contract, or of the records' texts (``orders_ops.rejected_record.corrected_raw``).
    They are read from the ledger and all else from the stage, so the dump may be gone. They take
    part as if they had always been good: another version of the same order may win against them. Of
    a rejected child the whole order is read again, and takes its former self's place; where neither
    its text was mended nor any of its rejected children is good now, it is left alone. The ledger
    says of each record what became of it. The new load counts as the same files, so that a run of
    unchanged ones leaves it alone; one that is forced, or finds other files, reads the files again
    and so without what was mended.

    Parameters
    ----------
    run_date
        The date of the dump.
    code
        Only records with this code, and orders with such a child; all by default.
    settings, client, listener
        As in :func:`orders_dask.run`.

    Returns
    -------
    ReplayResult
        How many records were taken in, and how many are still rejected, and why.

    Raises
    ------
    NotKept
        Nothing is published for the run date, a later load of it was refused, or its parts are not
        in the stage any more.
    DataRefused
        A setting refuses what is published and what was taken in together, or the books don't
        balance. What was published before stands.
    TransientError
        A service can't be reached, or another run holds the run date.
    """
    settings = settings or load_settings()
    return retry_run(_replay)(
        run_date,
        code,
        settings,
        resolve_client(client, settings),
        ready_database(settings),
        listener or no_progress,
    )


@dataclass
class ReplayTally:
    """What became of the records that were read again.

    Attributes
    ----------
    taken
        Number of those that are orders now, or children of one.
    superseded
        Number of these that another version of their order replaces.
    still_rejected
        Number of those that are rejected still, by code or reason.
    orders_read
        File and position of each order that was read.
    """

    taken: int
    superseded: int
    still_rejected: Counter[str]
    orders_read: set[tuple[int, int]]


def _replay(
    run_date: date,
    code: str | None,
    settings: Settings,
    client: Client,
    database: Engine,
    listener: Listener,
) -> ReplayResult:
    timer = StepTimer(run_date, listener)
    context = RunContext(settings, client, database, timer)
    published = _replayable(context, run_date)
    part = _make_replay_part(context, published, code)
    if part and part.orders:
        parts, books = collect_parts(enumerate(chain([part], _staged_parts(context, published))))
        with open_load(
            context,
            run_date,
            published,
            published.fingerprint,
            inherits_texts_from=published.load_id,
            status_if_refused="failed",
        ) as load:
            losers = steps.resolve_and_load(load, parts)
            story = _record_replay(
                load, published, part, code, frozenset(losers.get(part.name, ()))
            )
            foreseen = steps.seal_and_verify(load, len(parts), books)
            with timer.step("publish"):
                publish(load.lease, load.load_id, foreseen)
            ended = retry_transient(load_status)(database, load.load_id)
        stands = result_from_ledger("published", ended, timer)
    else:
        with leases.acquire_lease(database, run_date) as lease, lease.transaction() as connection:
            story = _record_outcomes(connection, published.load_id, part, code, None, frozenset())
        stands = result_from_ledger("up_to_date", published, timer)
    return ReplayResult(run_date, story.taken, story.superseded, dict(story.still_rejected), stands)


def _replayable(context: RunContext, run_date: date) -> LoadStatus:
    """Give the published load whose rejected records are to be read again."""
    standing = published_load(context.database, run_date)
    if standing is None:
        raise NothingToRestore(
            f"Nothing is published for {run_date} that rejected records could be added to: mend the files, and give "
            f"`orders-dask run --run-date {run_date}`."
        )
    later = latest_refused_after(context.database, standing)
    if later and _has_other_files(context, standing):
        raise NothingToRestore(
            f"Load {later} of {run_date} came after what is published, and was refused as a whole: mend the files, and "
            f"give `orders-dask run --run-date {run_date}`."
        )
    return standing


def _has_other_files(context: RunContext, published: LoadStatus) -> bool:
    """Say whether the dump is another one now than what is published; one that is gone is not."""
    try:
        _, fingerprint, _ = inspect_run_date(
            published.run_date, context.settings, context.database, context.timer
        )
    except SourceMissing:
        return False
    return fingerprint != published.fingerprint


def _make_replay_part(context: RunContext, published: LoadStatus, code: str | None) -> Part | None:
    """Make the part of the records that can be read, on a worker; nothing is written down of it yet."""
    run_date, settings = published.run_date, context.settings
    with context.database.connect() as connection:
        if not rejected.has_replayable(connection, published.load_id, code):
            return None
    arguments = settings.stage_url, run_date, published.load_id, code, settings.shop_timezone
    calls = [TaskCall(f"the rejected records of {run_date}", arguments)]
    with context.timer.step("decode") as ended:
        ((_, (part, costs)),) = map_bounded(
            context.client,
            tasks.replay_rejects,
            calls,
            step="read-again",
            key_suffix=f"{published.load_id}-{uuid4().hex[:8]}",
            max_in_flight=1,
            stop=context.stop,
        )
        context.timer.meter.add(costs)
        ended(part.orders)
    assert isinstance(part, Part)
    return part


def _staged_parts(context: RunContext, published: LoadStatus) -> Iterator[Part]:
    """Find the parts of a published load, in the order of its listing.

    Without what they refused: that stands in the ledger, where it may have been mended or removed
    since, and is carried over from there.
    """
    stage_url, run_date = context.settings.stage_url, published.run_date
    of_database = database_id(context.database)
    loaded = loaded_parts(context.database, published.load_id)
    manifest = load_manifest(stage_url, run_date, of_database, published.load_id, loaded)
    if manifest is None:
        raise _not_staged(published, "its manifest is")
    folder = run_date_folder(stage_url, run_date)
    found = find_parts(f"{folder}/{name}" for name in manifest.parts)
    missing = 0
    for part in found:
        if part is None:
            missing += 1
        else:
            yield replace(part, rows={n: rows for n, rows in part.rows.items() if n != REJECTED})
    if missing:
        raise _not_staged(published, f"{missing} of its parts are")


def _not_staged(published: LoadStatus, what: str) -> NothingToRestore:
    return NothingToRestore(
        f"Load {published.load_id} of {published.run_date} can't be made again with more records, for "
        f"{what} not in the stage any more: mend the files, and give `orders-dask run --force "
        f"--run-date {published.run_date}`."
    )


def _record_replay(
    load: OpenLoad, published: LoadStatus, part: Part, code: str | None, superseded: frozenset[int]
) -> ReplayTally:
    """Write down what became of each record, and for the new load those that are still rejected."""
    with load.lease.transaction() as connection:
        story = _record_outcomes(
            connection, published.load_id, part, code, load.load_id, superseded
        )
        rejected.copy_remaining(connection, published.load_id, story.orders_read, load.load_id)
    return story


def _record_outcomes(
    connection: Connection,
    load_id: int,
    part: Part | None,
    code: str | None,
    replay_load_id: int | None,
    superseded: frozenset[int],
) -> ReplayTally:
    """Write down what became of each record of a load that was asked for."""
    still = Counter(rejected.mark_unreplayable(connection, load_id, code, replay_load_id))
    story = ReplayTally(0, 0, still, set())
    for table in row_groups(part, REPLAYED) if part else ():
        for batch in table.to_batches(max_chunksize=OUTCOMES_PER_STATEMENT):
            rows = batch.to_pylist()
            results = [
                (r["file_id"], r["position"], r["path"], _outcome_text(r, superseded)) for r in rows
            ]
            rejected.record_outcomes(connection, load_id, results, replay_load_id)
            good = [r for r in rows if r["code"] is None]
            story.taken += len(good)
            story.superseded += sum(r[ORDER_ROW] in superseded for r in good)
            story.still_rejected.update(r["code"] for r in rows if r["code"] is not None)
            story.orders_read.update(
                (r["file_id"], r["position"]) for r in rows if r[ORDER_ROW] is not None
            )
    return story


def _outcome_text(outcome: dict[str, Any], superseded: frozenset[int]) -> str:
    """Say what became of a record."""
    if outcome["code"] is not None:
        return f"still {outcome['code']}: {outcome['message']}"
    if outcome[ORDER_ROW] in superseded:
        return f"lost to another version of order {outcome['order_id']}"
    return f"taken in {'with' if outcome['path'] else 'as'} order {outcome['order_id']}"
