"""The rules for single values: integers, amounts, rates, booleans, texts and timestamps.

A rule takes a parsed value that is not null. It returns the value for the JSON reader to read
instead, and the issue code to count it under, or None for a good value. See
docs/contract.md#bad-values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final, TypeAlias

import pyarrow as pa

from orders_dask.contract.arrow import (
    DAY_TYPE,
    MONEY_TYPE,
    PRESENCE_TYPE,
    RATE_TYPE,
    TIMESTAMP_TYPE,
)
from orders_dask.contract.issue_codes import ValueCode
from orders_dask.contract.json_parser import Json, Number, is_sanitised, sanitise

Value: TypeAlias = str | int | bool | None
Rule: TypeAlias = Callable[[Json], tuple[Value, ValueCode | None]]

ROUNDING_NOISE: Final = Decimal("1e-9")
"""Smaller changes by rounding are not counted. See docs/contract.md#money."""

TAG_SEPARATOR: Final = ", "

_WHITESPACE: Final = " \t\r\n"
_INT64: Final = range(-(2**63), 2**63)
# libmpdec rounds from all digits of the text; the result has at most 19 + 8 digits.
_CONTEXT: Final = Context(prec=40)

_AMOUNT: Final = re.compile(r"[+-]?(?:([0-9]+)(?:\.([0-9]+))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")
_PLAIN_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_PLAIN_AMOUNT: Final = re.compile(rf"[+-]?[0-9]{{1,17}}(?:\.[0-9]{{1,{MONEY_TYPE.scale}}})?")


def integer(value: Json) -> tuple[int | None, ValueCode | None]:
    """Return an integer. See docs/contract.md#integers."""
    if isinstance(value, Number) and _PLAIN_INTEGER.fullmatch(value):
        return int(value), None
    amount = _parse_decimal(value)
    # Compared before it becomes an int: 1e999999999 would need a gigabyte.
    if amount is None or amount.adjusted() >= 19 or amount != amount.to_integral_value():
        return None, "bad_integer"
    whole = int(amount)
    if whole not in _INT64:
        return None, "bad_integer"
    plain = isinstance(value, Number) and value.lstrip("-").isdigit()
    return whole, None if plain else "integer_from_text"


def money(value: Json) -> tuple[str | None, ValueCode | None]:
    """Return an amount, rounded, as text. See docs/contract.md#money."""
    if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value):
        return str(value), None
    amount, changed = _round_to(MONEY_TYPE, value)
    if amount is None:
        return None, "bad_money"
    return amount, "money_rounded" if changed else None


def rate(value: Json) -> tuple[str | None, ValueCode | None]:
    """Return a rate, rounded, as text. See docs/contract.md#rates."""
    share, changed = _round_to(RATE_TYPE, value)
    if share is None:
        return None, "bad_rate"
    return share, "rate_rounded" if changed else None


def boolean(value: Json) -> tuple[bool | None, ValueCode | None]:
    """Return a boolean. See docs/contract.md#booleans."""
    if isinstance(value, bool):
        return value, None
    if isinstance(value, Number):
        number = _parse_decimal(value)  # 1.0 too, as programs write that know floats alone
        truth = bool(number) if number in (0, 1) else None
    else:
        truth = (
            {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
        )
    return truth, "bad_flag" if truth is None else "flag_from_text"


def text(value: Json) -> tuple[str | None, ValueCode | None]:
    """Return a text. See docs/contract.md#text."""
    if isinstance(value, bool):
        return str(value).lower(), "text_from_scalar"
    if isinstance(value, Number):
        return str(value), "text_from_scalar"
    if not isinstance(value, str):
        return None, "bad_text"
    return (value, None) if is_sanitised(value) else (sanitise(value), "bad_unicode")


def tags(value: Json) -> tuple[str | None, ValueCode | None]:
    """Return tags as one text, as Shopify's REST API has them. See docs/contract.md#text."""
    if not isinstance(value, list):
        return text(value)
    names = [each for each in value if isinstance(each, str) and not isinstance(each, Number)]
    if len(names) < len(value):
        return None, "bad_text"
    return sanitise(TAG_SEPARATOR.join(names)), "text_from_array"


def timestamp(value: Json) -> tuple[str | None, ValueCode | None]:
    """Return any text: decode parses timestamps, and days, by column and finds the bad ones."""
    if isinstance(value, str) and not isinstance(value, Number):
        return sanitise(value), None
    return None, "bad_instant"


def presence(_: Json) -> tuple[int, None]:
    """Return that the value is there, whatever it is."""
    return 1, None


RULES: Final[dict[pa.DataType, Rule]] = {
    pa.int64(): integer,
    MONEY_TYPE: money,
    RATE_TYPE: rate,
    pa.bool_(): boolean,
    pa.string(): text,
    TIMESTAMP_TYPE: timestamp,
    DAY_TYPE: timestamp,
    PRESENCE_TYPE: presence,
}
"""The rule for a value of each type of :func:`orders_dask.contract.arrow.typed_schema`."""


def _round_to(kind: pa.Decimal128Type, value: Json) -> tuple[str | None, bool]:
    """Return a decimal rounded to the scale of a type, and whether that changed it.

    None if it is no decimal, or doesn't fit the type.
    """
    exact = _parse_decimal(value)
    if exact is None or exact.adjusted() >= 19:
        return None, False
    rounded = exact.quantize(Decimal((0, (1,), -kind.scale)), ROUND_HALF_UP, _CONTEXT)
    if abs(rounded) >= 10 ** (kind.precision - kind.scale):
        return None, False
    change = _CONTEXT.abs(_CONTEXT.subtract(exact, rounded))
    return f"{rounded:f}", change > ROUNDING_NOISE


def _parse_decimal(value: Json) -> Decimal | None:
    """Return a number or text of the money grammar exactly. See docs/contract.md#money."""
    if not isinstance(value, str):
        return None
    match = _AMOUNT.fullmatch(value.strip(_WHITESPACE))
    if not match:
        return None
    whole, decimals, only_decimals, exponent = match.groups()
    if not (whole or "").strip("0") and not (decimals or only_decimals or "").strip("0"):
        return Decimal(0)
    power = (exponent or "0").lstrip("+-").lstrip("0")
    if len(power) > 15:
        # Beyond a Decimal's exponents, and no text has enough digits to make up for it.
        return Decimal((0, (1,), -1000 if exponent.startswith("-") else 1000))
    return Decimal(match[0])
