"""Replay of dead letters: the aggregate as if the event had come in its place."""

import json
from collections.abc import Iterator

import pytest

from projector.apply.applier import Applier
from projector.operate.replay import NotReplayed, Replayer
from tests.model import Model, Record
from tests.model.histories import cloud_event, partitioned, random_stream
from tests.world import World, world


@pytest.fixture(scope="module")
def shop(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


@pytest.fixture(autouse=True)
def empty(shop: World) -> None:
    shop.clear()


def replay_all(shop: World) -> dict[tuple[str, int, int], str]:
    letters = shop.fetch("SELECT id, topic, partition, \"offset\" FROM dead_letters WHERE state = 'open' ORDER BY id")
    outcomes = {}
    for id_, *place in letters:
        try:
            outcomes[tuple(place)] = Replayer(shop.applier).replay(id_)
        except NotReplayed as error:
            outcomes[tuple(place)] = str(error)
    return outcomes


@pytest.mark.parametrize("seed", range(10))
def test_replaying_all_dead_letters_gives_what_the_model_gives(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=4, products=4, orders=25)
    shop.given(records, batch=50)
    model = Model().apply_all(records)
    for (topic, partition, offset), said in replay_all(shop).items():
        model.replay(topic, partition, offset)
        gone = (topic, partition, offset) not in {letter[:3] for letter in model.dead_letters}
        assert gone == ("still" not in said and "only now" not in said), said
    assert shop.dead_letters() == sorted(tuple(letter) for letter in model.dead_letters)
    assert shop.views() == model.views()
    assert shop.drift() == []


def orders(*events: dict) -> list[Record]:
    return partitioned(events, partitions=1, binary=False)


PLACED = cloud_event(
    "orders.OrderPlaced",
    order_id="o1",
    customer_id="c1",
    product_id="p1",
    quantity=1,
    unit_price="5",
    currency="EUR",
    placed_at="2026-01-01T00:00:00Z",
)
CANCELLED = cloud_event("orders.OrderCancelled", order_id="o1", reason="changed my mind")


def test_an_orphan_is_placed_right_behind_the_creating_event(shop: World) -> None:
    shop.given(orders(CANCELLED, PLACED))
    assert shop.view("order_overview")[("o1",)]["status"] == "pending"
    replay_all(shop)
    assert shop.view("order_overview")[("o1",)]["status"] == "cancelled"
    assert shop.fetch("SELECT * FROM journals") == shop.fetch("SELECT * FROM journal_records") == []


def test_an_orphan_without_its_creating_event_stays(shop: World) -> None:
    shop.given(orders(CANCELLED))
    assert "nothing has created orders o1 yet" in next(iter(replay_all(shop).values()))
    assert len(shop.dead_letters()) == 1


def test_a_dead_letter_mended_by_new_contracts_takes_its_place(shop: World) -> None:
    """Names of 301 characters become valid; the rename that came after it still counts."""
    first = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@b", country="DE")
    broken = cloud_event("customers.CustomerNameChanged", customer_id="c1", nom="Bea")
    after = cloud_event("customers.CustomerEmailChanged", customer_id="c1", email="new@b")
    shop.given(orders(first, broken, after))
    mended = json.dumps(broken).replace('"nom"', '"name"').encode()
    shop.execute("UPDATE dead_letters SET value = %s", mended)
    replay_all(shop)
    row = shop.view("customer_summary")[("c1",)]
    assert (row["name"], row["email"]) == ("Bea", "new@b")


def test_a_dead_letter_whose_aggregate_cannot_be_told_says_so(shop: World) -> None:
    shop.given([Record("orders", 0, 0, None, b"no json", (), 0)])
    assert "still bad, undecodable" in next(iter(replay_all(shop).values()))


def test_a_purged_dead_letter_makes_no_second_one(shop: World) -> None:
    records = orders(CANCELLED)
    shop.given(records)
    shop.execute("UPDATE dead_letters SET state = 'purged'")
    shop.execute("DELETE FROM positions")
    assert isinstance(shop.applier, Applier)
    shop.given(records)
    assert shop.dead_letters() == []


def test_a_journal_that_grows_too_long_is_given_up_and_says_so(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.apply.letters.JOURNAL_RECORDS", 3)
    moves = [
        cloud_event("customers.CustomerMoved", customer_id="c1", country=c) for c in ("FR", "IT", "ES", "PT", "GB")
    ]
    first = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@b", country="DE")
    for n, event in enumerate([moves[0], first, *moves[1:]]):
        event["id"] = str(n)
    records = orders(moves[0], first, *moves[1:])
    shop.given(records, batch=1)
    assert "no more are kept" in next(iter(replay_all(shop).values()))
    assert shop.fetch("SELECT * FROM journal_records") == []
    assert shop.view("customer_summary")[("c1",)]["country"] == "GB"


def shop_events(*steps: tuple[str, int]) -> list[Record]:
    made = []
    for name, sequence in steps:
        event = {"placed": PLACED, "cancelled": CANCELLED}[name] | {"id": f"{name}{sequence}", "sequence": sequence}
        made.append(event)
    return orders(*made)


@pytest.mark.parametrize(
    "arrival",
    [
        [("cancelled", 1), ("placed", 2)],
        [("placed", 3), ("cancelled", 1)],
        [("placed", 3), ("cancelled", 2), ("placed", 1)],
        [("cancelled", 3), ("cancelled", 2), ("placed", 5), ("placed", 1)],
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_an_event_is_not_lost_for_a_creating_one_with_a_higher_sequence(
    shop: World, arrival: list[tuple[str, int]], backwards: bool
) -> None:
    shop.given(shop_events(*arrival))
    letters = [i for (i,) in shop.fetch("SELECT id FROM dead_letters ORDER BY id")]
    for letter in reversed(letters) if backwards else letters:
        Replayer(shop.applier).replay(letter)
    assert shop.view("order_overview")[("o1",)]["status"] == "cancelled"
    assert shop.dead_letters() == []
    assert shop.drift() == []


def test_another_record_at_a_letters_offset_is_a_letter_of_its_own(shop: World) -> None:
    """As in a topic that was deleted and made again."""
    (old,) = orders(CANCELLED)
    new = old._replace(value=b"no json", timestamp=old.timestamp + 1)
    for record in (old, new, old, new):
        shop.given([record])
        shop.execute("DELETE FROM positions")
    assert [reason for *_, reason in shop.dead_letters()] == ["orphan", "undecodable"]


def test_a_letter_that_was_replayed_is_known_among_the_journals_records_again(shop: World) -> None:
    """By its time to the millisecond, which a float of seconds does not quite hold."""
    records = orders(CANCELLED, PLACED, cloud_event("orders.OrderPlaced", order_id="o1"))
    shop.given([record._replace(timestamp=2_199_013_712_719) for record in records])
    Replayer(shop.applier).replay(shop.fetch("SELECT min(id) FROM dead_letters")[0][0])
    place = 'SELECT topic, partition, "offset", record_time FROM'
    assert len(shop.fetch(f"{place} journal_records INTERSECT {place} dead_letters WHERE state = 'replayed'")) == 1


def test_a_letter_behind_which_came_what_contracts_take_no_more_stays_and_says_so(shop: World) -> None:
    first = cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@b", country="DE")
    broken = cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Bea" * 200)
    after = cloud_event("customers.CustomerEmailChanged", customer_id="c1", email="new@b")
    shop.given(orders(first, broken, after))
    without = "SET value = convert_to(replace(convert_from(value, 'UTF8'), %s, ''), 'UTF8')"
    shop.execute(f"UPDATE dead_letters {without}", "Bea")
    shop.execute(f"UPDATE journal_records {without}", "email")
    said = next(iter(replay_all(shop).values()))
    assert "customers/0@2, applied to its aggregate since, is invalid by the contracts of now" in said
    assert len(shop.dead_letters()) == 1
    assert shop.view("customer_summary")[("c1",)]["email"] == "new@b"
