"""The report shows the ledger's numbers, and nobody's data unless it is asked to."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from distributed import Client
from sqlalchemy import Engine, insert

from orders_dask.contract.ledger_tables import load_run
from orders_dask.errors import LoadHeld
from orders_dask.jobs.backfill import backfill
from orders_dask.jobs.report import report
from orders_dask.jobs.review import accept
from orders_dask.jobs.run import run
from orders_dask.ledger import queries
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order
from tests.support.commands import orders_dask
from tests.support.types import Put, Query

DAYS: Final = [DAY - timedelta(days=n) for n in (2, 1, 0)]
EMAIL: Final = "anna.meier@example.com"


class Tables(HTMLParser):
    """The texts of the cells of each table of a page by its id, and what the page loads or runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.loaded: list[str] = []
        self._rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._rows = self.tables[given["id"] or ""] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._in_cell = True
        if tag in ("script", "link", "img", "iframe") or {"src", "href"} & given.keys():
            self.loaded.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self._rows[-1][-1] += data.strip()


@pytest.fixture
def shop(settings: Settings, client: Client, put: Put, warehouse: Engine) -> Settings:
    """A shop with three run dates in files of their own, the last with all kinds of bad values."""
    by_date = settings.model_copy(update={"source": f"{settings.source}{{run_date}}/"})
    for number, day in enumerate(DAYS):
        orders = [order(100 * number + n, total_price=f"{n}.25") for n in range(1, 32 + number)]
        if day == DAY:
            orders[0] |= {"total_tax": "12 Euro", "email": EMAIL, "gift_note": "new"}
            orders[1]["id"] = EMAIL
        put(f"dump/{day}/a.ndjson", lines(*orders[:5]))
        put(f"dump/{day}/b.ndjson", lines(*orders[5:]))
    backfill(DAYS[0], DAYS[-1], settings=by_date, client=client)
    return by_date


def numbers(row: list[str]) -> list[Decimal]:
    """Return the numbers of a row of cells."""
    return [Decimal(cell.replace(",", "")) for cell in row if re.fullmatch(r"[\d,.]+", cell)]


def test_every_number_is_the_ledgers(shop: Settings, query: Query) -> None:
    page = Tables(report(DAY, settings=shop))
    counted = query(
        "select run_date, count(*), round(sum(bytes) / 1e6, 2), sum(order_read), sum(order_loaded),"
        " sum(order_superseded), sum(order_rejected), sum(order_line_read), sum(order_line_loaded),"
        " sum(order_line_superseded), sum(order_line_rejected)"
        " from orders_ops.load_run join orders_ops.load_file using (load_id)"
        " group by run_date order by run_date desc"
    )
    _, *rows = page.tables["days"]
    assert [(date.fromisoformat(row[0]), *numbers(row[1:]), row[-1]) for row in rows] == [
        (*row, "yes") for row in counted
    ]
    files = query(
        "select name, order_read, order_loaded from orders_ops.load_file join orders_ops.load_run"
        " using (load_id) where run_date = (select max(run_date) from orders_ops.load_run)"
        " order by file_id"
    )
    _, *rows = page.tables["files"]
    assert [(row[0], *numbers(row[1:])[2:4]) for row in rows] == files
    issues = query(
        "select field, code, sum(value_count) from orders_ops.data_issue group by 1, 2"
        " union all select 'record', code, count(*) from orders_ops.rejected_record group by 2"
        " order by 3 desc, 1, 2"
    )
    _, *rows = page.tables["issues"]
    assert [(row[0], row[1], *numbers(row[2:3])) for row in rows] == issues
    _, *rows = page.tables["series-1"]
    orders: dict[date, int] = dict(
        query("select run_date, count(*) from orders.fact_order group by 1")
    )
    shown = {date.fromisoformat(day): value for day, value, _ in rows if value != "none"}
    assert {day: int(value) for day, value in shown.items()} == orders
    _, *rows = page.tables["series-2"]
    sums: dict[date, Decimal] = dict(
        query("select run_date, round(sum(total_price), 2) from orders.fact_order group by 1")
    )
    assert {
        date.fromisoformat(day): Decimal(value) for day, value, _ in rows if value != "none"
    } == sums
    _, *rows = page.tables["drift"]
    [[key, kind, share, *rest]] = rows
    read = query(
        "select sum(order_read) from orders_ops.load_file join orders_ops.load_run using (load_id)"
        " group by run_date order by run_date"
    )[-1][0]
    assert (key, kind, share) == ("gift_note", "text", f"{1 / int(read):.1%}")
    assert rest == [str(DAY), str(DAY), "1", "xxx"]
    [*_, (seconds,)] = query("select step_seconds from orders_ops.load_run order by run_date")
    head, *rows = page.tables["times"]
    assert dict(zip(head[1:], map(float, rows[-1][1:]), strict=True)) == pytest.approx(
        seconds, abs=0.006
    )


def test_the_points_of_a_chart_are_those_of_its_table(shop: Settings) -> None:
    page = report(DAY, settings=shop)
    titles = re.findall(r"<circle[^>]*><title>\w+ \d+ \w+: ([^<]*)</title>", page)
    tables = Tables(page).tables
    rows = [
        row for name in sorted(tables) if name.startswith("series-") for row in tables[name][1:]
    ]
    assert titles == [value for _, value, _ in rows if value != "none"]


