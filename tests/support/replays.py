"""Correct rejected records, replay them, and return the result of each."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from sqlalchemy import Engine, text

from tests.support.builders import DAY
from tests.support.types import Query


def changed(warehouse: Engine, position: int, what: str, path: str, **values: Any) -> int:
    """Update the published rejected records at a position; return how many there are.

    Parameters
    ----------
    warehouse
        Engine of the database.
    position, path
        Position, and pattern of the path, which is empty for a whole record.
    what, values
        The assignments of the UPDATE statement, and the values of their placeholders.
    """
    statement = (
        f"update orders_ops.rejected_record set {what}"  # noqa: S608
        " where position = :position and path like :path"
        " and load_id = (select load_id from orders_store.published where run_date = :day)"
    )
    given = {"position": position, "path": path, "day": DAY, **values}
    with warehouse.begin() as connection:
        return connection.execute(text(statement), given).rowcount


def outcomes_by_record(query: Query) -> dict[tuple[int | None, int, str], str | None]:
    """Return the replay result of each record, by load, position and path."""
    rows = query(
        "select load_id, position, path, replay_result from orders_ops.rejected_record"
        " order by 1, 2, 3"
    )
    return {(load_id, position, path): result for load_id, position, path, result in rows}


_KILLED = """
import os, signal
from datetime import date
from distributed import Client
from orders_dask.jobs import replay as replaying
from orders_dask.pipeline import steps

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

steps.publish = killed
if __name__ == "__main__":
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"):
        replaying.replay(date.fromisoformat("{day}"))
"""


def replay_killed_before_its_publish() -> None:
    """Replay `DAY` in a process that is killed after the load, before the publish."""
    script = _KILLED.replace("{day}", str(DAY))
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL
