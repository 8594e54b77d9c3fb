"""`migrate`: from nothing, from an older release, from other declarations; always whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Annotated, Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec import defstruct
from sqlalchemy import REAL, Float, MetaData, func, select

from projector.apply.applier import Applier
from projector.declare import Entity, State, String, View
from projector.declare.projections import Projections
from projector.errors import DeclarationError, OutOfDate
from projector.operate.replay import Replayer
from projector.store.connect import engine
from projector.store.migrate import migrate
from projector.store.names import schemas
from projector.store.tables import metadata
from tests.shelf import Book, book, make_books, make_list, make_rollup, projections, shelf
from tests.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """The bookshelf with two books in it."""
    made = World(database_url, shelf())
    made.given([book("b1", shelf="s1", title="One"), book("b2", title="Two", pages=400)])
    yield made
    made.drop()


def become(world: World, declared: Projections, **options: Any) -> list[str]:
    """Migrate to other declarations, and go on with an applier that has them."""
    done = migrate(world.url, None, world.group, declared, **options)
    if not options:
        world.applier.close()
        world.projections = declared
        world.applier = Applier(world.url, world.group, declared, dead_letter_limit=1.0)
    return done


def listing(*names: str, **options: Any) -> Projections:
    """The bookshelf with a list of these columns and no rollup."""
    return shelf(lambda books: [make_list(books, *names, **options)])


def relations(world: World) -> dict[str, str]:
    """What lies in the group's schemas: name → kind."""
    query = (
        "SELECT relname, relkind::text FROM pg_class"
        " WHERE relnamespace::regnamespace::text = ANY(%s) AND relkind IN ('r', 'v', 'p')"
    )
    return dict(world.fetch(query, list(schemas(world.group))))


def state(world: World) -> dict[tuple[str, int], str]:
    found = world.fetch("SELECT relation, generation, state FROM generations")
    return {(relation, generation): how for relation, generation, how in found}


def indexes(world: World, table: str) -> set[str]:
    query = "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND schemaname = ANY(%s)"
    return {ddl for (ddl,) in world.fetch(query, table, list(schemas(world.group)))}


def test_the_migrations_make_the_tables_that_the_engine_declares(world: World) -> None:
    with engine(world.url, world.group).connect() as connection:
        connection.exec_driver_sql(f"SET search_path = {world.group}")
        ours = {"compare_type": True, "compare_server_default": True, "version_table": "migrations"}
        found = compare_metadata(MigrationContext.configure(connection, opts=ours), metadata)
    declared_nowhere = [each for each in found if "changes_default" not in str(each) and "changes_2" not in str(each)]
    assert declared_nowhere == []
    assert world.fetch("SELECT to_regclass('revisions') IS NOT NULL") == [(True,)]


def test_twice_does_nothing(world: World) -> None:
    assert become(world, shelf()) == []


def test_a_type_that_postgres_calls_by_another_name_is_no_other_type(world: World) -> None:
    def measured(width: type[Any]) -> Projections:
        fields = [("book_id", str), ("width", width, 0.0), ("height", Annotated[float, Float(24)], 0.0)]
        return projections([make_books(defstruct("Measured", fields, bases=(State,), frozen=True), indexes=[])])

    of_double = measured(Annotated[float, Float()])
    assert "add column books.width" in become(world, of_double)
    assert become(world, of_double) == []
    with pytest.raises(OutOfDate, match=r"books\.width is DOUBLE PRECISION, declared REAL: a type cannot change"):
        become(world, measured(Annotated[float, REAL()]))


def test_a_dry_run_says_what_would_be_done_and_does_nothing(database_url: str) -> None:
    steps = migrate(database_url, None, "dry", shelf(), dry_run=True)
    assert [step for step in steps if step.startswith("create schema")] == [
        f"create schema {s}" for s in schemas("dry")
    ]
    assert "create entity table books" in steps
    assert "build by_shelf, version 1, generation 1" in steps
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'dry%'").fetchone() == (0,)
    assert migrate(database_url, None, "dry", shelf(), dry_run=True) == steps


