"""Load the shop's orders with Dagster: an asset with a partition for each run date.

Copy this file and edit the constants. It needs Dagster alone; `orders-dask` is a command with an
environment of its own. `dagster dev -f orders_dagster.py` shows it. See docs/orchestrators.md.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import dagster as dg

COMMAND = "orders-dask"
FIRST_RUN_DATE = "2026-10-01"
HOUR, MINUTE = 4, 30
SHOP_TIMEZONE = os.environ.get("ORDERS_DASK_SHOP_TIMEZONE", "UTC")
# A late dump is awaited for three hours.
RETRIES = 12
RETRY_SECONDS = 900

# A fault of ours, settings, refused data, a held load: the same command would end so again. Every
# other code may pass: a service that can't be reached (4), no file yet (6), a killed process.
TERMINAL = (1, 2, 3, 5)


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition(FIRST_RUN_DATE, timezone=SHOP_TIMEZONE),
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=dg.RetryPolicy(max_retries=RETRIES, delay=RETRY_SECONDS),
    # A partition is materialised by an event of its own, so that one without a dump is not.
    output_required=False,
    pool="orders_dask",
    kinds={"dask", "postgres"},
)
def orders(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Orders of a run date in PostgreSQL, as their dump on S3 has them."""
    first, last = context.partition_keys[0], context.partition_keys[-1]
    code, run_dates = run_command("backfill", "--from", first, "--to", last, "--missing", "fail")
    for day in run_dates:
        if day["outcome"] in ("published", "up_to_date"):
            yield dg.AssetMaterialization(
                asset_key=context.asset_key,
                partition=day["run_date"],
                metadata={
                    "dagster/row_count": day["orders"],
                    **{name: day[name] for name in ("lines", "superseded", "rejected", "seconds")},
                },
            )
    if code:
        messages = [f"{day['run_date']}: {day['message']}" for day in run_dates if day["message"]]
        raise dg.Failure(
            f"exit code {code}. {' '.join(messages) or 'The log of standard error says why.'}",
            allow_retries=code not in TERMINAL,
        )


def run_command(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and how each run date ended; if this run is terminated, stop it."""
    try:
        # A session of its own: a signal to Dagster's processes must not kill it unasked.
        process = subprocess.Popen(
            [COMMAND, *arguments, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise dg.Failure(f"Can't run {COMMAND}: {error.strerror}.", allow_retries=False) from error
    with process:
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return process.returncode, json.loads(output or "[]")


orders_daily = dg.build_schedule_from_partitioned_job(
    dg.define_asset_job("orders_daily", selection=[orders]),
    hour_of_day=HOUR,
    minute_of_hour=MINUTE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

defs = dg.Definitions(assets=[orders], schedules=[orders_daily])
