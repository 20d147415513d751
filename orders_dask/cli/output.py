"""What the command line shows: results on standard output, all else on standard error.

Nothing that comes from a dump is taken as markup, nor can it send control codes to the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from orders_dask.cli import output as screen
from orders_dask.pipeline.progress import Listener, Progress
from orders_dask.pipeline.results import ReplayResult, RunResult

if TYPE_CHECKING:
    pass

PLAIN_SECONDS: Final = 10
"""Seconds between two lines on the same step where there is no terminal to draw bars on."""


# Tables are as wide as they are where no terminal cuts them.
STDOUT: Final = Console(
    markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 10_000
)


STDERR: Final = Console(stderr=True, markup=False, emoji=False, highlight=False)


def message(sentence: str) -> None:
    """Show a sentence on standard error."""
    STDERR.print(_printable(sentence), soft_wrap=True)


def result(sentence: str) -> None:
    """Show a sentence on standard output."""
    STDOUT.print(_printable(sentence), soft_wrap=True)


def result_json(value: object) -> None:
    """Write a value as JSON on standard output."""
    STDOUT.out(_json(value), highlight=False)


def result_json_rows(rows: Iterable[object]) -> None:
    """Write rows as a JSON array on standard output, one a line, as they come."""
    before = "["
    for row in rows:
        STDOUT.out(before + _json(row), highlight=False)
        before = ","
    STDOUT.out("]" if before == "," else "[]", highlight=False)


def result_json_with(value: object, name: str, rows: Iterable[object]) -> None:
    """Write an object as JSON on standard output, and rows as one more of its members, one a line, as they come."""
    STDOUT.out(f"{_json(value)[:-1]}, {_json(name)}:", highlight=False)
    result_json_rows(rows)
    STDOUT.out("}", highlight=False)


def _json(value: object) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    """Give what JSON has no type for: a dataclass by what its repr shows, dates in ISO 8601, all else as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.repr}
    return value.isoformat() if isinstance(value, date) else str(value)


def result_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Show rows as a table, its columns named by the first row's keys."""
    if title:
        STDOUT.print()
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for name in rows[0] if rows else ():
        numbers = all(_is_number(row[name]) or row[name] is None for row in rows)
        shown.add_column(name.replace("_", " "), justify="right" if numbers else "left")
    for row in rows:
        shown.add_row(*(_cell(name, value) for name, value in row.items()))
    STDOUT.print(shown)


def _cell(name: str, value: object) -> str:
    """Give a value as it stands in a table; a key is no quantity."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S%z}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if _is_number(value) and not name.endswith("_id"):
        return f"{value:,}"
    return _printable(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _printable(text: str) -> str:
    """Put U+FFFD for characters that would control a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _in_words(outcome: str) -> str:
    return outcome.replace("_", " ")


def show_outcome(ended: RunResult) -> str:
    """Say in a line how a run date ended."""
    told = f"{ended.run_date}  {_in_words(ended.outcome)}"
    if ended.outcome in ("published", "up_to_date"):
        told += (
            f": {plural(ended.orders, 'order')}, {plural(ended.lines, 'line')}, "
            f"{ended.superseded:,} superseded, {ended.rejected:,} rejected, "
            f"{plural(ended.files, 'file')}, {ended.seconds:.1f} s"
        )
    return told + (f": {ended.message}" if ended.message else "")


def show_outcomes(ended: Sequence[RunResult], seconds: float) -> str:
    """Say in a line how a range of run dates ended."""
    kinds = list(dict.fromkeys(each.outcome for each in ended))
    counted = ", ".join(
        f"{sum(each.outcome == kind for each in ended)} {_in_words(kind)}" for kind in kinds
    )
    orders, lines = sum(each.orders for each in ended), sum(each.lines for each in ended)
    held = f"{plural(orders, 'order')}, {plural(lines, 'line')}"
    return f"{plural(len(ended), 'run date')}: {counted}; {held}, {seconds:.1f} s"


def show_replay(ended: ReplayResult) -> str:
    """Say in a line what became of the rejected records of a run date."""
    told = f"{ended.run_date}  taken in {plural(ended.taken_in, 'record')}"
    if ended.superseded:
        told += f" ({ended.superseded:,} lost to another version of the order)"
    told += f", still rejected {sum(ended.still_rejected.values()):,}"
    reasons = ", ".join(
        f"{number:,} {reason}" for reason, number in sorted(ended.still_rejected.items())
    )
    return told + (f": {reasons}" if reasons else "")


def plural(number: int, what: str) -> str:
    """Give a number of things, in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def progress() -> Iterator[Listener]:
    """Show how far each step of each run date is: bars on a terminal, else a line now and then."""
    if not STDERR.is_terminal:
        yield _lines()
        return
    with _bars() as bars:
        yield _drawing(bars)


@contextmanager
def counting_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a count of orders is; what it gives is called with how many more there are."""
    began = time.monotonic()
    count = 0
    if not STDERR.is_terminal:
        message(f"{what} {total:,} orders")
    with _bars() as bars:
        task = bars.add_task(what, total=total, speed="")

        def more(orders: int) -> None:
            nonlocal count
            count += orders
            bars.update(task, completed=count, speed=_speed(count, time.monotonic() - began))

        yield more


def _bars() -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=STDERR,
        transient=True,
        disable=not STDERR.is_terminal,
    )


def _speed(orders: int, seconds: float) -> str:
    return f"{orders:,} orders, {orders / seconds:,.0f} orders/s" if orders and seconds else ""


def _drawing(bars: Bars) -> Listener:
    """Draw a bar for each step of the run dates in flight; they go when the run date is published."""
    drawn: dict[tuple[date, str], TaskID] = {}
    began: dict[tuple[date, str], float] = {}

    def listen(now: Progress) -> None:
        key = now.run_date, now.step
        if key not in drawn:
            drawn[key] = bars.add_task(f"{now.run_date} {now.step}", total=now.total, speed="")
            began[key] = time.monotonic()
        speed = _speed(now.orders, time.monotonic() - began[key])
        bars.update(drawn[key], total=now.total, completed=now.done, speed=speed)
        if now.done == now.total and now.step == "publish":
            for each in [other for other in drawn if other[0] == now.run_date]:
                bars.remove_task(drawn.pop(each))
        elif now.done == now.total and now.total == 1 and not now.orders:
            bars.remove_task(drawn.pop(key))

    return listen


def _lines() -> Listener:
    """Write a line when a step ends, and every ten seconds until then."""
    began: dict[tuple[date, str], float] = {}
    written: dict[tuple[date, str], float] = {}

    def listen(now: Progress) -> None:
        key, moment = (now.run_date, now.step), time.monotonic()
        began.setdefault(key, moment)
        if now.done < now.total and moment - written.setdefault(key, moment) < PLAIN_SECONDS:
            return
        written[key] = moment
        speed = _speed(now.orders, moment - began[key])
        message(
            f"{now.run_date} {now.step} {now.done}/{now.total}" + (f", {speed}" if speed else "")
        )

    return listen


def dropped_partitions(first_dates: Sequence[date]) -> str:
    """Return a sentence on the partitions that were dropped, by their first dates."""
    return f" Freed the partitions that begin on {_join_dates(first_dates)}." if first_dates else ""


def message_left_over(skipped: Sequence[date], waiting: str | None) -> None:
    """Say which run dates were skipped, and what is still in the way."""
    if skipped:
        screen.message(
            f"Left to the next time, for somebody works on them: {_join_dates(skipped)}."
        )
    if waiting:
        screen.message(waiting)


def _join_dates(days: Sequence[date]) -> str:
    return ", ".join(map(str, days))
