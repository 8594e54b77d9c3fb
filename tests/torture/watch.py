"""What must hold at every moment of a run, not only at its end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from aiokafka import TopicPartition

from projector.errors import PrejoinError
from tests.torture.failed import TortureFailed
from tests.torture.stream import Ends
from tests.world import World

SECONDS_BETWEEN_LOOKS, SHOWN = 0.25, 5
# Looking now and then would miss a position that goes back and forth again: each write of one is looked at.
_TRAP = """
CREATE TABLE went_back (what text);
CREATE FUNCTION note_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO went_back SELECT format('%s/%s from %s to %s', OLD.topic, OLD.partition, OLD.next, NEW.next);
  RETURN NULL;
END $$;
CREATE TRIGGER going_back AFTER UPDATE ON positions FOR EACH ROW WHEN (NEW.next < OLD.next)
EXECUTE FUNCTION note_going_back();
"""
_LOOK = """
SELECT (SELECT extract(epoch FROM as_of)::float FROM projection_group),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(topic, partition, next)), '[]') FROM positions),
       (SELECT count(*) FROM pending), (SELECT jsonb_agg(what) FROM went_back)
"""


class Watch:
    """Looks again and again: positions never go back, and As-Of never says more than is applied."""

    def __init__(self, world: World, acknowledged: Sequence[tuple[float, Ends]]) -> None:
        self._world, self._acknowledged = world, acknowledged
        self._next = 0  # the acknowledgement after the last that As-Of has covered
        self.looks = 0
        with world.connect() as connection:
            connection.execute(_TRAP)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def look(self) -> tuple[Ends, int] | None:
        """Positions and the number of pending keys as of one moment; None where Postgres is away."""
        try:
            ((as_of, rows, pending, went_back),) = await asyncio.to_thread(self._world.fetch, _LOOK)
        except (psycopg.OperationalError, PrejoinError):
            return None
        self.looks += 1
        if went_back:
            raise TortureFailed(f"positions went back: {', '.join(went_back[:SHOWN])}")
        positions = {TopicPartition(t, p): n for t, p, n in rows}
        self._check_as_of_covers(as_of, positions)
        return positions, pending

    def _check_as_of_covers(self, as_of: float | None, positions: Ends) -> None:
        while self._next < len(self._acknowledged) and (as_of or 0) > self._acknowledged[self._next][0]:
            self._check_as_of(as_of, self._acknowledged[self._next][1], positions)
            self._next += 1

    def _check_as_of(self, as_of: Any, held: Ends, positions: Ends) -> None:
        behind = {tp: (positions.get(tp, 0), end) for tp, end in held.items() if positions.get(tp, 0) < end}
        if behind:
            raise TortureFailed(f"As-Of says {as_of}, but what Kafka held before is not applied: {behind}")
