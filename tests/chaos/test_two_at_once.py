"""Two runs of one date, zombie workers of an abandoned run, and a client that lost its lease."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.chaos import checks, dumps
from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import (
    arm,
    equal_to,
    everything_holds,
    release,
    run_case,
    terminate,
    wait_until_halted,
)
from tests.support.waiting import until

pytestmark = pytest.mark.chaos

RecordResult = Callable[[object], None]


def test_of_two_runs_of_a_date_one_wins_and_the_other_names_its_process(
    chaos: ChaosEnvironment, record_result: RecordResult
) -> None:
    stage = chaos.reset()
    arm(chaos, "load:copying")

    def compete(command: Command) -> None:
        wait_until_halted(chaos, "load:copying", command)
        other = chaos.run(stage=stage).end()
        assert other.code == 4, other.output
        assert f"process {command.pid} on" in other.output.splitlines()[-1]
        release(chaos)

    result = run_case(chaos, stage, lambda: chaos.run(stage=stage), compete)
    record_result(result)
    assert result.first.code == 0


@pytest.mark.parametrize("point", ["load:before", "load:claimed", "load:copying", "load:copied"])
def test_a_zombie_worker_of_an_abandoned_run_commits_nothing(
    chaos: ChaosEnvironment, record_result: RecordResult, point: str
) -> None:
    stage = chaos.reset()
    arm(chaos, point)

    def parts_of_abandoned_loads() -> list[tuple[str]]:
        with checks.cursor_on(chaos.url) as cursor:
            cursor.execute(
                "select part from orders_ops.load_part join orders_ops.load_run using (load_id)"
                " where status = 'abandoned' order by 1"
            )
            return list(cursor.fetchall())

    def abandon(command: Command) -> None:
        wait_until_halted(chaos, point, command)
        command.signal(signal.SIGKILL)
        command.end()
        other = chaos.run(stage=stage, cluster=("--workers", "1")).end()
        assert other.code == 0, other.output
        before = parts_of_abandoned_loads()
        everything_holds(chaos)
        release(chaos)
        chaos.cluster.wait_until_idle()
        assert parts_of_abandoned_loads() == before

    record_result(run_case(chaos, stage, lambda: chaos.run(stage=stage), abandon))


def test_a_task_that_runs_twice_loads_once(
    chaos: ChaosEnvironment, record_result: RecordResult
) -> None:
    stage = chaos.reset()
    arm(chaos, "load:copying")

    def lose_worker(command: Command) -> None:
        zombie = wait_until_halted(chaos, "load:copying", command)
        chaos.cluster.remove_worker(zombie.pid)
        wait_for_claim(chaos)
        release(chaos)

    result = run_case(chaos, stage, lambda: chaos.run(stage=stage), lose_worker)
    record_result(result)
    assert result.first.code == 0


def wait_for_claim(chaos: ChaosEnvironment) -> None:
    """Wait until another worker waits for the part that the first one has claimed."""
    with checks.cursor_on(chaos.url) as cursor:
        until(
            lambda: (
                cursor.execute(
                    "select from pg_stat_activity where wait_event_type = 'Lock'"
                    " and query ilike 'insert into orders_ops.load_part%'"
                )
                or cursor.rowcount
            )
        )


@pytest.mark.parametrize("point", ["seal:before", "publish:before", "publish:moved"])
def test_a_client_whose_session_ended_can_not_publish_after_another_took_the_date(
    chaos: ChaosEnvironment, record_result: RecordResult, point: str
) -> None:
    stage = chaos.reset()
    arm(chaos, point)

    def pointer() -> list[tuple[int]]:
        with checks.cursor_on(chaos.url) as cursor:
            cursor.execute("select load_id from orders_store.published order by 1")
            return list(cursor.fetchall())

    def take_over(command: Command) -> None:
        terminate(chaos, wait_until_halted(chaos, point, command).sessions)
        other = chaos.run(stage=stage).end()
        assert other.code == 0, other.output
        published = pointer()
        release(chaos)
        command.end()
        assert pointer() == published, "what the other run published stands"

    record_result(run_case(chaos, stage, lambda: chaos.run(stage=stage), take_over))


def test_two_backfills_of_overlapping_ranges_end_well(
    chaos: ChaosEnvironment, record_result: RecordResult
) -> None:
    def backfill(first: int, last: int, stage: str, in_flight: int) -> Command:
        days = ("--from", str(dumps.MANY[first]), "--to", str(dumps.MANY[last]))
        options = (*days, "--max-parallel", str(in_flight))
        return chaos.run(*options, name="backfill", dump="many", stage=stage)

    stage = chaos.reset()
    alone = backfill(0, 5, stage, 1).end()
    assert alone.code == 0, alone.output
    undisturbed = checks.contents(chaos.url)

    stage = chaos.reset()
    both = [backfill(0, 3, stage, 2), backfill(2, 5, stage, 2)]
    ended = [command.end() for command in both]
    assert {each.code for each in ended} <= {0, 4}, [each.output for each in ended]
    retried = [backfill(0, 3, stage, 2).end(), backfill(2, 5, stage, 2).end()]
    assert [each.code for each in retried] == [0, 0], [each.output for each in retried]
    record_result(f"{ended[0]} and {ended[1]}; retried: {retried[0]} and {retried[1]}")
    equal_to(undisturbed, checks.contents(chaos.url))
    checks.control_totals_reconcile(chaos.url)
    checks.ledger_is_consistent(chaos.url, [dumps.DAY, dumps.OTHER, *dumps.MANY])
    checks.no_session_is_left(chaos.url)
    with checks.cursor_on(chaos.url) as cursor:
        cursor.execute("select deadlocks from pg_stat_database where datname = current_database()")
        assert cursor.fetchone() == (0,)
