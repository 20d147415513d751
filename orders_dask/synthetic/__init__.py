"""Synthetic order dumps of any size, reproducible from a seed, defects included.

An order has the shape of the Shopify Admin REST Order resource: the fields that the contract reads
and most of the others, some 7 KB of JSON with 2.5 lines on average. The expected counts and sums
follow from the numbers that an order is made of and from the rule of each defect. The text is never
parsed to count it.

`order` makes an order from `catalogue`, `children` its lines and refunds, `templates` writes it as
JSON, `defects` injects defects, `expected` counts, and this module writes the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count, groupby, islice
from operator import itemgetter
from random import Random
from typing import Literal
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import fsspec
from isal import igzip

from orders_dask.errors import SettingsError
from orders_dask.synthetic.defects import (
    DEFECTS,
    IN_OPTIONAL_GROUPS,
    REJECTING,
    UNREADABLE,
    Layout,
    inject_defect,
)
from orders_dask.synthetic.expected import Generated, GeneratedDay, Tally
from orders_dask.synthetic.order import DAY, ID_SPACE, Order, make_order, random_for

__all__ = ["Compression", "Generated", "GeneratedDay", "Layout", "generate"]

Compression = Literal["none", "gzip", "zip"]

PAGE = 250  # orders in a page: the most that Shopify's API returns


@dataclass(frozen=True)
class _Plan:
    """The arguments of a dump, checked; counts are per run date."""

    seed: int
    start: date
    orders: int
    edits: int
    copies: int
    defects: Mapping[str, int]
    unreadable: int
    layout: Layout
    compression: Compression
    files: int


def generate(
    destination: str,
    *,
    start: date,
    days: int = 3,
    orders: int = 1_000,
    seed: int = 0,
    layout: Layout = "ndjson",
    compression: Compression = "none",
    files_per_day: int = 1,
    edited: float = 0.05,
    duplicates: float = 0.01,
    defects: Mapping[str, float] | float = 0.0,
    only: Container[date] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Generated:
    """Write a synthetic dump, and return the counts and sums that a loader must find in it.

    The same arguments write the same bytes. An order does not depend on the layout, the
    compression, the number of files or the defects of other orders. Memory holds one page of orders
    at a time.

    Parameters
    ----------
    destination
        fsspec URL of a folder or prefix. Files are `run_date=D/orders-0000.ndjson` or `.json`, with
        the suffix `.gz` if compressed by gzip, or the members of `run_date=D/orders-0000.zip`.
        Existing files of the same names are overwritten.
    start, days
        The first run date, and the number of consecutive run dates.
    orders
        Number of distinct orders of a run date, at most 10 million.
    seed
        Seed of all random numbers.
    layout
        `ndjson`: an order per line. `pages`: a page ``{"orders": [...]}`` of 250 orders per line.
    compression
        Compression of the files. With `zip`, a run date is one archive.
    files_per_day
        Number of files, or members of the zip, that a run date's orders are split into evenly.
    edited
        Share of a run date's orders that were made on an earlier run date and are edited. The first
        run date has none.
    duplicates
        Share of a run date's orders that have a second version on the same run date: newer, older
        or with the same timestamp.
    defects
        Share of the orders that get a defect, by issue code (see docs/contract.md#issue-codes), or
        one number as the share of every defect that the layout can have. A share above 0 gives at
        least one. `rate_rounded` and `bad_rate`, which the tables of an optional group find, and
        `unreadable_file` must be named. The latter's share is of files, and such a file ends in
        the middle of an additional order or page. The first order of a file never has a defect, so
        that newline-delimited files are detected.
    only
        Write only these run dates of the range, with the same content as in the whole dump.
    progress
        Called after each write with the number of records written.

    Returns
    -------
    Generated
        The source URL to load from, and the counts and sums of each run date written.

    Raises
    ------
    SettingsError
        An argument is out of its range.
    OSError
        `destination` can't be written to.
    """
    shares = _shares(defects, layout)
    for name, share in {"edited": edited, "duplicates": duplicates, **shares}.items():
        if not 0 <= share <= 1:
            raise SettingsError(f"The share of {name} is {share}: give a number from 0 to 1.")
    if not (days >= 1 and 1 <= files_per_day <= orders <= ID_SPACE):
        raise SettingsError(
            f"Can't generate {days} days of {orders} orders in {files_per_day} files each: give at "
            f"least one of each, no more files than orders, and at most {ID_SPACE} orders."
        )
    plan = _Plan(
        seed=seed,
        start=start,
        orders=orders,
        edits=_how_many(edited, orders),
        copies=_how_many(duplicates, orders),
        unreadable=_how_many(shares.pop(UNREADABLE, 0), files_per_day),
        defects={code: _how_many(share, orders) for code, share in shares.items()},
        layout=layout,
        compression=compression,
        files=files_per_day,
    )
    room = orders - files_per_day
    if (wanted := sum(plan.defects.values())) > room:
        raise SettingsError(
            f"{wanted} orders a day would get a defect and only {room} can have one: ask for fewer "
            f"defects or more orders."
        )
    destination = destination if "://" in destination else os.path.abspath(destination)
    dates = [start + timedelta(n) for n in range(days)]
    written = tuple(
        _write_day(destination.rstrip("/"), plan, run_date, progress)
        for run_date in dates
        if only is None or run_date in only
    )
    return Generated(f"{destination.rstrip('/')}/run_date={{run_date}}/", written)


def _shares(defects: Mapping[str, float] | float, layout: Layout) -> dict[str, float]:
    """Return the share of each kind of defect that the layout can have."""
    if not isinstance(defects, Mapping):
        return dict.fromkeys(DEFECTS[layout], defects)
    known = [*DEFECTS[layout], *IN_OPTIONAL_GROUPS, UNREADABLE]
    for code in defects:
        if code not in known:
            raise SettingsError(
                f"No defect {code!r} in layout {layout}: choose from {', '.join(known)}."
            )
    return dict(defects)


def _how_many(share: float, whole: int) -> int:
    return max(1, round(share * whole)) if share else 0


def _spread(draw: Random, size: int, wanted: Mapping[str, int]) -> Iterator[str | None]:
    """Yield the kind, or None, of each of `size` items: as many of each kind as `wanted` says.

    All arrangements are equally likely. This is selection sampling (Knuth, The Art of Computer
    Programming 3.4.2, algorithm S), which needs no list of the items.
    """
    missing = dict(wanted)
    for remaining in range(size, 0, -1):
        number = draw.randrange(remaining)
        for kind, how_many in missing.items():
            if number < how_many:
                missing[kind] -= 1
                yield kind
                break
            number -= how_many
        else:
            yield None


def _write_day(
    destination: str, plan: _Plan, run_date: date, progress: Callable[[int], object] | None
) -> GeneratedDay:
    """Write the files of one run date, a page of orders at a time."""
    tally = Tally()
    head, between, tail = b"", b"\n", b"\n"
    if plan.layout == "pages":
        head, between, tail = b'{"orders":[', b",", b"]}\n"
    unreadable_files = _spread(
        random_for(plan.seed, run_date, "files"), plan.files, {UNREADABLE: plan.unreadable}
    )
    sinks = _sinks(f"{destination}/run_date={run_date}", plan, tally.files)
    by_file = groupby(_records(plan, run_date, tally), key=itemgetter(0))
    for write, (file, records), unreadable in zip(sinks, by_file, unreadable_files, strict=True):
        while page := [text for _, text in islice(records, PAGE)]:
            write(head + between.join(page) + tail)
            if progress:
                progress(len(page))
        if unreadable:
            # An order that is in no other file, cut in the middle, without a newline.
            text = make_order(plan.seed, run_date, ID_SPACE - 1 - file).text.encode()
            write(head + text[: len(text) // 2])
            tally.records += 1
            tally.count_defect(UNREADABLE)
    return tally.result(run_date)


def _sinks(folder: str, plan: _Plan, urls: list[str]) -> Iterator[Callable[[bytes], object]]:
    """Open the files of a run date in turn, append their URLs, and yield each one's `write`."""
    suffix = "ndjson" if plan.layout == "ndjson" else "json"
    names = [f"orders-{number:04}.{suffix}" for number in range(plan.files)]
    if plan.compression == "zip":
        urls.append(f"{folder}/orders-0000.zip")
        with fsspec.open(urls[0], "wb") as raw, ZipFile(raw, "w", compresslevel=1) as archive:
            for name in names:
                member = ZipInfo(name)  # dated 1980, so that the bytes don't depend on the time
                member.compress_type = ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=True) as sink:
                    yield sink.write
        return
    for name in names:
        urls.append(f"{folder}/{name}" + (".gz" if plan.compression == "gzip" else ""))
        with fsspec.open(urls[-1], "wb") as raw:
            if plan.compression == "none":
                yield raw.write
            else:
                # The package claims to be typed, but this class has no annotations.
                stream = igzip.IGzipFile("", "wb", fileobj=raw, mtime=0)  # type: ignore[no-untyped-call]
                with stream as sink:
                    yield sink.write


