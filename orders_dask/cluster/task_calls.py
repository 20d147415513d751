"""Calls of tasks, and the settings of the run that a task belongs to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import Any, Final, NamedTuple

from orders_dask.errors import RunCancelled
from orders_dask.settings import Settings, load_settings

MapTasks = Callable[..., Generator[tuple[int, Any]]]
"""Calls a function for each of some :class:`TaskCall`, and yields numbers and results.

See :func:`orders_dask.cluster.submit.map_bounded`, here with its client, settings and stop event.
"""

_TASK_SETTINGS: Final[ContextVar[Settings | None]] = ContextVar("orders_dask.run", default=None)
"""The settings of the run that the task in this thread belongs to."""


class TaskCall(NamedTuple):
    """One call of a function.

    Attributes
    ----------
    label
        Input of the call, for error messages.
    arguments
        Positional arguments: small records, without secrets.
    """

    label: str
    arguments: tuple[Any, ...]


def raise_if_stopped(stop: Event) -> None:
    """Raise RunCancelled if a run is to stop."""
    if stop.is_set():
        raise RunCancelled("The run was stopped; what was published stands.")


@contextmanager
def task_of(settings: Settings | None) -> Iterator[None]:
    """Call a task of a run meanwhile, which has these settings; None for the environment's."""
    token = _TASK_SETTINGS.set(settings)
    try:
        yield
    finally:
        _TASK_SETTINGS.reset(token)


def task_settings() -> Settings:
    """Return the settings of the run that a task belongs to, else those of the environment.

    Raises
    ------
    SettingsError
        A setting is missing or malformed.
    """
    return _TASK_SETTINGS.get() or load_settings()
