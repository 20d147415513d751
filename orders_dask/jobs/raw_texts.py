"""Splits of a dump that is gone, from the raw texts that the stage keeps of its published load."""

from __future__ import annotations

from sqlalchemy import Engine

from orders_dask.extract.records import Split
from orders_dask.ledger.queries import LoadStatus, database_id, loaded_parts
from orders_dask.settings import Settings
from orders_dask.stage.layout import REPLAYED, run_date_folder
from orders_dask.stage.manifest import load_manifest
from orders_dask.stage.parts import find_parts
from orders_dask.stage.raw import source_file


def raw_splits(published: LoadStatus, settings: Settings, database: Engine) -> list[Split]:
    """Return a split for each part of a load; none unless all its records have their raw texts.

    Their files, and so the positions in them, are those of the dump. Records that a replay took in
    are read as they stood in the dump, without corrections, as a forced run would.
    """
    parts = loaded_parts(database, published.load_id)
    stage = settings.stage_url, published.run_date
    manifest = load_manifest(*stage, database_id(database), published.load_id, parts)
    if manifest is None:
        return []
    splits = []
    for part in find_parts(f"{run_date_folder(*stage)}/{name}" for name in manifest.parts):
        if part is None:
            return []
        if part.rows.get(REPLAYED):
            continue
        if not part.has_raw:
            return []
        splits.append(Split(tuple(map(source_file, part.files)), raw_url=part.url))
    return splits
