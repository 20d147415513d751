"""A password comes from a file or a folder of secrets; two sources at once are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orders_dask.errors import SettingsError
from orders_dask.load.login import read_login
from orders_dask.settings import load_settings

REQUIRED = {
    "_PGSQL_HOSTNAME": "db.example.com",
    "_PGSQL_USER": "loader",
    "_PGSQL_DATABASE": "shop",
    "_AWS_S3_URL_SOURCE": "s3://bucket/orders/run_date={run_date}/",
}


@pytest.fixture(autouse=True)
def environment(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file in a folder, named as the setting, with a password and a newline."""
    file = tmp_path / "_PGSQL_PASS"
    file.write_text("correct horse\n")
    return file


def test_each_session_reads_the_password_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PGSQL_PASS_FILE", str(file))
    settings = load_settings()
    assert settings.pgsql_pass.get_secret_value() == "correct horse"
    file.write_text("battery staple")
    assert read_login(settings) == ("loader", "battery staple")


def test_the_folder_of_secrets_holds_settings_by_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("_PGSQL_USER")
    monkeypatch.setenv("ORDERS_DASK_SECRETS_DIR", str(file.parent))
    (file.parent / "_PGSQL_USER").write_text("keeper\n")
    settings = load_settings()
    assert (settings.pgsql_user, settings.pgsql_pass_file) == ("keeper", file)
    file.write_text("battery staple")
    assert read_login(settings) == ("keeper", "battery staple")


def test_a_variable_counts_more_than_a_file_in_the_folder_of_secrets(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_DASK_SECRETS_DIR", str(file.parent))
    monkeypatch.setenv("_PGSQL_PASS", "mine")
    assert read_login(load_settings()) == ("loader", "mine")


def test_kubernetes_may_swap_the_folder_of_secrets_by_its_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, password in (("..1", "first"), ("..2", "second")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "_PGSQL_PASS").write_text(password)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "_PGSQL_PASS").symlink_to("..data/_PGSQL_PASS")
    monkeypatch.setenv("ORDERS_DASK_SECRETS_DIR", str(tmp_path))
    settings = load_settings()
    assert read_login(settings) == ("loader", "first")
    (tmp_path / "..next").symlink_to("..2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert read_login(settings) == ("loader", "second")


def test_settings_that_were_sent_to_another_machine_have_the_password_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_PGSQL_PASS_FILE", str(file))
    settings = load_settings()
    file.unlink()
    assert read_login(settings) == ("loader", "correct horse")


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"_PGSQL_PASS_FILE": "{folder}/none"}, r"_PGSQL_PASS_FILE can't be read: .*none \(File"),
        ({"_PGSQL_PASS_FILE": "{folder}"}, r"_PGSQL_PASS_FILE is no regular file"),
        ({"_PGSQL_PASS_FILE": "{file}", "_PGSQL_PASS": "x"}, "_PGSQL_PASS_FILE are both set"),
        (
            {"ORDERS_DASK_SECRETS_DIR": "{file}"},
            "ORDERS_DASK_SECRETS_DIR is no folder that can be read: ",
        ),
        ({"ORDERS_DASK_PG_AUTH": "kerberos"}, "ORDERS_DASK_PG_AUTH should be 'password' or"),
        ({"ORDERS_DASK_PG_AUTH": "aws-iam"}, "PGSSLMODE must be require, verify-ca or"),
        (
            {"ORDERS_DASK_PG_AUTH": "aws-iam", "PGSSLMODE": "require", "_PGSQL_PASS": "x"},
            "_PGSQL_PASS must not be set",
        ),
    ],
)
def test_a_secret_that_can_not_be_used_is_named_and_not_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], complaint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(folder=file.parent, file=file))
    with pytest.raises(SettingsError, match=complaint) as raised:
        load_settings()
    assert "correct horse" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is no regular file"),  # a pipe would block
        (b"a\0b", "holds no password"),
        (b"x" * 70_000, "holds no password"),
    ],
)
def test_a_file_that_can_hold_no_password_is_named(
    content: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    monkeypatch.setenv("_PGSQL_PASS_FILE", str(file))
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("_PGSQL_PASS", "_PGSQL_PASS in the folder of secrets .* is no file"),
        ("AWS_ENDPOINT_URL_S3", "is read by botocore alone: set the variable"),
    ],
)
def test_what_can_be_no_setting_in_the_folder_of_secrets_is_named(
    name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "elsewhere"  # a link into nothing for the one, a file for the other
    if name.startswith("AWS_"):
        target.write_text("http://127.0.0.1:9000")
    (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("ORDERS_DASK_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


def test_a_file_of_the_folder_of_secrets_that_can_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_PGSQL_PASS").write_bytes(b"\xff\xfe")  # no UTF-8
    monkeypatch.setenv("ORDERS_DASK_SECRETS_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match="folder of secrets"):
        load_settings()
