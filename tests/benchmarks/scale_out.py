"""What client and scheduler do for each part, with workers that wait instead of decoding and loading.

The waits are those that were measured of real parts. So many workers fit on few cores, and what is
left of the time is the coordination. With W workers, N parts take N * wait / W seconds at best:
the efficiency is that beside what they took.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import psutil
from distributed import Client

from orders_dask.cluster import block_pandas
from orders_dask.cluster.clients import map_tasks, resolve_client
from orders_dask.cluster.connect import connect
from orders_dask.cluster.task_calls import TaskCall
from orders_dask.extract.discover import discover
from orders_dask.pipeline import tasks
from orders_dask.pipeline.steps import MAX_DECODING
from orders_dask.settings import Settings, load_settings
from orders_dask.stage.collect import collect_parts
from orders_dask.stage.record import Part
from orders_dask.step_metrics import StepMetrics
from orders_dask.synthetic import generate
from tests.support.dask_processes import dask

FIRST = date(2026, 1, 1)
ORDERS = 2_000
MB = 1e6

ALONE = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
}
"""What workers do beside their tasks, by default 0.02 of a core each, took both cores here. On machines
of their own they share none with client and scheduler."""

FEW_MESSAGES = {"DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "20"}
"""As the image has it, and docs/clusters.md asks for."""


def main() -> None:
    """Measure each number of workers, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale_out")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--parts", type=int, default=2_000, help="of the largest cluster")
    parser.add_argument("--decode", type=float, default=1.0, help="seconds of a part's decode")
    parser.add_argument("--load", type=float, default=0.8, help="seconds of a part's load")
    parser.add_argument("--into", type=Path, default=Path("build"), help="folder of the JSON file")
    args = parser.parse_args()
    block_pandas.block()  # as the command line does
    found: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        os.environ |= {
            "_PGSQL_HOSTNAME": "nobody.example.com",
            "_PGSQL_USER": "nobody",
            "_PGSQL_DATABASE": "orders",
            "_AWS_S3_URL_SOURCE": f"{folder}/dump/",
            "ORDERS_DASK_STAGE_URL": f"{folder}/stage/",
        }
        settings = load_settings()
        # In a process of its own, for the client's memory is measured.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            part = pool.submit(_staged, settings).result()
        for workers in args.workers:
            parts = max(8 * workers, args.parts * workers // max(args.workers))
            with _cluster(Path(folder), workers) as address, connect(settings, address) as client:
                client.wait_for_workers(workers, timeout=600)
                resolve_client(client, settings)
                of_cluster = {"workers": workers, "parts": parts}
                for name, wait in (("decode", args.decode), ("load", args.load)):
                    step = _decode if name == "decode" else _load
                    of_cluster[name] = _measured(step, client, settings, part, parts, wait, workers)
                found.append(of_cluster)
                print(json.dumps(of_cluster), flush=True)
    machine = {
        "date": str(date.today()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    args.into.mkdir(parents=True, exist_ok=True)
    (args.into / "scale_out.json").write_text(json.dumps({"machine": machine, "clusters": found}))


def _staged(settings: Settings) -> Part:
    """Return the record of a real part, as a task returns it."""
    dump = generate(settings.source, start=FIRST, days=1, orders=ORDERS, compression="gzip")
    [split] = discover(dump.source, FIRST, settings.block_size)
    part, _ = tasks.decode_normalise_stage(
        split, (), settings.stage_url, FIRST, settings.shop_timezone, None
    )
    assert isinstance(part, Part)
    return part


@contextmanager
def _cluster(folder: Path, workers: int) -> Iterator[str]:
    """Run a scheduler, and workers of one thread each, and yield the scheduler's address."""
    scheduler_file = folder / f"scheduler-{workers}.json"
    with (
        dask(
            folder,
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
            *("--scheduler-file", str(scheduler_file)),
            **FEW_MESSAGES,
        ),
        dask(
            folder,
            *("worker", "--scheduler-file", str(scheduler_file), "--nworkers", str(workers)),
            *("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"),
            *("--preload", "orders_dask.without_pandas"),
            **ALONE,
        ),
    ):
        while not scheduler_file.exists() or not scheduler_file.read_text():
            time.sleep(0.1)
        yield json.loads(scheduler_file.read_text())["address"]


def wait_to_decode(wait: float, part: Part, number: int) -> tuple[Part, dict[str, StepMetrics]]:
    """Wait as long as a part takes, and return a record of its size."""
    time.sleep(wait)
    return part, {
        step: StepMetrics(wait / 3, wait / 3) for step in ("decode", "normalise", "stage")
    }


def wait_to_load(wait: float, part: Part, number: int) -> tuple[int, dict[str, StepMetrics]]:
    """Wait as long as a part takes, and return its number of orders."""
    time.sleep(wait)
    return part.orders, {"load": StepMetrics(wait, wait)}


Map = Callable[..., Iterator[tuple[int, Any]]]


def _decode(map_calls: Map, part: Part, parts: int, wait: float, workers: int) -> int:
    calls = (TaskCall(str(n), (wait, part, n)) for n in range(parts))
    ended = map_calls(
        wait_to_decode, calls, step="decode-normalise-stage", max_in_flight=MAX_DECODING
    )
    return len(collect_parts((number, result) for number, (result, _) in ended).parts)


def _load(map_calls: Map, part: Part, parts: int, wait: float, workers: int) -> int:
    calls = (TaskCall(str(n), (wait, part, n)) for n in range(parts))
    # ORDERS_DASK_COPY_CONNECTIONS, set for a server that takes as many.
    return sum(1 for _ in map_calls(wait_to_load, calls, step="load", max_in_flight=workers))


def _measured(
    step: Callable[..., int],
    client: Client,
    settings: Settings,
    part: Part,
    parts: int,
    wait: float,
    workers: int,
) -> dict[str, float]:
    """Run a step, and return its efficiency and what client and scheduler took."""
    suffix = f"{step.__name__}-{workers}"
    submit = map_tasks(client, settings, Event())

    def map_calls(*args: Any, **kwargs: Any) -> Iterator[tuple[int, Any]]:
        return submit(*args, **kwargs, key_suffix=suffix)

    scheduler = psutil.Process(int(client.run_on_scheduler(os.getpid)))
    idle = psutil.cpu_times().idle
    before, began = _cpu(scheduler), time.monotonic()
    done = step(map_calls, part, parts, wait, workers)
    seconds, after = time.monotonic() - began, _cpu(scheduler)
    assert done == parts, (done, parts)
    return {
        "wait": wait,
        "seconds": round(seconds, 1),
        "efficiency": round(parts * wait / workers / seconds, 3),
        "idle_cores": round((psutil.cpu_times().idle - idle) / seconds, 3),
        "client_cores": round((after[0] - before[0]) / seconds, 3),
        "client_ms_a_part": round(1000 * (after[0] - before[0]) / parts, 2),
        "client_mb": round(psutil.Process().memory_info().rss / MB),
        "scheduler_cores": round((after[1] - before[1]) / seconds, 3),
        "scheduler_ms_a_part": round(1000 * (after[1] - before[1]) / parts, 2),
        "scheduler_mb": round(scheduler.memory_info().rss / MB),
    }


def _cpu(scheduler: psutil.Process) -> tuple[float, float]:
    of_scheduler = scheduler.cpu_times()
    return time.process_time(), of_scheduler.user + of_scheduler.system


if __name__ == "__main__":
    main()
