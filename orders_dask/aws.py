"""The database's login from AWS: a secret of Secrets Manager, or a token of RDS.

botocore finds credentials and region as for S3. It is imported on use: a command that needs none of
this would pay 0.1 s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, Final

from orders_dask.errors import ServiceUnavailable, SettingsError

CLIENT_CONFIG: Final[dict[str, Any]] = {
    # botocore makes its own one anew for each request, from 30 parts that it cleans character by
    # character: a fifth of the time of the Python of a worker that stages small run dates.
    "user_agent": "orders_dask botocore",
    "connect_timeout": 10,
    "read_timeout": 30,
    # Not `max_attempts`: botocore rewrites it in this dict. fsspec, which caches clients by their
    # options, then made a second client (13 MB).
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
"""Timeouts of botocore in seconds, and its attempts; those that call it retry too."""

_KEYS: Final = {
    "username": "_PGSQL_USER",
    "password": "_PGSQL_PASS",
    "host": "_PGSQL_HOSTNAME",
    "port": "_PGSQL_PORT",
    "dbname": "_PGSQL_DATABASE",
}
"""Settings by the key of a secret that RDS manages.

See https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html.
"""


@cache
def managed_secret(secret_id: str) -> dict[str, str]:
    """Return the settings in a secret of AWS Secrets Manager; this process keeps them.

    ``managed_secret.cache_clear()`` forgets them, so that a rotated secret is read.

    Parameters
    ----------
    secret_id
        Name or ARN of the secret: a JSON object with keys as RDS has them, or names of settings.

    Raises
    ------
    SettingsError
        There is no such secret, it may not be read, or it is no JSON object.
    ServiceUnavailable
        Secrets Manager can't be reached.
    """
    with _translate_errors(f"AWS Secrets Manager gives no secret {secret_id}"):
        secret_value = _client("secretsmanager").get_secret_value(SecretId=secret_id)
        text = secret_value.get("SecretString", "")
    try:
        secret: Any = json.loads(text)
    except ValueError:
        secret = None
    if not isinstance(secret, dict):  # of JSON, so its keys are text
        raise SettingsError(
            f"The secret {secret_id} is no JSON object: it must have username and password, as "
            "the secrets that RDS manages."
        )
    named: dict[str, str] = {
        _KEYS.get(str(key), str(key)): str(value) for key, value in secret.items()
    }
    return {name: value for name, value in named.items() if name in _KEYS.values()}


def rds_token(host: str, port: int, user: str) -> str:
    """Return a token that RDS takes as password of a user for the next 15 minutes.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html. Nothing
    is sent: the token is a signature.

    Raises
    ------
    SettingsError
        There are no AWS credentials, or no region is set.
    ServiceUnavailable
        The credentials could not be fetched.
    """
    with _translate_errors(f"There is no RDS token for user {user}"):
        token: str = _client("rds").generate_db_auth_token(host, port, user)
    return token


_MAKING_CLIENTS: Final = Lock()
"""botocore's clients are safe to share between threads, and making one is not."""


def _client(service: str) -> Any:
    """Return this process's client of a service; it renews credentials that expire."""
    with _MAKING_CLIENTS:
        return _new_client(service)


@cache
def _new_client(service: str) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client(service, config=Config(**CLIENT_CONFIG))


def transient_errors() -> tuple[type[Exception], ...]:
    """Return the errors of botocore's requests. It raises its other errors before any request."""
    from botocore import exceptions

    return (
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        exceptions.ChecksumError,
        exceptions.FlexibleChecksumError,
        exceptions.AwsChunkedWrapperError,
        exceptions.MetadataRetrievalError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.CapacityNotAvailableError,
    )


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", type(error).__name__)
        transient = status >= 500 or status == 429 or "Throttling" in code
        kind = ServiceUnavailable if transient else SettingsError
        raise kind(f"{what} ({code}): check its name and the rights of the AWS role.") from error
    except BotoCoreError as error:
        transient = isinstance(error, transient_errors())
        kind = ServiceUnavailable if transient else SettingsError
        # Only the class: the text may quote the URL of a proxy with its password.
        quotes_url = "://" in str(error)
        reason = type(error).__name__ if transient or quotes_url else str(error).rstrip(".")
        raise kind(f"{what} ({reason}): check the AWS credentials and the region.") from error
    except ValueError as error:  # botocore's, of an endpoint that is no URL
        raise SettingsError(f"{what}: check AWS_ENDPOINT_URL_* and AWS_ENDPOINT_URL.") from error
