"""Write a file that a command was asked for."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

from orders_dask.errors import SettingsError


def write_file(path: Path, text: str) -> None:
    """Write a text file; nobody ever reads half of it.

    Raises
    ------
    SettingsError
        It can't be written.
    """
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} can't be written ({error.strerror}): name another.") from error
