"""Write the pages of docs/dictionary, and the contract versions that names first appeared in.

``python docs/generate_dictionary.py`` makes a database in a sandbox, describes it as
``orders-dask docs`` does, and writes what it finds. With ``--check`` it writes nothing, and ends
with one sentence that names the files that are stale.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final
from unittest.mock import patch

ROOT: Final = Path(__file__).parents[1]


def main() -> None:
    """Write the files, or check them."""
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("Usage: python docs/generate_dictionary.py [--check]")
    files = current_files()
    if sys.argv[1:]:
        stale = [path.relative_to(ROOT) for path, text in files.items() if _is_stale(path, text)]
        if stale:
            names = ", ".join(map(str, stale))
            sys.exit(f"Stale: {names}. Run `python docs/generate_dictionary.py`.")
    else:
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")


def current_files() -> dict[Path, str]:
    """Return the content that each file should have, by the default declaration of tables."""
    # What this shell has set declares other tables, where they are imported.
    for name in [name for name in os.environ if name.startswith(("ORDERS_DASK_", "_PGSQL_", "PG"))]:
        del os.environ[name]
    from orders_dask.contract.detail_tables import DETAILS
    from orders_dask.contract.order_tables import public_columns
    from orders_dask.contract.versions import CONTRACT_VERSION
    from orders_dask.dictionary import since
    from orders_dask.dictionary.catalogue import describe
    from orders_dask.dictionary.documents import documents
    from orders_dask.load.connect import engine
    from orders_dask.load.schema import initialise
    from orders_dask.sandbox import sandbox
    from orders_dask.settings import load_settings

    with sandbox() as services, patch.dict(os.environ, services.environment):
        database = engine(load_settings())
        initialise(database)
        names = [(table.name, each.name) for table in DETAILS for each in public_columns(table)]
        for table in describe(database, {}):
            names += [(table.name, each.name) for each in table.columns]
        versions = since.with_new(since.read_since(), names, CONTRACT_VERSION)
        found = documents(describe(database, versions))
    folder = ROOT / "docs" / "dictionary"
    return {since.FILE: since.to_text(versions)} | {
        folder / name: text for name, text in found.items()
    }


def _is_stale(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    main()
