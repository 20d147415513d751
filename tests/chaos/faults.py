"""A case: halt a run at a point, strike, let it go, give the same command again, and check that all is well."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from orders_dask.contract.ledger_tables import load_part
from orders_dask.contract.storage_tables import published
from orders_dask.errors import ServiceUnavailable
from orders_dask.load.connect import APPLICATION_NAME
from tests.chaos import checks, dumps
from tests.chaos.cluster import kill
from tests.chaos.commands import Command, Ended
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.failpoint_control import PATIENCE, Halted
from tests.chaos.reader import Reader

HELD_COMMITS: Final = {"load:committed": str(load_part), "publish:committed": str(published)}
"""Points that a proxy makes, with what the transaction names: the server has committed, its answer is on the way."""

ON_WORKER: Final = (
    "decode:block",  # the first block of a split was decoded and given on
    "stage:tables",  # a part's tables are written, its record is not
    "stage:recorded",  # its record is, the task has not answered
    "resolve:done",  # the losers are known, the task has not answered
    "load:claimed",  # a part is claimed, nothing is copied
    "load:copying",  # in the midst of a COPY
    "load:copied",  # before the commit
    "load:committed",  # after it, the answer on the way
    "load:done",  # the task has not answered
)
ON_CLIENT: Final = (
    "discover:listed",
    "ledger:recording",  # in the transaction that writes down what was rejected
    "resolve:manifest",  # the manifest is written, nothing is loaded
    "seal:before",
    "seal:done",
    "verify:checking",  # in the midst of the transaction
    "publish:before",
    "publish:flipped",  # in the transaction, after the flip of the gate
    "publish:committing",  # before its commit
    "publish:committed",  # after it, the answer on the way
    "publish:done",
)
IN_SESSION: Final = ("load:claimed", "load:copying", "load:copied", "load:committed")
"""Points on a worker at which it has a session with PostgreSQL."""

Fault = Callable[[ChaosEnvironment, Command, Halted], None]


def terminate(arena: ChaosEnvironment, sessions: list[int] | None = None) -> None:
    """Terminate these sessions of the product, or all."""
    with checks.asking(arena.url) as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %(ours)s"
            " and (%(pids)s::int[] is null or pid = any(%(pids)s))",
            {"ours": APPLICATION_NAME, "pids": sessions},
        )


FAULTS: Final[dict[str, Fault]] = {
    "worker": lambda arena, command, halted: kill(halted.pid),
    "workers": lambda arena, command, halted: arena.cluster.kill_workers(),
    "client": lambda arena, command, halted: command.signal(signal.SIGKILL),
    "scheduler": lambda arena, command, halted: arena.cluster.kill_scheduler(),
    "session": lambda arena, command, halted: terminate(arena, halted.sessions),
    "sessions": lambda arena, command, halted: terminate(arena),
    "connections": lambda arena, command, halted: arena.postgres.reset_all(),
    "answer": lambda arena, command, halted: None,  # its loss is all that happens
    "postgres": lambda arena, command, halted: arena.servers.postgres.crash(),
    "s3": lambda arena, command, halted: arena.servers.s3.crash(),
}
"""What can go wrong, by name."""


def arm(arena: ChaosEnvironment, point: str) -> None:
    """Let the next process halt that comes to a point."""
    if point in HELD_COMMITS:
        arena.postgres.hold_commit(HELD_COMMITS[point])
    else:
        arena.trap.arm(point)


def halted(arena: ChaosEnvironment, point: str, command: Command) -> Halted:
    """Wait until a process halts at the armed point."""
    if point not in HELD_COMMITS:
        return arena.trap.wait(command.running)
    deadline = time.monotonic() + PATIENCE
    while arena.postgres.held is None:
        assert command.running(), "the command ended before it came to the point"
        assert time.monotonic() < deadline, "nobody came to the point"
        time.sleep(0.01)
    held = arena.postgres.held
    [whose] = [
        pid
        for pid in (command.pid, *arena.cluster.worker_pids())
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.laddr and connection.laddr.port == held.client_port
    ]
    with checks.asking(arena.url) as cursor:
        cursor.execute(
            "select pid from pg_stat_activity where client_port = %s", [held.server_port]
        )
        return Halted(whose, [pid for (pid,) in cursor.fetchall()])


def let_go(arena: ChaosEnvironment) -> None:
    """Let who halts go on; an answer that was held back never comes."""
    arena.trap.release()
    arena.postgres.release(lose=True)


@dataclass(frozen=True)
class CaseResult:
    """How a case went: the first command, the second, how often a reader looked, and the seconds it took."""

    first: Ended
    second: Ended
    reads: int
    seconds: float

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.first}; again: {self.second}; {self.reads} reads, {self.seconds:.1f} s"


def run_case(
    arena: ChaosEnvironment,
    stage: str,
    begin: Callable[[], Command],
    trouble: Callable[[Command], None],
    codes: tuple[int, ...] = (0, ServiceUnavailable.exit_code, -signal.SIGKILL),
) -> CaseResult:
    """Run a case, and check all that must hold after it.

    Parameters
    ----------
    stage
        Of this case alone; the arena was renewed for it.
    begin
        Starts the command.
    trouble
        Makes trouble for it, and leaves nobody halting.
    codes
        How it may end.
    """
    began = time.monotonic()
    with Reader(arena.url, str(dumps.DAY)) as reader:
        command = begin()
        trouble(command)
        first = command.end()
        arena.s3.calm()
        arena.cluster.revive()
        before = checks.staged(arena.files(stage))
        second = begin().end()
    ended_well(first, codes)
    assert second.code == 0, f"{second.said}\nafter\n{first.said}"
    saw_no_part_of_a_day(arena, reader)
    checks.nothing_staged_again(before, checks.staged(arena.files(stage)))
    all_is_well(arena)
    return CaseResult(first, second, reader.reads, time.monotonic() - began)


def ended_well(ended: Ended, codes: tuple[int, ...]) -> None:
    """Check that a command did what it was to do, was killed, or said in one sentence what was in its way."""
    assert ended.code in codes, ended.said
    assert "Traceback" not in ended.said, ended.said
    if ended.code > 0:
        assert ended.said.rstrip().splitlines()[-1].startswith("Error: "), ended.said
        assert ended.said.count("Error: ") == 1, ended.said


def saw_no_part_of_a_day(arena: ChaosEnvironment, reader: Reader) -> None:
    """Check that a reader saw the old day, then the new one, and nothing else."""
    assert not reader.wrong, reader.wrong
    assert reader.reads
    assert reader.seen[-1] == arena.after
    assert reader.seen in ([arena.before, arena.after], [arena.after])


def all_is_well(arena: ChaosEnvironment) -> None:
    """Check tables, books, ledger and sessions."""
    same_as(arena.undisturbed, checks.contents(arena.url))
    checks.books_balance(arena.url)
    checks.ledger_is_settled(arena.url, [dumps.DAY, dumps.OTHER])
    checks.no_session_is_left(arena.url)


def same_as(undisturbed: checks.Contents, found: checks.Contents) -> None:
    """Check that what readers see is what they would after undisturbed runs."""
    differ = [name for name in undisturbed if found.get(name) != undisturbed[name]]
    assert not differ, f"these differ from undisturbed runs: {differ}"
