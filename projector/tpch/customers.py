"""Customers: registered in the year before the first order; some change name, address or country, few are erased."""

from collections.abc import Iterator

from projector.tpch.calendar import DAY, END, FIRST_ORDER, OPENING
from projector.tpch.dice import roll
from projector.tpch.steps import Step
from projector.tpch.words import NATIONS, email, person


def count(scale: float) -> int:
    """Tell how many there are at a TPC-H scale, as its generator rounds."""
    return max(1, int(scale * 150_000))


def registered_at(key: int, count: int) -> int:
    """Spread registrations evenly, in the order of the keys."""
    return OPENING + DAY + (key - 1) * (FIRST_ORDER - OPENING - 2 * DAY) // count


def is_erased(key: int) -> bool:
    """Tell whether it is one of the two in a thousand who ask to be forgotten, after the last order."""
    return roll(key, 1) % 500 == 7


def story(key: int, count: int, nation: int, segment: str) -> Iterator[Step]:
    """Tell all that happens to customer `key` of `count`; `nation` is TPC-H's nation key."""
    subject, name, registered = f"c{key}", person(key), registered_at(key, count)
    data = {"customer_id": subject, "name": name, "email": email(name, key), "country": NATIONS[nation][0]}
    if roll(key, 2) % 20:  # the segment is optional
        data["segment"] = segment.lower()
    yield Step(registered, "customers.CustomerRegistered", subject, data)
    if roll(key, 3) % 100 < 4:
        yield Step(_later(key, 4), "customers.CustomerNameChanged", subject, _changed(key, name=person(key, 2)))
    if roll(key, 5) % 100 < 5:
        address = email(name, key, "example.org")
        yield Step(_later(key, 6), "customers.CustomerEmailChanged", subject, _changed(key, email=address))
    if roll(key, 7) % 100 < 4:
        country = NATIONS[(nation + 1 + roll(key, 8) % 24) % 25][0]
        yield Step(_later(key, 9), "customers.CustomerMoved", subject, _changed(key, country=country))
    if is_erased(key):
        yield Step(END - 1 - roll(key, 10) % (DAY // 2), "customers.CustomerErased", subject, {"customer_id": subject})


def _changed(key: int, **fields: str) -> dict[str, str]:
    return {"customer_id": f"c{key}", **fields}


def _later(key: int, salt: int) -> int:
    return FIRST_ORDER + roll(key, salt) % (END - DAY - FIRST_ORDER)
