"""PGSync on the same servers: a database of its own, its tables filled from a group's entities, its own index.

It follows the WAL, the quicker of its ways, and needs no Redis for that; its mapping is the one that Elasticsearch
makes of its documents.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench import libraries
from bench.peers import tables
from bench.place import BenchError, Place
from projector.embedded.postgres import SUPERUSER

DATABASE = INDEX = "pgsync"
NAME = "customers.name.keyword"
_TO_ONE = {"variant": "object", "type": "one_to_one"}
_LINES = {
    "table": "lines",
    "columns": ["line", "product_id", "quantity", "unit_price", "discount", "amount"],
    "relationship": {"variant": "object", "type": "one_to_many"},
    "children": [{"table": "products", "columns": ["name", "category"], "relationship": _TO_ONE}],
}
_CUSTOMER = {"table": "customers", "columns": ["name", "email", "country", "segment"], "relationship": _TO_ONE}
_COLUMNS = ["order_id", "placed_at", "currency", "total", "line_count", "customer_id", "cancelled", "updated_at"]
SCHEMA = [
    {
        "database": DATABASE,
        "index": INDEX,
        "nodes": {"table": "orders", "columns": _COLUMNS, "children": [_CUSTOMER, _LINES]},
    }
]
KEYS = """
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE lines ADD FOREIGN KEY (order_id) REFERENCES orders, ADD FOREIGN KEY (product_id) REFERENCES products;
"""
# Table → the query of its rows in a group's schemas.
_ROWS = {
    "customers": "SELECT customer_id, name, email, country, segment, erased FROM customers",
    "products": "SELECT product_id, name, category FROM products",
    "orders": "SELECT order_id, customer_id, currency, placed_at, total, line_count, status = 'cancelled', "
    "cancel_reason, updated_at FROM order_overview__g1",
    "lines": "SELECT order_id, line, product_id, quantity, unit_price, discount, amount FROM orders__lines",
}


@dataclass
class Synced:
    """What PGSync did at the beginning, and its tables."""

    documents: int
    seconds: float
    connection: psycopg.Connection[Any]


def decode_the_wal(where: Place) -> None:
    """Let Postgres write its WAL so that it can be followed: it is started anew for that."""
    with _superuser(where, "postgres") as connection:
        connection.execute("ALTER SYSTEM SET wal_level = logical")
    where.servers.stop_service("postgres")
    where.servers.start_service("postgres")


@contextmanager
def syncing(where: Place, group: str) -> Iterator[Synced]:
    """PGSync at work on what the group holds of orders."""
    with _superuser(where, "postgres") as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    schema, log = where.folder / "pgsync.json", where.folder / "pgsync.log"
    schema.write_text(json.dumps(SCHEMA))
    with _superuser(where, DATABASE) as connection:
        _fill(where, group, connection)
        command = [libraries.PGSYNC.python, "-m", "bench.peers.pgsync_wal", schema]
        with log.open("wb") as errors:
            popen = subprocess.Popen(command, env=_settings(where), stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            told = _first(popen, log)
            yield Synced(told["documents"], told["seconds"], connection)
        finally:
            popen.kill()
            popen.wait()


def _fill(where: Place, group: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute(tables.TABLES)
    with where.connect(group) as ours:
        for table, query in _ROWS.items():
            with (
                ours.cursor().copy(f"COPY ({query}) TO STDOUT") as rows,
                connection.cursor().copy(f"COPY {table} FROM STDIN") as into,
            ):
                for part in rows:
                    into.write(part)
    connection.execute(KEYS)
    connection.execute("ANALYZE")


def _first(popen: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    """The line that it prints when all is in the index."""
    assert popen.stdout
    for line in popen.stdout:
        if line.startswith("{"):
            told: dict[str, Any] = json.loads(line)
            return told
    raise BenchError(f"PGSync ended with {popen.wait()}: {log.read_text(errors='replace')[-2000:]}")


def _settings(where: Place) -> dict[str, str]:
    address = urlsplit(_url(where, DATABASE))
    return {
        "PATH": os.environ["PATH"],
        "PG_HOST": address.hostname or "",
        "PG_PORT": str(address.port),
        "PG_USER": address.username or "",
        "PG_PASSWORD": address.password or "",
        "PG_DATABASE": DATABASE,
        "ELASTICSEARCH_URL": where.endpoints.elasticsearch_url,
        "CHECKPOINT_PATH": str(where.folder),
    }


def _url(where: Place, database: str) -> str:
    passwords = json.loads((where.servers.root / "passwords.json").read_text())
    address = urlsplit(where.endpoints.database_url)
    at = f"{SUPERUSER}:{passwords[SUPERUSER]}@{address.hostname}:{address.port}"
    return urlunsplit((address.scheme, at, database, "", ""))


def _superuser(where: Place, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(_url(where, database), autocommit=True)
