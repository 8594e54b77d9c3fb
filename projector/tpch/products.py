"""Products: TPC-H's parts, added in the year before the first order; some are renamed, repriced, discontinued."""

from collections.abc import Iterator

from projector.tpch.calendar import DAY, END, FIRST_ORDER, OPENING
from projector.tpch.dice import roll
from projector.tpch.steps import Step
from projector.tpch.words import money, new_product_name, product_name, retail_price


def count(scale: float) -> int:
    """Tell how many there are at a TPC-H scale, as its generator rounds."""
    return max(1, int(scale * 200_000))


def added_at(key: int, count: int) -> int:
    """Spread additions evenly, in the order of the keys."""
    return OPENING + (key - 1) * (FIRST_ORDER - OPENING - 2 * DAY) // count


def story(key: int, count: int, name: str, kind: str, brand: str) -> Iterator[Step]:
    """Tell all that happens to part `key` of `count`; `kind` is a P_TYPE, such as `PROMO BURNISHED COPPER`."""
    subject, price = f"p{key}", retail_price(key)
    category = kind.partition(" ")[2].capitalize()
    data = {"product_id": subject, "name": product_name(name), "category": category, "price": money(price)}
    if roll(key, 21) % 50:  # the brand is optional
        data["brand"] = brand
    yield Step(added_at(key, count), "catalog.ProductAdded", subject, data)
    if roll(key, 22) % 100 < 3:
        renamed = {"product_id": subject, "name": new_product_name(key)}
        yield Step(_later(key, 23), "catalog.ProductRenamed", subject, renamed)
    for salt in (24, 25):
        if roll(key, salt) % 100 >= 8:
            continue
        repriced = {"product_id": subject, "price": money(price * (90 + roll(key, salt + 2) % 26) // 100)}
        yield Step(_later(key, salt + 4), "catalog.ProductRepriced", subject, repriced)
    if roll(key, 40) % 100 < 2:
        yield Step(END - 1 - roll(key, 41) % DAY, "catalog.ProductDiscontinued", subject, {"product_id": subject})


def _later(key: int, salt: int) -> int:
    return FIRST_ORDER + roll(key, salt) % (END - 2 * DAY - FIRST_ORDER)
