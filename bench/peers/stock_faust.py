"""A faust agent as faust's documentation has it, with SQLAlchemy: an event, a transaction, an upsert, a refreshed row.

`CONCURRENCY` actors work on the stream, each with a connection of its own.
"""

import os
import sys
from typing import Any

import faust
from sqlalchemy import MetaData, create_engine, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bench.peers import tables

CONCURRENCY = int(os.environ.get("CONCURRENCY", "1"))
URL = tables.DATABASE_URL.replace("postgresql://", "postgresql+psycopg://")
OPTIONS = {"options": tables.OPTIONS}

metadata = MetaData()
metadata.reflect(create_engine(URL, connect_args=OPTIONS))
t = metadata.tables
engine = create_async_engine(URL, connect_args=OPTIONS, pool_size=CONCURRENCY)
refresh = text(tables.REFRESH.replace("%(keys)s::text[]", "CAST(:keys AS text[])"))

app = faust.App(
    tables.SCHEMA,
    broker=f"kafka://{tables.BROKERS}",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
events = app.topic(
    *dict.fromkeys(topic for topic, _ in tables.PARTITIONS), value_serializer="json", key_serializer="raw"
)
handled = 0


@app.agent(events, concurrency=CONCURRENCY)
async def project(stream: Any) -> None:
    """One transaction an event; faust commits the offset afterwards."""
    global handled
    async for event in stream:
        async with engine.begin() as connection:
            keys = await store(connection, event["type"].split(".")[1], event["data"], event["time"])
            if keys:
                await connection.execute(refresh, {"keys": keys})
        handled += 1
        print(handled, file=sys.__stdout__, flush=True)  # for the bench, past faust's log


async def store(connection: AsyncConnection, name: str, data: dict[str, Any], time: str) -> list[str]:
    """Upsert the event's own rows; returns the orders that it touches."""
    if name.startswith("Customer"):
        values = {"erased": True, "name": None, "email": None, "segment": None} if name == "CustomerErased" else {}
        await upsert(connection, t["customers"], data | values)
        mine = select(t["orders"].c.order_id).where(t["orders"].c.customer_id == data["customer_id"])
        return list(await connection.scalars(mine))
    if name in ("ProductRepriced", "ProductDiscontinued"):
        return []  # neither is shown
    if name.startswith("Product"):
        shown = {n: data[n] for n in ("product_id", "name", "category") if n in data}
        await upsert(connection, t["products"], shown)
        mine = select(t["lines"].c.order_id).where(t["lines"].c.product_id == data["product_id"]).distinct()
        return list(await connection.scalars(mine))
    ids = {n: data[n] for n in ("order_id", "payment_id", "shipment_id") if n in data} | {"updated_at": time}
    if name == "OrderPlaced":
        lines = tables.lines_of(data)
        placed = {n: data[n] for n in ("customer_id", "currency", "placed_at")}
        placed |= {"total": sum(line["amount"] for line in lines), "line_count": len(lines)}
        await upsert(connection, t["orders"], ids | placed)
        await connection.execute(insert(t["lines"]).on_conflict_do_nothing(), lines)
    elif name == "OrderCancelled":
        await upsert(connection, t["orders"], ids | {"cancelled": True, "cancel_reason": data["reason"]})
    elif name.startswith("Stock"):
        status = {"StockReserved": "reserved", "StockReleased": "released"}.get(name, "failed")
        await upsert(connection, t["stock"], ids | {"status": status})
    elif name.startswith("Shipment"):
        told = {n: data[n] for n in ("carrier", "dispatched_at", "delivered_at") if n in data}
        await upsert(
            connection, t["shipments"], ids | told | ({"returned": True} if name == "ShipmentReturned" else {})
        )
    else:
        what = name.removeprefix("Payment").lower()
        amount = {what: data["amount"]} if what in ("captured", "refunded") else {what: True}
        await upsert(connection, t["payments"], ids | {"currency": data.get("currency", "")} | amount)
    return [data["order_id"]]


async def upsert(connection: AsyncConnection, table: Any, values: dict[str, Any]) -> None:
    """Insert a row, or set what the event tells; amounts add up."""
    statement = insert(table).values({n: value for n, value in values.items() if n in table.c})
    update = {n: statement.excluded[n] for n in values if n in table.c and n not in table.primary_key.columns}
    update |= {n: table.c[n] + statement.excluded[n] for n in ("captured", "refunded") if n in update}
    if "updated_at" in update:
        update["updated_at"] = func.greatest(table.c.updated_at, statement.excluded.updated_at)
    await connection.execute(statement.on_conflict_do_update(index_elements=table.primary_key, set_=update))


if __name__ == "__main__":
    app.main()
