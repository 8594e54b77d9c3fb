"""`prejoin check` without a database: every mistake of a package, all of them in one run."""
# ruff: noqa: E501  one mistake a line reads best

import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from projector.declare.projections import Projections, load
from projector.errors import DeclarationError
from projector.operate.check import problems
from tests import shop

SOUND = """
from decimal import Decimal
from sqlalchemy import and_, exists, func, literal_column, or_, select, text
from projector.declare import Entity, Rollup, Search, State, String, View, by_currency, count, list_of, total
from schemas.catalog import ProductAdded, ProductRenamed
from schemas.inventory import StockReserved
from schemas.registry import Registry

registry = Registry([ProductAdded, ProductRenamed, StockReserved], [])

class Product(State):
    product_id: str
    name: str
    category: str
    price: Decimal

class Stock(State):
    order_id: str
    warehouse: str

products = Entity("products", state=Product, key="product_id", topic="catalog", indexes=["category"])
stock = Entity("stock", state=Stock, key="order_id", topic="inventory", indexes=["warehouse"])
p, s = products.c, stock.c

@products.on(ProductAdded)
def added(product: Product | None, event: ProductAdded) -> Product:
    return Product(event.product_id, event.name, event.category, event.price)

@products.on(ProductRenamed)
def renamed(product: Product, event: ProductRenamed) -> Product:
    return product.replace(name=event.name)

@stock.on(StockReserved)
def reserved(stock: Stock | None, event: StockReserved) -> Stock:
    return Stock(event.order_id, event.warehouse)
"""

Check = Callable[..., tuple[Projections, list[str]]]
_numbers = itertools.count()


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Check a package of these modules; `declarations` is one beside the sound entities."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def check(declarations: str = "", sound: str = SOUND, **modules: str) -> tuple[Projections, list[str]]:
        name = f"declared_{next(_numbers)}"
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"from {name}.sound import registry\n")
        for module, content in {
            "sound": sound,
            "views": f"from {name}.sound import *\n{declarations}",
            **modules,
        }.items():
            (package / f"{module}.py").write_text(content.replace("PACKAGE", name))
        return problems(name)

    yield check
    for module in [name for name in sys.modules if name.startswith("declared_")]:
        del sys.modules[module]


def view(query: str, name: str = "bad", **options: str) -> str:
    given = {"key": '"product_id"', **options}
    return f'View("{name}", query={query}, {", ".join(f"{k}={v}" for k, v in given.items())})'


def declared(query: str, **options: str) -> str:
    return f"bad = {view(query, **options)}\n"


PRODUCT = "select(p.product_id, p.name).select_from(products.table)"
GROUPED = 'select(p.category, func.max(p.name, type_=String).label("most"), func.count().label("n")).group_by(p.category).subquery("grouped")'
BY_CURRENCY = 'select(p.category, by_currency(p.name, p.price, where=p.price > 0).label("prices")).group_by(p.category)'
LISTED = 'select(p.category, list_of(p.name, name=p.name).label("names")).group_by(p.category)'
JOINED = "select(p.product_id, s.warehouse).select_from(products.table.outerjoin(stock.table, {on}))"

