"""Every issue code, declared once: what is wrong with a record or a value.

The codes are types, so mypy finds a misspelt one. docs/contract.md#issue-codes explains each code
with an example; a test compares the two lists.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

RejectedCode: TypeAlias = Literal[
    "invalid_json",
    "unreadable_file",
    "not_an_order",
    "bad_order_id",
    "id_mismatch",
    "deleted_order",
    "bad_child_id",
    "duplicate_child",
]
"""The record, or the child of an order, is rejected: it is in no fact table."""

RepairedCode: TypeAlias = Literal[
    "integer_from_text",
    "money_rounded",
    "rate_rounded",
    "instant_without_offset",
    "instant_with_zone_name",
    "flag_from_text",
    "text_from_scalar",
    "text_from_array",
    "bad_unicode",
    "duplicate_key",
    "byte_order_mark",
    "nested_compression",
]
"""The value is repaired: it is stored converted."""

NulledCode: TypeAlias = Literal[
    "bad_integer",
    "bad_money",
    "bad_rate",
    "bad_instant",
    "bad_flag",
    "bad_text",
    "bad_children",
]
"""The value is nulled: NULL is stored."""

SkippedCode: TypeAlias = Literal["message_without_order"]
"""The text is no record: nothing of it is stored, and it has no position."""

ValueCode: TypeAlias = RepairedCode | NulledCode | SkippedCode
"""A code of ``orders_ops.data_issue``."""

REJECTED: Final[tuple[RejectedCode, ...]] = get_args(RejectedCode)
REPAIRED: Final[tuple[RepairedCode, ...]] = get_args(RepairedCode)
NULLED: Final[tuple[NulledCode, ...]] = get_args(NulledCode)
SKIPPED: Final[tuple[SkippedCode, ...]] = get_args(SkippedCode)
