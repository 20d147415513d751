"""An analyst who looks at the run date all the time."""

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
"""One statement, so one snapshot: of the facts, of the current versions and of a dimension."""

INTERVAL: Final = 0.03
"""Seconds between looks."""

State = tuple[Any, ...]


class Reader:
    """Looks every few milliseconds, in a thread, and keeps what it saw in the order in which that changed.

    Parameters
    ----------
    database
        URL of the database, straight to the server.
    day
        The run date, in ISO 8601.
    """

    def __init__(self, database: str, day: str) -> None:
        self._database, self._day = database, day
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="reader")
        self.seen: list[State] = []
        self.reads = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            try:
                connection = psycopg2.connect(self._database, application_name="chaos reader")
            except psycopg2.OperationalError:  # it is being started again
                self._stop.wait(0.02)
                continue
            try:
                connection.autocommit = True
                self._look_through(connection)
            except psycopg2.OperationalError:  # it was stopped
                pass
            except psycopg2.Error as error:
                self.wrong.append(str(error))
                return
            finally:
                connection.close()

    def _look_through(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute(SQL, {"day": self._day})
                [state] = cursor.fetchall()
                self.reads += 1
                if state not in self.seen[-1:]:
                    self.seen.append(state)
                time.sleep(INTERVAL)


def state(database: str, day: str) -> State:
    """Look once."""
    connection = psycopg2.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(SQL, {"day": day})
            row: State = cursor.fetchone() or ()
            return row
    finally:
        connection.close()
