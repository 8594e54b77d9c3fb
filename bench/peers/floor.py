"""What batches can do without an engine: written by hand for these events, with nothing that an engine must have.

No versions, no repeats told apart, no dead letters, no lock, no change feed; one process, no group.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.peers import tables
from bench.peers.floor_sql import STATEMENTS

BATCH = 20_000
Rows = dict[Any, dict[str, Any]]


class Batch:
    """The rows that a batch of events comes to, by statement and key; and whose joined rows it touches."""

    def __init__(self) -> None:
        self.rows: dict[str, Rows] = defaultdict(dict)
        self.orders, self.customers, self.products = set[str](), set[str](), set[str]()

    def fold(self, value: bytes) -> None:
        event = msgspec.json.decode(value)
        topic, name = event["type"].split(".")[:2]
        data, time = event["data"], event["time"]
        if topic == "customers":
            self.customers.add(data["customer_id"])
            if name == "CustomerRegistered":
                self.rows["customers"][data["customer_id"]] = data
                return
            changed = self.rows["customers changed"].setdefault(data["customer_id"], {"erased": False})
            changed.update(data, erased=changed["erased"] or name == "CustomerErased")
        elif topic == "catalog":
            if name in ("ProductAdded", "ProductRenamed"):
                self.products.add(data["product_id"])
                self.rows["products" if name == "ProductAdded" else "products changed"][data["product_id"]] = data
        else:
            self.orders.add(data["order_id"])
            getattr(self, f"_{topic}")(name, data, time)

    def _orders(self, name: str, data: dict[str, Any], time: str) -> None:
        data["updated_at"] = time
        if name == "OrderCancelled":
            self.rows["orders cancelled"][data["order_id"]] = data
            return
        lines = tables.lines_of(data)
        data["total"], data["line_count"] = sum([line["amount"] for line in lines]), len(lines)
        data.pop("lines", None)
        self.rows["orders"][data["order_id"]] = data
        for line in lines:
            self.rows["lines"][data["order_id"], line["line"]] = line

    def _payments(self, name: str, data: dict[str, Any], time: str) -> None:
        key = data["payment_id"], data.get("currency", "")
        row = self.rows["payments"].get(key)
        if row is None:
            flags = {"authorized": False, "failed": False, "captured": Decimal(0), "refunded": Decimal(0)}
            row = {"payment_id": key[0], "currency": key[1], "order_id": data["order_id"], "updated_at": time, **flags}
            self.rows["payments"][key] = row
        row["updated_at"] = max(row["updated_at"], time)
        what = name.removeprefix("Payment").lower()
        row[what] = row[what] + Decimal(data["amount"]) if what in ("captured", "refunded") else True

    def _inventory(self, name: str, data: dict[str, Any], time: str) -> None:
        status = {"StockReserved": "reserved", "StockReleased": "released"}.get(name, "failed")
        self.rows["stock"][data["order_id"]] = {"order_id": data["order_id"], "status": status, "updated_at": time}

    def _shipping(self, name: str, data: dict[str, Any], time: str) -> None:
        row = self.rows["shipments"].get(data["shipment_id"])
        if row is None:
            row = {
                "shipment_id": data["shipment_id"],
                "order_id": data["order_id"],
                "returned": False,
                "updated_at": time,
            }
            self.rows["shipments"][data["shipment_id"]] = row
        row["updated_at"] = max(row["updated_at"], time)
        if name == "ShipmentDispatched":
            if "dispatched_at" not in row or data["dispatched_at"] < row["dispatched_at"]:
                row["carrier"], row["dispatched_at"] = data["carrier"], data["dispatched_at"]
        elif name == "ShipmentDelivered":
            row["delivered_at"] = max(row.get("delivered_at", ""), data["delivered_at"])
        else:
            row["returned"] = True


def apply(connection: psycopg.Connection[Any], records: Iterable[Any], after: dict[TopicPartition, int]) -> None:
    batch = Batch()
    for record in records:
        batch.fold(record.value)
    with connection.transaction(), connection.cursor() as cursor:
        for name, statement in STATEMENTS.items():
            if rows := batch.rows.get(name):
                cursor.execute(statement, [msgspec.json.encode(list(rows.values())).decode()])
        keys = batch.orders
        for query, changed in (
            (tables.ORDERS_OF_CUSTOMERS, batch.customers),
            (tables.ORDERS_OF_PRODUCTS, batch.products),
        ):
            if changed:
                keys |= {key for (key,) in cursor.execute(query, [list(changed)])}
        if keys:
            cursor.execute(tables.REFRESH, {"keys": list(keys)})
        cursor.execute(tables.POSITION, [[p.topic for p in after], [p.partition for p in after], list(after.values())])


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=tables.BROKERS, isolation_level="read_committed")
    await consumer.start()
    with psycopg.connect(tables.DATABASE_URL, options=tables.OPTIONS, autocommit=True) as connection:
        stored = {(t, p): n for t, p, n in connection.execute("SELECT topic, partition, next FROM positions")}
        consumer.assign([TopicPartition(*partition) for partition in tables.PARTITIONS])
        for partition in tables.PARTITIONS:
            consumer.seek(TopicPartition(*partition), stored.get(partition, 0))
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=BATCH)
            if fetched:
                records = [record for its in fetched.values() for record in its]
                after = {partition: its[-1].offset + 1 for partition, its in fetched.items()}
                await asyncio.to_thread(apply, connection, records, after)


if __name__ == "__main__":
    asyncio.run(main())
