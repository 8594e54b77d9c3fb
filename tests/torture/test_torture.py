"""One small seed of the torture, and the proof that it would notice: other seeds by `make torture`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model import Record
from tests.torture.failed import TortureFailed
from tests.torture.plan import KINDS, SMALL, Fault, Plan, Portion, make_plan
from tests.torture.races import racing
from tests.torture.run import torture
from tests.torture.servers import Servers, servers
from tests.torture.stream import records_of

SEED = 4
ROUNDS = 1_000
# no fault at all: three workers under load must do
UNHARMED = dataclasses.replace(
    make_plan(1, SMALL._replace(seconds=5, faults=1)), faults=(), verifies=(), workers=3, partitions=2
)
# a repeat is a repeat, whoever sees it
ALONE = dataclasses.replace(UNHARMED, workers=1, portions=(Portion(0, 1),))
# a third worker takes over partitions of the other two
SHARED_ANEW = dataclasses.replace(UNHARMED, workers=2, faults=(Fault(0, "join", 0, 0),))


@pytest.fixture(scope="module")
def its() -> Iterator[Servers]:
    """Of its own: they are killed."""
    with servers() as made:
        yield made


def race(plan: Plan) -> list[Record]:
    return racing(1, ROUNDS, plan.partitions)


@pytest.mark.timeout(300)
async def test_events_have_their_effect_exactly_once_whatever_happens(its: Servers, tmp_path: Path) -> None:
    plan = make_plan(SEED, SMALL)
    report = await torture(its, plan, tmp_path, records_of(plan))
    assert report.records > 4_000
    assert report.aborted > 0
    assert report.faults.total() == len(plan.faults)
    assert report.verifies.total() == len(plan.verifies)


@pytest.mark.timeout(300)
async def test_renames_and_moves_race_with_orders_of_the_same_customers_and_none_is_stale(
    its: Servers, tmp_path: Path
) -> None:
    await torture(its, UNHARMED, tmp_path, race(UNHARMED))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("protection", "plan", "noticed"),
    [
        ("deduplication", ALONE, "rows differ"),
        ("lock", UNHARMED, "rows differ|the same in two"),  # or two workers insert one row: Postgres tells that first
        ("compare_and_set", SHARED_ANEW, "positions went back"),
    ],
)
async def test_the_torture_notices_what_is_missing(
    its: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: str, plan: Plan, noticed: str
) -> None:
    monkeypatch.setenv("TORTURE_WITHOUT", protection)
    records = records_of(plan) if protection == "deduplication" else race(plan)
    with pytest.raises(TortureFailed, match=noticed):
        await torture(its, plan, tmp_path, records, module="tests.torture.sabotage")


def test_a_seed_stands_for_one_plan_and_the_seeds_for_all_faults() -> None:
    assert make_plan(7) == make_plan(7) != make_plan(8)
    assert {fault.kind for seed in range(20) for fault in make_plan(seed).faults} == set(KINDS)
    for seed in range(20):
        assert sum(portion.records for portion in make_plan(seed).portions) == pytest.approx(1)
