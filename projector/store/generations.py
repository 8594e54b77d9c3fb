"""Generations of relations in Postgres: one that is built, those kept, and the switch from one to the next."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from projector.declare.sql import quoted
from projector.errors import PrejoinError
from projector.store.names import generation_name
from projector.store.roles import let_the_same_read
from projector.store.shown import utc_text

PATIENCE = 5.0  # seconds of trying to drop what is still read

_KIND = "SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)"
_FORGET = "DELETE FROM {} WHERE relation = %s AND generation = %s"
_KNOWN_IN = ("generations", "rebuilds", "pending", "search_generations")
_IN_STATE = "SELECT relation, generation FROM generations WHERE relation = ANY(%s) AND state = %s"
_WHO = f"""
SELECT runner, {utc_text("started_at")} FROM (
  SELECT runner, started_at FROM rebuilds WHERE relation = %s
  UNION ALL SELECT runner, started_at FROM copies WHERE state = 'building'
) AS running LIMIT 1
"""
_LEFT = """
SELECT r.relation, r.generation, g.digest FROM rebuilds AS r JOIN generations AS g USING (relation, generation)
WHERE relation = ANY(%s) AND state = 'building'
"""
_BEGIN = """
WITH made AS (
  INSERT INTO generations (relation, generation, version, digest, state)
  SELECT %(relation)s, max(generation) + 1, %(version)s, %(digest)s, 'building' FROM generations
  WHERE relation = %(relation)s RETURNING generation
)
INSERT INTO rebuilds (relation, generation, phase, expected, runner)
SELECT %(relation)s, generation, 'waiting',
  (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%(before)s)), %(runner)s
FROM made RETURNING generation
"""
_TAKE_OVER = "UPDATE rebuilds SET runner = %s, beat_at = now() WHERE relation = ANY(%s)"
_SWITCH = """
WITH built AS (SELECT relation, generation FROM rebuilds WHERE relation = ANY(%(names)s)),
whole AS (  -- the search index of the new generation, where that is complete
  SELECT relation, search FROM search_generations AS s JOIN built USING (relation, generation) WHERE s.state = 'live'
),
not_searched AS (
  UPDATE search_generations AS g SET state = 'gone' FROM served AS s
  WHERE s.relation = ANY(%(names)s) AND (g.relation, g.generation) = (s.relation, s.generation)
),
before AS (
  UPDATE generations AS g SET state = 'kept' FROM served AS s
  WHERE s.relation = ANY(%(names)s) AND (g.relation, g.generation) = (s.relation, s.generation)
),
lives AS (
  UPDATE generations AS g SET state = 'live', built_at = now() FROM built AS b
  WHERE (g.relation, g.generation) = (b.relation, b.generation)
),
done AS (DELETE FROM rebuilds WHERE relation = ANY(%(names)s)),
waited AS (
  DELETE FROM pending AS p USING served AS s
  WHERE s.relation = ANY(%(names)s) AND (p.relation, p.generation) = (s.relation, s.generation)
)
UPDATE served AS s SET generation = b.generation, search = w.search
FROM built AS b LEFT JOIN whole AS w USING (relation) WHERE s.relation = b.relation
"""

Cursor = psycopg.Cursor[Any]


def begin(cursor: Cursor, relation: str, version: int, digest: str, served: int) -> int:
    """Register a generation to be built: batches mark what they change of it from now on. Returns its number."""
    values = {"relation": relation, "version": version, "digest": digest, "runner": this_process()}
    before = quoted(generation_name(relation, served))
    (generation,) = cursor.execute(_BEGIN, values | {"before": before}).fetchone() or (0,)
    return int(generation)


def left_over(cursor: Cursor, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """What of the relations is being built, by an interrupted run perhaps: name → generation and digest."""
    return {name: (generation, digest) for name, generation, digest in cursor.execute(_LEFT, (names,)).fetchall()}


def take_over(cursor: Cursor, names: Sequence[str]) -> None:
    """Note that this process goes on with what another has left."""
    cursor.execute(_TAKE_OVER, (this_process(), names))


def runner(connection: psycopg.Connection[Any], relation: str) -> tuple[str, str]:
    """Who builds a relation's new generation, and since when."""
    who, since = connection.execute(_WHO, (relation,)).fetchone() or ("somebody", "now")
    return who, since


def switch(cursor: Cursor, served: Mapping[str, int], built: Mapping[str, int]) -> None:
    """Serve the generations that were built, to all who may read those before, which are kept as they are."""
    for name, generation in built.items():
        let_the_same_read(cursor, generation_name(name, served[name]), generation_name(name, generation))
    cursor.execute(_SWITCH, {"names": list(built)})


def drop_all(cursor: Cursor, names: Sequence[str], state: str) -> list[str]:
    """Drop the generations in a state, of relations in dependency order. Returns the names of their tables."""
    found = cursor.execute(_IN_STATE, (names, state)).fetchall()
    last_first = sorted(found, key=lambda each: names.index(each[0]), reverse=True)  # what reads another one first
    return [drop(cursor, *each) for each in last_first]


def drop(cursor: Cursor, relation: str, generation: int) -> str:
    """Drop a generation's table or SQL view, whatever the relation is now, and all that is known of it."""
    table = generation_name(relation, generation)
    (kind,) = cursor.execute(_KIND, (quoted(table),)).fetchone() or ("r",)
    cursor.execute(f"DROP {'VIEW' if kind == 'v' else 'TABLE'} IF EXISTS {quoted(table)} CASCADE")
    for known in _KNOWN_IN:
        cursor.execute(_FORGET.format(known), (relation, generation))
    return table


def when_unread(connection: psycopg.Connection[Any], dropping: Callable[[Cursor], list[str]]) -> list[str]:
    """Drop tables that may still be read; returns what `dropping` says. Raises PrejoinError where somebody goes on.

    Readers that come while it waits would wait behind it: so it tries for a moment at a time.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
                return dropping(cursor)
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > until:
                raise PrejoinError(
                    "what is to be dropped is still being read, by an export perhaps: try again later"
                ) from None
        time.sleep(0.2)


def this_process() -> str:
    """Who builds, as others are told."""
    return f"{socket.gethostname()}, process {os.getpid()}"
