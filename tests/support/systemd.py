"""A systemd of its own, in namespaces of this machine; it needs root, and Linux with systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import REPOSITORY
from tests.support.waiting import until

BOOT: Final = REPOSITORY / "tests" / "deploy" / "boot_systemd.sh"
NEEDED: Final = ("systemctl", "systemd-analyze", "journalctl", "unshare", "nsenter", "mount")


@dataclass(frozen=True)
class System:
    """A running systemd.

    Parameters
    ----------
    pid
        Its process, as this machine numbers it.
    """

    pid: int

    def call(self, *command: str, content: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command within the system, to its end."""
        return subprocess.run(
            ["nsenter", "--all", f"--target={self.pid}", *command],
            input=content,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, *command: str) -> str:
        """Return what a command within the system writes; it must not fail."""
        ended = self.call(*command)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout.strip()

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file of the system."""
        ended = self.call("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, content=content)
        assert ended.returncode == 0, ended.stderr

    def show(self, unit: str, property_: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", unit, "--value", f"--property={property_}")

    def journal(self, unit: str) -> str:
        """Return what a unit has logged."""
        return self.run("journalctl", f"--unit={unit}", "--output=cat", "--no-pager")


@contextmanager
def booted(folder: Path) -> Iterator[System]:
    """Boot a systemd on this machine's files, which it can't change.

    The virtual environment of the tests is its ``/opt/orders-dask``.
    """
    lacking = [name for name in NEEDED if not shutil.which(name)]
    assert not lacking, f"these tests need Linux with {', '.join(lacking)}"
    assert os.geteuid() == 0, "these tests boot a systemd, which needs root"
    cgroup = _cgroups() / f"orders-dask-{uuid.uuid4().hex}"
    cgroup.mkdir()
    # The shell goes into the group before it gets a view of its own, which begins there.
    within = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup))
    namespaces = ("--mount", "--pid", "--uts", "--ipc", "--cgroup")
    boot = (str(BOOT), str(folder), sys.prefix, sys.base_prefix, str(REPOSITORY))
    process = subprocess.Popen(
        [*within, "unshare", *namespaces, "--fork", "--kill-child", *boot],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        scope = cgroup / "init.scope" / "cgroup.procs"
        until(lambda: process.poll() is not None or _first(scope), otherwise="nothing boots")
        pid = _first(scope)
        assert pid, process.communicate()[0]
        system = System(pid)
        until(
            lambda: system.call("systemctl", "is-active", "basic.target").stdout == "active\n",
            otherwise="systemd does not get to its basic target",
        )
        yield system
    finally:
        process.kill()
        process.communicate()
        until(lambda: not _processes(cgroup), otherwise="processes of the system are left")
        for each in sorted(cgroup.rglob("*/"), reverse=True):
            each.rmdir()
        cgroup.rmdir()


def _cgroups() -> Path:
    """Return where this machine has the second version of control groups."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(path)
    raise AssertionError("these tests need control groups, version 2")


def _first(scope: Path) -> int | None:
    """Return the process in a scope, if there is one."""
    numbers = scope.read_text().split() if scope.exists() else []
    return int(numbers[0]) if numbers else None


def _processes(cgroup: Path) -> list[str]:
    """Return the processes in a group and below it."""
    return [
        number
        for each in (cgroup, *(path for path in cgroup.rglob("*/")))
        for number in (each / "cgroup.procs").read_text().split()
    ]
