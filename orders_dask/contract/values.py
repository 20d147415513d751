"""What a single value gets: integers, amounts, flags, texts and instants, by the contract's table of bad values.

Each rule takes a parsed value that is not null and gives what the JSON reader is to read in its
place, with the code under which that counts (None: as it should be).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final, TypeAlias

import pyarrow as pa

from orders_dask.contract.arrow import MONEY_TYPE, TIMESTAMP_TYPE
from orders_dask.contract.json_parser import Json, Number, is_sanitised, sanitise

Value: TypeAlias = str | int | bool | None
Rule: TypeAlias = Callable[[Json], tuple[Value, str | None]]

ROUNDING_NOISE: Final = Decimal("1e-9")
"""A change by rounding that is no more than this is floating-point noise, and not counted (the contract)."""

_WHITESPACE: Final = " \t\r\n"
_PLACES: Final = Decimal((0, (1,), -MONEY_TYPE.scale))
_LIMIT: Final = Decimal((0, (1,), MONEY_TYPE.precision - MONEY_TYPE.scale))
_INT64: Final = range(-(2**63), 2**63)
# libmpdec rounds from the whole text whatever its length; the result has at most 19 + 4 digits.
_CONTEXT: Final = Context(prec=40)

_AMOUNT: Final = re.compile(r"[+-]?(?:([0-9]+)(?:\.([0-9]+))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?")
_PLAIN_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_PLAIN_AMOUNT: Final = re.compile(rf"[+-]?[0-9]{{1,17}}(?:\.[0-9]{{1,{MONEY_TYPE.scale}}})?")


def integer(value: Json) -> tuple[int | None, str | None]:
    """Take an integer; an integral number or text is ``integer_from_text``, all else ``bad_integer``."""
    if isinstance(value, Number) and _PLAIN_INTEGER.fullmatch(value):
        return int(value), None
    amount = _parse_decimal(value)
    # Compared before it is made an int: 1e999999999 would need a gigabyte.
    if amount is None or amount.adjusted() >= 19 or amount != amount.to_integral_value():
        return None, "bad_integer"
    whole = int(amount)
    if whole not in _INT64:
        return None, "bad_integer"
    plain = isinstance(value, Number) and value.lstrip("-").isdigit()
    return whole, None if plain else "integer_from_text"


def money(value: Json) -> tuple[str | None, str | None]:
    """Take an amount as text that the reader takes exactly, rounded."""
    if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value):
        return str(value), None
    amount = _parse_decimal(value)
    if amount is None or amount.adjusted() >= 19:
        return None, "bad_money"
    rounded = amount.quantize(_PLACES, ROUND_HALF_UP, _CONTEXT)
    if abs(rounded) >= _LIMIT:
        return None, "bad_money"
    change = _CONTEXT.abs(_CONTEXT.subtract(amount, rounded))
    return f"{rounded:f}", "money_rounded" if change > ROUNDING_NOISE else None


def boolean(value: Json) -> tuple[bool | None, str | None]:
    """Take a truth value; ``"true"`` and ``"false"`` in any case, 0 and 1 are ``flag_from_text``."""
    if isinstance(value, bool):
        return value, None
    if isinstance(value, Number):
        made = {"0": False, "-0": False, "1": True}.get(value)
    else:
        made = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None
    return made, "bad_flag" if made is None else "flag_from_text"


def text(value: Json) -> tuple[str | None, str | None]:
    """Take a text; a number or truth value is its JSON text as written."""
    if isinstance(value, bool):
        return str(value).lower(), "text_from_scalar"
    if isinstance(value, Number):
        return str(value), "text_from_scalar"
    if not isinstance(value, str):
        return None, "bad_text"
    return (value, None) if is_sanitised(value) else (sanitise(value), "bad_unicode")


def timestamp(value: Json) -> tuple[str | None, str | None]:
    """Take any text: instants are judged by column, good and bad ones alike."""
    if isinstance(value, str) and not isinstance(value, Number):
        return sanitise(value), None
    return None, "bad_instant"


RULES: Final[dict[pa.DataType, Rule]] = {
    pa.int64(): integer,
    MONEY_TYPE: money,
    pa.bool_(): boolean,
    pa.string(): text,
    TIMESTAMP_TYPE: timestamp,
}
"""The rule for a value of each type of :func:`orders_dask.contract.arrow.typed_schema`."""


def _parse_decimal(value: Json) -> Decimal | None:
    """Read a number, or a text of the contract's grammar for amounts, exactly; None for all else."""
    if not isinstance(value, str):
        return None
    match = _AMOUNT.fullmatch(value.strip(_WHITESPACE))
    if not match:
        return None
    whole, decimals, only_decimals, exponent = match.groups()
    if not (whole or "").strip("0") and not (decimals or only_decimals or "").strip("0"):
        return Decimal(0)
    power = (exponent or "0").lstrip("+-").lstrip("0")
    if (
        len(power) > 15
    ):  # beyond what a Decimal holds, and beyond what digits before it could make up for
        return Decimal((0, (1,), -1000 if exponent.startswith("-") else 1000))
    return Decimal(match[0])
