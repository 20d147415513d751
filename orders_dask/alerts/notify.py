"""Find out what people have to be told of run dates, and tell each thing once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from sqlalchemy import ColumnElement, Connection, Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orders_dask.alerts.send import Alert, Kind, send
from orders_dask.contract.ledger_tables import alert as alerts
from orders_dask.contract.ledger_tables import load_run
from orders_dask.settings import Settings


def notify(
    database: Engine,
    settings: Settings,
    wrong: Sequence[Alert],
    published: Sequence[date],
    discarded: Sequence[date] = (),
) -> None:
    """Send what was not sent before, and that run dates have recovered.

    An alert of a kind and run date is sent once until the run date has recovered. One that nobody
    took, or that a killed command had not sent, is sent with the next call.

    Parameters
    ----------
    database
        Engine of the database.
    settings
        Settings of the run.
    wrong
        What is wrong now.
    published
        Run dates that are published as they should be.
    discarded
        Run dates whose held load was discarded.
    """
    for each in wrong:
        _record(database, each)
    recovered_unsent = alerts.c.run_date.in_([*published, *discarded]), alerts.c.sent_at.is_(None)
    _close(database, recovered_unsent)
    _send_each(database, settings, (alerts.c.sent_at.is_(None),), alerts.c.sent_at, _as_recorded)
    # A load of a replay, or a forced one, may be held beside what is published.
    held = select(load_run.c.run_date).where(load_run.c.status == "held")
    recovered = alerts.c.run_date.in_(published), alerts.c.run_date.not_in(held)
    _send_each(database, settings, recovered, alerts.c.recovered_at, _as_published)
    # Somebody has looked at the date, whatever was wrong with it before.
    ended = alerts.c.run_date.in_(discarded), alerts.c.kind != "late"
    _send_each(database, settings, ended, alerts.c.recovered_at, _as_discarded)


def _record(database: Engine, wrong: Alert) -> None:
    """Record an alert, unless one of its kind is open; of another held load it is a new one."""
    if wrong.kind == "held":
        of_date = alerts.c.run_date == wrong.run_date, alerts.c.kind == wrong.kind
        _close(database, (*of_date, alerts.c.message != wrong.message))
    row = insert(alerts).values(run_date=wrong.run_date, kind=wrong.kind, message=wrong.message)
    with database.begin() as connection:
        connection.execute(row.on_conflict_do_nothing())


def _close(database: Engine, wanted: Sequence[ColumnElement[bool]]) -> None:
    """Close open alerts without a word: nobody ever took them, or another one takes their place."""
    closed = update(alerts).where(alerts.c.recovered_at.is_(None), *wanted)
    with database.begin() as connection:
        connection.execute(closed.values({alerts.c.recovered_at: func.clock_timestamp()}))


def _send_each(
    database: Engine,
    settings: Settings,
    wanted: Sequence[ColumnElement[bool]],
    sent: ColumnElement[None],
    alert_of: Callable[[date, Kind, str], Alert],
) -> None:
    """Send the open alerts that are wanted, and write when each was sent.

    Each row is locked until then, and skipped by commands that run at the same time.
    """
    query = (
        select(alerts.c.alert_id)
        .where(alerts.c.recovered_at.is_(None), *wanted)
        .order_by(alerts.c.run_date, alerts.c.alert_id)
    )
    with database.connect() as connection:
        with connection.begin():
            numbers = connection.scalars(query).all()
        for number in numbers:
            with connection.begin():
                row = _lock(connection, (alerts.c.alert_id == number, *wanted))
                if row is None:
                    continue
                if not send(alert_of(*row), settings):
                    return  # each would wait for an answer; the next command sends the others
                of_alert = update(alerts).where(alerts.c.alert_id == number)
                connection.execute(of_alert.values({sent: func.clock_timestamp()}))


def _lock(
    connection: Connection, wanted: Sequence[ColumnElement[bool]]
) -> tuple[date, Kind, str] | None:
    query = select(alerts.c.run_date, alerts.c.kind, alerts.c.message).where(
        alerts.c.recovered_at.is_(None), *wanted
    )
    row = connection.execute(query.with_for_update(of=alerts, skip_locked=True)).one_or_none()
    return (row.run_date, row.kind, row.message) if row else None


def _as_recorded(run_date: date, kind: Kind, message: str) -> Alert:
    return Alert(run_date, kind, message)


def _as_published(run_date: date, kind: Kind, message: str) -> Alert:
    return Alert(run_date, kind, "It is published.", recovered=True)


def _as_discarded(run_date: date, kind: Kind, message: str) -> Alert:
    return Alert(run_date, kind, "The load was discarded.", recovered=True)
