"""What is kept of a person is blanked everywhere, by command or event, and stays so: every table is looked through."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from projector.apply import copies
from projector.apply.applier import Applier
from projector.operate.erase import erase
from projector.operate.rebuild import Rebuild, Step
from projector.operate.replay import NotReplayed, Replayer
from projector.store import takeover
from projector.store.connect import connect
from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event, partitioned, random_stream
from tests.traces import tables_with
from tests.world import World, world

NAME, EMAIL, SEGMENT = "Zora Quimby", "zora@quimby.example", "quimbyesque"
IN_A_HEADER = "trace of quimby"
PERSONAL = (NAME, EMAIL, SEGMENT, "Renamed Quimby", "late.quimby", IN_A_HEADER)

REGISTERED = cloud_event(
    "customers.CustomerRegistered", customer_id="c1", name=NAME, email=EMAIL, country="DE", segment=SEGMENT
)
RENAMED = cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Renamed Quimby")
MOVED = cloud_event("customers.CustomerMoved", customer_id="c1", country="FR")
ERASED = cloud_event("customers.CustomerErased", customer_id="c1")
OTHER = cloud_event("customers.CustomerRegistered", customer_id="c2", name="Ann", email="a@b", country="IT")


@pytest.fixture(scope="module")
def shop(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


@pytest.fixture(autouse=True)
def empty(shop: World) -> Iterator[None]:
    shop.clear()
    yield
    run = Rebuild(shop.url, shop.group, shop.projections, shop.projections.relations)
    run.abort()
    run.drop_old()


def order(n: int, customer: str = "c1") -> CloudEvent:
    data = {"order_id": f"o{n}", "customer_id": customer, "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    return cloud_event("orders.OrderPlaced", **data, product_id="p1", quantity=1, unit_price="5.00")


_next = iter(range(10**6))


def tell(shop: World, *events: CloudEvent | Record) -> list[Record]:
    """Apply events behind those before, each partition's offsets growing."""
    records = []
    for event in events:
        topic = event.topic if isinstance(event, Record) else event["type"].partition(".")[0]
        record = event if isinstance(event, Record) else Record(topic, 0, 0, b"k", json.dumps(event).encode(), (), 0)
        records.append(record._replace(offset=next(_next)))
    shop.given(records, batch=1)
    return records


def letters(shop: World) -> dict[int, str]:
    return dict(shop.fetch("SELECT id, reason FROM dead_letters WHERE state = 'open' ORDER BY id"))


def customer(shop: World, key: str = "c1") -> dict[str, Any]:
    return shop.view("customer_summary")[(key,)]


def bad_letters(shop: World) -> None:
    """Letters of c1, and one of somebody else: told and not told, of its own topic and of others."""
    invalid = cloud_event("customers.CustomerNameChanged", customer_id="c1", name=NAME * 100)
    foreign = cloud_event("orders.CustomerRegistered", customer_id="c1", name=NAME)
    named = order(7)
    named["data"] |= {"quantity": 0, "customer_name": NAME}
    nobody = Record("customers", 0, 0, b"c1", b"{broken: " + NAME.encode(), (("trace", IN_A_HEADER.encode()),), 0)
    header = Record("payments", 0, 0, None, NAME.encode(), (("ce_subject", b"c1"),), 0)
    kept = cloud_event("customers.CustomerNameChanged", customer_id="c3", name="Bea")
    tell(shop, invalid, foreign, named, nobody, header, kept)


def generation(shop: World, state: str, relation: str = "order_overview") -> str:
    query = "SELECT generation FROM generations WHERE (relation, state) = (%s, %s)"
    return f"{relation}__g{shop.fetch(query, relation, state)[0][0]}"


@pytest.mark.parametrize(("by", "state"), [("command", "kept"), ("event", "building")])
def test_nothing_of_an_erased_customer_is_left_in_any_table(shop: World, by: str, state: str) -> None:
    bad_letters(shop)
    # the first is an orphan: its journal begins
    tell(shop, RENAMED, REGISTERED, OTHER, order(1), order(2), order(3, "c2"))
    rebuild(shop) if state == "kept" else interrupt_a_rebuild(shop)
    tell(shop, RENAMED | {"id": "again"})
    copy, summary = generation(shop, state), generation(shop, state, "customer_summary")
    live = {generation(shop, "live"), generation(shop, "live", "customer_summary")}
    shop.execute("INSERT INTO search_dead_letters VALUES ('order_overview', 'o1', 1, %s)", f"Preview: '{NAME}'")
    kept = {"customers", "dead_letters", "journal_records", "search_dead_letters"}
    kept |= {"captured"} if state == "building" else set()
    assert tables_with(shop, *PERSONAL) == {*kept, copy, summary, *live}
    assert tables_with(shop, IN_A_HEADER) == {"dead_letters"}

    if by == "command":
        touched = erase(shop.applier, shop.projections.personal["customer"], ["c1"])
        assert touched.whole
        assert touched.entities == {"customers": 1}
        assert touched.views["order_overview"] == 2
        assert touched.copies == {copy: 2, summary: 1}
        assert touched.dead_letters == 6
        assert touched.journals == 2
    else:
        tell(shop, ERASED)

    assert tables_with(shop, *PERSONAL) == set()
    assert shop.fetch("SELECT entity, key, whole FROM erasures") == [("customers", "c1", True)]
    row = customer(shop)
    assert (row["name"], row["email"], row["segment"], row["country"], row["erased"]) == (None, None, None, "DE", True)
    assert customer(shop, "c2")["name"] == "Ann"
    assert tables_with(shop, "Bea") == {"dead_letters"}
    assert shop.fetch(f"SELECT customer_name FROM {copy} WHERE order_id = 'o3'") == [("Ann",)]
    assert shop.drift() == []


