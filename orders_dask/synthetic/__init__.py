"""Synthetic order dumps of any size, reproducible from a seed, defects included.

An order has the shape of the Shopify Admin REST Order resource: the fields that the contract reads
and most of those that it doesn't, 6 to 7 KB of JSON with 2.5 lines on average. What a loader must
find is counted from the numbers an order is made of and from the rule of each defect, never by
reading the text back.

`order` makes an order of what `catalogue` has, `templates` is its JSON, `defects` spoils one,
`expected` counts, and this module writes the files.
"""

from __future__ import annotations

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
from orders_dask.synthetic.defects import DEFECTS, REJECTING, UNREADABLE, Layout, inject_defect
from orders_dask.synthetic.expected import Generated, GeneratedDay, Tally
from orders_dask.synthetic.order import DAY, ID_SPACE, Order, make_order, random_for

__all__ = ["Compression", "Generated", "GeneratedDay", "Layout", "generate"]

Compression = Literal["none", "gzip", "zip"]

PAGE = 250  # orders a page: the most that Shopify's API gives


@dataclass(frozen=True)
class _Plan:
    """What every run date of a dump is written by; counts are per run date."""

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
    """Write a synthetic dump and tell what a loader must find in it.

    The same arguments write the same bytes. An order is the same whatever the layout, the
    compression, the number of files and the defects of others.
    It is written a page of orders at a time, which is what memory holds.

    Parameters
    ----------
    destination
        fsspec URL of a folder or prefix. Files are `run_date=D/orders-0000.ndjson` or `.json`, with
        `.gz` where asked for; of a zip, the members of `run_date=D/orders-0000.zip`. What is there
        under the same names is overwritten.
    start, days
        The first run date, and how many follow one another.
    orders
        Distinct orders of a run date, at most 10 million.
    layout
        An order a line, or pages ``{"orders": [...]}`` of 250 orders, a page a line.
    files_per_day
        Files, or members of the zip, that share a run date's orders evenly.
    edited
        Share of a run date's orders that were made on an earlier one and come again, changed. The
        first run date has none.
    duplicates
        Share that comes a second time on the same run date, as a version that is newer, older or
        just as old.
    defects
        Share of the orders that get a defect, by code of the contract's table of bad values; or one
        number for the share of each kind that the layout can have. A share above 0 gives at least
        one. `unreadable_file` must be asked for by name: its share is one of files, and such a file
        ends in the middle of one order (or page) more. The first order of a file is always
        sound, so that a file of lines is known as one.
    only
        Write these run dates of the range alone, as they are in the whole dump.
    progress
        Called with the number of records each time some were written.

    Returns
    -------
    Generated
        The source URL to load from, and the counts and sums of each run date written.

    Raises
    ------
    SettingsError
        An argument is out of its range.
    OSError
        `destination` can't be written.
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
    known = [*DEFECTS[layout], UNREADABLE]
    for code in defects:
        if code not in known:
            raise SettingsError(
                f"No defect {code!r} in layout {layout}: choose from {', '.join(known)}."
            )
    return dict(defects)


def _how_many(share: float, whole: int) -> int:
    return max(1, round(share * whole)) if share else 0


def _spread(draw: Random, places: int, wanted: Mapping[str, int]) -> Iterator[str | None]:
    """Yield for each place what it gets: exactly what is wanted, every order of it as likely.

    Selection sampling (Knuth, The Art of Computer Programming 3.4.2, algorithm S): no list of
    places is held.
    """
    left = dict(wanted)
    for remaining in range(places, 0, -1):
        mark = draw.randrange(remaining)
        for kind, share in left.items():
            if mark < share:
                left[kind] -= 1
                yield kind
                break
            mark -= share
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
    torn = _spread(
        random_for(plan.seed, run_date, "files"), plan.files, {UNREADABLE: plan.unreadable}
    )
    sinks = _sinks(f"{destination}/run_date={run_date}", plan, tally.files)
    by_file = groupby(_records(plan, run_date, tally), key=itemgetter(0))
    for write, (file, records), unreadable in zip(sinks, by_file, torn, strict=True):
        while page := [text for _, text in islice(records, PAGE)]:
            write(head + between.join(page) + tail)
            if progress:
                progress(len(page))
        if unreadable:
            # An order that comes nowhere else, cut in the middle, and no newline after it.
            text = make_order(plan.seed, run_date, ID_SPACE - 1 - file).text.encode()
            write(head + text[: len(text) // 2])
            tally.records += 1
            tally.mark(UNREADABLE)
    return tally.result(run_date)


def _sinks(folder: str, plan: _Plan, urls: list[str]) -> Iterator[Callable[[bytes], object]]:
    """Open the files of a run date one after another, note their URLs, yield what writes to each."""
    suffix = "ndjson" if plan.layout == "ndjson" else "json"
    names = [f"orders-{number:04}.{suffix}" for number in range(plan.files)]
    if plan.compression == "zip":
        urls.append(f"{folder}/orders-0000.zip")
        with fsspec.open(urls[0], "wb") as raw, ZipFile(raw, "w", compresslevel=1) as archive:
            for name in names:
                member = ZipInfo(name)  # dated 1980: the same dump is the same bytes
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
                # A class without annotations in a package that claims to have them.
                stream = igzip.IGzipFile("", "wb", fileobj=raw, mtime=0)  # type: ignore[no-untyped-call]
                with stream as sink:
                    yield sink.write


def _records(plan: _Plan, run_date: date, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Yield every record of a run date with the number of its file, and count what it comes to."""
    day = (run_date - plan.start).days
    edits = plan.edits if day else 0
    fresh = plan.orders - plan.edits  # made on each date but the first, which makes them all
    draw = random_for(plan.seed, run_date)
    earlier = iter(draw.sample(range(plan.orders + (day - 1) * fresh), edits))
    numbers = count()
    edited, copied, spoilt = (
        _spread(random_for(plan.seed, run_date, what), places, wanted)
        for what, places, wanted in (
            ("edits", plan.orders, {"edit": edits}),
            ("copies", plan.orders, {"copy": plan.copies}),
            ("defects", plan.orders - plan.files, plan.defects),
        )
    )
    waiting: list[_Waiting] = []
    previous = None
    for place in range(plan.orders):
        file = place * plan.files // plan.orders
        if next(edited):
            born, number = _nth_made(plan, next(earlier))
            moment = run_date.toordinal() * DAY + draw.randrange(60, 86_000)
            order = make_order(plan.seed, born, number, moment)
            tally.edited += 1
        else:
            born, number = run_date, next(numbers)
            order = make_order(plan.seed, born, number)
        written = order.version
        defect = next(spoilt) if file == previous else None
        previous = file
        tally.records += 1
        if defect is None:
            yield file, order.text.encode()
        else:
            tally.mark(defect)
            yield (
                file,
                inject_defect(plan.layout, defect, random_for(plan.seed, run_date, place), order),
            )
        standing = None if defect in REJECTING else order
        if next(copied):
            waiting.append(_Waiting(born, number, written, standing))
        elif standing:
            tally.load(standing)
        # A copy comes some fifty places after its original, perhaps in another file.
        last = place == plan.orders - 1
        while waiting and (last or draw.random() < len(waiting) / 50):
            yield file, _copy(plan, waiting.pop(draw.randrange(len(waiting))), draw, tally)


@dataclass
class _Waiting:
    """An order whose second version of the same run date is still to come."""

    born: date
    number: int
    written: int
    standing: Order | None


def _copy(plan: _Plan, first: _Waiting, draw: Random, tally: Tally) -> bytes:
    """Return the second version of an order; count the one of the two that wins."""
    moment = first.written + draw.choice((-1, 0, 1, 60))
    second = make_order(plan.seed, first.born, first.number, moment)
    tally.records += 1
    if first.standing is None:
        tally.load(second)
    else:
        # Of equal versions the one that comes later in the files wins.
        tally.load(second if second.version >= first.standing.version else first.standing)
        tally.superseded += 1
    return second.text.encode()


def _nth_made(plan: _Plan, place: int) -> tuple[date, int]:
    """Return date and number of the order that was made as number `place` of the whole dump."""
    if place < plan.orders:
        return plan.start, place
    days, number = divmod(place - plan.orders, plan.orders - plan.edits)
    return plan.start + timedelta(1 + days), number
