"""What a version changed beside its additions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from orders_dask.migration.changes import Change


@dataclass(frozen=True)
class Step:
    """The changes of a version that are more than additions.

    All of it may be repeated: a migration that was killed begins with the first step once more.

    Attributes
    ----------
    version
        The contract version that it leads to.
    before
        The change that is made before anything is added; None for nothing.
    after
        Changes contents, in the transaction that records the new version; None for nothing.
    contents
        Returns changes of contents that take their time, made before that; None for nothing.
    """

    version: int
    before: Change | None = None
    after: Callable[[Connection], None] | None = None
    contents: Callable[[Connection], Iterable[Change]] | None = None
