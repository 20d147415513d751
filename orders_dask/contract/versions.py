"""Versions of what is stored: a change of one makes old stages, or old databases, things of the past."""

from __future__ import annotations

from typing import Final

CONTRACT_VERSION: Final = 6
"""Version of this contract: part of every stage part's identity. Raise it when a stored value or a table changes."""


DECODER_VERSION: Final = 3
"""Version of decode: part of every stage part's identity. Raise it when the same text gives another table."""


STAGE_FORMAT_VERSION: Final = 7
"""Version of what this module writes: part of every part's identity."""
