"""Lists: filters, order and cursors, over rows with nulls, against plain Python."""

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from read_api.app import create_app
from read_api.kinds import BOOLEAN, DATE, DECIMAL, INSTANT, INTEGER, MONEY, TEXT, WHOLE, Kind
from read_api.parameters import read_list
from read_api.resource import Field, Resource
from read_api.statements import Shape, parameters
from tests.api import api, fill, pages, settings_of
from tests.model.histories import random_stream
from tests.plans import ran, rows_read
from tests.world import World

Row = dict[str, Any]
Asked = tuple[str, list[Row], list[tuple[str, str, Any]], list[str]]
TEXTS = [None, "", "a", "B", "é", "a,b", "a\\b", "~", "😀", "zz"]
INSTANTS = [
    None,
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC),
    datetime(2026, 1, 1, 0, 0, 0, 250_001, UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
]
AMOUNTS = [None, Decimal("-1.00"), Decimal("0.00"), Decimal("9.99"), Decimal("10.00"), Decimal(10**35)]
COUNTS = [None, -1, 0, 2, 10, 2**63 - 1]
DAYS = [None, date(1, 1, 1), date(2026, 1, 1), date(2026, 1, 31), date(9999, 12, 31)]
BOOLEANS = [None, True, False]

# view → columns that are tried, with the values they take
COLUMNS: dict[str, dict[str, list[Any]]] = {
    "order_overview": {
        "status": TEXTS,
        "placed_at": INSTANTS,
        "total": AMOUNTS,
        "line_count": COUNTS,
        "carrier": TEXTS,
    },
    "customer_summary": {"name": TEXTS, "erased": BOOLEANS, "orders": [None, 0, 3, 10**37], "last_order_at": INSTANTS},
    "sales_by_day": {"day": DAYS, "customer_country": [None, "DE", "~~", "FR"], "currency": TEXTS, "orders": COUNTS},
}
KEYS = {
    "order_overview": ("order_id",),
    "customer_summary": ("customer_id",),
    "sales_by_day": ("day", "customer_country", "currency"),
}
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b, "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b,
}  # fmt: skip


@pytest.fixture
async def client(shop: World, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(shop, read_database_url) as made:
        yield made


def in_url(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value).lower() if isinstance(value, bool) else str(value)


def escaped(value: Any) -> str:
    return in_url(value).replace(",", "\\,")


def shown_key(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


@st.composite
def lists(draw: st.DrawFn) -> Asked:
    """A view, its rows, filters (column, operator, value), and a sort."""
    view = draw(st.sampled_from(sorted(COLUMNS)))
    columns, key = COLUMNS[view], KEYS[view]
    row = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in columns.items()})
    rows: list[Row] = draw(
        st.lists(row, max_size=30, unique_by=None if len(key) == 1 else lambda r: tuple(r[k] for k in key))
    )
    if len(key) == 1:
        rows = [{key[0]: f"k{n:03}", **r} for n, r in enumerate(rows)]
    filters = []
    for name in draw(st.lists(st.sampled_from(sorted(columns)), unique=True, max_size=2)):
        values = [v for v in columns[name] if v is not None]
        operator = draw(st.sampled_from(["eq", "ne", "null"] + ([] if values == [True, False] else sorted(COMPARED))))
        several = st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)
        taken = {"null": st.booleans(), "eq": several, "ne": several}.get(operator, st.sampled_from(values))
        filters.append((name, operator, draw(taken)))
    sort = draw(st.lists(st.sampled_from([*columns, *key]), unique=True, max_size=3))
    return view, rows, filters, [draw(st.sampled_from(["", "-"])) + name for name in sort]


def passes(row: Row, name: str, operator: str, wanted: Any) -> bool:
    value = row[name]
    if operator == "null":
        return (value is None) is wanted
    if value is None:
        return False
    if operator in ("eq", "ne"):
        return (value in wanted) == (operator == "eq")
    compared: bool = COMPARED[operator](value, wanted)
    return compared


def by(name: str, row: Row) -> tuple[bool, Any]:
    return (True, 0) if row[name] is None else (False, row[name])


