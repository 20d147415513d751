"""`orders-dask accept` and `orders-dask discard`."""

from __future__ import annotations

from orders_dask.cli import output
from orders_dask.cli.app import command
from orders_dask.cli.options import Because, HeldLoad, JsonOutput, RunDate
from orders_dask.pipeline.results import RunResult


@command()
def accept(
    run_date: RunDate, because: Because = None, load: HeldLoad = None, json: JsonOutput = False
) -> None:
    """Publish the load of a run date that a check holds."""
    from orders_dask.jobs import review

    _end(review.accept(run_date, because, load_id=load), json)


@command()
def discard(
    run_date: RunDate, because: Because = None, load: HeldLoad = None, json: JsonOutput = False
) -> None:
    """Discard the load of a run date that a check holds; what is published stands."""
    from orders_dask.jobs import review

    _end(review.discard(run_date, because, load_id=load), json)


def _end(ended: RunResult, json: bool) -> None:
    from orders_dask.jobs.alert import alert_results
    from orders_dask.settings import load_settings

    alert_results([ended], load_settings())
    output.run_result(ended, json)
