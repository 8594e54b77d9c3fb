"""The servers that tests share: one real Postgres and Kafka a session, started when a test first asks for them."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from projector.embedded import Endpoints, Stack
from projector.testing import Views
from tests.world import World, world

# Where the tests run in the background of a shell, SIGINT is ignored, and so it would be in all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

JARS = Path(__file__).parents[1] / ".prejoin" / "lib"


@contextmanager
def servers_of_their_own(*names: str) -> Iterator[Stack]:
    """Servers with their data in a folder that goes with them."""
    # not pytest's own temporary folder: it takes the right to pass through from Postgres' system user
    with tempfile.TemporaryDirectory(prefix="prejoin-tests-") as root, Stack(Path(root), names, cache=JARS) as made:
        yield made


@pytest.fixture(scope="session")
def stack() -> Iterator[Endpoints]:
    with servers_of_their_own("postgres", "kafka") as servers:
        yield servers.endpoints


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[Stack]:
    """A node of its own, which tests may stop and start."""
    with servers_of_their_own("elasticsearch") as server:
        yield server


@pytest.fixture(scope="session")
def elasticsearch_url(elasticsearch: Stack) -> str:
    return elasticsearch.endpoints.elasticsearch_url


@pytest.fixture(scope="session")
def database_url(stack: Endpoints) -> str:
    return stack.database_url


@pytest.fixture(scope="session")
def read_database_url(stack: Endpoints) -> str:
    return stack.read_database_url


@pytest.fixture(scope="session")
def kafka_brokers(stack: Endpoints) -> str:
    return stack.kafka_brokers


@pytest.fixture(scope="module")
def of_the_shop(database_url: str) -> Iterator[World]:
    """The shop's projections in a group of their own, one for all tests of a module."""
    with world(database_url) as made:
        yield made


@pytest.fixture
def views(of_the_shop: World) -> Views:
    """The shop's views, without a row."""
    of_the_shop.clear()
    return Views(of_the_shop)
