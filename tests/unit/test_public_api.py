"""All that a public function returns can be named by those who import `orders_dask`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from distributed import Client

import orders_dask

FUNCTIONS = [name for name in orders_dask.__all__ if inspect.isfunction(getattr(orders_dask, name))]


def our_types(hint: Any) -> Iterator[type]:
    """Yield the classes of ours in a type hint, with those of their fields and what methods return."""
    for argument in hint if isinstance(hint, list) else get_args(hint):
        yield from our_types(argument)
    if get_origin(hint) is None and inspect.isclass(hint):
        if not hint.__module__.startswith("orders_dask"):
            return
        yield hint
        if is_dataclass(hint):
            for each in get_type_hints(hint).values():
                yield from our_types(each)
        for _, method in inspect.getmembers(hint, inspect.isfunction):
            if method.__module__ == hint.__module__ and not method.__name__.startswith("_"):
                yield from our_types(get_type_hints(method).get("return"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_public_function_takes_and_returns_is_exported(name: str) -> None:
    found = {
        each
        for hint in get_type_hints(getattr(orders_dask, name), localns={"Client": Client}).values()
        for each in our_types(hint)
    }
    missing = {each for each in found if getattr(orders_dask, each.__name__, None) is not each}
    assert not missing, f"add them to __all__ of orders_dask: {missing}"
    unlisted = {each.__name__ for each in found} - {*orders_dask.__all__}
    assert not unlisted, "they are not in __all__ of orders_dask"


def test_the_results_that_people_read_are_exported() -> None:
    results = {
        *("RunResult", "Plan", "ReplayResult", "DiffResult", "OrderDiff", "RowCountDiff"),
        *("MoneyDiff", "RollbackResult", "PruneResult", "UnpublishResult", "LoadStatus"),
        *("RejectedRecord", "Progress"),
    }
    assert results <= {*orders_dask.__all__}
    assert all(is_dataclass(getattr(orders_dask, name)) for name in results)


def test_every_name_that_is_promised_is_there_and_no_other_is_made_up() -> None:
    assert len({*orders_dask.__all__}) == len(orders_dask.__all__)
    for name in orders_dask.__all__:
        assert getattr(orders_dask, name).__name__ == name
    assert not hasattr(orders_dask, "drop")
