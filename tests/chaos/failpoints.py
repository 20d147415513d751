"""Named points at which a real process halts until the test lets it go, or kills it.

A worker loads this with ``dask worker --preload``, the client by :mod:`tests.chaos.client`. Nothing
of the product is replaced: functions are wrapped where they are, so that the process waits there
and then goes on as it would have.

The test writes the name of a point into the file ``armed`` of the folder that ``CHAOS_FOLDER``
names. The first process that comes there writes ``reached`` and waits for ``go`` (:func:`halt`).
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
from orders_dask.extract.discover import discover
from orders_dask.jobs import backfill
from orders_dask.load.copy import copy_into
from orders_dask.pipeline import staged_rows, tasks
from orders_dask.publish import publish as publishing
from orders_dask.publish.verify import verify
from orders_dask.stage.layout import PART_RECORD
from orders_dask.stage.manifest import write_manifest
from orders_dask.stage.parts import write_part
from orders_dask.stage.tables import row_groups

FOLDER: Final = Path(os.environ["CHAOS_FOLDER"])
FORGOTTEN: Final = 600
"""Seconds after which the test must have died."""
_COPIED: Final = {rejected_record.name: "ledger:recording"}
"""Points before the first COPY into a table; into all others it is that of a part which is claimed."""
_SESSIONS: Final[set[int]] = set()
"""Process ids, on the server, of the sessions that this process has open."""


def halt(point: str, *, stays: bool = False) -> None:
    """Wait here until the test says to go on, if `point` is armed and nobody has come here before."""
    if not _is_armed(point):
        return
    mine = FOLDER / f"reached-{os.getpid()}"
    mine.write_text(json.dumps({"pid": os.getpid(), "sessions": sorted(_SESSIONS)}))
    try:
        os.link(mine, FOLDER / "reached")  # only one succeeds, and its content is whole
    except FileExistsError:
        return
    deadline = time.monotonic() + FORGOTTEN
    while not (FOLDER / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def _is_armed(point: str) -> bool:
    try:
        return (FOLDER / "armed").read_text() == point
    except FileNotFoundError:
        return False


def _die_over(split: Any, *_: object) -> None:
    """Die as one that is out of memory does, each time that a file comes whose name the test has written down."""
    try:
        deadly = (FOLDER / "deadly").read_text()
    except FileNotFoundError:
        return
    if any(deadly in file.name for file in split.files):
        os.kill(os.getpid(), signal.SIGKILL)


# Ways to wrap.


def _put(original: Callable[..., Any], wrapper: Callable[..., Any]) -> None:
    """Put a wrapper into every module of the product that names the function."""
    functools.update_wrapper(wrapper, original)
    named = False
    for module in [m for name, m in sys.modules.items() if name.startswith("orders_dask")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, wrapper)
                named = True
    assert named, f"no module names {original.__name__}, or it is wrapped already"


def _before(function: Callable[..., Any], act: Callable[..., None]) -> None:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        act(*args)
        return function(*args, **kwargs)

    _put(function, wrapper)


def _after(function: Callable[..., Any], act: Callable[[], None]) -> None:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        act()
        return result

    _put(function, wrapper)


def _after_first(
    generator: Callable[..., Iterator[Any]], act: Callable[[], None], only: Callable[..., bool]
) -> None:
    """Act when a generator is asked for its second item, so that the first has been used."""

    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for item in generator(*args, **kwargs):
            yield item
            if only(*args, **kwargs):
                act()

    _put(generator, wrapper)


def _after_statement(begins: str, act: Callable[[], None]) -> None:
    def executed(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lower().startswith(begins):
            act()

    event.listen(Engine, "after_cursor_execute", executed)


def _before_commit(begins: str, act: Callable[[], None]) -> None:
    """Act before the commit of a transaction that executed a statement which begins so."""
    marked = f"chaos {begins}"

    def executed(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lower().startswith(begins):
            connection.info[marked] = True

    def committing(connection: Any) -> None:
        if connection.info.pop(marked, False):
            act()

    event.listen(Engine, "after_cursor_execute", executed)
    event.listen(Engine, "commit", committing)


def _before_object(ends: str, act: Callable[[], None]) -> None:
    """Act before an object whose name ends so is put into the bucket."""
    original = s3fs.S3FileSystem._pipe_file

    @functools.wraps(original)
    async def wrapper(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith(ends):
            act()
        return await original(self, path, *args, **kwargs)

    s3fs.S3FileSystem._pipe_file = wrapper


def _of_facts(_part: object, table: str, columns: object = None, **_: object) -> bool:
    """Whether a read of a staged table is one whose rows are copied."""
    return table == FACTS[0].name and columns is None


def at(point: str) -> Callable[..., None]:
    """Give what halts at a point, whatever it is called with."""
    return lambda *_, **__: halt(point)


def install() -> None:
    """Wrap all points; the process must not have begun to work."""
    # It imports all modules that a run uses: a function is wrapped wherever it is named.
    assert backfill.__name__ in sys.modules
    # Where all threads are, for a test that finds the process hanging; it works without Python's
    # lock.
    faulthandler.register(signal.SIGUSR1)

    def remember(session: Any, record: Any) -> None:
        record.info["chaos pid"] = session.get_backend_pid()
        _SESSIONS.add(record.info["chaos pid"])

    def forget(session: Any, record: Any) -> None:
        _SESSIONS.discard(record.info.get("chaos pid", 0))

    event.listen(Pool, "connect", remember)
    event.listen(Pool, "close", forget)

    # Where a task begins or ends.
    _before(tasks.decode_normalise_stage, _die_over)
    _after(tasks.resolve, at("resolve:done"))
    _after(tasks.load, at("load:done"))
    _before(tasks.load, at("load:before"))
    # In the midst of a task.
    _after_first(staged_rows.normalise_blocks, at("decode:block"), lambda *_: True)
    _before_object(PART_RECORD, at("stage:tables"))
    _after(write_part, at("stage:recorded"))
    _before(copy_into, lambda _, table, *__: halt(_COPIED.get(table.name, "load:claimed")))
    _after_first(row_groups, at("load:copying"), _of_facts)
    _before_commit(f"update {load_part}", at("load:copied"))
    # On the client.
    _after(discover, at("discover:listed"))
    _after(write_manifest, at("resolve:manifest"))
    _before(publishing.seal, at("seal:before"))
    _before(verify, at("seal:done"))
    _after_statement(f"update {load_file}", at("verify:checking"))
    _before(publishing.publish, at("publish:before"))
    _after_statement(f"insert into {published}", at("publish:flipped"))
    _before_commit(f"insert into {published}", at("publish:committing"))
    _after(publishing.publish, at("publish:done"))  # by now the function is the wrapped one


def dask_setup(worker: object) -> None:
    """Install the points in a worker: what ``--preload`` calls."""
    install()
