"""What a seed stands for: how many events, partitions and workers, and which faults at which moments."""

import random
from dataclasses import asdict, dataclass
from typing import NamedTuple

# kind → how likely against the others, and how long it lasts in seconds, at least and at most
KINDS: dict[str, tuple[int, float, float]] = {
    "kill": (4, 0, 0),
    "pause": (4, 3, 14),
    "terminate": (3, 0, 0),
    "join": (2, 0, 0),
    "leave": (2, 0, 0),
    "sessions": (5, 0, 4),
    "postgres": (2, 0, 5),
    "kafka": (2, 0, 5),
    "read_only": (2, 2, 7),
    "lock": (2, 2, 10),
    "slow_assignment": (2, 2, 12),
    "postgres_frozen": (2, 2, 8),
    "kafka_frozen": (2, 3, 14),
}
MOST_WORKERS = 3
TICKS = 10  # portions a second: workers are at it nearly all the time


class Size(NamedTuple):
    """How much of it: seconds from the first event to the last, orders (some 7 records each), faults."""

    seconds: float
    orders: int
    faults: int


FULL = Size(seconds=60, orders=4_000, faults=16)
SMALL = Size(seconds=14, orders=700, faults=5)


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
    """One run. The same seed and size make the same plan."""

    seed: int
    customers: int
    products: int
    orders: int
    partitions: int
    workers: int
    faults: tuple[Fault, ...]
    portions: tuple[Portion, ...]

    def __str__(self) -> str:
        head = {name: value for name, value in asdict(self).items() if name not in ("faults", "portions")}
        lines = [f"{at:6.2f} s  {kind} for {seconds:.2f} s, pick {pick}" for at, kind, seconds, pick in self.faults]
        return "\n".join([", ".join(f"{name} {value}" for name, value in head.items()), *lines])


def make_plan(seed: int, size: Size = FULL) -> Plan:
    """Half of the records trickle; the other half comes in bursts, each about the time of a fault, so that it hits."""
    rng = random.Random(f"torture {seed} {size}")
    faults = tuple(sorted(_fault(rng, size.seconds) for _ in range(size.faults)))
    ticks = int(size.seconds * TICKS)
    trickle = [Portion(tick / TICKS, 0.5 / ticks) for tick in range(ticks)]
    bursts = [Portion(max(0.0, fault.at + rng.uniform(-1.5, 0.5)), 0.5 / size.faults) for fault in faults]
    return Plan(
        seed=seed,
        customers=size.orders // rng.choice([8, 40, 100]),
        products=size.orders // rng.choice([10, 40, 200]),
        orders=size.orders,
        partitions=rng.choice([2, 3]),
        workers=rng.randint(1, MOST_WORKERS),
        faults=faults,
        portions=tuple(sorted([*trickle, *bursts])),
    )


def _fault(rng: random.Random, seconds: float) -> Fault:
    kind = rng.choices(list(KINDS), [likely for likely, _, _ in KINDS.values()])[0]
    _, least, most = KINDS[kind]
    return Fault(rng.uniform(1, seconds), kind, rng.uniform(least, most), rng.randrange(10**6))
