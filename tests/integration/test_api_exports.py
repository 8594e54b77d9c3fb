"""Exports: the same rows as a list in each form, one moment, an end with the connection, and few at once."""

import asyncio
import csv
import io
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import psutil
import psycopg
import pyarrow.parquet
import pytest
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from projector.store.definitions import relation_digests
from read_api.database import Database
from read_api.export.download import PART, Download
from read_api.export.endpoint import EXPORTS, LIMITS, Exports
from read_api.export.formats import FORMATS
from read_api.export.parameters import Asked
from read_api.freshness import Waiters, Wanted
from read_api.problems import Problem
from read_api.reading import Reader
from read_api.resource import Resource
from tests.api import applied, fill, pages, until_somebody_looks
from tests.integration.serving import environment_of, serving
from tests.model.histories import random_stream
from tests.world import World

RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'prejoin-api' AND state <> 'idle'"
    " AND pid <> pg_backend_pid()"
)
ALL = Wanted({}, None)


async def exported(client: httpx.AsyncClient, path: str, form: str, **parameters: str) -> bytes:
    answer = await client.get(f"{path}/export", params={"format": form, **parameters})
    assert answer.status_code == 200, answer.text
    name = path.rpartition("/")[2]
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.{form}"'
    return answer.content


async def listed(client: httpx.AsyncClient, path: str, **parameters: str) -> list[dict[str, Any]]:
    return [row for page in await pages(client, path, iter([200] * 100), **parameters) for row in page]


async def test_ndjson_has_each_row_of_each_view_as_the_list_has_it(shop: World, client: httpx.AsyncClient) -> None:
    shop.given(random_stream(11, customers=20, products=20, orders=300))
    for relation in shop.projections.served:
        path = f"/v1/{relation.path}"
        rows = await listed(client, path)
        assert len(rows) > 0
        assert [json.loads(line) for line in (await exported(client, path, "ndjson")).splitlines()] == rows
    asked = {"status": "paid,pending", "total[gte]": "10", "sort": "-total,status", "fields": "status,lines"}
    some = await exported(client, "/v1/orders", "ndjson", **asked)
    rows = await listed(client, "/v1/orders", **asked)
    assert 0 < len(rows) < 300
    assert [json.loads(line) for line in some.splitlines()] == rows


async def test_a_row_of_ndjson_is_one_line_to_every_reader_of_lines(shop: World, client: httpx.AsyncClient) -> None:
    name = "a\u2028b\u2029c\x85d"
    fill(shop, "product_sales", [{"product_id": "p1", "name": name}, {"product_id": "p2"}])
    lines = (await exported(client, "/v1/products", "ndjson")).decode().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [name, None]


async def test_csv_has_the_same_values_as_text(shop: World, client: httpx.AsyncClient) -> None:
    shop.given(random_stream(12, customers=20, products=20, orders=250))
    for relation in shop.projections.served:
        path = f"/v1/{relation.path}"
        text = (await exported(client, path, "csv")).decode()
        found = list(csv.DictReader(io.StringIO(text, newline="")))
        assert text.count("\r\n") == len(found) + 1
        assert list(found[0]) == [c.name for c in relation.columns]
        for row, told in zip(await listed(client, path), found, strict=True):
            assert {name: _in_csv(value) for name, value in row.items()} == told


def _in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):  # as Postgres writes jsonb
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
async def test_no_cell_of_a_csv_runs_as_a_formula(shop: World, client: httpx.AsyncClient, begins: str) -> None:
    fill(shop, "product_sales", [
        {"product_id": "p1", "name": f'{begins}cmd|" /C calc"!A0', "category": "a;=1+1", "brand": "", "orders": -5},
        {"product_id": "p2", "name": None, "category": "safe - as it is", "brand": "x,y"},
    ])  # fmt: skip
    fields = {"fields": "name,category,brand,orders"}
    first, second = (await exported(client, "/v1/products", "csv", **fields)).decode().split("\r\n", 1)[1].split(
        "\r\n\"" if begins == "\r" else "\r\n", 1
    )  # fmt: skip
    assert first == f'"p1","\'{begins}cmd|"" /C calc""!A0","a;=1+1","",-5'
    assert second.lstrip('"') == 'p2",,"safe - as it is","x,y",\r\n'


