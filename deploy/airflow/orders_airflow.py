"""Load the shop's orders with Airflow 3: a DAG run for each run date, missed ones included.

Copy this file into the folder of DAGs, edit the constants, and make the pool:
`airflow pools set orders_dask 1 "Runs of orders-dask at once"`. It needs Airflow alone;
`orders-dask` is a command with an environment of its own. See docs/orchestrators.md.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

COMMAND = "orders-dask"
DAILY = "30 4 * * *"
FIRST_RUN_DATE = datetime(2026, 10, 1)
SHOP_TIMEZONE = os.environ.get("ORDERS_DASK_SHOP_TIMEZONE", "UTC")
# A late dump is awaited for three hours.
RETRIES = 12
RETRY_DELAY = timedelta(minutes=15)

# A fault of ours, settings, refused data, a held load: the same command would end so again. Every
# other code may pass: a service that can't be reached (4), no file yet (6), a killed process.
TERMINAL = (1, 2, 3, 5)


class LoadOrders(BaseOperator):
    """Load and publish one run date with `orders-dask run`."""

    process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the command and return how the run date ended, which is kept as XCom."""
        run_date = context["params"]["run_date"] or str(
            context["data_interval_start"].astimezone(ZoneInfo(SHOP_TIMEZONE)).date()
        )
        try:
            # A session of its own: Airflow kills the task's processes 5 s after it asked them to
            # end, and a run may take longer to end cleanly.
            self.process = subprocess.Popen(
                [COMMAND, "run", "--run-date", run_date, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise AirflowFailException(f"Can't run {COMMAND}: {error.strerror}.") from error
        with self.process as process:
            assert process.stdout
            assert process.stderr
            for line in process.stderr:
                self.log.info(line.rstrip())
            # One run date's result: a pipe holds it meanwhile.
            ended: dict[str, Any] = json.loads(process.stdout.read() or "{}")
        if code := process.returncode:
            error_class = AirflowFailException if code in TERMINAL else AirflowException
            raise error_class(f"exit code {code}. {ended.get('message') or 'The log says why.'}")
        return ended

    def on_kill(self) -> None:
        """Stop the command: it ends cleanly, and nothing is half published."""
        if self.process:
            self.process.terminate()


with DAG(
    "orders_daily",
    schedule=CronDataIntervalTimetable(DAILY, timezone=SHOP_TIMEZONE),
    start_date=FIRST_RUN_DATE.replace(tzinfo=ZoneInfo(SHOP_TIMEZONE)),
    catchup=True,
    params={
        "run_date": Param(
            None,
            type=["null", "string"],
            format="date",
            description="For a run by hand; otherwise the start of the data interval.",
        )
    },
    tags=["orders"],
    doc_md=__doc__,
) as dag:
    LoadOrders(task_id="load", pool="orders_dask", retries=RETRIES, retry_delay=RETRY_DELAY)
