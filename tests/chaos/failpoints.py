"""Failpoints: named points where a real process halts until the test releases or kills it.

A worker loads this with ``dask worker --preload``, the client by :mod:`tests.chaos.client`. Nothing
of the product is replaced: functions are wrapped, so that the process waits there and then goes on
as it would have.

The test writes the name of a point into the file ``armed`` of the folder that ``CHAOS_FOLDER``
names. The first process that reaches it writes ``reached`` and waits for ``go`` (:func:`halt`).
:mod:`tests.chaos.failpoint_control` is the test's side.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import s3fs
from sqlalchemy import Engine, Pool, event

from orders_dask.contract.ledger_tables import load_file, load_part, rejected_record
from orders_dask.contract.order_tables import FACTS
from orders_dask.contract.storage_tables import published
from orders_dask.extract.discover import discover_dump
from orders_dask.jobs import backfill
from orders_dask.ledger.batches import create_loads
from orders_dask.load.copy import copy_into, load_parts
from orders_dask.pipeline import staged_rows, tasks
from orders_dask.pipeline.batch import load_batch
from orders_dask.pipeline.batch_files import record_decoded
from orders_dask.publish import publish
from orders_dask.publish.stored_totals import totals_in_transaction
from orders_dask.publish.verify import verify
from orders_dask.stage.layout import PART_RECORD
from orders_dask.stage.manifest import write_manifest
from orders_dask.stage.tables import row_groups
from orders_dask.stage.write import write_part

FOLDER: Final = Path(os.environ["CHAOS_FOLDER"])
HALT_SECONDS: Final = 600
"""Seconds that a process halts at most; the test must have died by then."""
_COPY_POINTS: Final = {rejected_record.name: "ledger:recording"}
"""Points before a COPY, by table; ``load:claimed`` for all other tables."""
_SESSIONS: Final[set[int]] = set()
"""Server process ids of the sessions that this process has open."""


def halt(point: str) -> None:
    """Wait until the test releases this process, if `point` is armed and this is the first here."""
    if not _is_armed(point):
        return
    mine = FOLDER / f"reached-{os.getpid()}"
    mine.write_text(json.dumps({"pid": os.getpid(), "sessions": sorted(_SESSIONS)}))
    try:
        os.link(mine, FOLDER / "reached")  # only one succeeds, and its content is whole
    except FileExistsError:
        return
    deadline = time.monotonic() + HALT_SECONDS
    while not (FOLDER / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_armed(point: str) -> bool:
    try:
        return (FOLDER / "armed").read_text() == point
    except FileNotFoundError:
        return False


def _die_of_file(split: Any, *_: object) -> None:
    """Die by SIGKILL, as if out of memory, when the split has the file that the test named."""
    try:
        deadly = (FOLDER / "deadly").read_text()
    except FileNotFoundError:
        return
    if any(deadly in file.name for file in split.files):
        os.kill(os.getpid(), signal.SIGKILL)


# Ways to wrap.


def _patch(original: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
    """Replace a function by its wrapper in every module of the product that imports it."""
    functools.update_wrapper(wrapper, original)
    patched = False
    for module in [m for name, m in sys.modules.items() if name.startswith("orders_dask")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, wrapper)
                patched = True
    assert patched, f"no module names {original.__name__}, or it is wrapped already"


def _before(function: Callable[..., Any], act: Callable[..., None]) -> None:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        act(*args)
        return function(*args, **kwargs)

    _patch(function, wrapper)


def _after(function: Callable[..., Any], act: Callable[[], None]) -> None:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        act()
        return result

    _patch(function, wrapper)


def _after_first(
    generator: Callable[..., Iterator[Any]], act: Callable[[], None], only: Callable[..., bool]
) -> None:
    """Act when a generator is asked for its second item: the first was consumed then."""

    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for item in generator(*args, **kwargs):
            yield item
            if only(*args, **kwargs):
                act()

    _patch(generator, wrapper)


def _after_statement(prefix: str, act: Callable[[], None]) -> None:
    def executed(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lower().startswith(prefix):
            act()

    event.listen(Engine, "after_cursor_execute", executed)


def _before_commit(prefix: str, act: Callable[[], None]) -> None:
    """Act before the commit of a transaction that executed a statement with this prefix."""
    marked = f"chaos {prefix}"

    def executed(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lower().startswith(prefix):
            connection.info[marked] = True

    def committing(connection: Any) -> None:
        if connection.info.pop(marked, False):
            act()

    event.listen(Engine, "after_cursor_execute", executed)
    event.listen(Engine, "commit", committing)


def _before_object(suffix: str, act: Callable[[], None]) -> None:
    """Act before an object whose name has this suffix is put into the bucket."""
    original = s3fs.S3FileSystem._pipe_file

    @functools.wraps(original)
    async def wrapper(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith(suffix):
            act()
        return await original(self, path, *args, **kwargs)

    s3fs.S3FileSystem._pipe_file = wrapper


def _of_facts(_part: object, table: str, columns: object = None, **_: object) -> bool:
    """Return whether this read of a staged table is for COPY."""
    return table == FACTS[0].name and columns is None


def halt_at(point: str) -> Callable[..., None]:
    """Return a function of any arguments that halts at a point."""
    return lambda *_, **__: halt(point)


def install() -> None:
    """Install all failpoints; the process must not have begun to work."""
    # All modules that a run uses must be imported: a function is patched wherever it is imported.
    assert backfill.__name__ in sys.modules
    # For a process that hangs: faulthandler writes the stacks without the GIL.
    faulthandler.register(signal.SIGUSR1)

    def session_opened(session: Any, record: Any) -> None:
        record.info["chaos pid"] = session.get_backend_pid()
        _SESSIONS.add(record.info["chaos pid"])

    def session_closed(session: Any, record: Any) -> None:
        _SESSIONS.discard(record.info.get("chaos pid", 0))

    event.listen(Pool, "connect", session_opened)
    event.listen(Pool, "close", session_closed)

    # At the begin or end of a task.
    _before(tasks.decode_normalise_stage, _die_of_file)
    _after(tasks.resolve, halt_at("resolve:done"))
    _after(tasks.load, halt_at("load:done"))
    _before(tasks.load, halt_at("load:before"))
    # Within a task.
    _after_first(staged_rows.normalise_blocks, halt_at("decode:block"), lambda *_, **__: True)
    _before_object(PART_RECORD, halt_at("stage:tables"))
    _after(write_part, halt_at("stage:recorded"))
    _before(copy_into, lambda _, table, *__: halt(_COPY_POINTS.get(table.name, "load:claimed")))
    _after_first(row_groups, halt_at("load:copying"), _of_facts)
    _before_commit(" ".join(("delete from", str(load_part))), halt_at("load:copied"))
    # Within the task of a batch.
    _after(record_decoded, halt_at("batch:recorded"))
    _after(load_parts, halt_at("batch:loaded"))
    # On the client.
    _after(discover_dump, halt_at("discover:listed"))
    _after(write_manifest, halt_at("resolve:manifest"))
    _before(publish.seal, halt_at("seal:before"))
    _before(verify, halt_at("seal:done"))
    _after_statement(f"update {load_file}", halt_at("verify:checking"))
    _before(publish.publish, halt_at("publish:before"))
    _after_statement(f"insert into {published}", halt_at("publish:moved"))
    _before_commit(f"insert into {published}", halt_at("publish:committing"))
    _after(publish.publish, halt_at("publish:done"))  # the function is wrapped by now
    # On the client, of a batch.
    _after(create_loads, halt_at("batch:created"))
    _after(totals_in_transaction, halt_at("batch:sealed"))
    _before(publish.publish_loads, halt_at("batch:checked"))
    _after(load_batch, halt_at("batch:done"))


def dask_setup(worker: object) -> None:
    """Install the failpoints in a worker; ``--preload`` calls this."""
    install()
