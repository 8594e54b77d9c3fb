"""`prejoin api` as its user meets it: it serves, it stops, and it says in one line why it cannot start."""

import json
import signal
import socket
import subprocess
from contextlib import suppress

import httpx
import pytest

from tests.integration.serving import COMMAND, environment_of, serving
from tests.world import World


@pytest.fixture
def environment(shop: World, read_database_url: str) -> dict[str, str]:
    return environment_of(shop, read_database_url)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_a_signal_and_then_stops_cleanly(
    environment: dict[str, str], how: signal.Signals, code: int
) -> None:
    with serving(environment) as (process, address):
        with httpx.Client(base_url=address) as client:
            assert client.get("/readyz").json() == {"status": "ready"}
            assert client.get("/v1/orders").json()["data"] == []
            assert client.head("/v1/orders").headers["cache-control"] == "no-cache"
            assert client.get("/v1/orders?status=" + "x" * 40_000).status_code == 414
        process.send_signal(how)
        assert process.wait(15) == code
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_open_streams_end_with_it(environment: dict[str, str]) -> None:
    with serving(environment) as (process, address):
        with httpx.stream("GET", f"{address}/v1/orders/changes") as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            process.send_signal(signal.SIGTERM)
            assert all(not line or line.startswith((":", "id")) for line in lines)
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_any_other_method_is_told_which_there_are(environment: dict[str, str]) -> None:
    with serving(environment) as (_, address), httpx.Client(base_url=address) as client:
        for method in ("OPTIONS", "BREW", "M-SEARCH2"):
            answer = client.request(method, "/v1/orders")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
            assert answer.json()["status"] == 405


def test_a_head_without_an_end_and_what_is_no_http_are_refused(environment: dict[str, str]) -> None:
    endless, none = b"GET /livez HTTP/1.1\r\nHost: api\r\nX: " + b"x" * 50_000, b"hello\r\n\r\n"
    odd = b"GET /livez HTTP/1.1\r\nHost: api\r\nno field\r\n\r\n"
    with serving(environment) as (_, address):
        for begin, more, status in ((endless, b"x" * 50_000, 431), (none, b"", 400), (odd, b"", 400)):
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=15) as client:
                client.sendall(begin)
                answer, sent = b"", 0
                while more and sent < 20 and not answer:
                    with suppress(TimeoutError, ConnectionError):
                        client.settimeout(0.05)
                        client.sendall(more)
                        sent += 1
                        answer = client.recv(65_536)
                client.settimeout(15)
                head, _, body = (answer or client.recv(65_536)).partition(b"\r\n\r\n")
                assert head.startswith(f"HTTP/1.1 {status} ".encode())
                assert b"application/problem+json" in head
                assert json.loads(body)["status"] == status
        assert httpx.get(f"{address}/livez", headers={"X": "x" * 30_000}).status_code == 200


def publish(environment: dict[str, str], customer: str) -> None:
    """One event through `prejoin publish`."""
    event = {"specversion": "1.0", "id": customer, "source": "tests", "type": "customers.CustomerRegistered"}
    event |= {"subject": customer, "time": "2026-01-01T00:00:00Z"}
    data = {"customer_id": customer, "name": "Ann", "email": "ann@example.org", "country": "DE"}
    command, line = [*COMMAND[:-1], "publish", "-"], json.dumps({**event, "data": data})
    subprocess.run(command, env=environment, input=line, text=True, check=True, capture_output=True)


def test_the_status_tells_where_the_broker_ends_though_no_worker_ran(
    environment: dict[str, str], kafka_brokers: str
) -> None:
    environment["PREJOIN_KAFKA_BROKERS"] = kafka_brokers
    publish(environment, "ann")
    said = subprocess.run(
        [*COMMAND[:-1], "status", "--json"],
        env=environment | {"PREJOIN_DATABASE_URL": environment["PREJOIN_READ_DATABASE_URL"]},
        capture_output=True,
        text=True,
        check=False,
    )
    with serving(environment) as (_, address):
        status = httpx.get(f"{address}/v1/status").json()
    customers = [p for p in status["partitions"] if p["topic"] == "customers"]
    assert customers
    assert sum(p["lag"] for p in customers) == sum(p["end_offset"] for p in customers) > 0
    assert (status, said.returncode) == (json.loads(said.stdout), 1)


def test_the_status_is_told_though_the_broker_does_not_answer(environment: dict[str, str]) -> None:
    with serving(environment | {"PREJOIN_KAFKA_BROKERS": "127.0.0.1:1"}) as (process, address):
        assert httpx.get(f"{address}/v1/status").json()["state"] == "stopped"
        process.send_signal(signal.SIGTERM)
        process.wait(15)
        assert process.stderr is not None
        assert process.stderr.read() == ""


def refusal(environment: dict[str, str], **settings: str) -> str:
    """What it says when it does not start: one line."""
    ended = subprocess.run(COMMAND, env=environment | settings, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


def test_a_port_in_use_is_named(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(environment, PREJOIN_API_PORT=port)
    assert "PREJOIN_API_PORT" in said
    assert port in said


def test_it_does_not_listen_to_others_unless_told_so(environment: dict[str, str]) -> None:
    assert "PREJOIN_API_OPEN" in refusal(environment, PREJOIN_API_HOST="0.0.0.0")
    with serving(environment | {"PREJOIN_API_OPEN": "true"}) as (_, address):
        assert httpx.get(f"{address}/livez").status_code == 200


def test_a_role_that_can_write_is_refused(environment: dict[str, str], database_url: str) -> None:
    said = refusal(environment, PREJOIN_READ_DATABASE_URL=database_url)
    assert "PREJOIN_READ_DATABASE_URL names a role that can write" in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PREJOIN_READ_DATABASE_URL", "postgresql://reader:hidden@127.0.0.1:1/x", "PREJOIN_READ_DATABASE_URL"),
        ("PREJOIN_READ_DATABASE_URL", "", "PREJOIN_READ_DATABASE_URL"),
        ("PREJOIN_GROUP", "nobody", "prejoin migrate"),
        ("PREJOIN_API_HOST", "192.0.2.1", "PREJOIN_API_OPEN"),
        ("PREJOIN_API_HOST", "no.such.host.invalid", "PREJOIN_API_HOST"),
        ("PREJOIN_API_PORT", "70000", "PREJOIN_API_PORT"),
        ("PREJOIN_PROJECTIONS", "no_such_package", "no_such_package"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(environment: dict[str, str], name: str, value: str, said: str) -> None:
    message = refusal(environment, **{name: value})
    assert said in message
    assert "hidden" not in message
