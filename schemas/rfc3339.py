"""Times as RFC 3339 writes them: with a zone, nothing left out."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|(60))(?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
    re.IGNORECASE | re.ASCII,
)
_LEAP_SECOND_AT = 17  # where its two digits begin
_MAX_KEPT = 40  # a fraction may have as many digits as a record has room for
_WRONG = "should be an RFC 3339 time with a zone"


def parse_time(value: object) -> datetime:
    """Read an RFC 3339 string as an instant in UTC, truncated to the microsecond.

    A leap second (`:60`, at the end of a UTC month) is the start of the month behind it, for neither Python nor
    Postgres has it. Raises ValueError, without the value, for anything else, and for instants outside the years 1
    to 9999.
    """
    if not isinstance(value, str):
        raise ValueError(_WRONG)
    return _parse_again(value) if len(value) <= _MAX_KEPT else _parse(value)


def _parse(value: str) -> datetime:
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError(_WRONG)
    text = found[0].upper()
    try:
        if found[1]:
            return _after_leap_second(text)
        time = datetime.fromisoformat(text)
        return time if time.tzinfo is UTC else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("should be a time that exists, in UTC from year 1 to 9999") from None


def _after_leap_second(text: str) -> datetime:
    second_before = text[:_LEAP_SECOND_AT] + "59" + text[_LEAP_SECOND_AT + 2 :]
    time = datetime.fromisoformat(second_before).astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    if (time.day, time.hour, time.minute) != (1, 0, 0):
        raise ValueError("no leap second is there")
    return time


# An event's own time is mostly told once more in its data.
_parse_again = lru_cache(1_000)(_parse)
