"""Settings, from environment variables.

The names with a leading underscore are fixed by those who run this. What the ecosystem has names
for is read by the libraries themselves: ``AWS_*`` and ``AWS_ENDPOINT_URL_S3`` by botocore,
``PGSSLMODE`` and ``PGSSLROOTCERT`` by libpq.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from fsspec.registry import known_implementations
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from orders_dask.errors import SettingsError

STAGE_FOLDER: Final = ".orders_dask"
"""Name of the folder that every stage lies in; ``discover`` leaves out what is below a folder of
this name, so a source that is a whole bucket never loads its own stage."""

S3_PROTOCOLS: Final = ("s3", "s3a")
"""Protocols of S3."""

_ARCHIVE_PROTOCOLS: Final = (
    *("zip", "tar", "libarchive", "dir", "reference", "generic"),
    *("cached", "blockcache", "filecache", "simplecache"),
)
"""Protocols of what lies within another store."""

_SERVICE_PREFIXES: Final = (
    "_PGSQL_",
    "_AWS_",
    "AWS_",
    "PG",
    "DASK_SCHEDULER",
    "ORDERS_DASK_STAGE_URL",
)
"""How the names of the variables begin that say which services to use: ours, and those of botocore, libpq and Dask."""


def split_zip_url(source: str) -> tuple[str | None, str]:
    """Part a source URL into the pattern of a zip's members, or None, and where its files lie.

    ``zip://PATTERN::URL`` is parted at the first ``::`` that is followed by a URL, or by a path
    from the root. No other ``::`` means anything: it is part of a name.
    """
    parts = re.fullmatch(r"zip://(.*?)::((?:[\w.+-]+:/)?/.*)", source, re.DOTALL)
    return (parts[1], parts[2]) if parts else (None, source)


def store_protocol(url: str) -> str:
    """Give the protocol of the store that `url` is in; a path from the root is on this machine.

    Raises
    ------
    ValueError
        It names no store.
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
    if protocol in S3_PROTOCOLS and not path.partition("/")[0]:
        raise ValueError("must name a bucket")
    return protocol


def _source_url(url: str) -> str:
    """Check a source URL: its placeholders, and its protocols."""
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


def _parent_folder(source: str) -> str:
    """Name the last folder of a source before its first placeholder or wildcard; empty where there is none.

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


def _stage_url(url: str) -> str:
    """Put the stage into a folder named :data:`STAGE_FOLDER`, without a trailing slash."""
    folder = url.rstrip("/").removesuffix(f"/{STAGE_FOLDER}")
    if not folder:
        raise ValueError("must be set, for the source has no folder that a stage could lie in")
    store_protocol(url)
    return f"{folder}/{STAGE_FOLDER}"


def _endpoint_url(url: str) -> str:
    """Check the address of an S3 server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://s3.example.org")
    return url