def test_a_dry_run_on_a_group_with_data_leaves_it_as_it_is(world: World) -> None:
    before = relations(world), world.views()
    assert become(world, listing("book_id", "title"), dry_run=True) == [
        "build book_list, version 1, generation 2",
        "serve by_shelf no more, which is no longer declared",
    ]
    assert (relations(world), world.views()) == before
    assert world.given([book("b3")]).applied == 1


def test_a_new_view_is_filled_from_the_data_that_is_there(world: World) -> None:
    def more(books: Entity[Any]) -> list[Any]:
        listed = make_list(books)
        long = select(books.c.book_id, books.c.title).where(books.c.pages > 300)
        return [listed, View("long_books", path="long", key="book_id", query=long), make_rollup(listed)]

    assert become(world, shelf(more)) == ["build long_books, version 1, generation 1"]
    assert world.view("long_books") == {("b2",): {"book_id": "b2", "title": "Two"}}
    world.given([book("b1", title="One", pages=500)])
    assert set(world.view("long_books")) == {("b1",), ("b2",)}


def test_a_changed_query_is_built_as_the_next_generation_and_what_reads_it_too(world: World) -> None:
    def shouted(books: Entity[Any]) -> list[Any]:
        names = [c.name for c in books.table.c if c.name in Book.__struct_fields__]
        columns = [
            func.upper(books.c.title, type_=String).label("title") if n == "title" else books.c[n] for n in names
        ]
        listed = View("book_list", path="books", key="book_id", query=select(*columns))
        return [listed, make_rollup(listed)]

    assert become(world, shelf(shouted)) == [
        "build book_list, version 1, generation 2",
        "build by_shelf, version 1, generation 2",
    ]
    assert {key: row["title"] for key, row in world.view("book_list").items()} == {("b1",): "ONE", ("b2",): "TWO"}
    names = ("book_list", "by_shelf")
    assert state(world) == {(n, 1): "kept" for n in names} | {(n, 2): "live" for n in names}
    world.given([book("b3", title="three")])
    assert world.view("book_list")[("b3",)]["title"] == "THREE"
    assert world.drift() == []


def test_another_version_alone_builds_a_view_anew(world: World) -> None:
    done = become(world, shelf(lambda books: [make_list(books, version=2)]))
    assert "build book_list, version 2, generation 2" in done


def test_what_waits_for_a_generation_that_is_replaced_is_forgotten_with_it(world: World) -> None:
    world.execute("INSERT INTO pending (relation, generation, keys) VALUES ('book_list', 1, '{b1}')")
    become(world, listing("book_id", "title"))
    assert world.fetch("SELECT * FROM pending") == []
    assert world.applier.drain() == 0


def test_a_view_that_is_no_longer_declared_disappears(world: World) -> None:
    assert become(world, listing()) == ["serve by_shelf no more, which is no longer declared"]
    assert world.fetch("SELECT relation FROM served") == [("book_list",)]
    assert state(world)["by_shelf", 1] == "kept"  # for an API of the release before
    assert become(world, shelf()) == ["build by_shelf, version 1, generation 2"]
    assert "by_shelf__g1" not in relations(world)
    assert {key: row["books"] for key, row in world.view("by_shelf").items()} == {("s1",): 1, (None,): 1}


def lengths(where: int = 300, **options: Any) -> Projections:
    """Whether a book is long, as a view over the list."""
    return shelf(lambda books: _lengths(books, where, **options))


def _lengths(books: Entity[Any], where: int, **options: Any) -> list[Any]:
    listed = make_list(books)
    query = select(listed.c.book_id, (listed.c.pages > where).label("long")).select_from(listed.table)
    return [listed, View("lengths", path="lengths", key="book_id", query=query, indexes=[("long",)], **options)]


