"""Tables are analyzed while they grow, and not where Postgres knows them."""

from psycopg.pq import TransactionStatus

from projector.apply.statistics import FIRST, Statistics
from projector.store.connect import connect
from tests.shelf import shelf
from tests.world import World

_WRITE = "INSERT INTO kept SELECT FROM generate_series(1, %s)"


def test_a_table_is_analyzed_as_it_doubles_and_not_where_that_was_done_already(database_url: str) -> None:
    made = World(database_url, shelf())
    connection = connect(made.url, made.group, name="test")  # as the applier's, which commits what is whole
    with connection.transaction():
        connection.execute("CREATE TABLE kept WITH (autovacuum_enabled = false) AS SELECT FROM generate_series(1, 0)")
    statistics = Statistics()

    def known_after(rows: int, by: Statistics) -> int:
        with connection.transaction():
            connection.execute(_WRITE, (rows,))
        by.keep(connection, {"kept": rows})
        assert connection.info.transaction_status == TransactionStatus.IDLE
        ((known,),) = made.fetch("SELECT reltuples::int FROM pg_class WHERE relname = 'kept'")
        return int(known)

    assert known_after(FIRST - 1, statistics) == -1
    assert known_after(1, statistics) == FIRST
    assert known_after(FIRST - 1, statistics) == FIRST
    assert known_after(1, statistics) == 2 * FIRST
    anew = Statistics()  # of a worker that begins: nothing is asked of Postgres that it knows
    assert known_after(FIRST, anew) == 2 * FIRST
    assert known_after(2 * FIRST, anew) == 2 * FIRST
    assert known_after(FIRST, anew) == 6 * FIRST
    statistics.keep(connection, {"dropped": FIRST})
    connection.close()
    made.drop()
