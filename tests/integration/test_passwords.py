"""Without a password in the settings: what libpq finds, and servers that ask for none."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from orders_dask.errors import SettingsError
from orders_dask.load.connect import engine
from orders_dask.settings import load_settings

Environment = dict[str, str]


@pytest.fixture
def password(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the password of this test's user; the settings leave it empty."""
    monkeypatch.setenv("_PGSQL_PASS", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    return environment["_PGSQL_PASS"]


def user() -> str:
    """Connect with the settings of the environment, and return the user's name."""
    with engine(load_settings()).connect() as connection:
        return str(connection.scalar(text("select current_user")))


@pytest.mark.parametrize("variable", ["PGPASSFILE", "HOME"])
def test_a_password_file_is_read(
    password: str,
    environment: Environment,
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / ("passwords" if variable == "PGPASSFILE" else ".pgpass")
    file.write_text(f"127.0.0.1:*:*:{environment['_PGSQL_USER']}:{password}\n")
    file.chmod(0o600)
    monkeypatch.setenv(variable, str(file if variable == "PGPASSFILE" else tmp_path))
    assert user() == environment["_PGSQL_USER"]


def test_the_variable_of_libpq_is_read(
    password: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", password)
    assert user() == environment["_PGSQL_USER"]


def test_a_server_that_asks_for_a_password_is_a_settings_error(password: str) -> None:
    with pytest.raises(SettingsError, match=r"no password supplied.*_PGSQL_\* settings"):
        user()


def test_a_server_that_trusts_the_user_needs_no_password(
    password: str, trusting: None, environment: Environment
) -> None:
    assert user() == environment["_PGSQL_USER"]
