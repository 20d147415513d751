"""The results of run dates: of errors, of what was there already, and of loads in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from orders_dask.errors import (
    DataRefused,
    LoadHeld,
    OrdersDaskError,
    RunDateLocked,
    SourceMissing,
    failure_message,
)
from orders_dask.ledger.queries import LoadStatus
from orders_dask.monitoring import telemetry
from orders_dask.pipeline.progress import StepTimer
from orders_dask.pipeline.results import Outcome, RunResult

if TYPE_CHECKING:
    from orders_dask.checks.comparison import Finding


def result_of_error(run_date: date, error: Exception) -> RunResult:
    """Return the result of a run date that ended with an error, a fault of ours included."""
    if not isinstance(error, OrdersDaskError):
        message = (
            f"{failure_message(error)} `orders-dask run --run-date {run_date} --debug` shows it."
        )
        return RunResult(run_date, "failed", message=message, exit_code=1)
    outcome: Outcome = "failed"
    if isinstance(error, DataRefused):
        outcome = "refused"
    elif isinstance(error, LoadHeld):
        outcome = "held"
    elif isinstance(error, RunDateLocked):
        outcome = "locked"
    elif isinstance(error, SourceMissing):
        outcome = "missing"
    return RunResult(run_date, outcome, message=str(error), exit_code=error.exit_code)


def up_to_date_result(
    published: LoadStatus, held: LoadStatus | None, timer: StepTimer
) -> RunResult:
    """Return the result of a run date that is up to date, with what is held of it."""
    result = result_from_ledger("up_to_date", published, timer)
    if held is None:
        return result
    message = (
        f"Load {held.load_id} of other files is held still: `orders-dask discard --run-date "
        f"{held.run_date}` drops it."
    )
    return replace(result, message=message)


def result_of_held_or_discarded(load: LoadStatus, timer: StepTimer) -> RunResult:
    """Return the result of a run date whose dump was loaded before, and somebody decided against.

    Raises
    ------
    LoadHeld
        That load is held, and nobody has accepted or discarded it yet.
    """
    if load.status == "held":
        raise LoadHeld(str(load.message))
    decision = "rolled back" if load.status == "unpublished" else "discarded"
    message = (
        f"Load {load.load_id} of these files was {decision}: `orders-dask run --force --run-date "
        f"{load.run_date}` loads them again."
    )
    return RunResult(load.run_date, "discarded", message=message, seconds=timer.total)


def result_from_ledger(
    outcome: Outcome, load: LoadStatus, timer: StepTimer, findings: Sequence[Finding] = ()
) -> RunResult:
    """Return the result of a run date with the counts of a load in the ledger."""
    return RunResult(
        load.run_date,
        outcome,
        load_id=load.load_id,
        files=load.files,
        orders=load.orders,
        lines=load.lines,
        superseded=load.superseded,
        rejected=load.rejected,
        seconds=timer.total,
        warnings=tuple(f"{finding.message} ({finding.check_name})" for finding in findings),
        unknown_keys=load.unknown_keys,
    )


def describe_result(result: RunResult) -> None:
    """Add what became of a run date to its span."""
    telemetry.describe(
        outcome=result.outcome,
        load_id=result.load_id,
        files=result.files,
        orders=result.orders,
        lines=result.lines,
        superseded=result.superseded,
        rejected=result.rejected,
    )
