"""Manifests: which parts a load is made of, and which of their orders lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Final

from orders_dask.errors import SourceMissing
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.layout import read_json, run_date_folder

MANIFEST_NAME: Final = re.compile(r"manifest-[^-]+-(?P<load>\d+)-(?P<database_id>.+)\.json")
"""Names of manifests: when they were written, the load, and whose ledger it is in."""


@dataclass(frozen=True)
class Manifest:
    """The parts of a load.

    Attributes
    ----------
    database_id
        Whose ledger it is in (``schema_info.database_id``).
    load_id
        The load in that ledger.
    parts
        Names of its parts, in the order of the listing.
    superseded
        For each part that has some: the order rows that another version of their order replaces.
    """

    database_id: str
    load_id: int
    parts: list[str]
    superseded: dict[str, list[int]]


def write_manifest(stage_url: str, run_date: date, manifest: Manifest) -> None:
    """Write the manifest of a load beside its parts; their names sort by time."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"manifest-{now}-{manifest.load_id}-{manifest.database_id}.json"
    url = f"{run_date_folder(stage_url, run_date)}/{name}"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(asdict(manifest)).encode())


def load_manifest(
    stage_url: str, run_date: date, database_id: str, load_id: int, parts: Collection[str]
) -> Manifest | None:
    """Read the manifest of a load, or give None where it is gone.

    Parameters
    ----------
    parts
        Names of the load's parts in the ledger: a copy of the database has the same database_id
        and goes on with the same ids, and so has one that was restored.
    """

    def wanted(name: re.Match[str]) -> bool:
        return name["database_id"] == database_id and int(name["load"]) == load_id

    found = _manifests(stage_url, run_date, wanted)
    return next((each for each in found if {*each.parts} == {*parts}), None)


def latest_manifest(stage_url: str, run_date: date) -> Manifest:
    """Read the manifest of the run date's latest load that was staged to its end.

    Raises
    ------
    SourceMissing
        Nothing is staged for the run date.
    ServiceUnavailable
        The stage can't be reached.
    """
    for manifest in _manifests(stage_url, run_date, lambda name: True):
        return manifest
    raise SourceMissing(
        f"Nothing is staged for {run_date} at {stage_url}: run `orders-dask run --run-date {run_date}` first."
    )


def _manifests(
    stage_url: str, run_date: date, wanted: Callable[[re.Match[str]], bool]
) -> Iterator[Manifest]:
    """Read the manifests of a run date whose names are wanted, the latest first."""
    url = run_date_folder(stage_url, run_date)
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        try:
            listed = fs.ls(path, detail=False)
        except FileNotFoundError:
            return
        for file in sorted(listed, reverse=True):
            name = MANIFEST_NAME.fullmatch(file.rpartition("/")[2])
            if name and wanted(name) and (record := read_json(fs, file)):
                yield Manifest(**record)
