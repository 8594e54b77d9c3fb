"""The bounds of contract section 3: one function a kind of field, from JSON value to plain Python value, or ValueError.

Money is whole cents, a discount whole ten-thousandths, a time an aware datetime in UTC.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any

Parser = Callable[[Any], Any]

RESERVED_IDS = {"search", "export", "changes"}
LARGEST_LINE = 2**31 - 1
LARGEST_SEQUENCE = 2**63 - 1


class NotTextError(Exception):
    """A known field holds NUL or half of a surrogate pair, which no text can."""


def _string(value: Any, pattern: str) -> str:
    if not isinstance(value, str):
        raise ValueError(pattern)
    return _matching(value, pattern)


@lru_cache(100_000)
def _matching(value: str, pattern: str) -> str:
    if re.search("[\0\ud800-\udfff]", value):
        raise NotTextError
    if not re.fullmatch(pattern, value, re.DOTALL):
        raise ValueError(pattern)
    return value


def _whole(value: Any, smallest: int, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise ValueError(f"a whole number from {smallest} to {largest}")
    return value


def identifier(value: Any) -> str:
    found = _string(value, r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
    if found in RESERVED_IDS:
        raise ValueError("reserved")
    return found


def text(value: Any) -> str:
    """A name; and, as the contract sets no other bound, every other free text too."""
    found = _string(value, r".{0,300}")
    if any(unicodedata.category(character) == "Cc" for character in found):
        raise ValueError("control characters")
    return found


def prose(value: Any) -> str:
    """A reason, in somebody's words: any characters that can be stored."""
    return _string(value, r"(?s:.{0,4000})")


def attribute(value: Any) -> str:
    """A text attribute of CloudEvents."""
    return _string(value, r".{1,1000}")


def country(value: Any) -> str:
    return _string(value, r"[A-Z]{2}")


def currency(value: Any) -> str:
    return _string(value, r"[A-Z]{3}")


def money(value: Any) -> int:
    whole, _, cents = _string(value, r"[0-9]{1,13}(\.[0-9]{1,2})?").partition(".")
    return int(whole) * 100 + int(cents.ljust(2, "0"))


def quantity(value: Any) -> int:
    return _whole(value, 1, 1_000_000)


def discount(value: Any) -> int:
    whole, _, decimals = _string(value, r"[0-9]+(\.[0-9]{1,4})?").partition(".")
    found = int(whole) * 10_000 + int(decimals.ljust(4, "0"))
    if found > 10_000:
        raise ValueError("above 1")
    return found


def sequence(value: Any) -> int:
    """A number or a decimal string, from 1."""
    if isinstance(value, str):
        value = int(_string(value, r"[0-9]{1,40}"))
    return _whole(value, 1, LARGEST_SEQUENCE)


def instant(value: Any) -> datetime:
    """RFC 3339 with zone; digits behind the microsecond are cut off, a leap second is the second behind it."""
    pattern = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
    found = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if not found:
        raise ValueError("RFC 3339 with zone")
    day, clock, fraction, zone = found.groups()
    leap = clock.endswith(":60")
    clock = clock.replace(":60", ":59") if leap else clock
    micros = 0 if leap else int((fraction or "0")[:6].ljust(6, "0"))
    local = datetime(*map(int, day.split("-")), *map(int, clock.split(":")), micros, UTC)
    try:
        found_at = local - _offset(zone) + timedelta(seconds=leap)
    except OverflowError as error:
        raise ValueError("outside the years 1 to 9999") from error
    if leap and (found_at.day, found_at.hour, found_at.minute) != (1, 0, 0):
        raise ValueError("no leap second is there")
    return found_at


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError("zone")
    return (-1 if zone[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes)


def lines(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= 1000:
        raise ValueError("1 to 1,000 lines")
    found = [fields(line, LINE, {"discount": discount}) for line in value]
    if len({line["line"] for line in found}) < len(found):
        raise ValueError("two lines alike")
    return sorted(found, key=lambda line: int(line["line"]))


def fields(value: Any, required: dict[str, Parser], optional: dict[str, Parser]) -> dict[str, Any]:
    """The known fields of a JSON object; an absent or null optional one is None, unknown ones are left out."""
    if not isinstance(value, dict):
        raise ValueError("an object")
    found = {}
    for name, parse in required.items():
        if value.get(name) is None:
            raise ValueError(f"{name} is missing")
        found[name] = parse(value[name])
    for name, parse in optional.items():
        found[name] = None if value.get(name) is None else parse(value[name])
    return found


LINE: dict[str, Parser] = {
    "line": lambda value: _whole(value, 1, LARGEST_LINE),
    "product_id": identifier,
    "quantity": quantity,
    "unit_price": money,
}


def line_amount(quantity: int, unit_price: int, discount: int) -> int:
    """In cents, rounded half-even (as Python rounds a Fraction)."""
    return round(Fraction(quantity * unit_price * (10_000 - discount), 10_000))


def money_text(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def discount_text(discount: int) -> str:
    return f"{discount // 10_000}.{discount % 10_000:04d}".rstrip("0").rstrip(".")


def time_text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    seconds = f"{instant.year:04d}-{instant:%m-%dT%H:%M:%S}"
    fraction = f".{instant.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{seconds}{fraction}Z"
