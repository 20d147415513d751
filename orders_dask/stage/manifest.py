"""Manifests: which parts a load is made of, and which of their orders lost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from orders_dask.errors import SourceMissing
from orders_dask.filesystem import filesystem, reaching
from orders_dask.stage.layout import run_date_folder


@dataclass(frozen=True)
class Manifest:
    """The parts of a load.

    Attributes
    ----------
    installation
        Whose ledger it is in (``installed.installation``).
    load_id
        The load in that ledger.
    parts
        Names of its parts, in the order of the listing.
    losers
        For each part that has some: the order rows that another version of their order replaces.
    """

    installation: str
    load_id: int
    parts: list[str]
    losers: dict[str, list[int]]


def write_manifest(stage_url: str, run_date: date, manifest: Manifest) -> None:
    """Write the manifest of a load beside its parts; their names sort by time."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"manifest-{now}-{manifest.load_id}-{manifest.installation}.json"
    url = f"{run_date_folder(stage_url, run_date)}/{name}"
    with reaching(url):
        fs, path = filesystem(url)
        fs.pipe_file(path, json.dumps(asdict(manifest)).encode())


def manifest_of(stage_url: str, run_date: date, installation: str, load_id: int) -> Manifest | None:
    """Read the manifest of a load, or give None where it is gone."""
    url = run_date_folder(stage_url, run_date)
    with reaching(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        found = fs.glob(f"{path}/manifest-*-{load_id}-{installation}.json")
        # The latest: a ledger that was restored from a backup gives its ids again.
        return Manifest(**json.loads(fs.cat_file(max(found)))) if found else None


def latest_manifest(stage_url: str, run_date: date) -> Manifest:
    """Read the manifest of the run date's latest load that was staged to its end.

    Raises
    ------
    SourceMissing
        Nothing is staged for the run date.
    ServiceUnavailable
        The stage can't be reached.
    """
    url = run_date_folder(stage_url, run_date)
    with reaching(url):
        fs, path = filesystem(url)
        fs.invalidate_cache()
        found = sorted(fs.glob(f"{path}/manifest-*.json"))
        if found:
            return Manifest(**json.loads(fs.cat_file(found[-1])))
    raise SourceMissing(
        f"Nothing is staged for {run_date} at {stage_url}: run `orders-dask run --run-date {run_date}` first."
    )
