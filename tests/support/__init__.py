"""Shared helpers of the tests; there are no tests here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
"""The working directory of processes that import the product or the tests."""