def in_order(rows: list[Row], sort: list[str]) -> list[Row]:
    """By stable sorts from the last column to the first; None is the greatest of all."""
    for term in reversed(sort):
        name = term.removeprefix("-")
        rows = sorted(rows, key=partial(by, name), reverse=term.startswith("-"))
    return rows


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(asked=lists(), seed=st.integers(0, 2**32))
async def test_pages_of_any_size_make_up_the_sorted_list(
    shop: World,
    client: httpx.AsyncClient,
    asked: tuple[str, list[Row], list[tuple[str, str, Any]], list[str]],
    seed: int,
) -> None:
    view, rows, filters, sort = asked
    fill(shop, view, rows)
    parameters = parameters_of(filters, sort)
    whole = [*sort, *(k for k in KEYS[view] if k not in [t.removeprefix("-") for t in sort])]
    expected = in_order([r for r in rows if all(passes(r, *f) for f in filters)], whole)
    dice = random.Random(seed)
    found = await pages(
        client, path_of(shop, view), (dice.choice([1, 2, 3, 7, 40]) for _ in itertools.count()), **parameters
    )
    shown = shop.view(view)
    keys = [tuple(row[k] for k in KEYS[view]) for page in found for row in page]
    assert [shown[key] for key in keys] == [row for page in found for row in page]
    assert keys == [
        tuple(k.isoformat() if isinstance(k, date) else k for k in (r[n] for n in KEYS[view])) for r in expected
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(asked=lists(), seed=st.integers(0, 2**32))
async def test_rows_that_stay_are_found_once_and_in_order_while_others_change(
    shop: World, client: httpx.AsyncClient, asked: Asked, seed: int
) -> None:
    """Every other row stays; between the pages one of the rest goes, comes back, or is another."""
    view, rows, filters, sort = asked
    key, table, dice = KEYS[view], shop.table(view), random.Random(seed)
    fill(shop, view, rows)
    others = [name for name in sorted(COLUMNS[view]) if name not in key]
    cursor, seen = dict[str, str](), list[tuple[Any, ...]]()
    while True:
        page = (
            await client.get(
                path_of(shop, view),
                params={"limit": str(dice.choice([1, 2, 3])), **parameters_of(filters, sort), **cursor},
            )
        ).json()
        seen += [tuple(row[k] for k in key) for row in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
        other = dice.choice(rows[1::2])
        changing = [other[k] for k in key]
        same = " AND ".join(f"{k} IS NOT DISTINCT FROM %s" for k in key)
        shop.execute(f"DELETE FROM {table} WHERE {same}", *changing)
        if dice.random() < 0.7:
            values = [*changing, *(dice.choice(COLUMNS[view][name]) for name in others)]
            names = ", ".join([*key, *others])
            shop.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(values))})", *values)
    whole = [*sort, *(k for k in key if k not in [t.removeprefix("-") for t in sort])]
    stay = {tuple(shown_key(row[k]) for k in key) for row in rows[::2]}
    expected = in_order([r for r in rows[::2] if all(passes(r, *f) for f in filters)], whole)
    assert [k for k in seen if k in stay] == [tuple(shown_key(r[k]) for k in key) for r in expected]


def path_of(shop: World, view: str) -> str:
    return f"/v1/{shop.projections.relation(view).path}"


def parameters_of(filters: list[tuple[str, str, Any]], sort: list[str]) -> dict[str, str]:
    found = {"sort": ",".join(sort)} if sort else {}
    for name, operator, value in filters:
        text = ",".join(escaped(v) for v in value) if isinstance(value, list) else escaped(value)
        found[name if operator == "eq" else f"{name}[{operator}]"] = text
    return found


async def test_every_view_is_listed_as_it_is(shop: World, client: httpx.AsyncClient) -> None:
    shop.clear()
    shop.given(random_stream(3, customers=8, products=8, orders=60))
    for name, rows in shop.views().items():
        relation = shop.projections.relation(name)
        found = [r for p in await pages(client, f"/v1/{relation.path}", itertools.repeat(7)) for r in p]
        assert len(found) == len(rows) > 0
        assert {tuple(r[k] for k in relation.key): r for r in found} == rows
        assert all(list(r) == [c.name for c in relation.columns] for r in found), "columns come as declared"


async def test_a_row_that_did_not_change_is_neither_skipped_nor_repeated_while_others_do(
    shop: World, client: httpx.AsyncClient
) -> None:
    fill(shop, "order_overview", [{"order_id": f"o{n:02}", "total": Decimal(n % 3)} for n in range(20)])
    table, seen = shop.table("order_overview"), list[str]()
    cursor: dict[str, str] = {}
    for step in range(30):
        page = (await client.get("/v1/orders", params={"sort": "-total", "limit": "2", **cursor})).json()
        seen += [row["order_id"] for row in page["data"]]
        if step % 2:
            shop.execute(f"DELETE FROM {table} WHERE order_id = %s", f"o{step:02}")
        shop.execute(f"INSERT INTO {table} (order_id, total) VALUES (%s, 5)", f"new{step}")
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}
    unchanged = [f"o{n:02}" for n in range(20) if n % 2 == 0]
    assert [seen.count(order) for order in unchanged] == [1] * len(unchanged)


