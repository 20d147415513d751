"""Replace a file whole: no reader ever sees a half of it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file beside another one, and put it in its place.

    Parameters
    ----------
    path
        The file.
    content
        Its bytes.
    mode
        Its permissions, such as ``0o644``, whatever the umask is.

    Raises
    ------
    OSError
        It can't be written. What stood there stands.
    """
    # The node exporter reads *.prom alone, and so never this one.
    handle, written = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(handle, mode)
        os.replace(written, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(written)
        raise
