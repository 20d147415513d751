"""The files of a dump, as the store lists them: the sorted listing."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise, zip_longest
from os.path import commonprefix
from sys import intern
from typing import Any, Final, NamedTuple

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError
from fsspec import AbstractFileSystem

from orders_dask.errors import SettingsError
from orders_dask.extract.records import SourceFile
from orders_dask.extract.source.object_store import etag
from orders_dask.filesystem import filesystem, translate_storage_errors
from orders_dask.urls import STAGE_FOLDER, parent_folder

_PATTERN: Final = re.compile(r"[*?[]")

_LISTING_ERRORS: Final = (
    *(OSError, ValueError, ImportError),
    *(BotoCoreError, ClientError, aiohttp.ClientError),
)

FOLDERS_OF_A_REQUEST: Final = 4
"""Folders for which a request is spent at most to list them with others."""


def listing_order(file: SourceFile) -> bytes:
    """Return the sort key of the sorted listing: the file's full name, in UTF-8."""
    return file.name.encode(errors="surrogateescape")


class Listing(NamedTuple):
    """The files at a URL.

    Attributes
    ----------
    files
        The files, in the byte order of their names.
    left_out
        Names of others that are no dump by convention, in that order.
    """

    files: list[SourceFile]
    left_out: list[str]


def list_files(url: str) -> Listing:
    """List the files at a URL.

    These are the file itself, all files below a folder, or those that match globs and those below
    folders that do. Files of the stage and empty objects that mark folders are left out. So are
    names with a part that begins with ``_`` or ``.`` below the folder that the URL names:
    ``_SUCCESS``, ``_temporary/`` and ``.orders.json.crc`` of Hadoop and Spark are no dump.

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
            matches = fs.glob(path, detail=True) if _PATTERN.search(path) else {path: {}}
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
        return Listing([], [])
    except (ValueError, ImportError) as error:
        raise SettingsError(f"_AWS_S3_URL_SOURCE can't be listed at {url!r}: {error}") from error
    return _listing(url, fs, details)


def list_together(urls: Iterable[str]) -> dict[str, Listing]:
    """List many folders of S3 at once, by requests for all keys from the first to the last.

    Parameters
    ----------
    urls
        URLs, as for :func:`list_files`.

    Returns
    -------
    dict
        By URL what :func:`list_files` returns, for folders in which a file was found, but for the
        first. Of any other nothing is known: it may be denied.
    """
    folders: dict[str, dict[str, str]] = {}
    for url in urls:
        bucket, _, key = url.rstrip("/").removeprefix("s3://").partition("/")
        if url == f"s3://{bucket}/{key}/" and not _PATTERN.search(url):
            folders.setdefault(bucket, {})[f"{key}/"] = url
    found: dict[str, Listing] = {}
    for bucket, of_bucket in folders.items():
        if len(of_bucket) >= FOLDERS_OF_A_REQUEST:
            with suppress(*_LISTING_ERRORS):  # list_files says what it is
                found |= _list_range(bucket, of_bucket)
    return found


def _list_range(bucket: str, url_of: Mapping[str, str]) -> dict[str, Listing]:
    """Return the listings of folders of a bucket, given by their keys.

    Others may lie between them, with any number of objects: the requests are limited, and folders
    that are not seen to their end are not returned.
    """
    fs, _ = filesystem(f"s3://{bucket}")
    keys = sorted(url_of)
    if any(second.startswith(first) for first, second in pairwise(keys)):
        return {}
    prefix = commonprefix(keys)  # noqa: RUF071 (keys have no folders)
    details: dict[str, dict[str, Mapping[str, Any]]] = {key: {} for key in keys}
    seen, more, requests = keys[0], True, len(keys) // FOLDERS_OF_A_REQUEST
    while more and requests and (seen < keys[-1] or seen.startswith(keys[-1])):
        page, more = fs.list_after(bucket, prefix, seen)
        for info in page:
            seen = info["Key"]
            folder = keys[bisect_right(keys, seen) - 1]
            if seen.startswith(folder):
                details[folder][info["name"]] = info
        requests -= 1
    return {
        url_of[key]: _listing(url_of[key], fs, of_folder)
        for key, of_folder in details.items()
        # An object may be named as the first folder, and keys behind that do not include it.
        if of_folder and key != keys[0] and not (more and (seen <= key or seen.startswith(key)))
    }


def _listing(url: str, fs: AbstractFileSystem, details: Mapping[str, Mapping[str, Any]]) -> Listing:
    """Return the files at a URL, given all objects there by path."""
    files, left_out = [], []
    for path, info in details.items():
        if info["size"] is None:
            raise SettingsError(
                f"The store of _AWS_S3_URL_SOURCE doesn't tell how large {path!r} is: take one "
                "that does."
            )
        marks_folder = path.endswith("/") and info["size"] == 0
        if info["type"] == "file" and not marks_folder and STAGE_FOLDER not in path.split("/"):
            name = intern(fs.unstrip_protocol(path))  # part records intern these names too
            if _is_hidden(name, url):
                left_out.append(name)
            else:
                files.append(SourceFile(name, name, None, info["size"], etag(info)))
    return Listing(sorted(files, key=listing_order), sorted(left_out))


def _is_hidden(name: str, url: str) -> bool:
    """Return whether a part of a name begins with ``_`` or ``.``, and not that of the URL."""
    folder = parent_folder(url)
    begin = len(folder.partition("://")[2] or folder)
    wanted, parts = (
        text.partition("://")[2][begin:].strip("/").split("/") if "://" in text else []
        for text in (url, name)
    )
    return any(
        part.startswith(("_", ".")) and part[:1] != pattern[:1]
        for part, pattern in zip_longest(parts, wanted[: len(parts)], fillvalue="")
    )
