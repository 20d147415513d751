"""The changes of a version that are more than additions: one module a version, in order."""

from __future__ import annotations

from typing import Final

from orders_dask.migration.steps import (
    version_6,
    version_7,
    version_8,
    version_12,
    version_13,
    version_14,
    version_15,
)
from orders_dask.migration.steps.step import Step

STEPS: Final[tuple[Step, ...]] = (
    *(version_6.STEP, version_7.STEP, version_8.STEP),
    *(version_12.STEP, version_13.STEP, version_14.STEP, version_15.STEP),
)
"""By version. A migration from an earlier one makes all of them that are later."""

__all__ = ["STEPS", "Step"]
