"""Files and members of any name load, and the ledger and all output have exactly that name."""

from __future__ import annotations

import json

from distributed import Client

from orders_dask.jobs.run import run
from orders_dask.settings import Settings
from tests.support.builders import DAY, lines, order, zipped
from tests.support.commands import orders_dask
from tests.support.types import Put, Query

NOTE = "'; drop table orders.fact_order; --"
NAMES = (
    "'; drop table orders_ops.load_file; --.json",
    'a "quoted" name.json',
    "%s %(name)s %%.json",
    "{} {0} {run_date}.json",
    "$1 $$ ${HOME} `id` a+b&c=d#?.json",
    "line\nbreak\ttab.json",
    "\N{GRINNING FACE} \u202e \u00fc.json",
    "[bold]x[/bold] [red.json",
    "a..b/c ./d.../e.json",
)
# The S3 server refuses `..` between slashes and replaces `\`; a zip takes both.
MEMBERS = ("../../up.json", "./here.json", "back\\slash.json", NAMES[0])


def test_names_with_sql_and_control_characters_load_and_are_reported_exactly(
    client: Client,
    settings: Settings,
    query: Query,
    put: Put,
    source: str,
) -> None:
    members = {name: lines(order(number, note=NOTE)) for number, name in enumerate(MEMBERS, 101)}
    put("dump/in.zip", zipped(members))
    for number, name in enumerate(NAMES, 1):
        put(f"dump/{name}", lines(order(number, note=NOTE), "oops"))
    result = run(DAY, settings=settings, client=client)
    assert (result.outcome, result.orders, result.rejected) == (
        "published",
        len(NAMES) + len(MEMBERS),
        len(NAMES),
    )

    expected = {f"{source}{name}" for name in NAMES}
    packed = {f"zip://{name}::{source}in.zip" for name in MEMBERS}
    assert {name for (name,) in query("select name from orders_ops.load_file")} == expected | packed
    loaded = query(
        "select order_id, load_file.name from orders.fact_order"
        " join orders_ops.load_file on file_id = source_file_id where order_id < 100"
    )
    assert dict(loaded) == {number: f"{source}{name}" for number, name in enumerate(NAMES, 1)}
    out, _ = orders_dask("rejects", "--json")
    assert {one["file"]: one["raw"] for one in json.loads(out)} == dict.fromkeys(expected, "oops")
    status, _ = orders_dask("status", "--json")
    assert [one["files"] for one in json.loads(status)] == [len(expected | packed)]