def _records(plan: _Plan, run_date: date, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a run date, each with the number of its file, and count them."""
    day = (run_date - plan.start).days
    edits = plan.edits if day else 0
    new_orders = plan.orders - plan.edits  # new orders of each run date but the first
    draw = random_for(plan.seed, run_date)
    earlier = iter(draw.sample(range(plan.orders + (day - 1) * new_orders), edits))
    numbers = count()
    edited, copied, defective = (
        _spread(random_for(plan.seed, run_date, what), size, wanted)
        for what, size, wanted in (
            ("edits", plan.orders, {"edit": edits}),
            ("copies", plan.orders, {"copy": plan.copies}),
            ("defects", plan.orders - plan.files, plan.defects),
        )
    )
    pending: list[_PendingCopy] = []
    previous = None
    for index in range(plan.orders):
        file = index * plan.files // plan.orders
        if next(edited):
            born, number = _nth_made(plan, next(earlier))
            moment = run_date.toordinal() * DAY + draw.randrange(60, 86_000)
            order = make_order(plan.seed, born, number, moment)
            tally.edited += 1
        else:
            born, number = run_date, next(numbers)
            order = make_order(plan.seed, born, number)
        written = order.version
        defect = next(defective) if file == previous else None
        previous = file
        tally.records += 1
        if defect is None:
            yield file, order.text.encode()
        else:
            tally.count_defect(defect)
            yield (
                file,
                inject_defect(plan.layout, defect, random_for(plan.seed, run_date, index), order),
            )
        accepted = None if defect in REJECTING else order
        if next(copied):
            pending.append(_PendingCopy(born, number, written, accepted))
        elif accepted:
            tally.count_loaded(accepted)
        # A copy follows its original after some fifty records, perhaps in the next file.
        last = index == plan.orders - 1
        while pending and (last or draw.random() < len(pending) / 50):
            yield file, _copy(plan, pending.pop(draw.randrange(len(pending))), draw, tally)


@dataclass
class _PendingCopy:
    """An order whose second version is not written yet."""

    born: date
    number: int
    written: int
    accepted: Order | None  # None if the first version is rejected


def _copy(plan: _Plan, first: _PendingCopy, draw: Random, tally: Tally) -> bytes:
    """Return the second version of an order, and count both: one is loaded, one superseded."""
    moment = first.written + draw.choice((-1, 0, 1, 60))
    second = make_order(plan.seed, first.born, first.number, moment)
    tally.records += 1
    if first.accepted is None:
        tally.count_loaded(second)
    else:
        # Of equal versions, the last one in the files wins.
        tally.count_loaded(second if second.version >= first.accepted.version else first.accepted)
        tally.superseded += 1
    return second.text.encode()


def _nth_made(plan: _Plan, index: int) -> tuple[date, int]:
    """Return the run date and number of the order that was made as number `index` of the dump."""
    if index < plan.orders:
        return plan.start, index
    days, number = divmod(index - plan.orders, plan.orders - plan.edits)
    return plan.start + timedelta(1 + days), number