async def test_parquet_has_decimals_utc_times_structs_and_maps(shop: World, client: httpx.AsyncClient) -> None:
    shop.given(random_stream(13, customers=20, products=20, orders=250))
    for relation in shop.projections.served:
        path = f"/v1/{relation.path}"
        file = io.BytesIO(await exported(client, path, "parquet", sort="-" + relation.key[0]))
        table = pyarrow.parquet.read_table(file)
        rows = await listed(client, path, sort="-" + relation.key[0])
        assert [{n: _shown(v, table.schema.field(n).type) for n, v in row.items()} for row in table.to_pylist()] == rows
    types = {f.name: str(f.type) for f in pyarrow.parquet.read_schema(io.BytesIO(
        await exported(client, "/v1/orders", "parquet")))}  # fmt: skip
    assert (types["total"], types["placed_at"]) == ("decimal128(38, 2)", "timestamp[us, tz=UTC]")
    assert types["lines"].startswith("list<element: struct<line: int64, product_id: string")
    customers = pyarrow.parquet.read_schema(io.BytesIO(await exported(client, "/v1/customers", "parquet")))
    assert str(customers.field("lifetime_value").type).startswith("map<string, decimal128(38, 2)")


def _shown(value: Any, kind: Any) -> Any:
    """A value of Parquet as JSON shows it."""
    if isinstance(value, list) and "map" in str(kind)[:3]:
        return {key: str(amount) for key, amount in value}
    if isinstance(value, list):
        return [
            {name: _shown(v, "decimal(5, 4)" if name == "discount" else "") for name, v in e.items()} for e in value
        ]
    if isinstance(value, Decimal):
        plain = f"{value.normalize():f}" if "5, 4" in str(kind) else str(value)
        return int(value) if str(kind).endswith(", 0)") else plain
    if isinstance(value, datetime):
        text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return text + (f".{value.microsecond:06}".rstrip("0") if value.microsecond else "") + "Z"
    return value.isoformat() if hasattr(value, "isoformat") else value


async def test_an_export_without_rows_is_a_file_without_rows(client: httpx.AsyncClient) -> None:
    assert await exported(client, "/v1/orders", "csv", fields="status") == b"order_id,status\r\n"
    assert await exported(client, "/v1/orders", "ndjson") == b""
    empty = pyarrow.parquet.read_table(io.BytesIO(await exported(client, "/v1/customers", "parquet")))
    assert (empty.num_rows, empty.num_columns) == (0, 14)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "format"), ("?format=xlsx", "format"), ("?format=csv&limit=5", "limit"),
        ("?format=csv&cursor=x", "cursor"),
        ("?format=csv&colour=red", "colour"), ("?format=csv&total=x", "total"), ("?format=csv&sort=lines", "sort"),
    ],
)  # fmt: skip
async def test_what_an_export_does_not_take_is_named(client: httpx.AsyncClient, query: str, parameter: str) -> None:
    answer = await client.get(f"/v1/orders/export{query}")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, parameter)


async def test_it_tells_how_fresh_it_is_and_waits_for_a_position(
    shop: World, client: httpx.AsyncClient, read_database_url: str
) -> None:
    shop.execute("UPDATE projection_group SET as_of = '2026-01-01T00:00:00Z'")
    asked = {"Prejoin-Min-Position": "orders/0@7", "Prefer": "wait=20"}
    path = "/v1/orders/export?format=ndjson"
    early = await client.get(path, headers={"Prejoin-Min-Position": "orders/0@7"})
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    waiting = asyncio.create_task(client.get(path, headers=asked))
    await until_somebody_looks(read_database_url)
    assert not waiting.done()
    fill(shop, "order_overview", [{"order_id": "o1"}])
    applied(shop, "orders", 0, 8)
    answer = await waiting
    assert answer.headers["prejoin-as-of"] == "2026-01-01T00:00:00Z"
    assert (answer.headers["prejoin-position"], answer.headers["preference-applied"]) == ("orders/0@7", "wait=20")
    assert json.loads(answer.text)["order_id"] == "o1"
    head = await client.head(path, headers=asked)
    assert (head.status_code, head.content, head.headers["prejoin-position"]) == (200, b"", "orders/0@7")


class Slow:
    """Who takes nothing of an export until `goes_on` is set."""

    def __init__(self) -> None:
        self.parts, self.goes_on, self.begun = list[bytes](), asyncio.Event(), asyncio.Event()

    async def __call__(self, message: Message) -> None:
        self.begun.set()
        self.parts.append(message.get("body", b""))
        await self.goes_on.wait()


def running_in(read_database_url: str) -> int:
    """Transactions of the API in Postgres: of its role it tells itself alone."""
    with psycopg.connect(read_database_url) as reader:
        ((count,),) = reader.execute(RUNNING).fetchall()
    return int(count)


