"""Versions of what is stored. See docs/contract.md#contract-version."""

from __future__ import annotations

from typing import Final

CONTRACT_VERSION: Final = 15
"""Version of the tables. Raise it when one changes: ``orders-dask migrate`` upgrades a database."""

OLDEST_CODE_VERSION: Final = 8
"""Oldest contract version whose code can work on these tables.

Raise it only with a step of :mod:`orders_dask.migration` that changes what older code relies on: a
column that is new is none. Until then a database may be upgraded before the code.
"""

DECODER_VERSION: Final = 8
"""Part of the identity of every stage part. Raise it when the same text gives other rows."""

STAGE_FORMAT_VERSION: Final = 9
"""Part of the identity of every stage part. Raise it when a part is written differently."""
