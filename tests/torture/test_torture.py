"""One small seed of the torture, and the proof that it would notice: other seeds by `make torture`."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector.embedded import Stack
from tests.conftest import JARS
from tests.torture.failed import TortureFailed
from tests.torture.plan import KINDS, SMALL, Size, make_plan
from tests.torture.races import racing
from tests.torture.run import torture

SEED = 0
ROUNDS = 1_000
# no fault at all: three workers under load must do
UNHARMED = dataclasses.replace(make_plan(1, Size(seconds=12, orders=700, faults=1)), faults=(), workers=3, partitions=2)


@pytest.fixture(scope="module")
def servers() -> Iterator[Stack]:
    """Of its own: they are killed."""
    with (
        tempfile.TemporaryDirectory(prefix="prejoin-torture-") as root,
        Stack(Path(root), ("postgres", "kafka"), cache=JARS) as stack,
    ):
        yield stack


@pytest.mark.timeout(300)
async def test_events_have_their_effect_exactly_once_whatever_happens(servers: Stack, tmp_path: Path) -> None:
    plan = make_plan(SEED, SMALL)
    report = await torture(servers, plan, tmp_path)
    assert report.records > 4_000
    assert report.faults.total() == len(plan.faults)


@pytest.mark.timeout(300)
async def test_renames_and_moves_race_with_orders_of_the_same_customers_and_none_is_stale(
    servers: Stack, tmp_path: Path
) -> None:
    await torture(servers, UNHARMED, tmp_path, records=racing(1, ROUNDS, UNHARMED.partitions))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protection", ["deduplication", "lock"])
async def test_the_torture_notices_what_is_missing(
    servers: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protection: str
) -> None:
    monkeypatch.setenv("TORTURE_WITHOUT", protection)
    records = racing(1, ROUNDS, UNHARMED.partitions) if protection == "lock" else []
    with pytest.raises(TortureFailed, match="rows differ"):
        await torture(servers, UNHARMED, tmp_path, module="tests.torture.sabotage", records=records)


def test_a_seed_stands_for_one_plan_and_the_seeds_for_all_faults() -> None:
    assert make_plan(7) == make_plan(7) != make_plan(8)
    assert {fault.kind for seed in range(20) for fault in make_plan(seed).faults} == set(KINDS)
    for seed in range(20):
        assert sum(portion.records for portion in make_plan(seed).portions) == pytest.approx(1)