@pytest.fixture
def products(shop: World) -> Resource:
    shop.execute(f"TRUNCATE {shop.table('product_sales')}")
    shop.execute(
        f"INSERT INTO {shop.table('product_sales')} (product_id, name, discontinued, orders, units, revenue)"
        " SELECT 'p' || lpad(n::text, 7, '0'), repeat('x', 600), false, 0, 0, '{}' FROM generate_series(1, 30000) AS n"
    )
    return Resource(shop.projections.relation("product_sales"), relation_digests(shop.projections)["product_sales"])


@asynccontextmanager
async def exporting(
    shop: World, resource: Resource, read_url: str, form: str = "ndjson", **limits: Any
) -> AsyncIterator[Callable[[Slow], Coroutine[Any, Any, None]]]:
    """What sends all of a view."""
    database = Database(read_url, shop.group, EXPORTS, LIMITS)
    exports, asked = Exports(database, Reader(database, Waiters(database)), **limits), tuple(resource.fields)
    async with database.running():
        yield lambda slow: exports.send(resource, Asked(form, (), (), asked), ALL, slow)


def rows_of(form: str, file: bytes) -> list[dict[str, Any]]:
    """The rows of a file."""
    if form == "csv":
        return list(csv.DictReader(io.StringIO(file.decode(), newline="")))
    if form == "ndjson":
        return [json.loads(line) for line in file.splitlines()]
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(file)).to_pylist()
    return rows


@pytest.mark.parametrize("form", FORMATS)
async def test_it_is_of_one_moment_and_generation_whatever_happens_meanwhile(
    shop: World, products: Resource, read_database_url: str, form: str
) -> None:
    slow = Slow()
    async with exporting(shop, products, read_database_url, form) as send:
        running = asyncio.create_task(send(slow))
        await slow.begun.wait()
        views = f'"{shop.group}_views"'
        shop.execute("UPDATE product_sales__g1 SET name = 'changed'")
        shop.execute(f"CREATE TABLE {views}.product_sales__g9 (LIKE product_sales__g1)")
        shop.execute(
            "INSERT INTO generations (relation, generation, version, digest, state)"
            " SELECT relation, 9, version, digest, 'live' FROM generations WHERE relation = 'product_sales'"
        )
        dropped = asyncio.create_task(asyncio.to_thread(_refused_to_drop, shop))
        assert await dropped, "what is being read is not dropped"
        slow.goes_on.set()
        await running
    try:
        rows = rows_of(form, b"".join(slow.parts))
        assert [row["product_id"] for row in rows] == [f"p{n:07}" for n in range(1, 30_001)]
        assert {row["name"] for row in rows} == {"x" * 600}
    finally:
        shop.execute("DELETE FROM generations WHERE relation = 'product_sales' AND generation = 9")
        shop.execute("DROP TABLE product_sales__g9")


def _refused_to_drop(shop: World) -> bool:
    with shop.connect() as connection:
        connection.execute("SET lock_timeout = '100ms'")
        try:
            connection.execute("DROP TABLE product_sales__g1 CASCADE")
        except psycopg.errors.LockNotAvailable:
            return True
    return False


async def test_where_nobody_takes_it_any_more_its_statement_ends(
    shop: World, products: Resource, read_database_url: str
) -> None:
    slow = Slow()
    async with exporting(shop, products, read_database_url) as send:
        running = asyncio.create_task(send(slow))
        await slow.begun.wait()
        assert running_in(read_database_url) == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running_in(read_database_url) == 0
        assert len(slow.parts) < 3
        slow.goes_on.set()
        await send(slow)  # its place and its connection are free


def test_it_ends_in_postgres_when_its_connection_does(shop: World, products: Resource, read_database_url: str) -> None:
    with serving(environment_of(shop, read_database_url)) as (process, address):
        path = f"{address}{products.path}/export?format=ndjson"
        with httpx.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
            parts = answer.iter_raw()  # with it the connection would be gone
            assert next(parts)
            assert running_in(read_database_url) == 1
        while running_in(read_database_url):
            time.sleep(0.02)
        assert httpx.get(path).text.count("\n") == 30_000
        process.terminate()
        assert process.stderr is not None
        assert "Error" not in process.stderr.read(), "who goes is no error"


