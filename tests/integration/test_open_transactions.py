"""As-Of while somebody's transaction is open: what others published behind it cannot be read yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running import Place, note, places, until

# As-Of, and whether a worker has had three heartbeats and more since what the broker last held was published
LOOK = """
SELECT extract(epoch FROM as_of)::float, (SELECT max(beat_at) FROM workers) > sent.at + interval '2 seconds'
FROM projection_group, (SELECT to_timestamp({at}) AS at) AS sent
"""


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def test_as_of_waits_for_what_was_acknowledged_behind_an_open_transaction(place: Place) -> None:
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    async with place.producer(transactional_id=place.name) as another:
        await another.begin_transaction()
        await another.send_and_wait(place.topic, note(place.topic, 1_000), partition=0)
        async with place.producer() as producer:
            held = await producer.send_and_wait(place.topic, note(place.topic, 0), partition=0)
        at = held.timestamp / 1000

        def beaten() -> list[float | None]:
            ((as_of, is_later),) = place.query(LOOK.format(at=at))
            return [as_of] if is_later else []

        (as_of,) = await until(beaten)
        assert as_of is None or as_of < at
        assert place.told() == {}
        await another.abort_transaction()
    await until(lambda: (place.query(LOOK.format(at=at))[0][0] or 0) > at)
    assert place.told() == {0: 1}
