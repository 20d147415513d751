"""`orders-dask generate`."""

from __future__ import annotations

import shlex
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import typer

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import JsonOutput, parse_date
from orders_dask.cli.progress import counting_progress
from orders_dask.errors import ServiceUnavailable


def _parse_defect(text: str) -> tuple[str, float]:
    code, _, share = text.partition("=")
    try:
        return code, float(share)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a code and its share such as bad_money=0.01"
        ) from None


@command()
def generate(
    destination: Annotated[
        str, typer.Argument(help="Folder, as path or URL such as s3://orders/.")
    ],
    start: Annotated[
        date | None,
        typer.Option(
            parser=parse_date,
            metavar="DATE",
            help="First run date.",
            show_default="so that yesterday is the last",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Run dates.")] = 3,
    orders: Annotated[int, typer.Option(min=1, help="Distinct orders of a run date.")] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    layout: Annotated[
        Literal["ndjson", "pages"], typer.Option(help="An order a line, or pages of 250 orders.")
    ] = "ndjson",
    compression: Annotated[
        Literal["none", "gzip", "zip"], typer.Option(help="How files are compressed.")
    ] = "none",
    files_per_day: Annotated[
        int, typer.Option(min=1, help="Files, or members of a zip, of a run date.")
    ] = 1,
    edited: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of orders that were made on an earlier day and edited."
        ),
    ] = 0.05,
    duplicates: Annotated[
        float, typer.Option(min=0, max=1, help="Share of orders that come twice on a day.")
    ] = 0.01,
    defects: Annotated[
        float, typer.Option(min=0, max=1, help="Share of orders with each kind of defect.")
    ] = 0.0,
    defect: Annotated[
        list[Any] | None,
        typer.Option(
            parser=_parse_defect,
            metavar="CODE=SHARE",
            help="Share of orders with this defect, instead of --defects; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Write a synthetic dump, the same from the same seed, and tell what a load of it must find."""
    from orders_dask.synthetic import generate as write

    first = start or date.today() - timedelta(days=days)
    try:
        with counting_progress("Generating", round(days * orders * (1 + duplicates))) as advance:
            dump = write(
                destination,
                start=first,
                days=days,
                orders=orders,
                seed=seed,
                layout=layout,
                compression=compression,
                files_per_day=files_per_day,
                edited=edited,
                duplicates=duplicates,
                defects=dict(defect) if defect else defects,
                progress=advance,
            )
    except OSError as error:
        raise ServiceUnavailable(f"Can't write to {destination}: {error}.") from error
    if json:
        output.result_json(dump)
        return
    output.result_table(
        [
            {
                "run_date": day.run_date,
                "records": day.records,
                "orders": day.rows["fact_order"],
                "lines": day.rows["fact_order_line"],
                "superseded": day.superseded,
                "rejected": day.rejected,
            }
            for day in dump.days
        ],
        "What a load must find",
    )
    output.result(f"_AWS_S3_URL_SOURCE={shlex.quote(dump.source)}")
