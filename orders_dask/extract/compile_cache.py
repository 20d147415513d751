"""Where an image keeps the compiled reader: a folder that is only read.

Numba uses a cache only if it may write to the folder, so with a read-only root, or as another user,
each process would compile the reader again, which takes 10 s and more. The image names the class in
``NUMBA_CACHE_LOCATOR_CLASSES``.
"""

from __future__ import annotations

import os
from typing import Final

from numba.core.caching import UserProvidedCacheLocator

CPU: Final = "generic"
"""``NUMBA_CPU_NAME`` of the image: machine code for any CPU of its architecture."""


class ReadOnlyCacheLocator(UserProvidedCacheLocator):
    """Locates functions that were compiled for :data:`CPU` and stored in ``NUMBA_CACHE_DIR``."""

    def ensure_cache_path(self) -> None:
        """Raise OSError if the functions have to be compiled: then Numba tries its next locator."""
        cpu = os.environ.get("NUMBA_CPU_NAME")
        if cpu != CPU:
            raise FileNotFoundError(f"compiled for a {CPU} CPU, not for {cpu}")
        os.stat(self._cache_path)
