"""What the worker itself reads and writes in Postgres, on a connection of its own: a busy applier holds nothing up."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from projector.apply.batch import TopicPartition
from projector.ingest.broker import Topic
from projector.store.connect import TCP, options

# What a statement may raise for reasons that pass: the next call connects anew. InternalError is, of all it may be,
# the refusal of a database that only reads for now.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
MILLISECONDS = 5_000

_READ = """
SELECT p.topic, p.partition, p.next, p.topic_id, e.end_offset, now.pending, now.paused, now.alone
FROM (SELECT EXISTS (SELECT FROM pending JOIN served USING (relation, generation))
      OR EXISTS (SELECT FROM erasures WHERE NOT whole) AS pending,
    (SELECT paused_by FROM projection_group WHERE paused_at IS NOT NULL) AS paused, NOT EXISTS (SELECT FROM workers
    WHERE worker <> %(worker)s AND beat_at > clock_timestamp() - interval '10 seconds') AS alone) AS now
  LEFT JOIN positions AS p ON true LEFT JOIN ends AS e USING (topic, partition)
"""
_BEAT = """
INSERT INTO workers (worker, started_at, beat_at, state, detail)
VALUES (%(worker)s, now(), now(), %(state)s, %(detail)s)
ON CONFLICT (worker) DO UPDATE SET beat_at = excluded.beat_at, state = excluded.state, detail = excluded.detail
"""
_BURY = "DELETE FROM workers WHERE beat_at < now() - interval '1 minute'"
_FORGET = "DELETE FROM workers WHERE worker = %(worker)s"
# In one order, so that two workers do not wait for each other; at rest every 2 s, not at every beat.
_ENDS = """
INSERT INTO ends (topic, partition, end_offset, seen_at)
SELECT topic, partition, end_offset, now()
FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(ends)s::bigint[]) AS seen (topic, partition, end_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET end_offset = excluded.end_offset, seen_at = excluded.seen_at
WHERE ends.end_offset <> excluded.end_offset OR ends.seen_at < excluded.seen_at - interval '2 seconds'
"""
_GONE = "DELETE FROM ends WHERE topic <> ALL (%(topics)s::text[])"
_AS_OF = "UPDATE projection_group SET as_of = %(at)s WHERE as_of IS NULL OR as_of < %(at)s"
# The applier makes the rows without id. Rows that it holds at the moment wait for the next beat.
_TOPIC_IDS = """
UPDATE positions AS p SET topic_id = known.id
FROM (SELECT topic, partition FROM positions WHERE topic_id IS NULL FOR UPDATE SKIP LOCKED) AS unknown
JOIN unnest(%(topics)s::text[], %(ids)s::text[]) AS known (topic, id) USING (topic)
WHERE (p.topic, p.partition) = (unknown.topic, unknown.partition)
"""


class Stored(NamedTuple):
    """A partition's row in `positions`; `seen` is the end that a worker noted last."""

    next: int
    topic_id: str | None
    seen: int | None = None


class Seen(NamedTuple):
    """All positions, whether keys are pending, who has paused the group, and whether no other worker beats, at once."""

    stored: dict[TopicPartition, Stored]
    pending: bool
    paused: str | None
    alone: bool


class Ledger:
    """Positions, heartbeat, ends and As-Of. Raises what is in PASSING; the next call connects anew."""

    def __init__(self, url: str, group: str, worker: str) -> None:
        self._url, self._group, self._worker = url, group, worker
        self._one_at_a_time = asyncio.Lock()
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def read(self) -> Seen:
        """See where everything is."""
        rows = await self._run(_READ, {"worker": self._worker})
        stored = {TopicPartition(t, p): Stored(*at) for t, p, *at, _, _, _ in rows if t is not None}
        return Seen(stored, *rows[0][5:])

    async def beat(self, state: str, detail: str | None) -> None:
        """Say that this worker lives, and bury those that have not said so for a minute."""
        await self._run(_BEAT, {"worker": self._worker, "state": state, "detail": detail})
        await self._run(_BURY)

    async def forget(self) -> None:
        """Take this worker's row away."""
        await self._run(_FORGET, {"worker": self._worker})

    async def keep_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Store the broker's ends; those of topics that it no longer has go."""
        partitions = list(ends)
        await self._run(
            _ENDS,
            {
                "topics": [tp.topic for tp in partitions],
                "partitions": [tp.partition for tp in partitions],
                "ends": [ends[tp] for tp in partitions],
            },
        )
        await self._run(_GONE, {"topics": sorted({tp.topic for tp in partitions})})

    async def advance_as_of(self, at: datetime) -> None:
        """Every event that the broker held at `at` has been applied."""
        await self._run(_AS_OF, {"at": at})

    async def keep_topic_ids(self, topics: Iterable[Topic]) -> None:
        """Remember which topic a new position is a position of."""
        known = list(topics)
        await self._run(_TOPIC_IDS, {"topics": [t.name for t in known], "ids": [t.id for t in known]})

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
        self._connection = None

    async def _run(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        async with self._one_at_a_time:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                cursor = await self._connection.execute(statement, values)
                return await cursor.fetchall() if cursor.description else []
            except PASSING:
                await self.close()
                raise

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        limits = f"-c statement_timeout={MILLISECONDS} -c lock_timeout={MILLISECONDS}"
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name="prejoin heartbeat",
            connect_timeout=5,
            options=f"{options(self._group)} {limits}",
            **TCP,  # type: ignore[arg-type]
        )