@pytest.mark.parametrize("form", FORMATS)
def test_one_that_cannot_be_finished_is_broken_off_and_the_client_hears_of_it(
    shop: World, products: Resource, read_database_url: str, form: str
) -> None:
    """Its session ends in the middle: what came is no whole answer, so nobody takes it for the file."""
    if form == "parquet":
        fill_with_noise(shop)
    with serving(environment_of(shop, read_database_url)) as (process, address):
        path = f"{address}{products.path}/export?format={form}"
        with httpx.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.status_code == 200
            parts, some = answer.iter_raw(), b""
            some += next(parts)
            with psycopg.connect(read_database_url) as reader:
                ended = reader.execute(RUNNING.replace("count(*)", "pg_terminate_backend(pid, 5000)")).fetchall()
            assert ended == [(True,)]
            with pytest.raises(httpx.RemoteProtocolError):
                some += b"".join(parts)
        assert some.count(b"\n") < 30_000 or form == "parquet"
        assert some[-4:] != b"PAR1", "a file of Parquet that has its end"
        assert len(rows_of(form, httpx.get(path).content)) == 30_000, "the next one is whole"
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
        assert "GET /v1/products/export was broken off: the database does not answer\n" in said
        assert "  File" not in said, "it is no defect of the service"


def fill_with_noise(shop: World) -> None:
    """Names that make more than what lies between server and client takes, in every form."""
    noise = "(SELECT string_agg(md5(product_id || n), '') FROM generate_series(1, 59) AS n)"
    shop.execute(f"UPDATE product_sales__g1 SET name = {noise}")


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_one_of_which_its_client_takes_nothing_is_broken_off_and_the_log_says_so(
    shop: World, products: Resource, read_database_url: str, form: str
) -> None:
    fill_with_noise(shop)
    limit = "from read_api.export import download; download.SECONDS_TO_TAKE = 1"
    command = [sys.executable, "-c", f"{limit}; from projector.cli import main; main()", "api"]
    with serving(environment_of(shop, read_database_url), command) as (process, address):
        path = f"{address}{products.path}/export?format={form}"
        with httpx.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.status_code == 200
            assert process.stderr is not None
            said = process.stderr.readline()  # once it is broken off; until then the client takes nothing
            assert said == "GET /v1/products/export was broken off: its client took nothing of it for 1 s\n"
            assert running_in(read_database_url) == 0
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        process.terminate()
        assert "  File" not in process.stderr.read(), "it is no defect of the service"


async def test_a_download_is_sent_in_parts_that_a_slow_client_takes_in_time() -> None:
    whole, sent = random.Random(1).randbytes(5 * PART + 7), list[Message]()

    async def make(send: Send) -> None:
        await StreamingResponse(iter([whole, b"", b"end"])).stream_response(send)

    async def send(message: Message) -> None:
        sent.append(message)

    await Download(make)({}, asyncio.Event().wait, send)
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert b"".join(part["body"] for part in parts) == whole + b"end"
    assert max(len(part["body"]) for part in parts) == PART
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]


@pytest.mark.parametrize("form", FORMATS)
def test_the_memory_that_it_takes_does_not_grow_with_it(
    shop: World, products: Resource, read_database_url: str, form: str
) -> None:
    """120 MB after 24 MB: the process, which has had the smaller one, needs little more for the larger."""
    shop.execute("UPDATE product_sales__g1 SET name = repeat('x', 4000)")
    with serving(environment_of(shop, read_database_url)) as (process, address):
        memory = psutil.Process(process.pid).memory_info

        def most(query: str) -> int:
            path, most = f"{address}{products.path}/export?format={form}{query}", 0
            with httpx.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
                for _ in answer.iter_raw():
                    most = max(most, memory().rss)
            return most

        before = most("&product_id[lte]=p0006000")
        grown = most("") - before
        assert grown < 30 * 2**20, f"{grown:,} bytes for 96 MB"


async def test_more_exports_than_may_run_are_told_to_come_again(
    shop: World, products: Resource, read_database_url: str
) -> None:
    slow = Slow()
    async with exporting(shop, products, read_database_url, most=1) as send:
        running = asyncio.create_task(send(slow))
        await slow.begun.wait()
        with pytest.raises(Problem) as refused:
            await send(Slow())
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "5")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_that_takes_longer_than_it_may_is_ended(
    shop: World, products: Resource, read_database_url: str
) -> None:
    slow = Slow()
    async with exporting(shop, products, read_database_url, seconds=0.5) as send:
        with pytest.raises(Problem, match="more than it may"):
            await send(slow)
        assert slow.begun.is_set()
        assert running_in(read_database_url) == 0