MISTAKES = {
    "an unknown column": (declared("select(p.product_id, p.nme)"), r"views\.py:2: products has no column 'nme'; did you mean 'name'\?"),
    "two unknown columns": (declared("select(p.product_id, p.colour, p.nme)"), r"views\.py:2: products has no column 'colour'; it has product_id, "),
    "an unknown child": ('rows = products.rows("lines")\n', r"products has no (child|collection) 'lines'"),
    "the key is missing from the query": (declared("select(p.name)"), r"bad: its query has no column 'product_id', its key"),
    "a column without a type": (declared('select(p.product_id, func.shout(p.name).label("loud"))'), r"bad\.loud: its type is (not |un)known.*cast\(\)"),
    "LIMIT": (declared(f"{PRODUCT}.limit(3)"), r"bad: LIMIT is not supported"),
    "OFFSET": (declared(f"{PRODUCT}.offset(3)"), r"bad: LIMIT is not supported"),
    "DISTINCT": (declared(f"{PRODUCT}.distinct()"), r"bad: DISTINCT is not supported: use GROUP BY"),
    "a window": (declared('select(p.product_id, func.count().over(order_by=p.name).label("n"))'), r"bad: window functions are not supported"),
    "a window in WHERE": (declared(f"{PRODUCT}.where(func.row_number().over(order_by=p.name) > 1)"), r"bad: window functions are not supported"),
    "UNION": (declared(f"{PRODUCT}.union({PRODUCT})"), r"bad: UNION and its like are not supported"),
    "UNION in a subquery": (f"both = {PRODUCT}.union_all({PRODUCT}).subquery('both')\n" + declared("select(both.c.product_id)"), r"bad: .*UNION and its like are not supported"),
    "EXISTS": (declared(f"{PRODUCT}.where(exists().where(s.warehouse == p.category))"), r"bad: subqueries inside expressions are not supported"),
    "NOT IN a subquery": (declared(f"{PRODUCT}.where(p.category.not_in(select(s.warehouse)))"), r"bad: (subqueries inside expressions are not supported|it reads 2 things)"),
    "a scalar subquery": (declared('select(p.product_id, select(func.count()).select_from(stock.table).scalar_subquery().label("n")).select_from(products.table)'), r"bad: subqueries inside expressions are not supported"),
    "a scalar subquery in HAVING": (declared('select(p.product_id, p.name).group_by(p.product_id, p.name).having(func.count() > select(func.count()).select_from(stock.table).scalar_subquery())'), r"bad: subqueries inside expressions are not supported"),
    "a join that is no equality": (declared(JOINED.format(on="s.order_id > p.product_id")), r"bad: the join of stock is not on equal columns"),
    "a join with OR": (declared(JOINED.format(on="or_(s.order_id == p.product_id, s.warehouse == p.category)")), r"bad: the join of stock is not on equal columns"),
    "a cross join": (declared("select(p.product_id, s.warehouse)"), r"bad: it reads 2 things that are not joined"),
    "a join ON true": (declared(JOINED.format(on="literal_column('true')")), r"bad: the join of stock has no equality"),
    "a join on an aggregate": (f"grouped = {GROUPED}\n" + declared("select(p.product_id, grouped.c.n).select_from(products.table.outerjoin(grouped, grouped.c.most == p.name))"), r"bad: its column 'most' must be a plain column"),
    "a full join whose key is not what it joins on": (declared('select(func.coalesce(p.product_id, s.order_id).label("product_id")).select_from(products.table.join(stock.table, s.warehouse == p.category, full=True))'), r"bad: .*full join"),
    "a full join of three": (declared('select(func.coalesce(p.product_id, s.order_id).label("product_id")).select_from(products.table.join(stock.table, s.order_id == p.product_id, full=True).outerjoin((t := stock.table.alias("t")), t.c.order_id == p.product_id))'), r"bad: a full join is supported for two"),
    "a key that is computed": (declared('select(func.upper(p.product_id, type_=String).label("product_id"))'), r"bad: its column 'product_id' must be a plain column"),
    "a key of a table that nothing leads to": (declared('select(s.order_id.label("product_id"), p.name).select_from(products.table.join(stock.table, s.warehouse == p.category))'), r"bad: products has no column that leads to the view's key"),
    "a way up that ends before the key": ('t, u = stock.table.alias("t"), stock.table.alias("u")\n' + declared('select(t.c.order_id.label("product_id")).select_from(products.table.join(t, t.c.warehouse == p.category).join(u, u.c.warehouse == p.name))'), r"bad: .* has no column that leads to the view's key"),
    "a key that is no text": (declared("select(p.price, p.name)", key='"price"'), r"bad: its first key column 'price' must be text"),
    "text()": (declared("""select(p.product_id).where(text("name = 'x'"))"""), r"bad: text\(\) is not supported"),
    "the machine's clock": (declared('select(p.product_id, func.now().label("seen"))'), r"bad: now\(\)"),
    "an index on an unknown column": (declared(PRODUCT, indexes='[("-nme",)]'), r"bad: no column '-?nme' to index"),
    "an index on an object": ('grouped = select(p.category, by_currency(p.name, p.price, where=p.price > 0).label("prices")).group_by(p.category)\n' + declared("grouped", key='"category"', indexes='[("prices",)]'), r"bad: prices is an object or a list"),
    "an index on an unknown field": ('more = Entity("more", state=Product, key="product_id", topic="more", indexes=["nme"])\n', r"more: no column 'nme' to index"),
    "a field without a column type": ('class Odd(State):\n    order_id: str\n    at: complex\nodd = Entity("odd", state=Odd, key="order_id", topic="odd")\n', r"odd\.at: .*complex.* has no column type"),
    "amounts by currency in a row of a collection": ('from decimal import Decimal\nclass Part(State):\n    part: int\n    paid: dict[str, Decimal]\nclass Whole(State):\n    order_id: str\n    parts: tuple[Part, ...]\nodd = Entity("odd", state=Whole, key="order_id", topic="odd", children={"parts": Part})\n', r"odd__parts\.paid: a row of a collection holds no amounts"),
    "a state without its key": ('more = Entity("more", state=Product, key="order_id", topic="more")\n', r"more: its state has no field 'order_id', its key"),
    "a fold without annotations": ('more = Entity("more", state=Stock, key="order_id", topic="inventory2")\n@more.on(StockReserved)\ndef fold(stock, event): ...\n', r"more: fold fold needs two annotated parameters"),
    "two folds of one event": ('@stock.on(StockReserved)\ndef again(stock: Stock | None, event: StockReserved) -> Stock: ...\n', r"stock: StockReserved has two folds"),
    "a fold of another topic's event": ('from schemas.orders import OrderCancelled\n@stock.on(ProductAdded)\ndef odd(stock: Stock | None, event: ProductAdded) -> Stock: ...\n', r"stock: ProductAdded has no field 'order_id'"),
    "two entities of one topic": ('more = Entity("more", state=Stock, key="order_id", topic="inventory")\n', r"topic 'inventory': two entities take its events"),
    "an entity named like a table of the engine": ('more = Entity("positions", state=Stock, key="order_id", topic="more")\n', r"positions: the engine has a table of that name"),
    "a view named like a table of the engine": (declared(PRODUCT, name="dead_letters"), r"dead_letters: the engine has a table of that name"),
    "a name that is none": (declared(PRODUCT, name="Bad view"), r"Bad view: a name is a lower-case letter"),
    "a view named like an entity": (declared(PRODUCT, name="stock"), r"stock: declared twice"),
    "two views of one name": (declared(PRODUCT) + declared(PRODUCT).replace("bad =", "worse ="), r"bad: declared twice"),
    "two views of one path": (declared(PRODUCT, path='"same"') + declared(PRODUCT, name="worse", path='"same"').replace("bad =", "worse ="), r"path 'same': two views have it"),
    "a path that is none": (declared(PRODUCT, path='"/Bad"'), r"bad: path '/Bad' is a lower-case letter"),
    "a cycle of views": (declared(PRODUCT) + declared(PRODUCT, name="worse").replace("bad =", "worse =") + "bad.query = select(worse.c.product_id).select_from(worse.table)\nworse.query = select(bad.c.product_id).select_from(bad.table)\n", r"bad: reads itself through worse: break the cycle"),
    "search: an unknown text field": (declared(PRODUCT, path='"bad"', search='Search({"nme": 1})'), r"bad: search= names 'nme', which the view does not have; did you mean 'name'"),
    "search: no text field": (declared(PRODUCT, path='"bad"', search="Search({})"), r"bad: search= has no text field"),
    "search: a text field that is a number": (declared("select(p.product_id, p.price)", path='"bad"', search='Search({"price": 1})'), r"bad: search= names 'price', which is no text"),
    "search: a text field that is an object": (declared(BY_CURRENCY, key='"category"', path='"bad"', search='Search({"prices": 1})'), r"bad: search= names 'prices', which is an object; name a column with one value"),
    "search: a text field that is a list": (declared(LISTED, key='"category"', path='"bad"', search='Search({"names": 1})'), r"bad: search= names 'names', which is a list; name a field in it, such as 'names\.name'"),
    "search: a boost of nothing": (declared(PRODUCT, path='"bad"', search='Search({"name": 0})'), r"bad: search= gives 'name' the boost 0; above 0, 1000 at most"),
    "search: an unknown facet": (declared(PRODUCT, path='"bad"', search='Search({"name": 1}, facets=["nme"])'), r"bad: search= has the facet 'nme', which the view does not have; did you mean 'name'"),
    "search: a facet of money": (declared("select(p.product_id, p.name, p.price)", path='"bad"', search='Search({"name": 1}, facets=["price"])'), r"bad: search= has the facet 'price', which has too many values"),
    "search: a facet twice": (declared(PRODUCT, path='"bad"', search='Search({"name": 1}, facets=["name", "name"])'), r"bad: search= has the facet 'name' twice"),
    "search: a key of two columns": (declared(PRODUCT, path='"bad"', key='("product_id", "name")', search='Search({"name": 1})'), r"bad: search= needs a key of one column; it has product_id, name"),
    "search: a view that is not served": (declared(PRODUCT, search='Search({"name": 1})'), r"bad: search= is part of what is served; give the view a path"),
    "search: a virtual view": (f"good = {view(PRODUCT, name='good')}\n" + declared("select(good.c.product_id, good.c.name)", virtual="True", path='"bad"', search='Search({"name": 1})'), r"bad: a virtual view has no rows of its own to search"),
    "a view of a table that is not declared": ("from sqlalchemy import Column, MetaData, Table\nnowhere = Table('nowhere', MetaData(), Column('product_id', String))\n" + declared("select(nowhere.c.product_id)"), r"bad: reads nowhere, which no entity or view declares"),
    "a virtual view that joins": (declared(JOINED.format(on="s.order_id == p.product_id"), virtual="True"), r"bad: a virtual view computes over the rows of one other view"),
    "a virtual view of an entity": (declared(PRODUCT, virtual="True"), r"bad: a virtual view computes over the rows of one other view"),
    "a rollup of a virtual view": (declared(PRODUCT) + 'half = View("half", key="product_id", virtual=True, query=select(bad.c.product_id).select_from(bad.table))\nrolled = Rollup("rolled", source=half, by={"product_id": half.c.product_id}, measures={"n": count()})\n', r"rolled: its source is virtual"),
    "a rollup by an unknown column": (declared(PRODUCT) + 'rolled = Rollup("rolled", source=bad, by={"nme": bad.c.nme}, measures={"n": count()})\n', r"views\.py:3: bad has no column 'nme'; did you mean 'name'\?"),
    "a module that raises": ("raise RuntimeError('out of paper')\n", r"views\.py:2: RuntimeError: out of paper"),
    "a module that is no Python": ("def (:\n", r"SyntaxError"),
}  # fmt: skip