def rebuild(shop: World) -> None:
    run = Rebuild(shop.url, shop.group, shop.projections, shop.projections.relations)
    run.run()


def interrupt_a_rebuild(shop: World) -> None:
    """Leave a generation that is filled, and that nobody goes on with."""

    def step(step: Step) -> None:
        if step.view == "customer_summary" and step.phase == "indexing":
            raise InterruptedError

    run = Rebuild(shop.url, shop.group, shop.projections, shop.projections.relations)
    with pytest.raises(InterruptedError):
        run.run(step)


def test_it_goes_on_from_an_interrupted_rebuild_and_stays_blank(shop: World) -> None:
    tell(shop, REGISTERED, order(1))
    interrupt_a_rebuild(shop)
    erase(shop.applier, shop.projections.personal["customer"], ["c1"])
    rebuild(shop)
    assert tables_with(shop, *PERSONAL) == set()
    assert shop.drift() == []


def test_what_comes_later_of_an_erased_customer_is_kept_blank(shop: World) -> None:
    """Events, bad ones, and those that a journal keeps."""
    tell(shop, REGISTERED, RENAMED | {"sequence": 5})
    erase(shop.applier, shop.projections.personal["customer"], ["c1"])
    late = cloud_event("customers.CustomerEmailChanged", customer_id="c1", email="late.quimby@x") | {"sequence": 3}
    tell(shop, REGISTERED | {"id": "anew", "sequence": 6}, late, MOVED | {"sequence": 4})
    bad_letters(shop)
    assert tables_with(shop, *PERSONAL) == set()
    row = customer(shop)
    assert (row["name"], row["country"], row["erased"]) == (None, "DE", True)

    said = {}
    for letter in letters(shop):
        try:
            said[letter] = Replayer(shop.applier).replay(letter)
        except NotReplayed as error:
            said[letter] = str(error)
    assert sum("replayed into customers c1" in line for line in said.values()) == 2
    assert sum("blanked by an erasure: purge it" in line for line in said.values()) == 5
    assert tables_with(shop, *PERSONAL) == set()
    assert customer(shop)["country"] == "DE"  # the move is from before the customer was registered anew
    assert shop.drift() == []


def test_a_late_erasure_erases_when_it_is_replayed(shop: World) -> None:
    tell(shop, REGISTERED | {"sequence": 1}, RENAMED | {"sequence": 3}, order(1), ERASED | {"sequence": 2})
    assert customer(shop)["name"] == "Renamed Quimby"
    (letter,) = letters(shop)
    Replayer(shop.applier).replay(letter)
    assert tables_with(shop, *PERSONAL) == set()
    assert customer(shop)["erased"] is True


def test_one_never_heard_of_is_remembered_and_no_registration_brings_it_back(shop: World) -> None:
    entity = shop.projections.personal["customer"]
    touched = erase(shop.applier, entity, ["c1"])
    assert touched.entities == {"customers": 1}
    row = customer(shop)
    assert (row["erased"], row["country"], row["updated_at"]) == (True, None, None)
    tell(shop, REGISTERED, RENAMED)
    row = customer(shop)
    assert (row["name"], row["country"]) == (None, "DE")
    assert row["updated_at"] is not None
    assert tables_with(shop, *PERSONAL) == set()
    again = erase(shop.applier, entity, ["c1"])
    assert not any((again.entities.total(), again.views.total(), again.copies.total(), again.dead_letters))
    assert shop.drift() == []


