"""File systems of the dump and the stage: S3, or any other store that fsspec knows."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from fsspec import AbstractFileSystem, get_filesystem_class
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import _inner_fetch
from s3fs.utils import FileExpired

from orders_dask.aws import CLIENT_CONFIG, transient_errors
from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.s3_requests import count_request
from orders_dask.urls import S3_PROTOCOLS, store_protocol

_S3_OPTIONS: Final[Mapping[str, Any]] = {
    # A listing has to be fresh, not one that this process cached before.
    "use_listings_cache": False,
    # A whole file takes one request. For several at once, s3fs would first ask for its size.
    "max_concurrency": 1,
    # s3fs retries a broken connection five times itself. With four attempts of botocore, a server
    # that never answered a write was given up after 5 minutes.
    "config_kwargs": CLIENT_CONFIG,
}


class ObjectKey(str):
    """The exact path of an S3 object: slashes at its end and ``?versionId=`` are part of it."""

    __slots__ = ()


class RawKeyFileSystem(S3FileSystem):  # type: ignore[misc]
    """S3 with keys as they are.

    s3fs would read ``?versionId=`` in a key as a version, and strip slashes from its end.
    """

    # With s3fs's own 5, beside those of botocore, a server that never answers was given up after
    # 458 s; a run tries again anyway.
    retries = 2

    async def set_session(self, *args: Any, **kwargs: Any) -> Any:
        """Return the client of botocore, whose requests are counted."""
        client = await super().set_session(*args, **kwargs)
        client.meta.events.register("before-send.s3", count_request, unique_id=count_request)
        return client

    def fetch(self, objects: Sequence[tuple[str, int, str]]) -> list[bytes | BaseException]:
        """Fetch whole objects at the same time, each by one request.

        Parameters
        ----------
        objects
            Path, size in bytes and ETag of each. The size is not 0.

        Returns
        -------
        list of bytes or error
            What each contains, or why it could not be had: an OSError with ``EINVAL`` is raised for
            one that has another ETag.
        """
        fetched: list[bytes | BaseException] = sync(self.loop, self._fetch_all, objects)
        return fetched

    async def _fetch_all(self, objects: Sequence[tuple[str, int, str]]) -> Any:
        await self.set_session()  # else each would make a client
        fetching = []
        for path, size, etag in objects:
            bucket, key, _ = self.split_path(path)
            unchanged = {"IfMatch": f'"{etag}"'}
            fetching.append(_inner_fetch(self, bucket, key, None, 0, size, req_kw=unchanged))
        return await asyncio.gather(*fetching, return_exceptions=True)

    def list_after(self, bucket: str, prefix: str, key: str) -> tuple[list[dict[str, Any]], bool]:
        """List at most 1,000 objects of a bucket behind a key, by one request.

        Parameters
        ----------
        bucket, prefix
            Where they are.
        key
            All of theirs are greater.

        Returns
        -------
        tuple
            Their details as those of `find`, in the order of keys, and whether there are more.
        """
        page = self.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, StartAfter=key)
        details = [
            {**found, "name": f"{bucket}/{found['Key']}", "size": found["Size"], "type": "file"}
            for found in page.get("Contents", ())
        ]
        return details, page.get("IsTruncated", False)

    def get_with_etag(self, path: str) -> tuple[bytes, str]:
        """Return what an object contains, and its ETag, of one request."""
        bucket, key, _ = self.split_path(path)
        answer: tuple[bytes, str] = sync(self.loop, self._get_with_etag, bucket, key)
        return answer

    async def _get_with_etag(self, bucket: str, key: str) -> tuple[bytes, str]:
        answer = await self._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read(), answer["ETag"]

    def put_if(self, path: str, content: bytes, etag: str | None) -> None:
        """Write an object if it still has an ETag, or, where that is None, if there is none.

        Raises
        ------
        ClientError
            It has another one (HTTP 412), or is being written (409).
        """
        bucket, key, _ = self.split_path(path)
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        sync(self.loop, self._put_if, {"Bucket": bucket, "Key": key, "Body": content, **condition})

    async def _put_if(self, request: dict[str, Any]) -> None:
        await self.set_session()
        await self.s3.put_object(**request)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path if isinstance(path, ObjectKey) else super()._strip_protocol(path)

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Return bucket and key of a path, and never a version."""
        if not isinstance(path, ObjectKey):
            slashes = path[len(path.rstrip("/")) :]
            path = self._strip_protocol(path).lstrip("/")
            path += slashes if "/" in path else ""
        bucket, key = self._find_bucket_key(path)
        return bucket, key, None


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in it of a folder, a pattern or an object.

    It is the same on client and workers. botocore reads credentials, region and endpoint from the
    environment (``AWS_*``, ``AWS_ENDPOINT_URL_S3``), never from the URL. The URL is never read as a
    chain of URLs, and has neither query nor escapes.

    Raises
    ------
    SettingsError
        The URL names no store.
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
    """Return the file system of a listed object, by the object's full name, and its path there.

    Like :func:`filesystem`, but slashes at the end of a key are part of the path.
    """
    fs, path = filesystem(url)
    return fs, ObjectKey(url.partition("://")[2]) if isinstance(fs, RawKeyFileSystem) else path


@contextmanager
def translate_storage_errors(url: str) -> Iterator[None]:
    """Translate the errors of a store into errors for people.

    FileNotFoundError and FileExpired of a missing or changed file are not translated.

    Raises
    ------
    SettingsError
        The store refuses: there is no such bucket, the credentials are wrong, or it can't be
        written. Or botocore can't use the profile, region or credentials.
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


_UNUSABLE_PATH: Final = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)


def _is_terminal(error: Exception) -> bool:
    """Return whether an error stays until a setting or the store is changed."""
    if isinstance(error, OSError):
        unusable = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        return unusable or error.errno in _UNUSABLE_PATH
    if type(error) is HTTPClientError:
        # The client could not be made, for example without its bundle of certificates.
        client_error: Any = error
        cause = client_error.kwargs.get("error")
        return isinstance(cause, FileNotFoundError | PermissionError | ValueError)
    return isinstance(error, BotoCoreError) and not isinstance(error, transient_errors())


def _reason(error: Exception) -> str:
    """Return an error's text for people, without secrets."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error).rstrip(".").replace("\n", " ")
    if isinstance(error, BotoCoreError) and _is_terminal(error) and "://" not in text:
        return text
    # Only the class: the text may quote the URL of a proxy or endpoint with its password.
    return type(error).__name__


def _message(url: str, reason: str) -> str:
    if url.partition("://")[0] not in S3_PROTOCOLS:
        return f"{url} can't be read or written ({reason}): see to that and run it again."
    url_of_s3 = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    host = urlsplit(url_of_s3).netloc.rpartition("@")[2]
    endpoint = f"S3 at {host}" if url_of_s3 else "Amazon S3"
    bucket = url.partition("://")[2].partition("/")[0]
    return (
        f"{endpoint} doesn't give bucket {bucket} ({reason}): check AWS_ENDPOINT_URL_S3, the AWS "
        "credentials and that they may list and read the dump, and write the stage, then run it "
        "again."
    )
