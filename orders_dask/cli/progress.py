"""The progress of a command on standard error: bars on a terminal, else lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Final

from orders_dask.cli import output
from orders_dask.pipeline.progress import Listener, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_SECONDS: Final = 10
"""Seconds between two progress lines of the same step, where there is no terminal for bars."""


@contextmanager
def shown_progress() -> Iterator[Listener]:
    """Show the progress of each step: bars on a terminal, else a line now and then.

    Yields
    ------
    callable
        Listener for a job.
    """
    if output.is_json() or not output.STDERR.is_terminal:
        yield _lines()
        return
    with _bars() as bars:
        yield _drawing(bars)


@contextmanager
def counting_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a count of orders.

    Yields
    ------
    callable
        To be called with the number of orders that were added.
    """
    began = time.monotonic()
    count = 0
    if not output.STDERR.is_terminal:
        output.message(f"{what} {total:,} orders")
    with _bars() as bars:
        task = bars.add_task(what, total=total, speed="")

        def advance(orders: int) -> None:
            nonlocal count
            count += orders
            bars.update(task, completed=count, speed=_speed(count, time.monotonic() - began))

        yield advance


@contextmanager
def fetching_progress() -> Iterator[Callable[[int, int | None], None]]:
    """Show how many orders were fetched, of how many, and how fast.

    Yields
    ------
    callable
        To be called with the orders of a page, and the number that are expected of its run date.
    """
    began = printed = time.monotonic()
    count = 0
    with _bars() as bars:
        task = bars.add_task("Fetching", total=None, speed="")

        def advance(orders: int, expected: int | None) -> None:
            nonlocal count, printed
            count += orders
            now = time.monotonic()
            speed = _speed(count, now - began)
            bars.update(task, completed=count, total=expected, speed=speed)
            if not output.STDERR.is_terminal and now - printed > PLAIN_SECONDS:
                printed = now
                output.message(f"Fetching, {speed}", orders=count)

        yield advance


def _bars() -> Bars:
    from rich.progress import (  # late: without a terminal there are none
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=output.STDERR,
        transient=True,
        disable=not output.STDERR.is_terminal,
    )


def _speed(orders: int, seconds: float) -> str:
    return f"{orders:,} orders, {orders / seconds:,.0f} orders/s" if orders and seconds else ""


def _drawing(bars: Bars) -> Listener:
    """Return a listener that draws a bar per step, until the run date is published."""
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
            for step in [each for each in drawn if each[0] == now.run_date]:
                bars.remove_task(drawn.pop(step))
        elif now.done == now.total and now.total == 1 and not now.orders:
            bars.remove_task(drawn.pop(key))

    return listen


def _lines() -> Listener:
    """Return a listener that prints a line when a step ends, and every ten seconds before."""
    began: dict[tuple[date, str], float] = {}
    printed: dict[tuple[date, str], float] = {}

    def listen(now: Progress) -> None:
        key, seconds = (now.run_date, now.step), time.monotonic()
        began.setdefault(key, seconds)
        if now.done < now.total and seconds - printed.setdefault(key, seconds) < PLAIN_SECONDS:
            return
        printed[key] = seconds
        speed = _speed(now.orders, seconds - began[key])
        output.message(
            f"{now.run_date} {now.step} {now.done}/{now.total}" + (f", {speed}" if speed else ""),
            run_date=str(now.run_date),
            step=now.step,
            done=now.done,
            total=now.total,
            orders=now.orders,
        )

    return listen
