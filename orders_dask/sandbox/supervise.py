"""Supervise the sandbox's services: end them when the process that started them ends.

:mod:`orders_dask.sandbox` starts this file as a script, in a session of its own, so that Ctrl-C
does not reach it. It imports the standard library alone, so it is ready in 50 ms::

    supervise.py FOLDER keep|remove

It makes the folder, or uses the one that exists if it is to keep it, and locks it. It writes
``ready``, reads the services as one line of JSON and starts them as its children, so no service
runs without it. Then it waits for the end of its standard input. The starting process alone has
the other end open, so its death by SIGKILL closes the pipe as a clean exit does. If a service ends
before that, the supervisor writes the path of the service's log to standard output.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

# A sandbox that was killed a moment ago may still be writing its last checkpoint into the folder.
LOCK_SECONDS = 6


class Service(NamedTuple):
    """How to start and stop a service; sent to the supervisor as a JSON array."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    """The working directory."""
    log: str
    """The file for standard output and standard error."""
    user: int | None
    """The id of the user to run as; None for the user of this process."""
    stop: int
    """The signal that asks the service to end."""
    stop_timeout: float
    """Seconds from `stop` to SIGKILL."""
    sockets: list[str]
    """Socket files that the service leaves outside of its folder."""


def main() -> None:
    """Run the services that the first line of standard input names, until standard input ends."""
    folder, keep = Path(sys.argv[1]), sys.argv[2] == "keep"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, since the services would inherit an ignored signal as ignored.
        signal.signal(number, lambda *_: None)
    os.umask(0o077)
    lock = lock_data_folder(folder, keep)
    running: list[tuple[Service, subprocess.Popen[bytes]]] = []
    try:
        report("ready")
        for fields in json.loads(sys.stdin.readline() or "[]"):
            service = Service(*fields)
            process = start(service)
            running.append((service, process))
            threading.Thread(target=report_end, args=(service, process), daemon=True).start()
        sys.stdin.read()
    finally:
        stop(running)
        if not keep:
            remove(folder)
        os.close(lock)


def lock_data_folder(folder: Path, keep: bool) -> int:
    """Make and lock the folder; return the descriptor of the lock, which is released with it."""
    try:
        folder.mkdir(parents=keep, exist_ok=keep)
    except OSError as error:
        sys.exit(error.strerror)
    if os.geteuid() == 0 and not any(folder.iterdir()):
        folder.chmod(0o711)  # PostgreSQL's own user must be able to enter
    lock = os.open(folder / "lock", os.O_CREAT | os.O_WRONLY, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit("another sandbox is using it")
            time.sleep(0.1)
        else:
            return lock


def report(word: str) -> None:
    """Write a line to the starting process, if it still runs."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{word}\n".encode())


def start(service: Service) -> subprocess.Popen[bytes]:
    """Start a service in its own process group, and write its output to its log."""
    with open(service.log, "wb") as log:
        return subprocess.Popen(
            service.argv,
            cwd=service.folder,
            env=service.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            user=service.user,
            group=service.user,
            extra_groups=None if service.user is None else [],
        )


def report_end(service: Service, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process of a service ends, and report its log."""
    process.wait()
    report(service.log)


def stop(running: list[tuple[Service, subprocess.Popen[bytes]]]) -> None:
    """Ask every running service to end, then kill all that remains of its process group."""
    alive = [(service, process) for service, process in running if process.poll() is None]
    for service, process in alive:
        signal_group(process, service.stop)
    for service, process in alive:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(service.stop_timeout)
        signal_group(process, signal.SIGKILL)
        process.wait()
    for service, _ in running:
        for path in service.sockets:
            Path(path).unlink(missing_ok=True)


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the process group of a service, if any of its processes still runs."""
    # macOS reports EPERM for a group whose last process is a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def remove(folder: Path) -> None:
    """Remove the folder, and retry where a dying process wrote into it meanwhile."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


if __name__ == "__main__":
    main()