def test_the_page_loads_and_runs_nothing_and_is_small(shop: Settings) -> None:
    page = report(DAY, settings=shop)
    assert Tables(page).loaded == []
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(page.encode()) < 200_000


def test_personal_data_is_masked_unless_it_is_asked_for(shop: Settings) -> None:
    masked = report(DAY, settings=shop)
    assert EMAIL not in masked
    assert "99 xxxx" in masked, "the shape of a sample is shown"
    shown = report(DAY, settings=shop, samples=True)
    assert EMAIL in shown
    assert "12 Euro" in shown


def test_the_calendar_shows_how_each_date_stands(
    shop: Settings, client: Client, put: Put, query: Query
) -> None:
    page = report(DAY, settings=shop)
    assert "3 of 3 run dates are published: all is well." in page
    held = DAYS[1]
    for name in ("a", "b"):
        put(f"dump/{held}/{name}.ndjson", b"" if name == "b" else lines(order(1)))
    with pytest.raises(LoadHeld):
        run(held, settings=shop, client=client)
    put(f"dump/{DAYS[0]}/b.ndjson", lines(*(order(n, "20.00") for n in range(6, 33))))
    run(DAYS[0], settings=shop, client=client, force=True)
    page = report(DAY, settings=shop)
    states = dict(re.findall(r'class="cell \w+" title="([-\d]+): ([^"]*)"', page))
    assert [states[str(day)] for day in DAYS] == [
        "republished",
        "published, a later load is held",
        "published",
    ]
    assert "3 of 3 run dates are published; of 1 a later load is held." in page
    [message] = query(
        "select message from orders_ops.check_finding where severity = 'hold' limit 1"
    )
    assert message[0] in page


@pytest.mark.usefixtures("settings", "warehouse")
def test_a_report_of_the_latest_days_without_any_load(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    out, _ = orders_dask("report", "--days", "7", "--out", str(file))
    assert out == f"Wrote {file}.\n"
    assert "0 of 1 run dates are published; " in file.read_text()
    _, err = orders_dask("report", "--out", "/nowhere/report.html", code=2)
    assert err.startswith(
        "Error: /nowhere/report.html can't be written (No such file or directory)"
    )


@pytest.mark.usefixtures("warehouse")
def test_text_of_a_dump_is_never_markup(settings: Settings, client: Client, put: Put) -> None:
    put("dump/a.ndjson", lines(order(1) | {"<i>&": 1}))
    run(DAY, settings=settings, client=client)
    assert "<code>&lt;i&gt;&amp;</code>" in report(DAY, settings=settings)


def test_a_run_writes_the_report_also_when_its_date_is_refused(
    shop: Settings, put: Put, tmp_path: Path
) -> None:
    put(f"dump/{DAY}/b.ndjson", lines(*["{broken"] * 20))
    file = tmp_path / "report.html"
    dask = tmp_path / "dask.html"
    _, err = orders_dask(
        *("run", "--run-date", str(DAY), "--source", f"{shop.source}", "--report", str(file)),
        *("--performance-report", str(dask)),
        code=3,
    )
    assert f"Wrote {file}." in err
    assert f"{DAY}: published, a later load is refused" in file.read_text()
    assert "see `orders-dask rejects`" in file.read_text()
    _, err = orders_dask(
        *("run", "--run-date", str(DAYS[0]), "--source", f"{shop.source}", "--force"),
        *("--report", "/nowhere/report.html", "--performance-report", str(dask)),
    )
    assert (
        "Warning: the report of the run date is missing: /nowhere/report.html can't be written (No such file or directory)"
        in err
    )
    assert "bokeh" in dask.read_text().lower()


def test_a_decision_stands_beside_its_own_load(shop: Settings, client: Client, put: Put) -> None:
    put(f"dump/{DAY}/b.ndjson", lines(*(order(n) for n in range(1, 16))))
    with pytest.raises(LoadHeld):
        run(DAY, settings=shop, client=client)
    accept(DAY, "it was a holiday", settings=shop)
    put(f"dump/{DAY}/a.ndjson", lines(order(1)))
    with pytest.raises(LoadHeld):
        run(DAY, settings=shop, client=client)
    _, *rows = Tables(report(DAY, settings=shop)).tables["findings"]
    kinds = [what.partition(":")[0] for _, what, _ in rows]
    decision = next(at for at, kind in enumerate(kinds) if kind.startswith("decision on load"))
    later = kinds.index("a later load is held")
    assert rows[decision][2].endswith(": it was a holiday")
    assert {*kinds[:decision]} == {"check fewer_orders", "check less_money"}
    assert decision < later < len(kinds) - 1


def test_a_held_load_is_shown_although_a_later_one_failed(
    warehouse: Engine, settings: Settings
) -> None:
    with warehouse.begin() as connection:
        for status in ("held", "failed"):
            connection.execute(
                insert(load_run).values(
                    run_date=DAY, status=status, source="s3://o", fingerprint=status, run_by="me"
                )
            )
    assert "0 of 1 run dates are published; 1 held." in report(DAY, settings=settings)
    [shown] = queries.status(warehouse)
    assert (shown.status, shown.message) == (
        "held",
        f"Load {shown.load_id + 1} came later and is failed.",
    )
