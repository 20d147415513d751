"""Pages of the Order API in a dump: only those count that a finished fetch names."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from orders_dask.dump import FETCH_FOLDER, MANIFEST_NAME, FetchedObject, FetchManifest
from orders_dask.errors import DataRefused, SourceMissing, StoredObjectChanged
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.listing import Listing
from orders_dask.filesystem import filesystem, translate_storage_errors

_IN_FETCH: Final = re.compile(rf"(.*/){FETCH_FOLDER}\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}/.*")


def without_unfinished(listing: Listing) -> Listing:
    """Return a listing with the pages of finished fetches alone, beside all other files.

    Raises
    ------
    SourceMissing
        A fetch did not finish, and none before it did.
    StoredObjectChanged
        A page that a manifest names was removed or replaced.
    DataRefused
        A manifest can't be read.
    """
    pages: dict[str, dict[str, SourceFile]] = {}
    for file in listing.files:
        if found := _IN_FETCH.fullmatch(file.name):
            pages.setdefault(found[1], {})[file.name] = file
    manifests = {folder + MANIFEST_NAME for folder in pages}
    if not pages:
        return listing
    fetched = {name for of_folder in pages.values() for name in of_folder}
    unnamed = fetched - {name for each in pages.items() for name in _names(*each)}
    return Listing(
        [file for file in listing.files if file.name not in unnamed | manifests],
        [name for name in listing.left_out if name not in manifests],
    )


def _names(folder: str, pages: dict[str, SourceFile]) -> list[str]:
    """Return the names of the pages of a folder that its manifest names."""
    url = folder + MANIFEST_NAME
    with translate_storage_errors(url):
        fs, path = filesystem(url)
        try:
            content = fs.cat_file(path)
        except FileNotFoundError:
            raise SourceMissing(
                f"The fetch into {folder} did not finish: give `orders-dask fetch` for its date."
            ) from None
    try:
        objects = FetchManifest.from_json(content).objects
    except ValueError as error:
        raise DataRefused(
            f"{url} is {error}: remove it, and give `orders-dask fetch` for its date."
        ) from error
    for each in objects:
        page = pages.get(folder + each.name)
        if page is None or page.size != each.size or not _is_unchanged(page, each):
            raise StoredObjectChanged(
                f"{folder}{each.name} is not the page that was fetched: give `orders-dask fetch "
                "--force` for its date."
            )
    return [folder + each.name for each in objects]


def _is_unchanged(page: SourceFile, fetched: FetchedObject) -> bool:
    """Return whether a page is what was fetched: a copy of a bucket may have other ETags."""
    if page.etag == fetched.etag:
        return True
    with translate_storage_errors(page.url):
        fs, path = filesystem(page.url)
        return sha256(fs.cat_file(path)).hexdigest() == fetched.sha256
