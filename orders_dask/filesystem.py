"""Where the files are: S3, or whatever else fsspec reaches."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import (
    AwsChunkedWrapperError,
    BotoCoreError,
    CapacityNotAvailableError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection
from fsspec import AbstractFileSystem, get_filesystem_class
from s3fs import S3FileSystem
from s3fs.utils import FileExpired

from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.settings import S3_PROTOCOLS, store_protocol

_S3_OPTIONS: Final[Mapping[str, Any]] = {
    # A listing is what the store says now, never what it said to this process before.
    "use_listings_cache": False,
    # A file that is read whole takes one request: for more at once, s3fs first asks how large it
    # is.
    "max_concurrency": 1,
    # Seconds, and attempts by botocore; where a connection broke, s3fs tries each five times. With
    # four a server that never answered a write was given up after more than five minutes.
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 30,
        # Not `max_attempts`: botocore turns it into this one, in this very dict, and fsspec, which
        # knows a client by its options, made a second one then, of 0.08 CPU s and 13 MB.
        "retries": {"mode": "standard", "total_max_attempts": 3},
    },
}


class ObjectKey(str):
    """The path of one object of S3, to its last byte."""

    __slots__ = ()


class RawKeyFileSystem(S3FileSystem):  # type: ignore[misc]
    """S3 with keys as they are: s3fs takes ``?versionId=`` in one for a version, and slashes off its end."""

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path if isinstance(path, ObjectKey) else super()._strip_protocol(path)

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Give bucket and key of a path, and never a version."""
        if not isinstance(path, ObjectKey):
            slashes = path[len(path.rstrip("/")) :]
            path = self._strip_protocol(path).lstrip("/")
            path += slashes if "/" in path else ""
        bucket, key = self._find_bucket_key(path)
        return bucket, key, None


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Give the file system of a URL, and the path in it: of a folder, a pattern or an object.

    The same on client and workers. Credentials, region and endpoint come from the environment as
    botocore reads it (``AWS_*``, ``AWS_ENDPOINT_URL_S3``), never from the URL. Nothing in it is
    taken for a chain of URLs, a query or an escape.

    Raises
    ------
    SettingsError
        It names no store.
    """
    try:
        protocol = store_protocol(url)
    except ValueError as error:
        raise SettingsError(f"The URL {url!r} {error}.") from None
    if protocol in S3_PROTOCOLS:
        return RawKeyFileSystem(**_S3_OPTIONS), RawKeyFileSystem._strip_protocol(url)
    kind = get_filesystem_class(protocol)
    return kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)


def listed_object(url: str) -> tuple[AbstractFileSystem, str]:
    """Give the file system of a listed object by its full name, and the path in it, for the rest as :func:`filesystem`.

    The slashes that its key may end in are part of it.
    """
    fs, path = filesystem(url)
    return fs, ObjectKey(url.partition("://")[2]) if isinstance(fs, RawKeyFileSystem) else path


@contextmanager
def translate_storage_errors(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to `url` into an error for people.

    A file that is missing or has changed is still told by FileNotFoundError and FileExpired.

    Raises
    ------
    SettingsError
        The store refuses: there is no such bucket, the credentials don't do, or it is no place for
        this; or what botocore is told of profile, region or credentials makes no sense.
    ServiceUnavailable
        The store can't be reached.
    """
    try:
        yield
    except FileExpired:
        raise
    except FileNotFoundError as error:
        if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") == "NoSuchBucket":
            raise SettingsError(_message(url, "there is no such bucket")) from error
        raise
    except NotImplementedError as error:
        raise SettingsError(_message(url, "it can only be read")) from error
    except (OSError, BotoCoreError, ClientError, aiohttp.ClientError) as error:
        kind = SettingsError if _is_terminal(error) else ServiceUnavailable
        raise kind(_message(url, _reason(error))) from error


_TRANSIENT: Final = (
    HTTPClientError,
    NoConnection,
    IncompleteReadError,
    ChecksumError,
    FlexibleChecksumError,
    AwsChunkedWrapperError,
    MetadataRetrievalError,
    CredentialRetrievalError,
    TokenRetrievalError,
    CapacityNotAvailableError,
)
"""What botocore says of a request that went wrong; all else it says of what it was told before it asks anybody."""

_UNUSABLE_PATH: Final = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)


def _is_terminal(error: Exception) -> bool:
    """Say whether an error stays until a setting, or what is at its place, is another one."""
    if isinstance(error, OSError):
        no_place = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        return no_place or error.errno in _UNUSABLE_PATH
    if (
        type(error) is HTTPClientError
    ):  # the client could not begin: no such bundle of certificates, say
        began: Any = error
        return isinstance(
            began.kwargs.get("error"), FileNotFoundError | PermissionError | ValueError
        )
    return isinstance(error, BotoCoreError) and not isinstance(error, _TRANSIENT)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error).rstrip(".").replace("\n", " ")
    if isinstance(error, BotoCoreError) and _is_terminal(error) and "://" not in text:
        return text
    # Only the kind: the text may quote a proxy's or an endpoint's URL with its password.
    return type(error).__name__


def _message(url: str, reason: str) -> str:
    if not url.startswith(("s3://", "s3a://")):
        return f"{url} can't be read or written ({reason}): see to that and run it again."
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    endpoint = f"S3 at {urlsplit(given).netloc.rpartition('@')[2]}" if given else "Amazon S3"
    bucket = url.partition("://")[2].partition("/")[0]
    return (
        f"{endpoint} doesn't give bucket {bucket} ({reason}): check AWS_ENDPOINT_URL_S3, the AWS credentials and "
        "that they may list and read the bucket, then run it again."
    )
