"""The files of a dump, as the store lists them."""

from __future__ import annotations

import re
from sys import intern

from orders_dask.errors import SettingsError
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.object_store import etag
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.settings import STAGE_FOLDER


def listing_order(file: SourceFile) -> bytes:
    """Return the sort key of the sorted listing: the file's full name, in UTF-8."""
    return file.name.encode(errors="surrogateescape")


def list_files(url: str) -> list[SourceFile]:
    """List the files at `url`: itself, those below it, or those that match its globs and those below these."""
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(url)
            fs.invalidate_cache()
            details = {}
            found = fs.glob(path, detail=True) if re.search(r"[*?[]", path) else {path: {}}
            for place, info in found.items():
                if info.get("type") == "file":
                    details[place] = info
                else:
                    details.update(fs.find(place, detail=True))
            details = {name: info or fs.info(name) for name, info in details.items()}
    except FileNotFoundError:
        return []
    except (ValueError, ImportError) as error:
        raise SettingsError(f"_AWS_S3_URL_SOURCE can't be listed at {url!r}: {error}") from error
    files = []
    for path, info in details.items():
        marks_folder = path.endswith("/") and info["size"] == 0
        if info["type"] == "file" and not marks_folder and STAGE_FOLDER not in path.split("/"):
            name = intern(fs.unstrip_protocol(path))  # as what is staged of it has it
            files.append(SourceFile(name, name, None, info["size"], etag(info)))
    return sorted(files, key=listing_order)
