"""A reader that polls the run date throughout a case."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import psycopg2

SQL: Final = """
    select (select count(*) from orders.fact_order where run_date = %(day)s),
           (select sum(total_price) from orders.fact_order where run_date = %(day)s),
           (select count(*) from orders.fact_order_line where run_date = %(day)s),
           (select count(*) from orders.order_current),
           (select sum(total_price) from orders.order_current),
           (select count(*) from orders.dim_product_variant)
"""
"""One statement, so one snapshot of the facts, the current versions and a dimension."""

INTERVAL: Final = 0.03
"""Seconds between reads."""

State = tuple[Any, ...]


class Reader:
    """Polls in a thread every few milliseconds, and records each change of what it sees.

    Parameters
    ----------
    database
        URL of the database, straight to the server.
    day
        The run date, in ISO 8601.

    Attributes
    ----------
    seen
        Distinct consecutive states.
    reads
        Statements so far.
    wrong
        Errors, except those of a server that stops or starts.
    """

    def __init__(self, database: str, day: str) -> None:
        self._database, self._day = database, day
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="reader")
        self.seen: list[State] = []
        self.reads = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.is_set():
            try:
                connection = psycopg2.connect(self._database, application_name="chaos reader")
            except psycopg2.OperationalError:  # it is restarting
                self._stop.wait(0.02)
                continue
            try:
                connection.autocommit = True
                self._poll_session(connection)
            except psycopg2.OperationalError:  # it was stopped
                pass
            except psycopg2.Error as error:
                self.wrong.append(str(error))
                return
            finally:
                connection.close()

    def _poll_session(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute(SQL, {"day": self._day})
                [state] = cursor.fetchall()
                self.reads += 1
                if state not in self.seen[-1:]:
                    self.seen.append(state)
                time.sleep(INTERVAL)


def read_state(database: str, day: str) -> State:
    """Return what a reader sees now."""
    connection = psycopg2.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(SQL, {"day": day})
            row: State = cursor.fetchone() or ()
            return row
    finally:
        connection.close()
