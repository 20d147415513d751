"""A Dask cluster of real processes, which a test can kill one by one or all at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from distributed import Client, Scheduler, Worker

from orders_dask.cluster.workers import PROFILER_IS_SAFE
from tests.support import REPOSITORY
from tests.support.waiting import until

START_SECONDS: Final = 240
WORKERS: Final = 2


class Cluster:
    """A scheduler, and workers under nannies, with the failpoints installed.

    Parameters
    ----------
    folder
        For files that the processes write.
    environment
        All variables of the processes, the settings of the product included.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment | {
            "DASK_TEMPORARY_DIRECTORY": str(folder),
            "PYTHONPATH": str(REPOSITORY),
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": str(PROFILER_IS_SAFE),
        }
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: subprocess.Popen[bytes] | None = None
        self.address = ""

    def start(self) -> None:
        """Start all, and wait until the workers have connected."""
        scheduler_file = self._folder / "scheduler.json"
        scheduler_file.unlink(missing_ok=True)
        anywhere = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
        # The cluster ends by itself after a test run that was killed.
        idle = ("--idle-timeout", "5 minutes")
        self._scheduler = self._dask(
            "scheduler", *anywhere, "--scheduler-file", str(scheduler_file), *idle
        )
        self._workers = self._dask(
            *("worker", "--scheduler-file", str(scheduler_file), "--nworkers", str(WORKERS)),
            *("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"),
            *("--preload", "tests.chaos.failpoints", "--death-timeout", "300"),
        )
        until(
            lambda: scheduler_file.exists() and scheduler_file.read_text(),
            START_SECONDS,
            "no scheduler",
        )
        self.address = json.loads(scheduler_file.read_text())["address"]
        with Client(self.address) as client:
            client.wait_for_workers(WORKERS, timeout=START_SECONDS)

    def _dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def restart_dead(self) -> None:
        """Restart all if the scheduler is dead."""
        if not self._scheduler or self._scheduler.poll() is not None:
            self.stop()
            self.start()

    def restart_unless_idle(self) -> None:
        """Restart all unless both workers are connected and idle."""
        if self._scheduler and self._scheduler.poll() is None:
            with suppress(OSError, TimeoutError, AssertionError):
                self.wait_until_idle()
                return
        self.stop()
        self.start()

    def wait_until_idle(self) -> None:
        """Wait until all workers are connected and idle."""
        with Client(self.address, timeout=10) as client:
            client.wait_for_workers(WORKERS, timeout=30)
            until(lambda: not any(client.run(_busy).values()))

    def remove_worker(self, pid: int) -> None:
        """Make the scheduler lose a worker, as in a network failure; another gets its task."""
        with Client(self.address) as client:
            pids = client.run(os.getpid)
            [address] = [address for address, its_pid in pids.items() if its_pid == pid]
            client.run_on_scheduler(_remove, address)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers, without their nannies."""
        assert self._workers
        return [
            child.pid
            for child in psutil.Process(self._workers.pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]

    def kill_workers(self) -> None:
        """Kill all workers; their nannies restart them."""
        for pid in self.worker_pids():
            kill(pid)

    def kill_scheduler(self) -> None:
        """Kill the scheduler; the workers end by themselves."""
        assert self._scheduler
        self._scheduler.kill()
        self._scheduler.wait()

    def stop(self) -> None:
        """Kill all."""
        for process in (self._workers, self._scheduler):
            if process:
                with suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        with suppress(psutil.NoSuchProcess):
                            child.kill()
                process.kill()
                process.wait()
        self._workers = self._scheduler = None

    def thread_dump(self) -> str:
        """Return the stacks of all threads of the workers."""
        for pid in self.worker_pids():
            os.kill(pid, signal.SIGUSR1)
        time.sleep(1)  # the handler does not report that it has written
        return (self._folder / "worker.log").read_text(errors="replace")[-30_000:]


def _busy(dask_worker: Worker) -> int:
    return dask_worker.state.executing_count + len(dask_worker.active_threads)


async def _remove(address: str, dask_scheduler: Scheduler) -> None:
    await dask_scheduler.remove_worker(address, stimulus_id="chaos", close=False)


def kill(pid: int) -> None:
    """Kill a process, if it is still running."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
