"""The time in which the shop of the TPC-H tables lives: whole seconds since 1970, in UTC."""

from datetime import UTC, date, datetime

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def day_number(day: date) -> int:
    """Days since 1970-01-01, as Arrow's date32 counts them."""
    return (day - date(1970, 1, 1)).days


# TPC-H's orders run from 1992-01-01 to 1998-08-02 (specification 4.2.3): the shop registers its customers and fills its
# catalogue in the year before, and the story ends, with some orders still on their way, a day after the last order.
OPENING = day_number(date(1991, 1, 1)) * DAY
FIRST_ORDER = day_number(date(1992, 1, 1)) * DAY
END = day_number(date(1998, 8, 4)) * DAY


class _Days(dict[int, str]):
    """Dates as text by their number, each made once."""

    def __missing__(self, day: int) -> str:
        self[day] = text = datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")
        return text


_DATES = _Days()
_CLOCK = [f"T{h:02d}:{m:02d}:{s:02d}Z" for h in range(24) for m in range(60) for s in range(60)]


def stamp(at: int) -> str:
    """Write a time as RFC 3339, such as `1996-01-02T10:20:30Z`."""
    return _DATES[at // DAY] + _CLOCK[at % DAY]
