"""Values as keywords that sort as the values do: the index compares texts alone, byte by byte, and exactly.

A keyword has no bounds that a number could outgrow, and no rounding: a filter, a range or an order over them says what
Postgres says of the column itself.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric
from sqlalchemy.types import TypeEngine

# Lucene refuses terms of more than 32,766 bytes; this many characters fit, and are more than a request may ask with,
# so that nothing asked for tells a text from its first characters.
LONGEST = 8_000
REMEMBERED = 16_384  # values whose keyword is kept: rows share quantities, discounts, names
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
_DIGITS = 6  # of the count of digits before the point: Postgres has up to 131,072

Sortable = Callable[[Any], str]


def sortable(kind: TypeEngine[Any], value: Any) -> str:
    """The keyword of a value of that type, which may be as JSON shows it or as Python has it."""
    return sorter(kind)(value)


def sorter(kind: TypeEngine[Any]) -> Sortable:
    """What makes keywords of values of that type."""
    if isinstance(kind, Numeric | Integer):
        return number
    if isinstance(kind, Boolean):
        return _boolean
    if isinstance(kind, DateTime):
        return _instant
    if isinstance(kind, Date):
        return _date
    return _text


@lru_cache(REMEMBERED)
def number(value: Any) -> str:
    """`p`, how many digits before the point, the digits; below zero `n` and all of it complemented."""
    text = value if isinstance(value, str) else f"{value:f}" if isinstance(value, Decimal) else str(value)
    negative, text = text[0] == "-", text.lstrip("+-")
    digits, _, fraction = text.partition(".")
    digits, fraction = digits.lstrip("0") or "0", fraction.rstrip("0")
    keyword = f"{len(digits):0{_DIGITS}}{digits}" + (f".{fraction}" if fraction else "")
    if negative and (digits != "0" or fraction):
        return f"n{keyword.translate(_COMPLEMENT)}~"  # ~ is behind all: of two, the longer fraction is the smaller
    return f"p{keyword}"


def whole_number(keyword: str) -> int:
    """The whole number behind a keyword, as facets show it."""
    digits = keyword[1 + _DIGITS :]
    return int(digits) if keyword[0] == "p" else -int(digits.rstrip("~").translate(_COMPLEMENT))


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _instant(value: Any) -> str:
    if isinstance(value, datetime):
        value = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        return f"{value}Z"
    seconds, _, fraction = str(value).removesuffix("Z").partition(".")
    return f"{seconds}.{fraction:0<6}Z"


def _date(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _text(value: Any) -> str:
    return str(value)[:LONGEST]
