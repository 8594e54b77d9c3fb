"""A release whose views are others than those that are served: workers and API of the release before go on until the
switch, and its API behind it; the new release's come in.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from copy import copy
from typing import Any

import httpx
import pytest

from projector.apply.applier import Applier
from projector.declare import Rollup, View
from projector.declare.projections import Projections
from projector.errors import OutOfDate
from projector.operate.copying import Copying, CopyStep
from projector.operate.rebuild import Rebuild, Step
from projector.search.indexer import keep_all
from projector.store.migrate import Steps, migrate
from read_api.app import create_app
from tests.api import running, settings_of
from tests.editions import CHANGED, Library, after, before
from tests.history import Past
from tests.integration.test_replay import replay_all
from tests.model import Model
from tests.model.histories import random_stream
from tests.search import searched
from tests.world import World, world


@pytest.fixture
def served(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The release before, where each view is too large to be built at once."""
    monkeypatch.setattr("projector.store.migrate.FEW", 0)
    monkeypatch.setattr("projector.operate.filling.RANGE", 7)
    monkeypatch.setattr("projector.apply.plan.PORTION", 5)
    made = World(database_url, before(), read_database_url)
    yield made
    made.drop()


def migrated(world: World, read_url: str, declared: Projections, dry_run: bool = False) -> Steps:
    return migrate(world.url, read_url, world.group, declared, dry_run)


def rebuilding(world: World, declared: Projections, *names: str) -> Rebuild:
    return Rebuild(world.url, world.group, declared, [declared.relation(name) for name in names])


def become(world: World, declared: Projections) -> None:
    world.applier.close()
    world.projections = declared
    world.applier = Applier(world.url, world.group, declared, dead_letter_limit=1.0)


