"""Any fault at any point of dates that go together: each date is whole, or as it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.chaos import checks, dumps
from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import (
    FAULTS,
    arm,
    ended_well,
    equal_to,
    release,
    wait_until_halted,
)

ON_WORKER = (
    "decode:block",
    "stage:tables",  # a part's tables are written, its record is not
    "batch:recorded",  # files and rejected records are, in the transaction that copies
    "load:claimed",  # the parts are, and nothing is copied
    "load:copied",  # before the commit
    "load:committed",  # after it, before the acknowledgement
    "batch:loaded",  # the task has not answered
)
ON_CLIENT = (
    "batch:created",  # the loads are, nothing is decoded
    "batch:sealed",  # no part can be copied any more, in the transaction that publishes
    "batch:checked",  # under the publish lock
    "publish:moved",
    "publish:committing",
    "publish:committed",  # after the commit, before the acknowledgement
    "batch:done",
)
QUICK = {
    ("batch:loaded", "worker"),
    ("batch:sealed", "sessions"),
    ("publish:committed", "answer"),
    ("publish:moved", "client"),
}
"""Cases that run with all other tests."""


def _cases() -> Iterator[tuple[str, str]]:
    for point in (*ON_WORKER, *ON_CLIENT):
        faults = {"client", "sessions", "connections", "postgres", "s3"}
        faults |= {"worker"} if point in ON_WORKER else set()
        faults |= {"answer"} if point in ("load:committed", "publish:committed") else set()
        yield from ((point, fault) for fault in FAULTS if fault in faults)


@pytest.fixture(scope="module")
def undisturbed(chaos: ChaosEnvironment) -> checks.Contents:
    """Return what readers see of the dates, each loaded by itself."""
    stage = chaos.reset()
    for day in dumps.MANY:
        alone = chaos.run("--run-date", str(day), dump="many", stage=stage).end()
        assert alone.code == 0, alone.output
    return checks.contents(chaos.url)


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        pytest.param(*case, id="-".join(case), marks=() if case in QUICK else pytest.mark.chaos)
        for case in _cases()
    ],
)
def test_a_batch_recovers_from_a_fault_at_any_point(
    chaos: ChaosEnvironment,
    undisturbed: checks.Contents,
    record_result: Callable[[object], None],
    point: str,
    fault: str,
) -> None:
    stage = chaos.reset()

    def backfill() -> Command:
        days = ("--from", str(dumps.MANY[0]), "--to", str(dumps.MANY[-1]))
        # Blocks of the other tests are so small that each date has several splits.
        variables = {"ORDERS_DASK_BLOCK_SIZE": "64MiB"}
        return chaos.run(*days, name="backfill", dump="many", stage=stage, variables=variables)

    arm(chaos, point)
    command = backfill()
    halted = wait_until_halted(chaos, point, command)
    each_date_is_whole(chaos)
    FAULTS[fault](chaos, command, halted)
    release(chaos)
    first = command.end()
    chaos.s3.clear_faults()
    chaos.cluster.restart_dead()
    each_date_is_whole(chaos)
    second = backfill().end()
    ended_well(first, (0, 4, -9))
    assert second.code == 0, f"{second.output}\nafter\n{first.output}"
    record_result(f"{first}; retried: {second}")
    equal_to(undisturbed, checks.contents(chaos.url))
    checks.control_totals_reconcile(chaos.url)
    checks.ledger_is_consistent(chaos.url, [dumps.DAY, dumps.OTHER, *dumps.MANY])
    checks.no_session_is_left(chaos.url)


def each_date_is_whole(chaos: ChaosEnvironment) -> None:
    with checks.cursor_on(chaos.url) as cursor:
        cursor.execute("select run_date, count(*) from orders.fact_order group by 1")
        found = dict(cursor.fetchall())
    assert {found.get(day, 0) for day in dumps.MANY} <= {0, 60}, found
