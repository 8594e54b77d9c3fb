"""What a seed stands for: how many events, partitions and workers, and which faults at which moments."""

import random
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.histories import Shop

# kind → how likely against the others, and how long it lasts in seconds, at least and at most
KINDS: dict[str, tuple[int, float, float]] = {
    "kill": (4, 0, 0),
    "pause": (4, 3, 14),
    "terminate": (3, 0, 0),
    "join": (2, 0, 0),
    "leave": (2, 0, 0),
    "sessions": (4, 0, 4),
    "postgres_killed": (1, 0, 5),
    "postgres_immediate": (2, 0, 5),
    "postgres_frozen": (2, 2, 8),
    "kafka_killed": (1, 0, 5),
    "kafka_stopped": (2, 0, 5),
    "kafka_frozen": (2, 3, 14),
    "disk_full": (3, 2, 7),
    "read_only": (2, 2, 7),
    "lock": (2, 2, 10),
    "slow_assignment": (3, 2, 12),
}
MOST_WORKERS = 3
TICKS = 10  # portions a second: workers are at it nearly all the time
# orders a customer, and orders a product: from a few renames of little reach to ones that touch hundreds of rows
ORDERS_A_CUSTOMER, ORDERS_A_PRODUCT = [8, 40, 100, 400], [10, 40, 200]


class Size(NamedTuple):
    """How much of it: seconds from the first event to the last, shops of so many orders (some 8 records each)."""

    seconds: float
    shops: int
    orders: int
    faults: int
    verifies: int
    repeats: float
    poison: float


FULL = Size(seconds=60, shops=14, orders=2_000, faults=16, verifies=4, repeats=0.2, poison=0.01)
SMALL = Size(seconds=12, shops=2, orders=300, faults=5, verifies=1, repeats=0.2, poison=0.1)


class Fault(NamedTuple):
    """It begins `at` seconds after the first event; `pick` says which of those that it may hit."""

    at: float
    kind: str
    seconds: float
    pick: int


class Portion(NamedTuple):
    """So many records are published from that second on."""

    at: float
    records: float  # a share of all


@dataclass(frozen=True)
class Plan:
    """One run. The same seed and size make the same plan. `verifies`: when `prejoin verify` is asked (seconds)."""

    seed: int
    partitions: int
    workers: int
    shops: tuple[Shop, ...]
    faults: tuple[Fault, ...]
    verifies: tuple[float, ...]
    portions: tuple[Portion, ...]

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, {self.partitions} partitions a topic, {self.workers} workers at first",
            *(", ".join(f"{name} {value}" for name, value in shop._asdict().items()) for shop in self.shops),
            *(f"{at:6.2f} s  {kind} for {seconds:.2f} s, pick {pick}" for at, kind, seconds, pick in self.faults),
            *(f"{at:6.2f} s  verify" for at in self.verifies),
        ]
        return "\n".join(lines)


def make_plan(seed: int, size: Size = FULL) -> Plan:
    """Half of the records trickle; the other half comes in bursts, each about the time of a fault, so that it hits."""
    rng = random.Random(f"torture {seed} {size}")
    faults = tuple(sorted(_fault(rng, size.seconds) for _ in range(size.faults)))
    ticks = int(size.seconds * TICKS)
    trickle = [Portion(tick / TICKS, 0.5 / ticks) for tick in range(ticks)]
    bursts = [Portion(max(0.0, fault.at + rng.uniform(-1.5, 0.5)), 0.5 / size.faults) for fault in faults]
    partitions = rng.choice([2, 3])
    return Plan(
        seed=seed,
        partitions=partitions,
        workers=rng.randint(1, MOST_WORKERS),
        shops=tuple(_shop(rng, number, size, partitions) for number in range(size.shops)),
        faults=faults,
        verifies=tuple(sorted(rng.uniform(2, size.seconds) for _ in range(size.verifies))),
        portions=tuple(sorted([*trickle, *bursts])),
    )


def _fault(rng: random.Random, seconds: float) -> Fault:
    kind = rng.choices(list(KINDS), [likely for likely, _, _ in KINDS.values()])[0]
    _, least, most = KINDS[kind]
    return Fault(rng.uniform(1, seconds), kind, rng.uniform(least, most), rng.randrange(10**6))


def _shop(rng: random.Random, number: int, size: Size, partitions: int) -> Shop:
    return Shop(
        seed=rng.randrange(10**6),
        first=number * size.orders,
        customers=max(1, size.orders // rng.choice(ORDERS_A_CUSTOMER)),
        products=max(1, size.orders // rng.choice(ORDERS_A_PRODUCT)),
        orders=size.orders,
        partitions=partitions,
        repeats=size.repeats,
        poison=size.poison,
    )