def test_a_view_may_become_virtual_and_stored_again(world: World) -> None:
    kept = {}
    for kind, name in (("r", "lengths__g1"), ("v", "lengths__g2"), ("r", "lengths__g3")):
        become(world, lengths(virtual=kind == "v"))
        assert {n: k for n, k in relations(world).items() if n.startswith("lengths")} == {name: kind, **kept}
        kept = {name: kind}
        assert {key: row["long"] for key, row in world.view("lengths").items()} == {("b1",): False, ("b2",): True}


def test_a_virtual_view_that_changes_leaves_no_index_of_its_old_form_behind(world: World) -> None:
    become(world, lengths(300, virtual=True))
    before = indexes(world, "book_list__g1")
    become(world, lengths(200, virtual=True))
    after = indexes(world, "book_list__g1")
    assert len(after) == len(before)
    assert any("200" in ddl for ddl in after)
    assert not any("300" in ddl for ddl in after)


def test_indexes_come_and_go_without_building_the_view_anew(world: World) -> None:
    become(world, listing(indexes=[("title",)]))
    assert any("(title, book_id)" in ddl for ddl in indexes(world, "book_list__g1"))
    become(world, listing(indexes=[("-pages",)]))
    after = indexes(world, "book_list__g1")
    assert any("(pages DESC, book_id)" in ddl for ddl in after)
    assert not any("title" in ddl for ddl in after)
    assert world.fetch("SELECT generation FROM served WHERE relation = 'book_list'") == [(1,)]


# States that change


class WithNote(Book, frozen=True):
    note: str | None = None


class WithRating(Book, frozen=True):
    rating: int


class WithDefaults(Book, frozen=True):
    stars: int = 3
    lent: bool = False
    language: str = "it's"
    fines: dict[str, Decimal] = {}  # noqa: RUF012  msgspec copies it


class PricedInText(State, frozen=True):
    book_id: str
    title: str
    shelf: str | None
    pages: int
    price: str
    author_id: str | None
    bought_at: str | None


class Untitled(State, frozen=True):
    """`title` is gone, `pages` may be null."""

    book_id: str
    shelf: str | None
    price: Decimal
    pages: int | None = None


def test_a_new_field_that_may_be_null_is_a_new_column(world: World) -> None:
    assert "add column books.note" in become(world, shelf(state=WithNote))
    assert world.given([book("b1")]).applied == 1
    assert world.fetch("SELECT book_id, note FROM books ORDER BY 1") == [("b1", None), ("b2", None)]


def test_what_was_kept_for_a_replay_before_a_field_came_has_null_there(world: World) -> None:
    world.given([book("b3", 1, pages=100), book("b3", 2, pages="many"), book("b3", 3, pages=300)])
    become(world, shelf(state=defstruct("Noted", [("note", str | None)], bases=(Book,), frozen=True, kw_only=True)))
    world.execute("UPDATE dead_letters SET value = %s", book("b3", 2, pages=200).value)
    ((letter,),) = world.fetch("SELECT id FROM dead_letters")
    assert Replayer(world.applier).replay(letter) == f"dead letter {letter} replayed into books b3"
    assert world.fetch("SELECT pages, note FROM books WHERE book_id = 'b3'") == [(300, None)]


def test_a_new_field_with_a_default_is_a_new_column_that_has_it(world: World) -> None:
    become(world, shelf(state=WithDefaults))
    told = "SELECT stars, lent, language, fines FROM books"
    assert world.fetch(told) == [(3, False, "it's", {})] * 2
    assert become(world, shelf(state=WithDefaults)) == []


@pytest.mark.parametrize(
    ("state", "named"), [(WithRating, r"books\.rating .*\| None"), (PricedInText, r"books\.price .*TEXT")]
)
def test_what_cannot_change_in_place_is_refused_in_one_line_and_nothing_is_done(
    world: World, state: type[State], named: str
) -> None:
    before = relations(world), world.views()
    with pytest.raises(OutOfDate, match=named) as caught:
        become(world, shelf(lambda books: [], state=state))
    assert "\n" not in str(caught.value)
    assert (relations(world), world.views()) == before
    assert world.given([book("b3")]).applied == 1


