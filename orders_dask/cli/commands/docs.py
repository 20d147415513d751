"""`orders-dask docs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.errors import SettingsError

MODE: Final = 0o644
"""Mode of the files: they are for everybody, and show no value of an order."""


@command()
def docs(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="The folder to write; made if it is missing."),
    ],
) -> None:
    """Describe what people read: a data dictionary, a diagram, sources of dbt, a data contract."""
    from orders_dask.dictionary.catalogue import describe
    from orders_dask.dictionary.documents import documents
    from orders_dask.dictionary.since import read_since
    from orders_dask.load.ready import ready_database
    from orders_dask.settings import load_settings

    written = documents(describe(ready_database(load_settings()), read_since()))
    _write(out, written)
    output.result(f"Wrote {', '.join(written)} into {out}.")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder, each whole or not at all."""
    from orders_dask.replace_file import replace_file

    try:
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            replace_file(folder / name, text.encode(), MODE)
    except OSError as error:
        raise SettingsError(
            f"{folder} can't be written ({error.strerror}): correct the option that names it."
        ) from error
