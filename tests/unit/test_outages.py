"""What is tried again behind an outage, for how long, and what is said of it."""

import psycopg
import pytest

from projector.errors import PrejoinError, Unreachable
from projector.outages import Insisting, passes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.outages.FIRST_WAIT", 0.001)


@pytest.mark.parametrize(
    ("error", "does"),
    [
        (psycopg.OperationalError("the connection is closed"), True),
        (psycopg.InterfaceError("the cursor is closed"), True),
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CannotConnectNow(), True),
        (psycopg.errors.IdleInTransactionSessionTimeout(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.DiskFull(), False),
        (psycopg.errors.OutOfMemory(), False),
        (psycopg.errors.QueryCanceled(), False),
        (psycopg.errors.UniqueViolation(), False),
        (Unreachable("Kafka is away; is it running?"), True),
        (PrejoinError("orders/0 begins at offset 5: say --allow-truncated"), False),
    ],
)
def test_what_a_server_that_is_away_causes_passes_and_nothing_else(error: Exception, does: bool) -> None:
    assert passes(error) is does


def test_an_outage_is_told_once_and_one_behind_another_step_again() -> None:
    said, away = list[str](), iter([True, True, False, True, True, False, False])
    insisting = Insisting(said.append)

    def work() -> str:
        if next(away):
            raise Unreachable("cannot reach Kafka at k:1: no answer; is it running?")
        insisting.moved("half")
        if next(away):
            raise psycopg.errors.AdminShutdown("terminating connection\nwith more")
        return "done"

    assert insisting.run(work) == "done"
    assert said == [
        "cannot reach Kafka at k:1: no answer; trying again, for 120 s at most",
        "Postgres (PREJOIN_DATABASE_URL) gave up: terminating connection; trying again, for 120 s at most",
    ]


def test_it_ends_when_patience_does_also_where_each_try_does_the_same_step_again() -> None:
    insisting, tries = Insisting(lambda line: None, patience=0.05), list[int]()

    def work() -> None:
        tries.append(1)
        insisting.moved("the same")
        raise Unreachable("Kafka is away; is it running?")

    with pytest.raises(Unreachable, match=r"is it running\?$"):
        insisting.run(work)
    assert len(tries) > 1