@pytest.mark.parametrize("seed", range(3))
def test_an_erasure_by_command_ends_as_the_event_does(shop: World, seed: int) -> None:
    """Among shuffled, repeated, lost and broken events, half of them before it, and whatever is replayed behind it."""
    records = random_stream(seed, customers=4, products=4, orders=25)
    half = len(records) // 2
    model = Model().apply_all(records[:half])
    of_it = sorted(key for (key,), row in model.views()["customer_summary"].items() if row["name"] is not None)[0]
    # in a partition of its own, that all others keep their offsets; long ago, that it is nobody's latest event
    event = ERASED | {"time": "1970-01-01T00:00:00Z", "subject": of_it, "data": {"customer_id": of_it}}
    ends = []
    for by in ("command", "event"):
        shop.clear()
        shop.given(records[:half], batch=50)
        if by == "command":
            erase(shop.applier, shop.projections.personal["customer"], [of_it])
        else:
            shop.given([Record("customers", 99, 0, b"k", json.dumps(event).encode(), (), 0)])
        shop.given(records[half:], batch=50)
        for letter in letters(shop):
            try:
                Replayer(shop.applier).replay(letter)
            except NotReplayed:
                continue
        kept = shop.fetch('SELECT topic, partition, "offset", state, reason, key, value, headers FROM dead_letters')
        ends.append((shop.views(), sorted(kept, key=repr)))
        row = shop.view("customer_summary")[(of_it,)]
        assert (row["name"], row["email"], row["segment"], row["erased"]) == (None, None, None, True)
        orders = [o for o in shop.view("order_overview").values() if o["customer_id"] == of_it]
        assert {order["customer_name"] for order in orders} == {None}
        assert shop.drift() == []
    by_command, by_event = ends
    assert by_command == by_event


def test_copies_with_very_many_rows_are_blanked_in_portions(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "PORTION", 3)
    monkeypatch.setattr("projector.apply.plan.PORTION", 4)
    tell(shop, REGISTERED)
    shop.given(partitioned([order(n) for n in range(20)], partitions=1, binary=False))
    rebuild(shop)
    tell(shop, ERASED)
    assert shop.fetch("SELECT whole FROM erasures") == [(False,)]
    while shop.applier.drain():
        pass
    assert shop.fetch("SELECT whole FROM erasures") == [(True,)]
    assert tables_with(shop, *PERSONAL) == set()


def test_copies_of_another_definition_are_emptied(shop: World) -> None:
    """Nobody knows any more which of their columns came from what."""
    tell(shop, REGISTERED, order(1), order(2, "c2"))
    rebuild(shop)
    kept = generation(shop, "kept")
    shop.execute(f"ALTER TABLE {kept} RENAME customer_name TO client")
    shop.execute("UPDATE generations SET digest = 'another' WHERE relation = 'order_overview' AND state = 'kept'")
    erase(shop.applier, shop.projections.personal["customer"], ["c1"])
    assert shop.fetch(f"SELECT * FROM {kept}") == []
    assert tables_with(shop, *PERSONAL) == set()


def test_what_is_erased_in_one_group_is_erased_in_another_before_its_replay_and_behind_it(
    shop: World, database_url: str
) -> None:
    """As a rebuild from the events does in an empty one, and as a snapshot that was made before."""
    tell(shop, REGISTERED, ERASED, OTHER)
    customer = shop.projections.personal["customer"]
    erase(shop.applier, customer, ["c2", "c9"])
    for create in (True, False):
        with world(database_url) as shadow:
            with closing(Applier(shadow.url, shadow.group, shadow.projections)) as applier:
                with connect(shop.url, shop.group) as connection:
                    ((name, erased),) = takeover.erased(connection, shop.group, shadow.group).items()
                assert (name, sorted(erased)) == ("customers", ["c1", "c2", "c9"])
                if create:
                    erase(applier, customer, erased)
                records = [record._replace(offset=n) for n, record in enumerate(tell(shop, REGISTERED, RENAMED, OTHER))]
                shadow.given(records)
                if not create:
                    assert "customers" in tables_with(shadow, *PERSONAL)
                    erase(applier, customer, erased, create=False)
            assert tables_with(shadow, *PERSONAL, "Ann") == set()
            assert (("c9",) in shadow.view("customer_summary")) == create
            assert {key for (key,) in shadow.fetch("SELECT key FROM erasures")} == {"c1", "c2", "c9"}
            assert shadow.drift() == []


def test_an_order_stays_what_it_is_when_its_letter_names_an_erased_customer(shop: World) -> None:
    late = order(1) | {"sequence": 1}
    late["data"] |= {"customer_name": NAME}
    tell(shop, cloud_event("orders.OrderPlaced", order_id="o1") | {"sequence": 9})
    tell(shop, order(1) | {"id": "x", "sequence": 2}, late)
    erase(shop.applier, shop.projections.personal["customer"], ["c1"])
    value = json.loads(shop.fetch("SELECT value FROM dead_letters WHERE reason = 'late'")[0][0])
    assert "customer_name" not in value["data"]
    assert value["data"]["product_id"] == "p1"
    assert tables_with(shop, *PERSONAL) == set()
    (letter,) = (id_ for id_, reason in letters(shop).items() if reason == "late")
    assert "replayed into orders o1" in Replayer(shop.applier).replay(letter)
