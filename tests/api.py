"""The read API over a group of its own: views filled by hand or by events, requests without a socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.types.json import Jsonb

from projector.settings import Settings
from projector.store.keys import create
from read_api.app import create_app
from read_api.freshness import POSITIONS
from tests.world import World, world

ORDER = {"order_id": "o1", "status": "paid", "customer_id": "c1", "line_count": 1, "lines": [], "total": 1}
PERSONAL = {"customer_name": "Annabel Secret", "customer_email": "annabel@example.org", "customer_segment": "VIPS"}
# one of each kind that asks who comes, what is not there among them; the first six are of order_overview
PATHS = [
    "/v1/orders", "/v1/orders/o1", "/v1/customers/c1/orders", "/v1/orders/search?q=x", "/v1/orders/export?format=csv",
    "/v1/orders/changes", "/v1/status", "/metrics", "/openapi.json", "/docs", "/", "/static/nothing", "/nothing",
]  # fmt: skip


def settings_of(shop: World, read_url: str, **more: Any) -> Settings:
    given: dict[str, Any] = {"read_database_url": read_url, "group": shop.group, "projections": shop.projections.name}
    return Settings(**given, **more)


@contextmanager
def served_world(url: str, read_url: str, name: str = "projections") -> Iterator[World]:
    with world(url, name, read_url) as made:
        yield made


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which runs as long as the client is open."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@asynccontextmanager
async def api(shop: World, read_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings_of(shop, read_url, **settings))) as client:
        yield client


def key_of(shop: World, name: str, *views: str, pii: bool = True, lasts: timedelta | None = None) -> dict[str, str]:
    """The header of a new key's caller."""
    expires = datetime.now(UTC) + lasts if lasts else None
    with shop.connect() as connection:
        _, key = create(connection, name, views or None, pii, expires)
    return {"Authorization": f"Bearer {key}"}


def fill(shop: World, view: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the rows of a view's table; columns that a row leaves out are null."""
    table = shop.table(view)
    with shop.connect() as connection, connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {table}")
        for columns in {tuple(row) for row in rows}:
            names, places = ", ".join(f'"{c}"' for c in columns), ", ".join("%s" for _ in columns)
            values = [[_value(row[c]) for c in columns] for row in rows if tuple(row) == columns]
            cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", values)


def _value(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


async def pages(
    client: httpx.AsyncClient, path: str, limits: Iterator[int], **parameters: str
) -> list[list[dict[str, Any]]]:
    """Every page of a list, by its cursors."""
    found: list[list[dict[str, Any]]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await client.get(path, params={**parameters, **cursor, "limit": str(next(limits))})
        assert answer.status_code == 200, answer.text
        page = json.loads(answer.text)
        found.append(page["data"])
        assert (page["next_cursor"] is not None) == page["has_more"]
        if not page["has_more"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


def applied(shop: World, topic: str, partition: int, following: int) -> None:
    """Say that all offsets before `following` are applied."""
    shop.execute(
        "INSERT INTO positions (topic, partition, next) VALUES (%s, %s, %s)"
        " ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next",
        topic, partition, following,
    )  # fmt: skip


async def until_somebody_looks(read_url: str) -> None:
    """Wait until the positions are being asked for."""
    looks = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'prejoin-api' AND query = %s)"
    async with await psycopg.AsyncConnection.connect(read_url, autocommit=True) as reader, asyncio.timeout(20):
        while (await (await reader.execute(looks, [POSITIONS])).fetchone()) == (False,):  # noqa: ASYNC110 – the event is in Postgres
            await asyncio.sleep(0.01)
