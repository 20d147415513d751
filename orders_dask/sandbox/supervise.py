"""The sandbox's supervisor: it ends the services when the process that wants them ends, however that ends.

:mod:`orders_dask.sandbox` starts this file as a script, in a session of its own (Ctrl-C does not reach it) and with the
standard library alone (it is there in 50 ms)::

    supervise.py FOLDER keep|remove

It takes the folder (made when it is to be removed, else locked), says ``ready``, reads the services
as one line of JSON and starts them as its own children, so none is ever without it. Then it waits
for the end of its standard input. Only the starting process holds the other end, so a SIGKILL
closes it as well as a clean exit does. Where a service ends before that, its log is named on
standard output, and stays for whoever wants to read it.
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

# A sandbox that was killed a moment ago may still be writing its last checkpoint into a kept
# folder.
LOCK_SECONDS = 6


class Service(NamedTuple):
    """What a service needs to be started and stopped; it travels as a JSON array."""

    argv: list[str]
    environment: dict[str, str]
    folder: str
    """Its working directory."""
    log: str
    """The file that its output goes to."""
    user: int | None
    """The user id that it runs under; null for this process's own."""
    stop: int
    """The signal that asks it to end."""
    stop_timeout: float
    """Seconds from that signal to SIGKILL."""
    sockets: list[str]
    """Files that it leaves elsewhere."""


def main() -> None:
    """Run the services of standard input's first line until standard input ends."""
    folder, keep = Path(sys.argv[1]), sys.argv[2] == "keep"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, since an ignored signal would be ignored by the services too.
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
    """Make the folder, or lock the one that is kept; the lock lasts as long as the descriptor that this returns."""
    try:
        folder.mkdir(parents=keep, exist_ok=keep)
    except OSError as error:
        sys.exit(error.strerror)
    if os.geteuid() == 0 and not any(folder.iterdir()):
        folder.chmod(0o711)  # PostgreSQL's own user has to pass through
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
    """Tell the starting process, if it is still there."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{word}\n".encode())


def start(service: Service) -> subprocess.Popen[bytes]:
    """Start a service in a process group of its own, its output in its log."""
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
    """Name the log of a service when its process has ended."""
    process.wait()
    report(service.log)


def stop(running: list[tuple[Service, subprocess.Popen[bytes]]]) -> None:
    """Ask every service that still runs to end, then kill what is left of its process group."""
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
    """Send a signal to all of a service's process group, which may be gone by now."""
    # macOS says EPERM of a group whose last process is a zombie.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def remove(folder: Path) -> None:
    """Remove the folder, again where a dying process wrote into it meanwhile."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)


if __name__ == "__main__":
    main()
