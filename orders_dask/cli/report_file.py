"""Write the report that a command was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from orders_dask.errors import SettingsError
from orders_dask.replace_file import replace_file

MODE: Final = 0o600
"""Mode of the file: samples are personal data, and a check of one's own may quote some."""


def write_report(path: Path, page: str) -> None:
    """Write a page of HTML that its owner alone may read.

    Raises
    ------
    SettingsError
        It can't be written.
    """
    try:
        replace_file(path, page.encode(), MODE)
    except OSError as error:
        raise SettingsError(
            f"{path} can't be written ({error.strerror}): correct the option that names it."
        ) from error