@asynccontextmanager
async def api_of(
    world: World, read_url: str, declared: Projections, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> AsyncIterator[httpx.AsyncClient]:
    """An API process of one release."""
    monkeypatch.setattr("read_api.app.load", lambda _: declared)
    async with running(create_app(settings_of(world, read_url, **settings))) as client:
        yield client


def agree(world: World, library: Library) -> None:
    while world.applier.drain():
        pass
    assert world.views() == library.views_after()
    assert world.drift() == []


def test_migrate_says_what_waits_for_a_rebuild_and_leaves_the_release_before_at_work(
    served: World, read_database_url: str
) -> None:
    library, new = Library(1), after()
    served.given(library.events(50))
    said = [
        "leave book_list, changed (added: name, note, author, teacher; removed: title, pages): "
        "run `prejoin rebuild book_list`",
        "leave by_shelf, changed (added: known; removed: pages): run `prejoin rebuild by_shelf`",
        "leave of_author, changed (its query, its key, its version, or what it reads): run `prejoin rebuild of_author`",
        "leave pupils, new: run `prejoin rebuild pupils`",
    ]
    for dry_run in (True, False):
        steps = migrated(served, read_database_url, new, dry_run)
        assert steps == ["add column books.note", *said]
        assert steps.rebuild == CHANGED
    assert migrated(served, read_database_url, new) == said
    served.given(library.events(50))
    assert served.drift() == []
    named = "run `prejoin rebuild book_list by_shelf of_author pupils`"
    with closing(Applier(served.url, served.group, new)) as early, pytest.raises(OutOfDate, match=named):
        early.drain()
    assert migrated(served, read_database_url, before()) == []  # back to the release before: nothing waits any more
    with pytest.raises(OutOfDate, match="run `prejoin migrate` with this release"):
        rebuilding(served, new, "book_list").run()


def test_a_copy_that_the_release_before_has_begun_does_not_take_a_migration_back(
    served: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.store.migrate.FEW", 5_000)
    # offsets of the shelf's records go on from test to test: by them there is much to load, by processes of its own
    monkeypatch.setattr("projector.operate.loading.FEW", 1_000_000)
    library, new = Library(2), after()
    log = library.events(40)
    served.given(log)

    def step(told: CopyStep) -> None:
        if (told.phase, told.done) == ("building", 1):
            migrated(served, read_database_url, new)

    with pytest.raises(OutOfDate, match="run `prejoin migrate` with the newer release"):
        Copying(served.url, served.group, served.projections, Past(log)).run(step)
    become(served, new)
    served.given(library.events(20))
    agree(served, library)


@pytest.mark.parametrize("seed", range(3))
async def test_another_release_comes_in_while_the_one_before_applies_and_serves(
    served: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    library, rng, new = Library(seed), random.Random(seed), after()
    served.given(library.events(120))
    served.execute("UPDATE projection_group SET as_of = '2026-03-01T00:00:00Z'")
    migrated(served, read_database_url, new)
    switched, interruptions = False, 0

    def step(_: Step) -> None:
        served.given(library.events(rng.randint(1, 12)))
        if rng.random() < 0.15:
            raise InterruptedError

    def bring_in() -> None:
        nonlocal switched, interruptions
        while not switched:
            try:  # naming one: what else has changed comes with it
                built = rebuilding(served, new, "book_list").run(step)
                assert built.keys() == set(CHANGED)
                switched = True
            except InterruptedError:
                interruptions += 1
                served.given(library.events(9))

    async with (
        api_of(served, read_database_url, before(), monkeypatch) as old_api,
        api_of(served, read_database_url, new, monkeypatch) as new_api,
    ):
        assert (await new_api.get("/readyz")).json()["type"] == "urn:prejoin:other-definition"
        work = asyncio.create_task(asyncio.to_thread(bring_in))
        seen = 0
        while not work.done():
            seen = await read_all(old_api, seen)
            kept = (await new_api.get("/v1/prices?limit=200")).json()["data"]
            assert {"book_id", "price"} == set().union(*kept)
            refused = await new_api.get("/v1/books")
            assert refused.status_code in (200, 503)
            assert refused.status_code == 200 or "prejoin rebuild book_list" in refused.json()["detail"]
        await work
        assert interruptions > 0
        await served_as_at_the_switch(served, library, old_api, new_api)
    refused = library.events(1)
    with pytest.raises(OutOfDate, match="other declarations"):
        served.given(refused)
    become(served, new)
    served.given(refused)
    agree(served, library)
    served.given(library.events(60))
    agree(served, library)
    assert migrated(served, read_database_url, new) == []
    assert served.fetch("SELECT count(*) FROM captured") == [(0,)]
    again = rebuilding(served, new, "prices")
    assert {"book_list__g1", "by_shelf__g1", "of_author__g1"} & set(again.drop_old()) == set()
    again = rebuilding(served, new, *CHANGED)
    again.run()
    agree(served, library)


async def read_all(client: httpx.AsyncClient, before: int) -> int:
    """The whole list, by pages, and searches: whole, of one form, never fewer rows than before."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get("/v1/books", params={"limit": "25", **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert {tuple(row) for row in found} == {("book_id", "title", "shelf", "pages", "author_id")}
    assert [row["book_id"] for row in found] == sorted({row["book_id"] for row in found})
    assert len(found) >= before
    for path in (
        "/v1/books/search?q=title",
        f"/v1/books/{found[0]['book_id']}",
        "/v1/shelves",
        "/v1/dropped",
        "/readyz",
    ):
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
    return len(found)


async def served_as_at_the_switch(
    world: World, library: Library, old_api: httpx.AsyncClient, new_api: httpx.AsyncClient
) -> None:
    """The old API serves what it knows as it was, and says so; the new one what is live."""
    with pytest.raises(OutOfDate, match="run `prejoin migrate` with this release"):
        rebuilding(world, before(), "book_list").drop_old()  # what its own API reads now
    world.execute("UPDATE projection_group SET as_of = '2026-04-01T00:00:00Z'")
    world.execute("UPDATE positions SET next = next + 100")
    new, old = await new_api.get("/v1/books?limit=200"), await old_api.get("/v1/books?limit=200")
    assert new.json()["data"] == [row for _, row in sorted(library.views_after()["book_list"].items())]
    rows = {row["book_id"]: row for row in old.json()["data"]}
    assert rows == library.list_before()
    assert (await new_api.get("/readyz")).status_code == (await old_api.get("/readyz")).status_code == 200
    assert new.headers["Prejoin-As-Of"] == "2026-04-01T00:00:00Z"
    assert old.headers["Prejoin-As-Of"] == "2026-03-01T00:00:00Z"
    assert old.headers["Prejoin-Position"] != new.headers["Prejoin-Position"]
    wanted = {"Prejoin-Min-Position": new.headers["Prejoin-Position"]}
    assert (await new_api.get("/v1/books", headers=wanted)).status_code == 200
    assert (await old_api.get("/v1/books", headers=wanted)).json()["type"] == "urn:prejoin:position-not-reached"
    found = (await old_api.get("/v1/books/search?q=title")).json()
    assert (found["total"]["value"], found["backend"]) == (len(rows), "postgres")
    assert (await old_api.get("/v1/dropped")).status_code == 200
    assert (await old_api.get("/v1/prices")).headers["Prejoin-As-Of"] == "2026-04-01T00:00:00Z"
    world.execute("UPDATE positions SET next = next - 100")


def test_the_whole_shop_as_another_version_equals_the_model_replays_included(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("store.migrate.FEW", 0), ("operate.filling.RANGE", 50), ("apply.plan.PORTION", 5)):
        monkeypatch.setattr(f"projector.{name}", value)
    with world(database_url) as shop:
        records = random_stream(4, customers=10, products=10, orders=80)
        coming = [records[at : at + 15] for at in range(len(records) // 2, len(records), 15)]
        shop.given(records[: len(records) // 2], 200)
        old, replayed = shop.projections, list[tuple[str, int, int]]()
        relations = [copy(relation) for relation in old.relations]
        for relation in relations:
            relation.version += 1
            if isinstance(relation, Rollup):
                relation.source = next(r for r in relations if isinstance(r, View) and r.name == relation.source.name)
        new = Projections(old.name, old.registry, old.entities, relations)
        assert migrate(shop.url, None, shop.group, new).rebuild == tuple(r.name for r in relations)

        def step(told: Step) -> None:
            for batch in coming[:2]:
                shop.given(batch)
            del coming[:2]
            if told.phase == "indexing" and not coming and not replayed:
                replayed.extend(replay_all(shop))

        rebuilding(shop, new, "fulfilment").run(step)
        assert replayed
        model = Model().apply_all(records)
        for place in replayed:
            model.replay(*place)
        become(shop, new)
        while shop.applier.drain():
            pass
        assert shop.views() == model.views()
        assert shop.drift() == []


def test_where_the_engine_is_upgraded_with_it_workers_that_would_capture_nothing_stop(
    served: World, read_database_url: str
) -> None:
    library, new = Library(3), after()
    served.given(library.events(60))
    served.execute("DROP VIEW dead_letter_reasons")
    served.execute("DROP INDEX ix_changes_revision")
    for table in ("captured", "erasures", "drift", "api_keys", "copies"):
        served.execute(f"DROP TABLE {table} CASCADE")
    for table, column in (("rebuilds", "captured_to"), ("generations", "as_of"), ("generations", "positions"),
                          ("generations", "snapshot"), ("projection_group", "coming"),
                          ("projection_group", "paused_at"), ("projection_group", "paused_by")):  # fmt: skip
        served.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    served.execute("UPDATE migrations SET version_num = '0005'")
    with closing(Applier(served.url, served.group, new)) as early, pytest.raises(OutOfDate, match="prejoin migrate"):
        early.drain()
    assert "stop workers of the release before" in migrated(served, read_database_url, new)[-1]
    with pytest.raises(OutOfDate):
        served.applier.drain()
    rebuilding(served, new, *CHANGED).run()
    become(served, new)
    agree(served, library)


async def test_postgres_answers_searches_until_the_new_releases_indexer_has_its_index(
    served: World, read_database_url: str, elasticsearch_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, new = Library(5), after()
    served.given(library.events(60))
    url = {"elasticsearch_url": elasticsearch_url}
    async with (
        searched(served, elasticsearch_url) as index,
        api_of(served, read_database_url, before(), monkeypatch, **url) as old_api,
        api_of(served, read_database_url, new, monkeypatch, **url) as new_api,
    ):
        async with index.indexing():
            await index.settle()
            assert await answered(old_api, "title") == ("elasticsearch", len(library.books))
        migrated(served, read_database_url, new)
        await asyncio.to_thread(rebuilding(served, new, "book_list").run)
        assert await answered(old_api, "title") == ("postgres", len(library.books))
        with pytest.raises(OutOfDate, match="prejoin rebuild"):
            await asyncio.wait_for(keep_all(index.indexers()), 20)
        become(served, new)
        served.given(library.events(20))
        assert await answered(new_api, "title") == ("postgres", len(library.books))
        async with index.indexing():
            await index.settle()
            await index.equals_postgres()
            assert await answered(new_api, "title") == ("elasticsearch", len(library.books))
    agree(served, library)


async def answered(client: httpx.AsyncClient, q: str) -> tuple[str, int]:
    """Who answered a search of the books, and how many were found."""
    answer = await client.get("/v1/books/search", params={"q": q})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["backend"], found["total"]["value"]
