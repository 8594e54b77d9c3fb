"""How much is measured: the whole, or a smaller share of it that takes a fraction of the time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`quick` figures are not written into README.md. Scales are TPC-H's: 0.01 is 136,000 events."""

    quick: bool
    ingest_scale: float
    rebuild_scale: float
    slow_orders: int  # for peers that take an event at a time: this many orders have some nine times as many events
    race_orders: int
    faust_runs: int
    fan_out_rows: int
    latency_rate: float  # events a second: six an order
    latency_seconds: float
    idle_seconds: float
    endurance_scale: float
    endurance_window: int
    search_changes: int
    search_rounds: int
    search_seconds: float
    search_settles: float  # seconds of the same before them
    search_warmups: int  # bulks of all documents before a customer is renamed
    rename_orders: int
    rename_warmups: int  # renames ahead of those that count
    rename_rounds: int
    search_documents: int
    searches: int  # of each kind
    search_budget: float  # seconds for each kind of search, where they take long
    read_seconds: float  # for each kind of read


FULL = Size(
    quick=False,
    ingest_scale=0.025,
    rebuild_scale=0.06,
    slow_orders=1_000,
    race_orders=300,
    faust_runs=6,
    fan_out_rows=100_000,
    latency_rate=1_000,
    latency_seconds=60,
    idle_seconds=20,
    endurance_scale=0.225,
    endurance_window=100_000,
    search_changes=20_000,
    search_rounds=3,
    search_seconds=40,
    search_settles=10,
    search_warmups=10,
    rename_orders=10_000,
    rename_warmups=6,
    rename_rounds=7,
    search_documents=1_000_000,
    searches=200,
    search_budget=8,
    read_seconds=10,
)
QUICK = Size(
    quick=True,
    ingest_scale=0.0025,
    rebuild_scale=0.004,
    slow_orders=60,
    race_orders=60,
    faust_runs=1,
    fan_out_rows=5_000,
    latency_rate=1_000,
    latency_seconds=9,
    idle_seconds=5,
    endurance_scale=0.009,
    endurance_window=20_000,
    search_changes=1_000,
    search_rounds=1,
    search_seconds=5,
    search_settles=4,
    search_warmups=1,
    rename_orders=1_000,
    rename_warmups=1,
    rename_rounds=1,
    search_documents=2_000,
    searches=10,
    search_budget=0.4,
    read_seconds=2,
)
