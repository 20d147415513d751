"""What tests of several folders build with, wait for and compare with: no test stands here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
"""Where processes start that import the product or the tests."""
