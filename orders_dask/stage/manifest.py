"""Manifests: the parts of a load, and the superseded orders in each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Final

from orders_dask.errors import SourceMissing
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.stage.former_names import renamed
from orders_dask.stage.layout import read_json, run_date_folder

MANIFEST_NAME: Final = re.compile(r"manifest-[^-]+-(?P<load>\d+)-(?P<database_id>.+)\.json")
"""Names of manifests: time of writing, load id, and id of the database with that load."""


@dataclass(frozen=True)
class Manifest:
    """The parts of a load.

    Attributes
    ----------
    database_id
        Id of the database whose ledger has the load (``schema_info.database_id``).
    load_id
        Id of the load in that ledger.
    parts
        Names of the parts, in the order of the listing.
    superseded
        Superseded order rows by the name of the part, for each part that has any.
    """

    database_id: str
    load_id: int
    parts: list[str]
    superseded: dict[str, list[int]]


def write_manifest(stage_url: str, run_date: date, manifest: Manifest) -> None:
    """Write the manifest of a load beside its parts; names of manifests sort by time."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"manifest-{now}-{manifest.load_id}-{manifest.database_id}.json"
    url = f"{run_date_folder(stage_url, run_date)}/{name}"
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(asdict(manifest)).encode())


def load_manifest(
    stage_url: str, run_date: date, database_id: str, load_id: int, parts: Collection[str]
) -> Manifest | None:
    """Return the manifest of a load, or None if the stage no longer has it.

    Parameters
    ----------
    stage_url, run_date
        Stage and run date of the load.
    database_id, load_id
        Database and load.
    parts
        Names of the load's parts in the ledger. They are compared, because a copied or restored
        database has the same `database_id` and assigns the same load ids again.
    """

    def of_load(name: re.Match[str]) -> bool:
        return name["database_id"] == database_id and int(name["load"]) == load_id

    manifests = _manifests(stage_url, run_date, of_load)
    return next((manifest for manifest in manifests if {*manifest.parts} == {*parts}), None)


def latest_manifest(stage_url: str, run_date: date) -> Manifest:
    """Return the latest manifest of a run date, of whatever database.

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
        f"Nothing is staged for {run_date} at {stage_url}: run `orders-dask run --run-date "
        f"{run_date}` first."
    )


def _manifests(
    stage_url: str, run_date: date, wanted: Callable[[re.Match[str]], bool]
) -> Iterator[Manifest]:
    """Yield the manifests of a run date whose names are wanted, the latest first."""
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
                yield Manifest(**renamed(record))
