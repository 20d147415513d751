"""Logins that change while a run works: rotated files and secrets, and tokens of Amazon RDS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from distributed import Client
from moto.server import ThreadedMotoServer
from psycopg2 import sql
from sqlalchemy import text

from orders_dask.aws import managed_secret
from orders_dask.errors import ServiceUnavailable, SettingsError
from orders_dask.jobs.backfill import backfill
from orders_dask.load.connect import engine
from orders_dask.pipeline.progress import Progress
from orders_dask.sandbox import Sandbox
from orders_dask.settings import Settings, load_settings
from orders_dask.synthetic import generate
from tests.support.proxy import Loop
from tests.support.rds import RdsFront
from tests.support.services import administer
from tests.support.types import Query

DAY = date(2026, 3, 1)
Environment = dict[str, str]
SetPassword = Callable[[str], None]


@pytest.fixture
def set_password(
    services: Sandbox, warehouse: Any, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SetPassword]:
    """Return ``set_password(text)``, which sets that of a loader that only this test uses."""
    name = f"{environment['_PGSQL_DATABASE']}_loader"
    user = sql.Identifier(name)
    administer(
        services.environment, sql.SQL("create role {} login in role orders_loader").format(user)
    )
    monkeypatch.setenv("_PGSQL_USER", name)
    monkeypatch.delenv("_PGSQL_PASS")

    def set_password(password: str) -> None:
        statement = sql.SQL("alter role {} password {}").format(user, sql.Literal(password))
        administer(services.environment, statement)

    yield set_password
    administer(services.environment, sql.SQL("drop role {}").format(user))


def current_user(settings: Settings) -> str:
    with engine(settings).connect() as connection:
        return str(connection.scalar(text("select current_user")))


def test_a_password_is_rotated_in_the_middle_of_a_backfill(
    client: Client,
    set_password: SetPassword,
    source: str,
    query: Query,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = generate(source, start=DAY, days=3, orders=200)
    file = tmp_path / "password"
    monkeypatch.setenv("_PGSQL_PASS_FILE", str(file))
    passwords = iter(f"password {n}" for n in range(100))

    def rotate() -> None:
        password = next(passwords)
        set_password(password)
        file.write_text(password)

    rotate()

    def rotate_before_decode(now: Progress) -> None:
        if now.step == "decode" and not now.done:
            rotate()

    ended = backfill(
        DAY,
        DAY + timedelta(days=2),
        settings=load_settings(source=made.source),
        client=client,
        max_parallel=1,
        listener=rotate_before_decode,
    )
    assert [each.outcome for each in ended] == ["published"] * 3, ended
    assert int(next(passwords).split()[1]) > 3, "the password was not rotated during the backfill"
    orders = sum(day.rows["fact_order"] for day in made.days)
    assert query("select count(*) from orders.fact_order") == [(orders,)]


@pytest.fixture
def aws(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of a server that speaks AWS's APIs, which botocore uses for all but S3."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
    _forget_clients()
    yield url
    _forget_clients()
    server.stop()


def _forget_clients() -> None:
    """Forget what this process keeps of AWS: other tests have other servers."""
    from orders_dask import aws

    aws._new_client.cache_clear()
    managed_secret.cache_clear()


@pytest.fixture
def secret_name(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a name of a secret that only this test uses; the settings name it."""
    name = f"orders/{environment['_PGSQL_DATABASE']}"
    monkeypatch.setenv("ORDERS_DASK_PG_SECRET", name)
    return name


def secrets_manager() -> Any:
    return botocore.session.Session().create_client("secretsmanager")


def test_a_secret_of_aws_has_user_and_password_and_may_be_rotated(
    aws: str, set_password: SetPassword, secret_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.environ["_PGSQL_USER"]
    monkeypatch.delenv("_PGSQL_USER")
    set_password("first")
    secret = {"engine": "postgres", "username": user, "password": "first"}
    secrets_manager().create_secret(Name=secret_name, SecretString=json.dumps(secret))
    settings = load_settings()
    assert current_user(settings) == user

    set_password("second")
    secrets_manager().put_secret_value(
        SecretId=secret_name, SecretString=json.dumps(secret | {"password": "second"})
    )
    with pytest.raises(ServiceUnavailable, match="password authentication failed"):
        current_user(settings)
    assert current_user(settings) == user, "after a refusal the secret is read again"


def test_a_user_beside_a_secret_that_has_one_is_refused(aws: str, secret_name: str) -> None:
    secret = json.dumps({"username": "a", "password": "b"})
    secrets_manager().create_secret(Name=secret_name, SecretString=secret)
    with pytest.raises(SettingsError, match=r"^_PGSQL_USER and _PGSQL_PASS and the secret of"):
        load_settings()


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        (None, r"gives no secret orders/test_\S+ \(ResourceNotFound"),
        ("just text", "no JSON object"),
    ],
)
def test_a_secret_that_is_absent_or_no_object_is_a_settings_error(
    aws: str, secret_name: str, secret: str | None, complaint: str
) -> None:
    if secret:
        secrets_manager().create_secret(Name=secret_name, SecretString=secret)
    with pytest.raises(SettingsError, match=complaint):
        load_settings()


def test_secrets_manager_that_does_not_answer_is_transient(
    aws: str, secret_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServiceUnavailable, match="EndpointConnectionError"):
        load_settings()


def test_each_session_has_a_token_of_its_own_that_the_credentials_of_a_role_sign(
    aws: str,
    trusting: None,
    environment: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("_PGSQL_PASS")
    # As in a pod: a web identity token is exchanged for the temporary credentials of a role.
    (tmp_path / "token").write_text("a.web.token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/orders")
    monkeypatch.setenv("ORDERS_DASK_PG_AUTH", "aws-iam")
    monkeypatch.setenv("PGSSLMODE", "require")
    port = int(environment["_PGSQL_PORT"])
    with closing(Loop()) as loop, closing(RdsFront(loop, port, tmp_path)) as front:
        monkeypatch.setenv("_PGSQL_PORT", str(front.port))
        settings = load_settings()
        for _ in range(2):
            assert current_user(settings) == settings.pgsql_user
        first, second = front.tokens
    for token in (first, second):
        assert token.startswith(f"127.0.0.1:{front.port}/?Action=connect&DBUser=")
        assert settings.pgsql_user in token
        assert "X-Amz-Security-Token=" in token, "it is signed by the role's credentials"
        assert "X-Amz-Signature=" in token


def test_a_token_needs_credentials(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _forget_clients()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "_PGSQL_PASS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ORDERS_DASK_PG_AUTH", "aws-iam")
    monkeypatch.setenv("PGSSLMODE", "require")
    with pytest.raises(SettingsError, match=r"no RDS token for user \S+ \(Unable to locate cred"):
        current_user(load_settings())
    _forget_clients()
