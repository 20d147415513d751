"""A case: halt a run at a point, inject a fault, retry the command, and check the result."""

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
from tests.chaos.commands import Command, CommandResult
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.failpoint_control import HALT_TIMEOUT, Halted
from tests.chaos.reader import Reader

COMMIT_POINTS: Final = {"load:committed": str(load_part), "publish:committed": str(published)}
"""Points of the proxy, and a table of the transaction: committed, but not acknowledged yet."""

ON_WORKER: Final = (
    "decode:block",  # the first block of a split was decoded and handed on
    "stage:tables",  # a part's tables are written, its record is not
    "stage:recorded",  # its record is, the task has not answered
    "resolve:done",  # the superseded orders are known, the task has not answered
    "load:claimed",  # a part is claimed, nothing is copied
    "load:copying",  # rows are being sent
    "load:copied",  # before the commit
    "load:committed",  # after it, before the acknowledgement
    "load:done",  # the task has not answered
)
ON_CLIENT: Final = (
    "discover:listed",
    "ledger:recording",  # in the transaction that records rejected records
    "resolve:manifest",  # the manifest is written, nothing is loaded
    "seal:before",
    "seal:done",
    "verify:checking",  # within the transaction
    "publish:before",
    "publish:moved",  # in the transaction, after the pointer has moved
    "publish:committing",  # before its commit
    "publish:committed",  # after it, before the acknowledgement
    "publish:done",
)
IN_SESSION: Final = ("load:claimed", "load:copying", "load:copied", "load:committed")
"""Points where a worker has a session with PostgreSQL."""

Fault = Callable[[ChaosEnvironment, Command, Halted], None]


def terminate(chaos: ChaosEnvironment, sessions: list[int] | None = None) -> None:
    """Terminate these sessions of the product, or all of them."""
    with checks.cursor_on(chaos.url) as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = %(ours)s"
            " and (%(pids)s::int[] is null or pid = any(%(pids)s))",
            {"ours": APPLICATION_NAME, "pids": sessions},
        )


FAULTS: Final[dict[str, Fault]] = {
    "worker": lambda chaos, command, halted: kill(halted.pid),
    "workers": lambda chaos, command, halted: chaos.cluster.kill_workers(),
    "client": lambda chaos, command, halted: command.signal(signal.SIGKILL),
    "scheduler": lambda chaos, command, halted: chaos.cluster.kill_scheduler(),
    "session": lambda chaos, command, halted: terminate(chaos, halted.sessions),
    "sessions": lambda chaos, command, halted: terminate(chaos),
    "connections": lambda chaos, command, halted: chaos.postgres.reset_all(),
    "answer": lambda chaos, command, halted: None,  # the lost answer is the fault
    "postgres": lambda chaos, command, halted: chaos.servers.postgres.crash(),
    "s3": lambda chaos, command, halted: chaos.servers.s3.crash(),
}
"""Faults by name."""


def arm(chaos: ChaosEnvironment, point: str) -> None:
    """Halt the next process that reaches a point."""
    if point in COMMIT_POINTS:
        chaos.postgres.hold_commit(COMMIT_POINTS[point])
    else:
        chaos.failpoints.arm(point)


def wait_until_halted(chaos: ChaosEnvironment, point: str, command: Command) -> Halted:
    """Wait until a process halts at the armed point."""
    if point not in COMMIT_POINTS:
        return chaos.failpoints.wait(command.running)
    deadline = time.monotonic() + HALT_TIMEOUT
    while chaos.postgres.delayed is None:
        assert command.running(), "the command ended before it came to the point"
        assert time.monotonic() < deadline, "nobody came to the point"
        time.sleep(0.01)
    pending = chaos.postgres.delayed
    [pid_of_client] = [
        pid
        for pid in (command.pid, *chaos.cluster.worker_pids())
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.laddr and connection.laddr.port == pending.client_port
    ]
    with checks.cursor_on(chaos.url) as cursor:
        cursor.execute(
            "select pid from pg_stat_activity where client_port = %s", [pending.server_port]
        )
        return Halted(pid_of_client, [pid for (pid,) in cursor.fetchall()])


def release(chaos: ChaosEnvironment) -> None:
    """Let the halted process go on; an answer that the proxy holds back is lost."""
    chaos.failpoints.release()
    chaos.postgres.release(lose=True)


@dataclass(frozen=True)
class CaseResult:
    """How a case went.

    Attributes
    ----------
    first
        The command that met the fault.
    second
        The same command, retried.
    reads
        Statements of the reader.
    seconds
        Duration of the case.
    """

    first: CommandResult
    second: CommandResult
    reads: int
    seconds: float

    def __str__(self) -> str:
        """Return a line for the summary."""
        return f"{self.first}; retried: {self.second}; {self.reads} reads, {self.seconds:.1f} s"


def run_case(
    chaos: ChaosEnvironment,
    stage: str,
    begin: Callable[[], Command],
    inject: Callable[[Command], None],
    codes: tuple[int, ...] = (0, ServiceUnavailable.exit_code, -signal.SIGKILL),
) -> CaseResult:
    """Run a case, and check what must hold after it.

    Parameters
    ----------
    chaos
        The environment, reset for this case.
    stage
        Of this case alone.
    begin
        Starts the command.
    inject
        Injects the fault, and leaves no process halted.
    codes
        Exit codes that it may end with.
    """
    began = time.monotonic()
    with Reader(chaos.url, str(dumps.DAY)) as reader:
        command = begin()
        inject(command)
        first = command.end()
        chaos.s3.clear_faults()
        chaos.cluster.restart_dead()
        before = checks.staged(chaos.files(stage))
        second = begin().end()
    ended_well(first, codes)
    assert second.code == 0, f"{second.output}\nafter\n{first.output}"
    reader_saw_whole_days(chaos, reader)
    checks.staged_parts_unchanged(before, checks.staged(chaos.files(stage)))
    everything_holds(chaos)
    return CaseResult(first, second, reader.reads, time.monotonic() - began)


def ended_well(ended: CommandResult, codes: tuple[int, ...]) -> None:
    """Check that a command succeeded, was killed, or failed with one sentence."""
    assert ended.code in codes, ended.output
    assert "Traceback" not in ended.output, ended.output
    if ended.code > 0:
        assert ended.output.rstrip().splitlines()[-1].startswith("Error: "), ended.output
        assert ended.output.count("Error: ") == 1, ended.output


def reader_saw_whole_days(chaos: ChaosEnvironment, reader: Reader) -> None:
    """Check that the reader saw the old day, then the new one, and nothing else."""
    assert not reader.wrong, reader.wrong
    assert reader.reads
    assert reader.seen[-1] == chaos.after
    assert reader.seen in ([chaos.before, chaos.after], [chaos.after])


def everything_holds(chaos: ChaosEnvironment) -> None:
    """Check tables, control totals, ledger and sessions."""
    equal_to(chaos.undisturbed, checks.contents(chaos.url))
    checks.control_totals_reconcile(chaos.url)
    checks.ledger_is_consistent(chaos.url, [dumps.DAY, dumps.OTHER])
    checks.no_session_is_left(chaos.url)


def equal_to(undisturbed: checks.Contents, found: checks.Contents) -> None:
    """Check that readers see the same as after undisturbed runs."""
    differ = [name for name in undisturbed if found.get(name) != undisturbed[name]]
    assert not differ, f"these differ from undisturbed runs: {differ}"
