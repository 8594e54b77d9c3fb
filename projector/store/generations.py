"""Generations of relations in Postgres: one that is built, those kept, and the switch from one to the next."""

import os
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import psycopg

from projector.declare.projections import Projections
from projector.declare.sql import quoted
from projector.errors import PrejoinError
from projector.store.definitions import declarations_digest
from projector.store.names import generation_name
from projector.store.roles import let_readers_read, let_the_same_read
from projector.store.shown import APPLIED, utc_text

PATIENCE = 5.0  # seconds of trying to drop what is still read

_SERVED = "SELECT relation, generation FROM served"
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
  SELECT %(relation)s, coalesce(max(generation), 0) + 1, %(version)s, %(digest)s, 'building' FROM generations
  WHERE relation = %(relation)s RETURNING generation
)
INSERT INTO rebuilds (relation, generation, phase, expected, runner, captured_to)
SELECT %(relation)s, generation, 'waiting',
  (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%(before)s)), %(runner)s,
  (SELECT coalesce(max(id), 0) FROM captured)
FROM made RETURNING generation
"""
_TAKE_OVER = "UPDATE rebuilds SET runner = %s, beat_at = now() WHERE relation = ANY(%s)"
# A kept generation stays as it is now. Of one with pending keys nobody can say up to which offsets it has all.
_KEEP = f"""
WITH kept AS (
  UPDATE generations AS g SET state = 'kept', as_of = (SELECT as_of FROM projection_group),
    positions = CASE WHEN EXISTS (
      SELECT FROM pending AS p WHERE (p.relation, p.generation) = (g.relation, g.generation)
    ) THEN '{{}}'::text[] ELSE {APPLIED} END
  FROM served AS s WHERE s.relation = ANY(%(names)s) AND (g.relation, g.generation) = (s.relation, s.generation)
  RETURNING g.relation, g.generation
),
waited AS (
  DELETE FROM pending AS p USING kept AS k WHERE (p.relation, p.generation) = (k.relation, k.generation)
),
not_searched AS (
  UPDATE search_generations AS s SET state = 'gone' FROM kept AS k
  WHERE (s.relation, s.generation) = (k.relation, k.generation)
)
DELETE FROM served WHERE relation = ANY(%(names)s)
"""
_SERVE = """
WITH built AS (DELETE FROM rebuilds WHERE relation = ANY(%(names)s) RETURNING relation, generation),
whole AS (  -- the search index of the new generation, where that is complete
  SELECT relation, search FROM search_generations AS s JOIN built USING (relation, generation) WHERE s.state = 'live'
),
lives AS (
  UPDATE generations AS g SET state = 'live', built_at = now() FROM built AS b
  WHERE (g.relation, g.generation) = (b.relation, b.generation)
)
INSERT INTO served (relation, generation, search)
SELECT relation, generation, search FROM built LEFT JOIN whole USING (relation)
"""
_UNDECLARED = "SELECT relation FROM served WHERE relation <> ALL(%s) ORDER BY relation"
_STRANGE = "SELECT DISTINCT relation FROM generations WHERE state <> 'live' AND relation <> ALL(%s) ORDER BY relation"
_SEARCHED = "SELECT DISTINCT relation FROM search_generations ORDER BY relation"
_NOT_SEARCHED = (
    "DELETE FROM search_generations WHERE relation = ANY(%s)",
    "DELETE FROM outbox WHERE relation = ANY(%s)",
    "DELETE FROM search_dead_letters WHERE relation = ANY(%s)",
    "UPDATE served SET search = NULL WHERE relation = ANY(%s)",
)
_RELEASE = "UPDATE projection_group SET declarations = %s, coming = NULL"

Cursor = psycopg.Cursor[Any]


def served(connection: psycopg.Connection[Any] | Cursor) -> dict[str, int]:
    """The generation of each relation that is served."""
    return dict(connection.execute(_SERVED).fetchall())


def begin(cursor: Cursor, relation: str, version: int, digest: str, served: int) -> int:
    """Register a generation to be built: batches capture what they change from now on. Returns its number."""
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


def switch(
    cursor: Cursor, projections: Projections, served: Mapping[str, int], built: Mapping[str, int], new: Collection[str]
) -> None:
    """Serve the generations that were built, to all who may read those before, which are kept as they are.

    `new` are those whose definition is another than the one before: their columns may be others.
    """
    for name, generation in built.items():
        let_the_same_read(cursor, generation_name(name, served.get(name, 0)), generation_name(name, generation))
        relation = projections.relation(name)
        if name in new and relation.path is not None:
            let_readers_read(cursor, relation, generation)
    cursor.execute(_KEEP, {"names": list(built)})
    cursor.execute(_SERVE, {"names": list(built)})


def keep(cursor: Cursor, names: Sequence[str]) -> None:
    """Serve some relations no more, and keep their generations as they are, for who knows no others."""
    cursor.execute(_KEEP, {"names": names})


def undeclared(cursor: Cursor, projections: Projections) -> list[str]:
    """What is served and not declared any more."""
    return [name for (name,) in cursor.execute(_UNDECLARED, ([r.name for r in projections.relations],)).fetchall()]


def strange(connection: psycopg.Connection[Any], projections: Projections) -> list[str]:
    """What is not declared here and has generations that are not served: of releases before, or of one to come."""
    declared = [r.name for r in projections.relations]
    return [name for (name,) in connection.execute(_STRANGE, (declared,)).fetchall()]


def release(cursor: Cursor, projections: Projections) -> list[str]:
    """From now on these are the declarations: processes with others stop. Returns what else that ends, a line each."""
    gone = undeclared(cursor, projections)
    keep(cursor, gone)
    searched = {view.name for view in projections.searched}
    unsearched = [name for (name,) in cursor.execute(_SEARCHED).fetchall() if name not in searched]
    end_searches(cursor, unsearched)
    cursor.execute(_RELEASE, (declarations_digest(projections),))
    return [f"serve {name} no more, which is no longer declared" for name in gone] + [
        f"end the search of {name}, which is no longer declared" for name in unsearched if name not in gone
    ]


def end_searches(cursor: Cursor, names: Sequence[str]) -> None:
    """Forget the search copies of relations: batches must not fill an outbox that nobody empties."""
    for statement in _NOT_SEARCHED:
        cursor.execute(statement, (names,))


def drop_all(cursor: Cursor, names: Sequence[str], state: str) -> list[str]:
    """Drop the generations in a state, of relations in dependency order. Returns the names of their tables.

    What reads another one goes first, but for SQL views, which go with it.
    """
    found = cursor.execute(_IN_STATE, (names, state)).fetchall()
    last_first = sorted(found, key=lambda each: names.index(each[0]), reverse=True)
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
