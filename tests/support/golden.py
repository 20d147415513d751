"""What the version constants stand for, as short hashes: run this module to record them anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from orders_dask.contract.columns import METADATA
from orders_dask.contract.detail_tables import DETAILS
from orders_dask.contract.versions import CONTRACT_VERSION, DECODER_VERSION, STAGE_FORMAT_VERSION
from orders_dask.extract.decode.decode import decode
from orders_dask.extract.discover import discover
from orders_dask.load.marts import mart_functions
from orders_dask.load.sale_events import version_sale
from orders_dask.pipeline.staged_rows import normalise_blocks
from orders_dask.stage.layout import run_date_folder
from orders_dask.stage.manifest import Manifest, write_manifest
from orders_dask.stage.write import write_part
from tests.support import bad_values
from tests.support.builders import DAY
from tests.support.dumps import COMMITTED

GOLDEN: Final = Path(__file__).parents[1] / "data" / "golden.json"

VALUES: Final = [
    (str(path), str(value))
    for _, path, value, *_ in (
        *(("", *row) for row in bad_values.GOOD_VALUES),
        *bad_values.REPAIRED,
        *bad_values.NULLED,
    )
]
"""Values of every field's type, with the paths they stand at."""


def schema() -> Iterator[str]:
    """Yield the statements that make all tables and their indexes, of groups that are off too."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in sorted({*METADATA.tables.values(), *DETAILS}, key=str):
        yield str(CreateTable(table).compile(dialect=dialect))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=dialect))
    # What sums are made of: others would have to be added up anew.
    yield version_sale()
    yield mart_functions()


def decoder() -> Iterator[Any]:
    """Yield what is decoded of the committed dump, and of values of every kind."""
    orders = b"".join(bad_values.order_with(path, value).encode() + b"\n" for path, value in VALUES)
    with TemporaryDirectory() as folder:
        odd = Path(folder) / "values.ndjson"
        odd.write_bytes(orders)
        for source in (COMMITTED.as_uri(), odd.as_uri()):
            for split in discover(source, DAY, 1 << 30):
                for block in decode(split, ZoneInfo("Europe/Berlin")):
                    yield block.orders.schema.to_string()
                    yield block.orders.to_pylist()
                    yield [(r.position, r.path, r.code, r.raw) for r in block.rejected]
                    yield block.issues
                    yield (block.read, block.unreadable, block.drift)


def stage() -> Iterator[Any]:
    """Yield the layout of a staged part and its manifest: files, schemas and keys."""
    with TemporaryDirectory() as folder:
        [split] = discover(COMMITTED.as_uri(), DAY, 1 << 30)
        root = Path(folder).as_uri()
        part = write_part(
            f"{run_date_folder(root, DAY)}/part=1", normalise_blocks(decode(split, ZoneInfo("UTC")))
        )
        write_manifest(root, DAY, Manifest("database", 1, [part.name], {part.name: [0]}))
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix == ".parquet":
                yield path.name, pq.read_schema(path).remove_metadata().to_string()
            elif path.suffix == ".json":
                yield sorted(keys(json.loads(path.read_bytes())))


def keys(value: Any, path: str = "") -> set[str]:
    """Return the dotted paths of an object's keys."""
    if isinstance(value, dict) and path.count(".") < 2:
        return {path, *(each for key in value for each in keys(value[key], f"{path}.{key}"))}
    if isinstance(value, list):
        return {path, *(each for item in value for each in keys(item, f"{path}[]"))}
    return {path}


VERSIONS: Final[dict[str, tuple[int, Callable[[], Iterator[Any]]]]] = {
    "CONTRACT_VERSION": (CONTRACT_VERSION, schema),
    "DECODER_VERSION": (DECODER_VERSION, decoder),
    "STAGE_FORMAT_VERSION": (STAGE_FORMAT_VERSION, stage),
}


def recorded(constant: str) -> dict[str, Any]:
    """Return the version and the hash that stand in the file for a constant."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())[constant]
    return found


def current(constant: str) -> dict[str, Any]:
    """Return the version of a constant as it is, and the hash of what it stands for."""
    version, content = VERSIONS[constant]
    digest = sha256()
    for item in content():
        digest.update(repr(item).encode())
    return {"version": version, "sha256": digest.hexdigest()[:16]}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: current(name) for name in VERSIONS}, indent=2) + "\n")
