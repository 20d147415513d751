"""The files of a dump, as the store lists them: the sorted listing."""

from __future__ import annotations

import re
from sys import intern

from orders_dask.errors import SettingsError
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.object_store import etag
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.urls import STAGE_FOLDER


def listing_order(file: SourceFile) -> bytes:
    """Return the sort key of the sorted listing: the file's full name, in UTF-8."""
    return file.name.encode(errors="surrogateescape")


def list_files(url: str) -> list[SourceFile]:
    """List the files at a URL in the byte order of their names.

    These are the file itself, all files below a folder, or those that match globs and those below
    folders that do. Files of the stage and empty objects that mark folders are left out.

    Raises
    ------
    SettingsError
        The URL is malformed, or the store denies access.
    ServiceUnavailable
        The store can't be reached.
    """
    try:
        with translate_storage_errors(url):
            fs, path = filesystem(url)
            fs.invalidate_cache()
            details = {}
            matches = fs.glob(path, detail=True) if re.search(r"[*?[]", path) else {path: {}}
            for match, info in matches.items():
                if info.get("type") == "file":
                    details[match] = info
                else:
                    details.update(fs.find(match, detail=True))
            # A web server's listing has no sizes.
            details = {
                name: info if info.get("size") is not None else fs.info(name)
                for name, info in details.items()
            }
    except FileNotFoundError:
        return []
    except (ValueError, ImportError) as error:
        raise SettingsError(f"_AWS_S3_URL_SOURCE can't be listed at {url!r}: {error}") from error
    files = []
    for path, info in details.items():
        if info["size"] is None:
            raise SettingsError(
                f"The store of _AWS_S3_URL_SOURCE doesn't tell how large {path!r} is: take one "
                "that does."
            )
        marks_folder = path.endswith("/") and info["size"] == 0
        if info["type"] == "file" and not marks_folder and STAGE_FOLDER not in path.split("/"):
            name = intern(fs.unstrip_protocol(path))  # part records intern these names too
            files.append(SourceFile(name, name, None, info["size"], etag(info)))
    return sorted(files, key=listing_order)