def test_a_field_may_be_null_from_now_on_and_another_is_no_longer_declared(world: World) -> None:
    books = make_books(state=Untitled, indexes=["shelf"])
    listed = View("book_list", path="books", key="book_id", query=select(books.c.book_id, books.c.pages))
    become(world, projections([books], [listed]))
    world.given([book("b3", pages=7)])
    world.execute("UPDATE books SET pages = NULL WHERE book_id = 'b1'")
    assert world.view("book_list")[("b3",)] == {"book_id": "b3", "pages": 7}


def test_names_at_their_longest_are_migrated_twice(database_url: str) -> None:
    name = "b" * 40

    class Long(State, frozen=True):
        book_id: str
        a_column_with_a_name_of_some_length_too: str | None = None

    def make() -> Projections:
        books = Entity(
            name, state=Long, key="book_id", topic="books", indexes=["a_column_with_a_name_of_some_length_too"]
        )
        view = View("v" * 40, path="v", key="book_id", query=select(books.c.book_id), indexes=[("book_id",)])
        return projections([books], [view])

    made = World(database_url, make())
    try:
        assert become(made, make()) == []
    finally:
        made.drop()


# Groups, roles, releases


def test_two_groups_live_side_by_side(world: World, database_url: str) -> None:
    other = World(database_url, listing("book_id", "title"))
    try:
        other.given([book("b9", title="Nine")])
        assert set(world.view("book_list")) == {("b1",), ("b2",)}
        assert other.view("book_list") == {("b9",): {"book_id": "b9", "title": "Nine"}}
    finally:
        other.drop()
    assert world.drift() == []


def test_the_writer_is_no_superuser(world: World) -> None:
    query = "SELECT rolsuper, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert world.fetch(query) == [(False, False, False, False)]


def test_the_reading_role_follows_to_the_next_generation(database_url: str, read_database_url: str) -> None:
    made = World(database_url, shelf(), read_database_url)
    try:
        migrate(made.url, read_database_url, made.group, listing("book_id", "title"))
        with psycopg.connect(read_database_url) as reader:
            assert reader.execute(f"SELECT count(title) FROM {made.group}_views.book_list__g2").fetchone() == (0,)
    finally:
        made.drop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("postgresql://", "postgresql://:x@", 1).replace(":x@", "", 1), "the writer"),
        (lambda url: "postgresql://127.0.0.1/prejoin", "names no user"),
    ],
)
def test_a_reading_address_that_cannot_be_one_is_told(world: World, change: Callable[[str], str], said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        migrate(world.url, change(world.url), world.group, shelf())
    assert "PREJOIN_READ_DATABASE_URL" in str(caught.value)


def test_a_role_that_may_not_create_schemas_is_told_in_one_line(world: World, read_database_url: str) -> None:
    migrate(world.url, read_database_url, world.group, shelf())
    with pytest.raises(DeclarationError.__base__, match="prejoin_read") as caught:  # type: ignore[arg-type]
        migrate(read_database_url, None, "elsewhere", shelf())
    assert "\n" not in str(caught.value)


def test_a_database_of_a_newer_release_is_told_in_one_line(world: World) -> None:
    world.execute("UPDATE migrations SET version_num = '9999'")
    with pytest.raises(OutOfDate, match="9999"):
        migrate(world.url, None, world.group, shelf())


def test_a_process_whose_engine_has_other_tables_does_not_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    become(world, shelf())
    another = MetaData()
    for table in metadata.sorted_tables[1:]:
        table.to_metadata(another)
    monkeypatch.setattr("projector.store.definitions.engine", another)
    with closing(Applier(world.url, world.group, shelf())) as applier, pytest.raises(OutOfDate, match="migrate"):
        applier.drain()
