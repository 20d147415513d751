"""Versions of what is stored. Raising one makes old stage parts, or old databases, unusable.

See docs/contract.md#contract-version.
"""

from __future__ import annotations

from typing import Final

CONTRACT_VERSION: Final = 7
"""Part of the identity of every stage part. Raise it when a table changes."""

DECODER_VERSION: Final = 5
"""Part of the identity of every stage part. Raise it when decode reads a text differently."""

STAGE_FORMAT_VERSION: Final = 7
"""Part of the identity of every stage part. Raise it when a part is written differently."""