async def test_a_page_has_25_rows_and_never_more_than_200(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", [{"order_id": f"o{n:03}"} for n in range(205)])
    assert len((await client.get("/v1/orders")).json()["data"]) == 25
    for limit in ("200", "201", "9" * 400):
        page = (await client.get("/v1/orders", params={"limit": limit})).json()
        assert (len(page["data"]), page["has_more"]) == (200, True)


async def test_a_cursor_outlives_other_limits_and_fields(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", [{"order_id": f"o{n}", "status": "paid"} for n in range(5)])
    first = (
        await client.get("/v1/orders", params={"limit": "2", "status": "paid,shipped", "sort": "-order_id"})
    ).json()
    more = {"cursor": first["next_cursor"], "fields": "status", "limit": "100", "sort": "-order_id"}
    rest = (await client.get("/v1/orders", params={"status": "shipped,paid", **more})).json()
    assert rest["data"] == [{"order_id": f"o{n}", "status": "paid"} for n in (2, 1, 0)]


@pytest.mark.parametrize(
    "other",
    [
        {"sort": "order_id"},
        {"sort": "-status"},
        {"status": "paid"},
        {"status[ne]": "shipped"},
        {"total[gte]": "0"},
    ],
    ids=str,
)
async def test_a_cursor_of_another_query_is_refused(
    shop: World, client: httpx.AsyncClient, other: dict[str, str]
) -> None:
    fill(shop, "order_overview", [{"order_id": f"o{n}", "status": "paid", "total": 1} for n in range(3)])
    cursor = (await client.get("/v1/orders", params={"limit": "1"})).json()["next_cursor"]
    answer = await client.get("/v1/orders", params={"cursor": cursor, **other})
    assert answer.status_code == 400
    assert [e["parameter"] for e in answer.json()["errors"]] == ["cursor"]
    assert (await client.get("/v1/fulfilment", params={"cursor": cursor})).status_code == 400
    assert (await client.get("/v1/orders", params={"cursor": cursor})).status_code == 200


async def test_an_index_answers_a_deep_page(shop: World) -> None:
    """A cursor in the middle reads a page's worth of the index, whatever lies before it."""
    fill(shop, "customer_summary", [{"customer_id": f"c{n:05}", "name": f"n{n // 2:05}"} for n in range(6_000)])
    shop.execute(f"ANALYZE {shop.table('customer_summary')}")
    resource = Resource(shop.projections.relation("customer_summary"))
    shape = Shape((), (("name", False),), ("customer_id",), 26, (False, False))
    assert 0 < rows_read(ran(shop, resource, shape, parameters(resource, (), ("n01500", "c03000")))) < 200


MANY = 3_000
NUMBERED: list[tuple[Kind, Callable[[int], Any]]] = [
    (TEXT, str), (INTEGER, int), (WHOLE, int), (MONEY, Decimal), (DECIMAL, Decimal), (BOOLEAN, lambda n: n % 2 == 0),
    (INSTANT, lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n)),
    (DATE, lambda n: date(2000, 1, 1) + timedelta(days=n)),
]  # fmt: skip


def test_an_index_answers_each_filter_of_which_openapi_says_so(shop: World, read_database_url: str) -> None:
    """A filter that few rows pass reads few."""
    for name in ("order_overview", "customer_summary", "product_sales", "sales_by_day"):
        fill_in_no_order(shop, Resource(shop.projections.relation(name)))
    document = create_app(settings_of(shop, read_database_url)).openapi()
    read = dict[str, int]()
    for relation in shop.projections.served:
        resource, rows = Resource(relation), list(shop.view(relation.name).values())
        for parameter in document["paths"][resource.path]["get"]["parameters"]:
            field, _, operator = parameter.get("name", "").partition("[")
            if field in resource.fields and resource.fields[field].plain:
                told, not_told = (f" {said}" in parameter["description"] for said in ("Indexed.", "Not indexed"))
                assert told != not_told
                if told:
                    asked = f"{parameter['name']}={of_few([row[field] for row in rows], operator)}"
                    read[f"{resource.path}?{asked}"] = read_for(shop, resource, asked)
    assert len(read) > 60
    assert {asked: many for asked, many in read.items() if many > MANY / 10} == {}
    without = Resource(shop.projections.relation("order_overview"))
    assert read_for(shop, without, "carrier=2") >= MANY, "so this tells an index from none"


def fill_in_no_order(shop: World, resource: Resource) -> None:
    """Many rows, no two with the same value in a column, some with null; no column's order is that of the key."""
    dice = random.Random(7)
    numbers = {field: dice.sample(range(MANY), MANY) for field in resource.fields}
    plain = [field for field in resource.fields.values() if field.plain]
    fill(shop, resource.name, [
        {f.name: numbered(f, numbers[f.name][n]) for f in plain} for n in range(MANY)
    ])  # fmt: skip
    shop.execute(f"ANALYZE {shop.table(resource.name)}")


def numbered(field: Field, number: int) -> Any:
    if field.nullable and number < 2:
        return None
    (value,) = (make(number) for kind, make in NUMBERED if kind == field.kind)
    return value


def of_few(values: list[Any], operator: str) -> str:
    """What few rows have, or have less or more than."""
    if operator == "null]":
        return "true"
    if operator in ("", "ne]"):
        (value, _), *_ = Counter(v for v in values if v is not None).most_common()[::-1]
        return in_url(value)
    distinct = sorted({v for v in values if v is not None})
    return in_url({"gt]": distinct[-2:], "gte]": distinct[-1:], "lt]": distinct[1:], "lte]": distinct}[operator][0])


def read_for(shop: World, resource: Resource, query: str) -> int:
    """How many rows of views are looked at for a list."""
    asked = read_list(resource, Request({"type": "http", "query_string": query.encode()}))
    return rows_read(ran(shop, resource, asked.shape, parameters(resource, asked.conditions, asked.after)))
