"""Secrets as files, in place of variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SECRET: Final = ("_PGSQL_PASS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that are no secret."""
    return {name: value for name, value in environment.items() if name not in _SECRET}


def secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of the files that the secrets are in, by name."""
    return {
        "_PGSQL_PASS": environment["_PGSQL_PASS"],
        "aws-credentials": "[default]\naws_access_key_id = {AWS_ACCESS_KEY_ID}\n"
        "aws_secret_access_key = {AWS_SECRET_ACCESS_KEY}\n".format(**environment),
    }
