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

from orders_dask.cluster.connect import usable_client
from orders_dask.cluster.submit import Call, in_window
from orders_dask.contract.arrow import ORDER_ROW
from orders_dask.errors import NotKept, SourceMissing
from orders_dask.jobs.inspect import looked, standing_result
from orders_dask.ledger import leases
from orders_dask.ledger import replay as rejected
from orders_dask.ledger.queries import (
    LoadStatus,
    installation,
    load_status,
    loaded_parts,
    published_load,
    refused_since,
)
from orders_dask.load.schema import ready_database
from orders_dask.pipeline import steps, tasks
from orders_dask.pipeline.load_scope import Load, Work, loading
from orders_dask.pipeline.progress import Clock, Listener, silent
from orders_dask.pipeline.results import ReplayResult
from orders_dask.publish.publish import publish
from orders_dask.retry import again, patiently
from orders_dask.settings import Settings, load_settings
from orders_dask.stage.collect import gathered
from orders_dask.stage.layout import REJECTED, REPLAYED, run_date_folder
from orders_dask.stage.manifest import manifest_of
from orders_dask.stage.parts import find_parts
from orders_dask.stage.record import Part
from orders_dask.stage.tables import row_groups

TOLD_AT_ONCE: Final = 10_000
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

    After a fix of the contract, or of the records' texts (``orders_ops.rejected_record.mended``). They are read from
    the ledger and all else from the stage, so the dump may be gone. They take part as if they had always been good:
    another version of the same order may win against them. Of a rejected child the whole order is read again, and takes
    its former self's place; where neither its text was mended nor any of its rejected children is good now, it is left
    alone. The ledger says of each record what became of it. The new load counts as the same files, so that a run of
    unchanged ones leaves it alone; one that is forced, or finds other files, reads the files again and so without what
    was mended.

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
        Nothing is published for the run date, a later load of it was refused, or its parts are not in the stage any
        more.
    DataRefused
        A setting refuses what is published and what was taken in together, or the books don't balance. What was
        published before stands.
    TransientError
        A service can't be reached, or another run holds the run date.
    """
    settings = settings or load_settings()
    return again(_replay)(
        run_date,
        code,
        settings,
        usable_client(client, settings),
        ready_database(settings),
        listener or silent,
    )


@dataclass
class _Story:
    """What became of the records that were read again.

    Attributes
    ----------
    taken
        Number of those that are orders now, or children of one.
    lost
        Number of these that another version of their order replaces.
    still
        Number of those that are rejected still, by code or reason.
    read
        File and position of each order that was read.
    """

    taken: int
    lost: int
    still: Counter[str]
    read: set[tuple[int, int]]


def _replay(
    run_date: date,
    code: str | None,
    settings: Settings,
    client: Client,
    database: Engine,
    listener: Listener,
) -> ReplayResult:
    clock = Clock(run_date, listener)
    work = Work(settings, client, database, clock)
    standing = _replayable(work, run_date)
    part = _read_again(work, standing, code)
    if part and part.orders:
        parts, books = gathered(enumerate(chain([part], _parts_of(work, standing))))
        with loading(
            work,
            run_date,
            standing,
            standing.fingerprint,
            texts_of=standing.load_id,
            refusal="failed",
        ) as load:
            losers = steps.resolve_and_load(load, parts)
            story = _taken_in(load, standing, part, code, frozenset(losers.get(part.name, ())))
            foreseen = steps.seal_and_verify(load, len(parts), books)
            with clock.step("publish"):
                publish(load.lease, load.load_id, foreseen)
            ended = patiently(load_status)(database, load.load_id)
        stands = standing_result("published", ended, clock)
    else:
        with leases.hold(database, run_date) as lease, lease.transaction() as connection:
            story = _told(connection, standing.load_id, part, code, None, frozenset())
        stands = standing_result("up to date", standing, clock)
    return ReplayResult(run_date, story.taken, story.lost, dict(story.still), stands)


def _replayable(work: Work, run_date: date) -> LoadStatus:
    """Give the published load whose rejected records are to be read again."""
    standing = published_load(work.database, run_date)
    if standing is None:
        raise NotKept(
            f"Nothing is published for {run_date} that rejected records could be added to: mend the files, and give "
            f"`orders-dask run --run-date {run_date}`."
        )
    later = refused_since(work.database, standing)
    if later and _has_other_files(work, standing):
        raise NotKept(
            f"Load {later} of {run_date} came after what is published, and was refused as a whole: mend the files, and "
            f"give `orders-dask run --run-date {run_date}`."
        )
    return standing


def _has_other_files(work: Work, standing: LoadStatus) -> bool:
    """Say whether the dump is another one now than what is published; one that is gone is not."""
    try:
        _, fingerprint, _ = looked(standing.run_date, work.settings, work.database, work.clock)
    except SourceMissing:
        return False
    return fingerprint != standing.fingerprint


def _read_again(work: Work, standing: LoadStatus, code: str | None) -> Part | None:
    """Make the part of the records that can be read, on a worker; nothing is written down of it yet."""
    run_date, settings = standing.run_date, work.settings
    with work.database.connect() as connection:
        if not rejected.readable(connection, standing.load_id, code):
            return None
    arguments = settings.stage_url, run_date, standing.load_id, code, settings.shop_timezone
    calls = [Call(f"the rejected records of {run_date}", arguments)]
    with work.clock.step("decode") as ended:
        ((_, (part, costs)),) = in_window(
            work.client,
            tasks.read_again,
            calls,
            step="read-again",
            of=f"{standing.load_id}-{uuid4().hex[:8]}",
            window=1,
            stop=work.stop,
        )
        work.clock.meter.add(costs)
        ended(part.orders)
    assert isinstance(part, Part)
    return part


def _parts_of(work: Work, standing: LoadStatus) -> Iterator[Part]:
    """Find the parts of a published load, in the order of its listing.

    Without what they refused: that stands in the ledger, where it may have been mended or removed since, and is carried
    over from there.
    """
    stage_url, run_date = work.settings.stage_url, standing.run_date
    of_database = installation(work.database)
    loaded = loaded_parts(work.database, standing.load_id)
    manifest = manifest_of(stage_url, run_date, of_database, standing.load_id, loaded)
    if manifest is None:
        raise _gone(standing, "its manifest is")
    folder = run_date_folder(stage_url, run_date)
    found = find_parts(f"{folder}/{name}" for name in manifest.parts)
    missing = 0
    for part in found:
        if part is None:
            missing += 1
        else:
            yield replace(part, rows={n: rows for n, rows in part.rows.items() if n != REJECTED})
    if missing:
        raise _gone(standing, f"{missing} of its parts are")


def _gone(standing: LoadStatus, what: str) -> NotKept:
    return NotKept(
        f"Load {standing.load_id} of {standing.run_date} can't be made again with more records, for {what} not in the "
        f"stage any more: mend the files, and give `orders-dask run --force --run-date {standing.run_date}`."
    )


def _taken_in(
    load: Load, standing: LoadStatus, part: Part, code: str | None, losers: frozenset[int]
) -> _Story:
    """Write down what became of each record, and for the new load those that are still rejected."""
    with load.lease.transaction() as connection:
        story = _told(connection, standing.load_id, part, code, load.load_id, losers)
        rejected.carry(connection, standing.load_id, story.read, load.load_id)
    return story


def _told(
    connection: Connection,
    load_id: int,
    part: Part | None,
    code: str | None,
    replayed_in: int | None,
    losers: frozenset[int],
) -> _Story:
    """Write down what became of each record of a load that was asked for."""
    still = Counter(rejected.pass_over(connection, load_id, code, replayed_in))
    story = _Story(0, 0, still, set())
    for table in row_groups(part, REPLAYED) if part else ():
        for batch in table.to_batches(max_chunksize=TOLD_AT_ONCE):
            rows = batch.to_pylist()
            results = [(r["file_id"], r["position"], r["path"], _result(r, losers)) for r in rows]
            rejected.tell(connection, load_id, results, replayed_in)
            good = [r for r in rows if r["code"] is None]
            story.taken += len(good)
            story.lost += sum(r[ORDER_ROW] in losers for r in good)
            story.still.update(r["code"] for r in rows if r["code"] is not None)
            story.read.update(
                (r["file_id"], r["position"]) for r in rows if r[ORDER_ROW] is not None
            )
    return story


def _result(verdict: dict[str, Any], losers: frozenset[int]) -> str:
    """Say what became of a record."""
    if verdict["code"] is not None:
        return f"still {verdict['code']}: {verdict['message']}"
    if verdict[ORDER_ROW] in losers:
        return f"lost to another version of order {verdict['order_id']}"
    return f"taken in {'with' if verdict['path'] else 'as'} order {verdict['order_id']}"
