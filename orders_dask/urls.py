"""URLs of the dump, the stage and the S3 server: which are valid, and what their parts are."""

from __future__ import annotations

import re
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from fsspec.registry import known_implementations

STAGE_FOLDER: Final = ".orders_dask"
"""Name of every stage's folder.

``discover`` leaves out files below a folder of this name, so a source that is a whole bucket never
loads its own stage.
"""

S3_PROTOCOLS: Final = ("s3", "s3a")
"""Protocols of S3 URLs."""

_ARCHIVE_PROTOCOLS: Final = (
    *("zip", "tar", "libarchive", "dir", "reference", "generic"),
    *("cached", "blockcache", "filecache", "simplecache"),
)
"""Protocols of file systems inside of another store."""


def split_zip_url(source: str) -> tuple[str | None, str]:
    """Split a source URL into the pattern of zip members, or None, and the URL of the files.

    ``zip://PATTERN::URL`` is split at the first ``::`` before a URL or an absolute path. Any other
    ``::`` is part of a name. See docs/contract.md#source-url.
    """
    parts = re.fullmatch(r"zip://(.*?)::((?:[\w.+-]+:/)?/.*)", source, re.DOTALL)
    return (parts[1], parts[2]) if parts else (None, source)


def store_protocol(url: str) -> str:
    """Return the protocol of a URL's store; an absolute path is on this machine.

    Raises
    ------
    ValueError
        The URL names no store.
    """
    if url.startswith("/"):
        return "file"
    protocol, separator, path = url.partition("://")
    if not separator:
        raise ValueError("must begin with a protocol, as s3://bucket/ does")
    if protocol not in known_implementations:
        raise ValueError(f"names {protocol}://, which is no protocol that fsspec knows")
    if protocol in _ARCHIVE_PROTOCOLS:
        raise ValueError(f"names {protocol}://, which is no store by itself")
    host = path.partition("/")[0]
    if protocol in S3_PROTOCOLS and not host:
        raise ValueError("must name a bucket")
    if protocol not in ("file", "local") and "@" in host:
        raise ValueError("must hold no user or password, for the ledger keeps it")
    return protocol


def validate_source(url: str) -> str:
    """Validate the placeholders and the protocols of a source URL."""
    try:
        url.format(run_date=date(2000, 1, 1))
    except (ValueError, LookupError, AttributeError):
        raise ValueError(
            "must hold no placeholder but {run_date} or, say, {run_date:%Y/%m/%d}"
        ) from None
    if "{run_date." in url or "{run_date[" in url:
        raise ValueError("must hold no placeholder but {run_date} or, say, {run_date:%Y/%m/%d}")
    pattern, stored = split_zip_url(url)
    if pattern is None and url.startswith("zip://"):
        raise ValueError(
            "must name where the zip lies, as zip://*.json::s3://bucket/orders.zip does"
        )
    store_protocol(stored)
    return url


def parent_folder(source: str) -> str:
    """Return the last folder of a source before a placeholder or wildcard, or an empty text.

    ``s3://bucket/orders/{run_date}/`` gives ``s3://bucket/orders``, and
    ``zip://{run_date}.json::s3://bucket/orders.zip`` gives ``s3://bucket``.
    """
    _, stored = split_zip_url(source)
    fixed = re.split(r"[{*?\[]", stored, maxsplit=1)[0]
    protocol, separator, path = ("", "", fixed) if fixed.startswith("/") else fixed.partition("://")
    if fixed == stored and separator and "/" not in path:
        return stored  # a bucket alone
    folder = path.rpartition("/")[0]
    return f"{protocol}{separator}{folder}" if folder else ""


def validate_stage(url: str) -> str:
    """Return the stage's URL: its folder is :data:`STAGE_FOLDER`, without a trailing slash."""
    folder = url.rstrip("/").removesuffix(f"/{STAGE_FOLDER}")
    if not folder:
        raise ValueError("must be set, for the source has no folder that a stage could lie in")
    store_protocol(url)
    return f"{folder}/{STAGE_FOLDER}"


def validate_endpoint(url: str) -> str:
    """Validate the URL of an S3 server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://s3.example.org")
    return url


def names_run_date(source: str) -> bool:
    """Return whether the URL of a dump holds the run date, as ``{run_date}`` or with a format."""
    return "{run_date" in source
