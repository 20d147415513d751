"""User and password of a new session: they may have been rotated since the settings were read."""

from __future__ import annotations

import os

from orders_dask.aws import managed_secret, rds_token
from orders_dask.secrets import PASSWORD, read_password
from orders_dask.settings import Settings


def read_login(settings: Settings) -> tuple[str, str]:
    """Return user and password for a new session; an empty password leaves it to libpq.

    Raises
    ------
    SettingsError
        The password's file or secret can't be read, or there are no AWS credentials.
    ServiceUnavailable
        AWS can't be reached.
    """
    user, password = settings.pgsql_user, settings.pgsql_pass.get_secret_value()
    if settings.pgsql_auth == "aws-iam":
        return user, rds_token(settings.pgsql_hostname, settings.pgsql_port, user)
    # Settings that were sent to a worker on another machine name a file that may not be there.
    if settings.pgsql_pass_file and os.access(settings.pgsql_pass_file, os.R_OK):
        return user, read_password(settings.pgsql_pass_file)
    if settings.pgsql_secret:
        secret = managed_secret(settings.pgsql_secret)
        return secret.get("_PGSQL_USER", user), secret.get(PASSWORD, password)
    return user, password


def can_rotate(settings: Settings) -> bool:
    """Return whether a refused login may be accepted later, as its password is read again."""
    return bool(
        settings.pgsql_auth == "aws-iam" or settings.pgsql_pass_file or settings.pgsql_secret
    )


def forget_login() -> None:
    """Forget the secret that this process keeps, after PostgreSQL refused its password."""
    managed_secret.cache_clear()
