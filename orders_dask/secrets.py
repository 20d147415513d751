"""Settings from files and from AWS Secrets Manager. docs/secrets.md has all places of secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from orders_dask.aws import managed_secret
from orders_dask.errors import SettingsError

PASSWORD: Final = "_PGSQL_PASS"
"""Variable of the password, or name of its file in the folder of secrets."""

PASSWORD_FILE: Final = "_PGSQL_PASS_FILE"
"""Variable of the file that holds the password."""

MAX_PASSWORD: Final = 64 * 1024
"""Characters of a password at most; tokens of clouds have some thousand."""

SECRETS_FOLDER: Final = "/run/secrets"
"""Where Docker and Podman mount secrets."""


def read_password(path: Path) -> str:
    """Return the password in a file, without white space around it.

    Raises
    ------
    SettingsError
        It can't be read, or is no password.
    """
    try:
        # A pipe or device would block, or give its text only once.
        if not path.is_file() and path.exists():
            raise SettingsError(f"{PASSWORD_FILE} is no regular file: {path}.")
        with path.open(encoding="utf-8") as file:
            password = file.read(MAX_PASSWORD + 1).strip()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{PASSWORD_FILE} can't be read: {path} ({type(error).__name__})."
        ) from error
    if len(password) > MAX_PASSWORD or not is_sendable(password):
        raise SettingsError(f"{PASSWORD_FILE} holds no password: {path}.")
    return password


def is_sendable(password: str) -> bool:
    """Return whether libpq can send a password: UTF-8 without a NUL."""
    return "\0" not in password and not any("\ud800" <= char <= "\udfff" for char in password)


def password_from_file() -> dict[str, str]:
    """Return the password from the file that a variable names, if it does."""
    path = os.environ.get(PASSWORD_FILE)
    if path and os.environ.get(PASSWORD):
        raise SettingsError(f"{PASSWORD} and {PASSWORD_FILE} are both set: keep one of them.")
    return {PASSWORD: read_password(Path(path))} if path else {}


def secrets_folder() -> str | None:
    """Return the folder whose files are settings by name, if there is one."""
    given = os.environ.get("ORDERS_DASK_SECRETS_DIR")
    folder = given or SECRETS_FOLDER
    if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK):
        return folder
    # The default may be absent or, where nobody named it, a folder of an administrator.
    if given and (given != SECRETS_FOLDER or os.path.exists(folder)):
        raise SettingsError(f"ORDERS_DASK_SECRETS_DIR is no folder that can be read: {given}.")
    return None


def checked_secrets_folder(settings: Iterable[str]) -> str | None:
    """Return the folder of secrets after checking what stands in it under the name of a setting.

    Parameters
    ----------
    settings
        Names of the variables of all settings.

    Raises
    ------
    SettingsError
        Something there is no file, only a library reads the variable, or two hold a password.
    """
    folder = secrets_folder()
    present = {name for name in settings if folder and os.path.lexists(os.path.join(folder, name))}
    for name in sorted(present):
        if not os.path.isfile(os.path.join(folder or "", name)):
            raise SettingsError(f"{name} in the folder of secrets {folder} is no file.")
        if name.startswith("AWS_"):
            raise SettingsError(
                f"{name} in the folder of secrets {folder} is read by botocore alone: set the "
                "variable."
            )
    if {PASSWORD, PASSWORD_FILE} <= present:
        raise SettingsError(f"{PASSWORD} and {PASSWORD_FILE} are both in {folder}: keep one.")
    return folder


def read_setting(name: str) -> str | None:
    """Return the text of a setting's file in the folder of secrets, if there is one."""
    folder = secrets_folder()
    path = Path(folder or SECRETS_FOLDER, name)
    return path.read_text(encoding="utf-8").strip() if folder and path.is_file() else None


def login_from_secrets_manager() -> dict[str, str]:
    """Return the settings in the secret that a variable names, if it does."""
    secret_id = os.environ.get("ORDERS_DASK_PG_SECRET")
    if not secret_id:
        return {}
    secret = managed_secret(secret_id)
    folder = secrets_folder()
    both = [
        name
        for name in ("_PGSQL_USER", PASSWORD, PASSWORD_FILE)
        if name.removesuffix("_FILE") in secret
        and (os.environ.get(name) or (folder and os.path.exists(os.path.join(folder, name))))
    ]
    if both:
        raise SettingsError(
            f"{' and '.join(both)} and the secret of ORDERS_DASK_PG_SECRET are both set: keep one."
        )
    return secret


def password_file(validated: dict[str, Any]) -> Path | None:
    """Return the file in the folder of secrets that the password came from, if it did."""
    path = Path(secrets_folder() or SECRETS_FOLDER, PASSWORD)
    password = validated["pgsql_pass"].get_secret_value() if "pgsql_pass" in validated else ""
    return path if password and path.is_file() and read_password(path) == password else None
