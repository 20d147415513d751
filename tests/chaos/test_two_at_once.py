"""Two runs of the same date, zombies of one that was given up, a client that lost its hold."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.chaos import checks, dumps
from tests.chaos.commands import Command
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.faults import (
    all_is_well,
    arm,
    halted,
    let_go,
    run_case,
    same_as,
    terminate,
)
from tests.support.waiting import until

pytestmark = pytest.mark.chaos

Tell = Callable[[object], None]


def test_of_two_runs_of_a_date_one_wins_and_the_other_says_who_holds_it(
    shared_arena: ChaosEnvironment, tell: Tell
) -> None:
    arena = shared_arena
    stage = arena.renew()
    arm(arena, "load:copying")

    def compete(command: Command) -> None:
        halted(arena, "load:copying", command)
        other = arena.run(stage=stage).end()
        assert other.code == 4, other.said
        assert f"process {command.pid} on" in other.said.splitlines()[-1]
        let_go(arena)

    story = run_case(arena, stage, lambda: arena.run(stage=stage), compete)
    tell(story)
    assert story.first.code == 0


@pytest.mark.parametrize("point", ["load:before", "load:claimed", "load:copying", "load:copied"])
def test_a_zombie_worker_of_a_run_that_was_given_up_commits_nothing(
    shared_arena: ChaosEnvironment, tell: Tell, point: str
) -> None:
    arena = shared_arena
    stage = arena.renew()
    arm(arena, point)

    def parts_of_the_dead() -> list[tuple[str]]:
        with checks.asking(arena.url) as cursor:
            cursor.execute(
                "select part from orders_ops.load_part join orders_ops.load_run using (load_id)"
                " where status = 'abandoned' order by 1"
            )
            return list(cursor.fetchall())

    def give_up(command: Command) -> None:
        halted(arena, point, command)
        command.signal(signal.SIGKILL)
        command.end()
        other = arena.run(stage=stage, on=("--workers", "1")).end()
        assert other.code == 0, other.said
        before = parts_of_the_dead()
        all_is_well(arena)
        let_go(arena)
        arena.cluster.wait_until_idle()
        assert parts_of_the_dead() == before

    tell(run_case(arena, stage, lambda: arena.run(stage=stage), give_up))


def test_a_task_that_runs_twice_loads_once(shared_arena: ChaosEnvironment, tell: Tell) -> None:
    arena = shared_arena
    stage = arena.renew()
    arm(arena, "load:copying")

    def lose(command: Command) -> None:
        zombie = halted(arena, "load:copying", command)
        arena.cluster.forget_worker(zombie.pid)
        wait_for_claim(arena)
        let_go(arena)

    story = run_case(arena, stage, lambda: arena.run(stage=stage), lose)
    tell(story)
    assert story.first.code == 0


def wait_for_claim(arena: ChaosEnvironment) -> None:
    """Wait until another worker waits for the part that the first one claimed."""
    with checks.asking(arena.url) as cursor:
        until(
            lambda: (
                cursor.execute(
                    "select from pg_stat_activity where wait_event_type = 'Lock'"
                    " and query ilike 'insert into orders_ops.load_part%'"
                )
                or cursor.rowcount
            )
        )


@pytest.mark.parametrize("point", ["seal:before", "publish:before", "publish:flipped"])
def test_a_client_whose_session_ended_can_not_publish_after_another_has_taken_the_date(
    shared_arena: ChaosEnvironment, tell: Tell, point: str
) -> None:
    arena = shared_arena
    stage = arena.renew()
    arm(arena, point)

    def gate() -> list[tuple[int]]:
        with checks.asking(arena.url) as cursor:
            cursor.execute("select load_id from orders_store.published order by 1")
            return list(cursor.fetchall())

    def take_over(command: Command) -> None:
        terminate(arena, halted(arena, point, command).sessions)
        other = arena.run(stage=stage).end()
        assert other.code == 0, other.said
        published = gate()
        let_go(arena)
        command.end()
        assert gate() == published, "what the other run published stands"

    tell(run_case(arena, stage, lambda: arena.run(stage=stage), take_over))


def test_two_backfills_of_overlapping_ranges_end_well(
    shared_arena: ChaosEnvironment, tell: Tell
) -> None:
    arena = shared_arena

    def backfill(first: int, last: int, stage: str, in_flight: int) -> Command:
        days = ("--from", str(dumps.MANY[first]), "--to", str(dumps.MANY[last]))
        options = (*days, "--max-parallel", str(in_flight))
        return arena.run(*options, name="backfill", dump="many", stage=stage)

    stage = arena.renew()
    alone = backfill(0, 5, stage, 1).end()
    assert alone.code == 0, alone.said
    undisturbed = checks.contents(arena.url)

    stage = arena.renew()
    both = [backfill(0, 3, stage, 2), backfill(2, 5, stage, 2)]
    ended = [command.end() for command in both]
    assert {each.code for each in ended} <= {0, 4}, [each.said for each in ended]
    again = [backfill(0, 3, stage, 2).end(), backfill(2, 5, stage, 2).end()]
    assert [each.code for each in again] == [0, 0], [each.said for each in again]
    tell(f"{ended[0]} and {ended[1]}; again: {again[0]} and {again[1]}")
    same_as(undisturbed, checks.contents(arena.url))
    checks.books_balance(arena.url)
    checks.ledger_is_settled(arena.url, [dumps.DAY, dumps.OTHER, *dumps.MANY])
    checks.no_session_is_left(arena.url)
    with checks.asking(arena.url) as cursor:
        cursor.execute("select deadlocks from pg_stat_database where datname = current_database()")
        assert cursor.fetchone() == (0,)