def _timezone_name(name: str) -> str:
    """Check the name of a time zone."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, LookupError):  # no zone's name, a folder of zones, no such zone
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None


def _parse_bytes(size: object) -> object:
    """Read a size such as ``32MiB``."""
    if not isinstance(size, str):
        return size
    from dask.utils import parse_bytes  # 0.2 s that the command line's help does without

    try:
        return parse_bytes(size)
    except ValueError:
        raise ValueError("must be a number of bytes such as 32MiB") from None


class Settings(BaseSettings):
    """What a run needs to know, frozen.

    Each is read from the environment variable of the name beside it, or given by attribute name.
    Use :func:`load_settings`, which says in one sentence what is wrong.

    Attributes
    ----------
    pgsql_hostname, pgsql_port, pgsql_user, pgsql_pass, pgsql_database
        The PostgreSQL server, a host name or the folder of its socket. The password is masked
        wherever it could be shown. Empty, none is given: libpq looks into ``PGPASSWORD`` and
        ``.pgpass``, and a server that trusts the user asks for none.
    source
        Where the dump lies: an fsspec URL that may hold ``{run_date}``.
    stage_url
        Folder of the Parquet intermediates, without a trailing slash; it always ends in
        :data:`STAGE_FOLDER`.
    shop_timezone
        IANA name of the shop's time zone, for instants that are written without an offset.
    max_rejected
        Share, 0 to 1, of a run date's orders, and of its lines: it is refused when more than this
        and more than 10 were rejected.
    copy_connections
        Number of parts that are loaded at once, each over a connection of its own.
    block_size
        Bytes of text that one task decodes, at most.
    partition_width
        Whether a leaf of the storage tables holds a month or a day; fixed when the tables are made.
    allow_unreadable
        Publish a run date although a file couldn't be read to its end.
    scheduler_address
        The Dask scheduler to use instead of a cluster on this machine.
    ssl_mode, s3_endpoint
        How libpq encrypts, and where botocore finds S3. They read the environment themselves:
        giving these by attribute name changes nothing.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    pgsql_hostname: str = Field(validation_alias="_PGSQL_HOSTNAME")
    pgsql_port: int = Field(default=5432, validation_alias="_PGSQL_PORT", ge=1, le=65535)
    pgsql_user: str = Field(validation_alias="_PGSQL_USER")
    pgsql_pass: SecretStr = Field(default=SecretStr(""), validation_alias="_PGSQL_PASS")
    pgsql_database: str = Field(validation_alias="_PGSQL_DATABASE")
    source: Annotated[str, AfterValidator(_source_url)] = Field(
        validation_alias="_AWS_S3_URL_SOURCE"
    )
    stage_url: Annotated[str, AfterValidator(_stage_url)] = Field(
        default_factory=lambda known: _parent_folder(known["source"]),
        validation_alias="ORDERS_DASK_STAGE_URL",
    )
    shop_timezone: Annotated[str, AfterValidator(_timezone_name)] = Field(
        default="UTC", validation_alias="ORDERS_DASK_SHOP_TIMEZONE"
    )
    max_rejected: float = Field(
        default=0.01, validation_alias="ORDERS_DASK_MAX_REJECTED", ge=0, le=1, allow_inf_nan=False
    )
    # As many COPYs as the server has cores is enough: one took 3.2 s, two 1.7 s, four 1.6 s on two
    # cores.
    copy_connections: int = Field(
        default=4, validation_alias="ORDERS_DASK_COPY_CONNECTIONS", ge=1, le=1000
    )
    # 128 MiB is some 20,000 orders of 6.6 KB; a small dump is cut finer (discover).
    block_size: Annotated[int, BeforeValidator(_parse_bytes)] = Field(
        default=128 * 2**20, validation_alias="ORDERS_DASK_BLOCK_SIZE", ge=1, le=2**30
    )
    partition_width: Literal["month", "day"] = Field(
        default="month", validation_alias="ORDERS_DASK_PARTITION"
    )
    allow_unreadable: bool = Field(default=False, validation_alias="ORDERS_DASK_ALLOW_UNREADABLE")
    scheduler_address: str | None = Field(default=None, validation_alias="DASK_SCHEDULER_ADDRESS")
    # libpq and botocore read these themselves; here they are only checked, before anything is
    # contacted.
    ssl_mode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = Field(default=None, validation_alias="PGSSLMODE")
    s3_endpoint: Annotated[str, AfterValidator(_endpoint_url)] | None = Field(
        default=None, validation_alias="AWS_ENDPOINT_URL_S3"
    )

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.shop_timezone)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Parameters
    ----------
    overrides
        Settings by attribute name, instead of what the environment says; None leaves what the
        environment says.

    Raises
    ------
    SettingsError
        Some are missing or malformed: one sentence names them all by their environment variables,
        and shows no value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    odd = [
        name
        for name in sorted(os.environ)
        if name.startswith("AWS_") and _has_control_characters(name)
    ]
    problems = []
    try:
        settings = Settings(**given)
        if not odd:
            return settings
    except ValidationError as error:
        problems = [
            (_variable_name(str(problem["loc"][0])), problem["type"], problem["msg"])
            for problem in error.errors(include_url=False, include_input=False)
            if problem["type"] != "default_factory_not_called"  # follows from another one
        ]
    missing = [variable for variable, kind, _ in problems if kind == "missing"]
    clauses = [
        f"{variable} {message.removeprefix('Value error, ').removeprefix('Input ')}"
        for variable, kind, message in problems
        if kind != "missing"
    ]
    clauses += [f"{name} must hold no line break or other control character" for name in odd]
    if missing:
        clauses.insert(0, f"{_join_names(missing)} {'is' if len(missing) == 1 else 'are'} not set")
    raise SettingsError("; ".join(clauses))


def _has_control_characters(variable: str) -> bool:
    """Say whether a variable holds what no HTTP header may, such as the newline at the end of a file."""
    return not os.environ[variable].isprintable()


def without_service_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out of an environment what says which PostgreSQL, S3 and Dask to use, so that others can be put there."""
    return {
        name: value for name, value in environment.items() if not name.startswith(_SERVICE_PREFIXES)
    }


def _variable_name(name: str) -> str:
    """Name the environment variable of a setting, which pydantic calls by either name."""
    field = Settings.model_fields.get(name)
    return str(field.validation_alias) if field else name


def _join_names(names: list[str]) -> str:
    """Join names as people do: ``A, B and C``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
