"""Versions of packages that client, scheduler and workers must share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from distributed import Client
from distributed.versions import get_versions

from orders_dask.errors import VersionMismatch

VERSIONED_PACKAGES: Final = ("orders_dask", "dask", "distributed", "pyarrow")
"""Packages that need the same version everywhere, as does Python's minor version."""


def check_versions(client: Client) -> None:
    """Check that client, scheduler and workers run the same versions of :data:`VERSIONED_PACKAGES`.

    Raises
    ------
    VersionMismatch
        They don't. The message names the differing packages, their versions, and where they run.
    """
    versions: Any = client.get_versions(packages=VERSIONED_PACKAGES)
    processes = {"the scheduler": versions["scheduler"]} | {
        f"worker {address}": worker for address, worker in sorted(versions["workers"].items())
    }
    here = _versions(versions["client"])
    if error := version_error(here, {name: _versions(each) for name, each in processes.items()}):
        raise error


def installed_versions() -> dict[str, str]:
    """Return the versions in this process that must be the same everywhere."""
    return _versions(get_versions(packages=VERSIONED_PACKAGES))


def version_error(
    client: Mapping[str, str], processes: Mapping[str, Mapping[str, str]]
) -> VersionMismatch | None:
    """Return an error that names all differences from the client's versions, or None.

    Parameters
    ----------
    client
        Versions of the client, by package.
    processes
        Versions of other processes, by the name of the process and package.
    """
    differing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for process, versions in processes.items():
        for package, version in versions.items():
            if version != client[package]:
                differing[package, version].append(process)
    if not differing:
        return None
    differences = "; ".join(
        f"{package} is {client[package]} on the client and {version} on {_join(names)}"
        for (package, version), names in differing.items()
    )
    return VersionMismatch(
        f"The cluster runs other versions: {differences}. Install the same everywhere."
    )


def _versions(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that must be the same, from the report of one process."""
    packages = report["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python} | {
        name: packages[name] or "not installed" for name in VERSIONED_PACKAGES
    }


def _join(names: list[str]) -> str:
    """Return at most three names, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
