"""Load the shop's orders with Prefect 3: yesterday's each day, any days on request.

Copy this file and edit the constants. It needs Prefect alone; `orders-dask` is a command with an
environment of its own. `python orders_prefect.py` serves two deployments until it is stopped:
`orders-daily/orders-daily` and `orders-backfill/orders-backfill`. See docs/orchestrators.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger, serve, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.schedules import Cron

COMMAND = "orders-dask"
DAILY = "30 4 * * *"
SHOP_TIMEZONE = os.environ.get("ORDERS_DASK_SHOP_TIMEZONE", "UTC")
# A late dump is awaited for three hours.
RETRIES = 12
RETRY_SECONDS = 900

# A fault of ours, settings, refused data, a held load: the same command would end so again. Every
# other code may pass: a service that can't be reached (4), no file yet (6), a killed process.
TERMINAL = (1, 2, 3, 5)


class TerminalError(Exception):
    """Something has to change before a retry can help."""


class TransientError(Exception):
    """The same command may work later."""


def may_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Return whether a retry can help."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


@task(retries=RETRIES, retry_delay_seconds=RETRY_SECONDS, retry_condition_fn=may_pass)
def orders_dask(*arguments: str) -> None:
    """Run the command, show how its run dates ended, and raise where one ended badly."""
    code, run_dates = run_command(*arguments)
    if run_dates:
        create_table_artifact(run_dates, key="orders", description=" ".join(arguments))
    if code:
        messages = [f"{day['run_date']}: {day['message']}" for day in run_dates if day["message"]]
        error = TerminalError if code in TERMINAL else TransientError
        raise error(f"exit code {code}. {' '.join(messages) or 'The log says why.'}")


def run_command(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and how each run date ended; if this flow is cancelled, stop it."""
    logger = get_run_logger()
    with (
        tempfile.TemporaryFile("w+") as output,
        # A session of its own: a signal to Prefect's processes must not kill it unasked.
        subprocess.Popen(
            [COMMAND, *arguments, "--json"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stderr
        try:
            for line in process.stderr:
                logger.info(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            logger.warning("Stopped with exit code %s.", process.wait())
            raise
        output.seek(0)
        ended = json.loads(output.read() or "[]")
    return code, ended if isinstance(ended, list) else [ended]


@flow
def orders_daily(run_date: date | None = None) -> None:
    """Load a run date; without one, the day before the scheduled start in the shop's time zone.

    Not the day before *now*: runs that are late after an outage load the days that were missed.
    """
    start = flow_run.scheduled_start_time.astimezone(ZoneInfo(SHOP_TIMEZONE))
    orders_dask("run", "--run-date", str(run_date or start.date() - timedelta(days=1)))


@flow
def orders_backfill(start: date, end: date) -> None:
    """Load a range of run dates with one command; dates without a file are listed as missing."""
    orders_dask("backfill", "--from", str(start), "--to", str(end), "--missing", "report")


if __name__ == "__main__":
    serve(
        orders_daily.to_deployment(
            "orders-daily", schedule=Cron(DAILY, timezone=SHOP_TIMEZONE), tags=["orders"]
        ),
        orders_backfill.to_deployment("orders-backfill", tags=["orders"]),
        limit=1,
        # What is due while this process is down is late, not left out.
        pause_on_shutdown=False,
    )
