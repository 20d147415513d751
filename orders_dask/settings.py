"""Settings from environment variables. docs/settings.md lists them.

The names with a leading underscore are given by the environment that this runs in. Variables of
libraries are read by these themselves: ``AWS_*`` by botocore, ``PGSSLMODE`` and ``PGSSLROOTCERT``
by libpq.
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

_SERVICE_PREFIXES: Final = (
    "_PGSQL_",
    "_AWS_",
    "AWS_",
    "PG",
    "DASK_SCHEDULER",
    "ORDERS_DASK_STAGE_URL",
)
"""Prefixes of the variables that choose a service: ours, botocore's, libpq's and Dask's."""


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
    if protocol in S3_PROTOCOLS and not path.partition("/")[0]:
        raise ValueError("must name a bucket")
    return protocol


def _source_url(url: str) -> str:
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


def _parent_folder(source: str) -> str:
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


def _stage_url(url: str) -> str:
    """Return the stage's URL: its folder is :data:`STAGE_FOLDER`, without a trailing slash."""
    folder = url.rstrip("/").removesuffix(f"/{STAGE_FOLDER}")
    if not folder:
        raise ValueError("must be set, for the source has no folder that a stage could lie in")
    store_protocol(url)
    return f"{folder}/{STAGE_FOLDER}"


def _endpoint_url(url: str) -> str:
    """Validate the URL of an S3 server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://s3.example.org")
    return url


def _timezone_name(name: str) -> str:
    """Validate the name of a time zone."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, LookupError):  # no zone's name, a folder of zones, no such zone
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None


def _parse_bytes(size: object) -> object:
    """Parse a size such as ``32MiB``."""
    if not isinstance(size, str):
        return size
    from dask.utils import parse_bytes  # late: 0.2 s that `--help` does without

    try:
        return parse_bytes(size)
    except ValueError:
        raise ValueError("must be a number of bytes such as 32MiB") from None


class Settings(BaseSettings):
    """All settings, frozen.

    Each is read from an environment variable, or passed by attribute name. Use
    :func:`load_settings`, which raises one sentence for all problems.

    Attributes
    ----------
    pgsql_hostname
        Host name of the PostgreSQL server, or the folder of its socket.
    pgsql_port
        Port of the PostgreSQL server.
    pgsql_user
        User (role) of the PostgreSQL connections.
    pgsql_pass
        Password of this user, never shown. It may be empty. Then libpq uses ``PGPASSWORD`` or the
        password file (``~/.pgpass``, ``PGPASSFILE``), or the server asks for no password (peer or
        trust authentication).
    pgsql_database
        Name of the database.
    source
        The dump: an fsspec URL of a file, a folder or a glob, with ``{run_date}`` or without.
    stage_url
        Folder of the Parquet intermediates, by default beside the source. Its last folder is always
        ``.orders_dask``, which is appended if it is missing.
    shop_timezone
        IANA name of the shop's time zone, for timestamps without an offset.
    max_rejected
        Share, 0 to 1, of a run date's orders, and of its lines. A run is refused if more than this
        share and more than 10 were rejected.
    copy_connections
        Number of parts that are loaded at once, each over its own connection.
    block_size
        Most bytes of text that one task decodes, such as ``32MiB``.
    partition_width
        Whether a partition of the fact storage holds a month or a day. The first ``orders-dask
        init`` fixes it.
    allow_unreadable
        Whether a run date is published although a file could not be read to its end.
    scheduler_address
        Address of a Dask scheduler to use instead of a cluster on this machine.
    ssl_mode
        How libpq encrypts its connections; libpq's own default is ``prefer``. libpq reads the
        variable itself, so the attribute changes nothing.
    s3_endpoint
        URL of an S3 server other than Amazon's. botocore reads the variable itself, so the
        attribute changes nothing.
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
        default_factory=lambda validated: _parent_folder(validated["source"]),
        validation_alias="ORDERS_DASK_STAGE_URL",
    )
    shop_timezone: Annotated[str, AfterValidator(_timezone_name)] = Field(
        default="UTC", validation_alias="ORDERS_DASK_SHOP_TIMEZONE"
    )
    max_rejected: float = Field(
        default=0.01, validation_alias="ORDERS_DASK_MAX_REJECTED", ge=0, le=1, allow_inf_nan=False
    )
    # As many COPYs as the server has cores: on two cores one took 3.2 s, two 1.7 s, four 1.6 s.
    copy_connections: int = Field(
        default=4, validation_alias="ORDERS_DASK_COPY_CONNECTIONS", ge=1, le=1000
    )
    # 128 MiB is some 20,000 orders of 6.6 KB; discover splits a small dump finer.
    block_size: Annotated[int, BeforeValidator(_parse_bytes)] = Field(
        default=128 * 2**20, validation_alias="ORDERS_DASK_BLOCK_SIZE", ge=1, le=2**30
    )
    partition_width: Literal["month", "day"] = Field(
        default="month", validation_alias="ORDERS_DASK_PARTITION"
    )
    allow_unreadable: bool = Field(default=False, validation_alias="ORDERS_DASK_ALLOW_UNREADABLE")
    scheduler_address: str | None = Field(default=None, validation_alias="DASK_SCHEDULER_ADDRESS")
    # libpq and botocore read these themselves. They are validated here, before any connection.
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
    """Return the settings from the environment.

    Parameters
    ----------
    overrides
        Settings by attribute name, which take precedence over the environment. None overrides
        nothing.

    Returns
    -------
    Settings
        The validated settings.

    Raises
    ------
    SettingsError
        A setting is missing or malformed. One sentence names the variables of all such settings,
        and shows no value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unprintable = [
        name
        for name in sorted(os.environ)
        if name.startswith("AWS_") and _has_control_characters(name)
    ]
    problems = []
    try:
        settings = Settings(**given)
        if not unprintable:
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
    clauses += [
        f"{name} must hold no line break or other control character" for name in unprintable
    ]
    if missing:
        clauses.insert(0, f"{_join_names(missing)} {'is' if len(missing) == 1 else 'are'} not set")
    raise SettingsError("; ".join(clauses))


def _has_control_characters(variable: str) -> bool:
    """Return whether a variable has characters that no HTTP header may have, such as a newline."""
    return not os.environ[variable].isprintable()


def without_service_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that choose PostgreSQL, S3 and Dask."""
    return {
        name: value for name, value in environment.items() if not name.startswith(_SERVICE_PREFIXES)
    }


def _variable_name(name: str) -> str:
    """Return the environment variable of a setting, given by either of its names."""
    field = Settings.model_fields.get(name)
    return str(field.validation_alias) if field else name


def _join_names(names: list[str]) -> str:
    """Join names as people do: ``A, B and C``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
