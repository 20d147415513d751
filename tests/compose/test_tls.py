"""The override with TLS: who may talk to scheduler and database, and that days are loaded over it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.compose.stack import WITH_TLS, Contents, Stack

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tls(running: Stack, undisturbed: Contents) -> Stack:
    """Return the same project, started again with TLS."""
    stack = replace(running, files=WITH_TLS)
    stack.up()
    stack.has_workers(2)
    return stack


def test_days_are_loaded_over_tls_from_end_to_end(tls: Stack, undisturbed: Contents) -> None:
    sessions = """
        select count(*) filter (where ssl), count(*) from pg_stat_ssl join pg_stat_activity using (pid)
        where application_name = 'orders_dask'
    """
    seen = []
    tls.reload(lambda: seen.append(tls.query(sessions)))
    [[line]] = seen
    encrypted, every = map(int, line.split("|"))
    assert 0 < encrypted == every
    assert tls.contents() == undisturbed


def test_the_scheduler_talks_to_nobody_without_a_certificate(tls: Stack) -> None:
    plain = {
        "DASK_SCHEDULER_ADDRESS": "tcp://scheduler:8786",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "false",
    }
    run = ("run", "--run-date", "2026-03-01", "--force")
    assert tls.ended(*run, **plain)[0] == 4
    of_postgresql = {
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": "/certificates/postgres.pem",
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": "/certificates/postgres.key",
    }
    assert tls.ended(*run, **of_postgresql)[0] == 4


def test_a_postgresql_with_another_ca_or_another_name_is_refused(tls: Stack) -> None:
    another_ca = {"PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt"}
    another_name = {"_PGSQL_HOSTNAME": f"{tls.variables['COMPOSE_PROJECT_NAME']}-postgres-1"}
    for settings in (another_ca, another_name):
        code, _, err = tls.ended("status", **settings)
        assert code == 2, err
        assert "certificate" in err
