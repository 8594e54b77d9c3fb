"""What is done where there is no pre-joined view: three services, each with its tables, and a composer that asks them.

As somebody who takes care would write it: one process each, pools, prepared statements, JSON from Postgres, the second
round of requests at once, connections kept. That round has a request a row, as services have it that know of no list of
ids, or one for all rows of a service, where they have batch endpoints.

`python -m bench.peers.composition SERVICE PORT URL SCHEMA [SERVICES…]`
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from psycopg_pool import AsyncConnectionPool

TABLES = {
    "orders": "CREATE TABLE {0}.orders AS SELECT o.order_id, o.placed_at, o.currency, o.total, o.customer_id,"
    " o.cancelled, (SELECT json_agg(l) FROM {1}.orders__lines AS l WHERE l.order_id = o.order_id) AS lines"
    " FROM {1}.orders AS o",
    "customers": "CREATE TABLE {0}.customers AS SELECT customer_id, name, email, country, segment FROM {1}.customers",
    "payments": "CREATE TABLE {0}.payments AS SELECT payment_id, order_id, captured, refunded, authorized, failed"
    " FROM {1}.payments",
}
INDEXES = (
    "ALTER TABLE {0}.orders ADD PRIMARY KEY (order_id)",
    "CREATE INDEX ON {0}.orders (placed_at DESC, order_id)",
    "ALTER TABLE {0}.customers ADD PRIMARY KEY (customer_id)",
    "CREATE INDEX ON {0}.payments (order_id)",
    "ANALYZE {0}.orders, {0}.customers, {0}.payments",
)
# The latest orders, and of the other two all rows of a batch of ids.
ASKED = {
    "orders": "SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT * FROM orders"
    " ORDER BY placed_at DESC, order_id LIMIT %s) AS r",
    "customers": "SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT * FROM customers"
    " WHERE customer_id = ANY(%s)) AS r",
    "payments": "SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT * FROM payments WHERE order_id = ANY(%s)) AS r",
}


def service(name: str, url: str, schema: str) -> FastAPI:
    """`GET /?limit=20` of orders, `GET /?ids=a,b,c` of the others."""
    options = {"options": f"-c search_path={schema}", "autocommit": True}
    pool = AsyncConnectionPool(url, kwargs=options, min_size=4, max_size=8, open=False)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def rows(request: Request) -> Response:
        asked: Any = request.query_params.get("ids")
        asked = asked.split(",") if asked else int(request.query_params["limit"])
        async with pool.connection() as connection:
            found = await (await connection.execute(ASKED[name], [asked], prepare=True)).fetchone()
        return Response(found[0] if found else "[]", media_type="application/json")

    return app


def composer(services: dict[str, str]) -> FastAPI:
    """`GET /orders?limit=20&batch=true`: orders, each with its customer and payments; else a request a row."""
    sessions = list[aiohttp.ClientSession]()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
            sessions.append(session)
            yield

    app = FastAPI(lifespan=lifespan)

    async def ask(name: str, query: str) -> list[dict[str, Any]]:
        async with sessions[0].get(f"{services[name]}/?{query}") as answer:
            found: list[dict[str, Any]] = msgspec.json.decode(await answer.read())
            return found

    async def ask_for(name: str, ids: Iterable[str], batch: bool) -> list[dict[str, Any]]:
        asked = [",".join(ids)] if batch else ids
        return [row for rows in await asyncio.gather(*(ask(name, f"ids={each}") for each in asked)) for row in rows]

    @app.get("/orders")
    async def orders(limit: int = 20, batch: bool = True) -> Response:
        rows = await ask("orders", f"limit={limit}")
        customers, payments = await asyncio.gather(
            ask_for("customers", {row["customer_id"] for row in rows}, batch),
            ask_for("payments", [row["order_id"] for row in rows], batch),
        )
        by_id = {each["customer_id"]: each for each in customers}
        by_order: dict[str, list[dict[str, Any]]] = {}
        for each in payments:
            by_order.setdefault(each["order_id"], []).append(each)
        joined = [
            row | {"customer": by_id.get(row["customer_id"]), "payments": by_order.get(row["order_id"], [])}
            for row in rows
        ]
        return Response(msgspec.json.encode({"data": joined}), media_type="application/json")

    return app


if __name__ == "__main__":
    name, port, url, schema, *others = sys.argv[1:]
    made = composer(dict(zip(TABLES, others, strict=True))) if name == "composer" else service(name, url, schema)
    uvicorn.run(made, port=int(port), log_level="warning", access_log=False)