def test_sound_declarations_have_no_problems(check: Check) -> None:
    projections, found = check(declared(PRODUCT, path='"bad"', indexes='[("name",)]'))
    assert found == []
    assert [r.name for r in projections.served] == ["bad"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_it(check: Check, mistake: str) -> None:
    declarations, said = MISTAKES[mistake]
    _, found = check(declarations)
    assert any(re.search(said, line) for line in found), found
    assert all("\n" not in line for line in found)


def test_all_mistakes_of_a_package_are_told_in_one_run(check: Check) -> None:
    """Each in a module of its own, under a name of its own."""
    together = [
        m
        for m in MISTAKES
        if "fold" not in m and "named" not in m and "twice" not in m and "entit" not in m and "UNION" not in m
    ]
    modules = {
        f"m{n}": "from PACKAGE.sound import *\n" + MISTAKES[mistake][0].replace('"bad"', f'"bad{n}"')
        for n, mistake in enumerate(together)
    }
    _, found = check(**modules)
    for n, mistake in enumerate(together):
        said = MISTAKES[mistake][1].replace("views\\.py", f"m{n}\\.py").replace("bad", f"bad{n}")
        assert any(re.search(said, line) for line in found), (mistake, said)
    assert len(found) == len(set(found))


def test_an_event_that_no_fold_handles_is_told(check: Check) -> None:
    _, found = check(sound=SOUND.replace("@products.on(ProductRenamed)\n", ""))
    assert found == ["ProductRenamed: no entity folds it; add a fold with @….on(ProductRenamed)"]


def test_an_old_version_must_not_be_folded(check: Check) -> None:
    from schemas.orders.v1 import OrderPlaced

    extra = "\nfrom schemas.orders.v1 import OrderPlaced\n@stock.on(OrderPlaced)\ndef old(stock: Stock | None, event: OrderPlaced) -> Stock: ...\n"
    _, found = check(extra)
    assert found == [f"stock: folds {OrderPlaced.__name__}, which is not the newest version of a contract"]


def test_a_package_without_a_registry_is_told(check: Check) -> None:
    _, found = check(sound=SOUND.replace("registry = Registry", "contracts = Registry"))
    assert any("registry" in line for line in found)


def test_a_package_that_is_not_there_is_told() -> None:
    _, found = problems("no_such_package")
    assert len(found) == 1
    assert "no_such_package" in found[0]
    with pytest.raises(DeclarationError, match="no_such_package"):
        load("no_such_package")


def test_the_real_projections_have_none() -> None:
    projections, found = problems("projections")
    assert found == []
    assert {r.name for r in shop.served(projections)} == {
        "order_overview",
        "customer_summary",
        "fulfilment",
        "sales_by_day",
        "product_sales",
    }
