"""The whole ``run``, from S3 to published, on a local cluster that is already running.

All processes have imported their modules, compiled the reader and loaded botocore's description of
S3; the rivals have imported, loaded and attached theirs, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from orders_dask import run
from orders_dask.cluster import block_pandas
from orders_dask.cluster.connect import connect
from orders_dask.contract.columns import PUBLIC
from orders_dask.extract.decode.json_reader import read_lines
from orders_dask.extract.lines import Lines
from orders_dask.filesystem import filesystem
from orders_dask.pipeline import tasks
from orders_dask.settings import Settings
from tests.benchmarks.dump import RUN_DATE

TARGET = PUBLIC


@contextmanager
def ready(settings: Settings, workers: int | None = None) -> Iterator[Callable[[], object]]:
    """Start the cluster, by default with a worker a core, and yield the run."""
    block_pandas.block()  # as the command line does
    with connect(settings, workers=workers) as client:
        client.run(import_module, tasks.__name__)
        read = partial(read_lines, Lines(b"{}\n"), in_page=True)
        reach = partial(_reach, settings.stage_url)
        client.run(read)
        client.run(reach)
        reach()
        yield partial(run, RUN_DATE, settings=settings, client=client)


def _reach(url: str) -> None:
    fs, path = filesystem(url)
    fs.exists(path)
