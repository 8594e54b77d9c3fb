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

SECONDS_BETWEEN_LOOKS = 0.25
_LOOK = """
SELECT (SELECT extract(epoch FROM as_of)::float FROM projection_group),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(topic, partition, next)), '[]') FROM positions),
       (SELECT count(*) FROM pending)
"""


class Watch:
    """Looks again and again: positions never go back, and As-Of never says more than is applied."""

    def __init__(self, world: World, acknowledged: Sequence[tuple[float, Ends]]) -> None:
        self._world, self._acknowledged = world, acknowledged
        self._reached: Ends = {}
        self._next = 0  # the acknowledgement after the last that As-Of has covered
        self.looks = 0

    async def run(self) -> None:
        while True:
            found = await self.look()
            if found is not None:
                self._check(*found)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def look(self) -> tuple[float | None, Ends, int] | None:
        """As-Of, positions and the number of pending keys as of one moment; None where Postgres is away."""
        try:
            ((as_of, positions, pending),) = await asyncio.to_thread(self._world.fetch, _LOOK)
        except (psycopg.OperationalError, PrejoinError):
            return None
        self.looks += 1
        return as_of, {TopicPartition(t, p): n for t, p, n in positions}, pending

    def _check(self, as_of: float | None, positions: Ends, _pending: int) -> None:
        for partition, reached in self._reached.items():
            if positions.get(partition, 0) < reached:
                raise TortureFailed(f"{partition} went back from {reached} to {positions.get(partition)}")
        self._reached = positions
        while self._next < len(self._acknowledged) and (as_of or 0) > self._acknowledged[self._next][0]:
            self._check_as_of(as_of, self._acknowledged[self._next][1], positions)
            self._next += 1

    def _check_as_of(self, as_of: Any, held: Ends, positions: Ends) -> None:
        behind = {tp: (positions.get(tp, 0), end) for tp, end in held.items() if positions.get(tp, 0) < end}
        if behind:
            raise TortureFailed(f"As-Of says {as_of}, but what Kafka held before is not applied: {behind}")
