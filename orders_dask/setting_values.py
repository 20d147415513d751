"""Parse and validate the values of settings; what they raise is for people, and shows no value."""

from __future__ import annotations

import shlex
from datetime import time
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from orders_dask.secrets import is_sendable
from orders_dask.urls import validate_endpoint


def timezone_name(name: str) -> str:
    """Validate the name of a time zone."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, LookupError):  # no zone's name, a folder of zones, no such zone
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None


def record_path(setting: str) -> str:
    """Validate where the order stands in a record."""
    from orders_dask.contract.envelopes import parse_envelope  # late: --help does without it

    return parse_envelope(setting).setting


def table_groups(setting: str) -> str:
    """Validate the groups of tables: they must be those that this process has declared."""
    from orders_dask.contract.table_groups import ACTIVE_GROUPS, parse_groups  # late, as above

    if parse_groups(setting) != ACTIVE_GROUPS:
        raise ValueError(
            "must be set in the environment before orders_dask is imported: this process has the "
            f"tables of {','.join(ACTIVE_GROUPS)}"
        )
    return ",".join(ACTIVE_GROUPS)


def columns_file(setting: str | None) -> str | None:
    """Validate the file of custom columns: it must be the one that this process has read."""
    from orders_dask.contract.custom_columns import COLUMNS_FILE  # late, as above

    if setting != COLUMNS_FILE:
        raise ValueError(
            "must be set in the environment before orders_dask is imported: this process has read "
            f"{COLUMNS_FILE or 'no such file'}"
        )
    return setting


def without_zone(moment: time) -> time:
    """Validate a time of day, which is always in the shop's time zone."""
    if moment.tzinfo is not None:
        raise ValueError("must have no offset: it is a time of the shop's zone")
    return moment


def webhook_url(url: SecretStr) -> SecretStr:
    """Validate the URL of a webhook, which is a secret."""
    text = url.get_secret_value()
    validate_endpoint(text)
    if " " in text or not text.isprintable():
        raise ValueError("must hold no blank or control character")
    return url


def command_line(command: str) -> str:
    """Validate that a text names a command, as a shell splits it."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise ValueError("must be a command with its arguments, quoted as in a shell")
    return command


def printable_password(password: SecretStr) -> SecretStr:
    """Validate that a password is text that libpq can send."""
    if not is_sendable(password.get_secret_value()):
        raise ValueError("must be UTF-8 without a NUL byte")
    return password


def parse_seconds(duration: object) -> object:
    """Parse a duration such as ``3h`` or ``5 minutes`` into seconds; a number is in seconds."""
    if not isinstance(duration, str):
        return duration
    from dask.utils import parse_timedelta  # late: 0.2 s that `--help` does without

    try:
        return parse_timedelta(duration)
    except (ValueError, LookupError, OverflowError):
        raise ValueError("must be a duration such as 30s, 5m or 3h") from None


def parse_pairs(text: object) -> object:
    """Parse ``name=value,name=value``."""
    if not isinstance(text, str):
        return text
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError("must be pairs such as name=value,name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_size(size: object) -> object:
    """Parse a size such as ``32MiB``."""
    if not isinstance(size, str):
        return size
    from dask.utils import parse_bytes  # late: 0.2 s that `--help` does without

    try:
        return parse_bytes(size)
    except (ValueError, OverflowError):
        raise ValueError("must be a number of bytes such as 32MiB") from None
