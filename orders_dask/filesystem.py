"""Where the files are: S3, or whatever else fsspec reaches."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from s3fs.utils import FileExpired

from orders_dask.errors import ServiceUnavailable, SettingsError, SourceChanged
from orders_dask.extract.records import MIB, SourceFile

READ_AHEAD: Final = 4 * MIB
"""Bytes of a ranged read: some 50 ms of transfer from S3, well above the latency of a request."""

_S3_OPTIONS: Final[Mapping[str, Any]] = {
    # A listing is what the store says now, never what it said to this process before.
    "use_listings_cache": False,
    # Seconds, and attempts by botocore; s3fs itself tries five times more where a connection broke.
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 30,
        "retries": {"mode": "standard", "max_attempts": 3},
    },
}


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Give the file system of an fsspec URL, and the path in it.

    The same on client and workers. Credentials, region and endpoint come from the environment as botocore reads it
    (``AWS_*``, ``AWS_ENDPOINT_URL_S3``), never from the URL.
    """
    options = {name: dict(_S3_OPTIONS) for name in ("s3", "s3a") if f"{name}://" in url}
    fs, path = url_to_fs(url, **options)
    return fs, path


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to `url` into an error for people.

    A file that is missing or has changed is still told by FileNotFoundError and FileExpired.

    Raises
    ------
    SettingsError
        The store refuses: there is no such bucket, or the credentials don't do.
    ServiceUnavailable
        The store can't be reached.
    """
    try:
        yield
    except FileExpired:
        raise
    except FileNotFoundError as error:
        if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") == "NoSuchBucket":
            raise SettingsError(_told(url, "there is no such bucket")) from error
        raise
    except (PermissionError, NoCredentialsError) as error:
        raise SettingsError(_told(url, _reason(error))) from error
    except (OSError, BotoCoreError, ClientError, aiohttp.ClientError) as error:
        raise ServiceUnavailable(_told(url, _reason(error))) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    # Only the kind: the text may quote a proxy's or an endpoint's URL with its password.
    return type(error).__name__


def _told(url: str, reason: str) -> str:
    if not url.startswith(("s3://", "s3a://")):
        return f"{url} can't be read or written ({reason}): see to that and run it again."
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    endpoint = f"S3 at {urlsplit(given).netloc.rpartition('@')[2]}" if given else "Amazon S3"
    bucket = urlsplit(url).netloc
    return (
        f"{endpoint} doesn't give bucket {bucket} ({reason}): check AWS_ENDPOINT_URL_S3, the AWS credentials and "
        "that they may list and read the bucket, then run it again."
    )


def etag(details: Mapping[str, Any]) -> str:
    """Give what changes when a file's content does: its ETag, elsewhere its size and time of change.

    Parameters
    ----------
    details
        What fsspec's ``info`` or a listing says of the file.
    """
    tag = str(details.get("ETag") or "").strip('"')
    changed = details.get("mtime", details.get("created"))
    return tag or f"{details['size']}-{changed}"


@contextmanager
def opened(file: SourceFile, ahead: int = READ_AHEAD) -> Iterator[BinaryIO]:
    """Open the object of `file` for reading and seeking, in the memory of one ranged read.

    Parameters
    ----------
    file
        The file, as listed.
    ahead
        Bytes that are read at once, at least.

    Raises
    ------
    SourceChanged
        The object is not the one that was listed; also while it is read.
    ServiceUnavailable
        The store can't be reached; also while it is read.
    """
    with _unchanged(file):
        fs, path = filesystem(file.url)
        raw = fs.open(path, "rb", cache_type="none")
        if etag(getattr(raw, "details", None) or fs.info(path)) != file.etag:
            raise FileExpired(file.url, file.etag)
    with raw, io.BufferedReader(_Object(raw, file), ahead) as stream:
        yield cast(BinaryIO, stream)


@contextmanager
def _unchanged(file: SourceFile) -> Iterator[None]:
    try:
        with reaching(file.url):
            yield
    except (FileNotFoundError, FileExpired) as error:
        raise SourceChanged(
            f"{file.url} changed between its listing and its reading: run the date again."
        ) from error


class _Object(io.RawIOBase):
    """The bytes of an object. What goes wrong in reading them is never taken for a fault of theirs.

    An ``io`` class, so that ``zipfile`` can read from it: only ranges that are wanted travel.
    """

    def __init__(self, file: Any, source: SourceFile) -> None:
        self._file = file
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with _unchanged(self._source):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
