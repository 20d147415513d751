"""Transient errors are retried with exponential backoff; other errors propagate at once."""

from __future__ import annotations

import logging
from threading import Event
from typing import NoReturn

import pytest
from tenacity import wait_none

from orders_dask import retry
from orders_dask.errors import (
    DataRefused,
    LeaseLost,
    LoadNotActive,
    OrdersDaskError,
    RunDateLocked,
    ServiceUnavailable,
    SettingsError,
    SourceMissing,
    StoredObjectChanged,
)
from orders_dask.retry import (
    ATTEMPTS,
    RUN_ATTEMPTS,
    retry_run,
    retry_transient,
    retry_until_found,
    wait_for_lock,
)


def test_a_service_that_comes_back_is_retried_with_longer_waits() -> None:
    waits: list[float] = []
    failures = [ServiceUnavailable("one"), ServiceUnavailable("two")]

    def ask() -> int:
        if failures:
            raise failures.pop()
        return 7

    assert retry_transient(ask).retry_with(sleep=waits.append)() == 7
    assert 0.5 <= waits[0] <= 1.5
    assert 1.0 <= waits[1] <= 2.0


def test_a_service_that_stays_away_ends_with_its_own_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits: list[float] = []

    def ask() -> NoReturn:
        raise ServiceUnavailable("PostgreSQL is down.")

    with caplog.at_level(logging.WARNING), pytest.raises(ServiceUnavailable, match="is down"):
        retry_transient(ask).retry_with(sleep=waits.append)()
    assert len(waits) == ATTEMPTS - 1
    assert caplog.messages[0].startswith("PostgreSQL is down. (Trying again in "), (
        "people are told what is waited for"
    )


@pytest.mark.parametrize("error", [SettingsError, DataRefused, LoadNotActive, RunDateLocked])
def test_an_error_that_a_retry_does_not_overcome_propagates_at_once(
    error: type[OrdersDaskError],
) -> None:
    calls = []

    def ask() -> NoReturn:
        calls.append(1)
        raise error("no")

    for tried in (retry_transient(ask), retry_run(ask)):
        with pytest.raises(error):
            tried()
    assert len(calls) == 2, "once each"


@pytest.mark.parametrize("error", [ServiceUnavailable, LeaseLost, StoredObjectChanged])
def test_a_run_date_is_retried_after_a_transient_error(
    error: type[OrdersDaskError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_BACKOFF", wait_none())
    calls = []

    def work() -> NoReturn:
        calls.append(1)
        raise error("broke off")

    with pytest.raises(error):
        retry_run(work)()
    assert len(calls) == RUN_ATTEMPTS


def test_a_run_that_was_cancelled_waits_no_longer() -> None:
    stop = Event()
    calls = []

    def work() -> NoReturn:
        calls.append(1)
        stop.set()
        raise RunDateLocked("held")

    with pytest.raises(RunDateLocked):
        wait_for_lock(work, stop)()
    assert calls == [1]


def test_a_file_that_comes_is_waited_for_with_one_message(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "wait_exponential", lambda max: wait_none())
    missing, down = SourceMissing("No file."), ServiceUnavailable("S3 is down.")
    errors = [missing, missing, down, missing]

    def find() -> int:
        if errors:
            raise errors.pop(0)
        return 7

    assert retry_until_found(find, 60)() == 7
    assert caplog.messages == ["No file. (Waiting for it.)", "S3 is down. (Waiting for it.)"]


def test_a_file_that_does_not_come_ends_the_wait_with_its_error() -> None:
    def find() -> NoReturn:
        raise SourceMissing("No file.")

    with pytest.raises(SourceMissing, match=r"No file\."):
        retry_until_found(find, 0.5)()
