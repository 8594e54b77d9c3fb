"""What becomes of a whole copy: it takes the place of the group's entities and views, or is kept as a snapshot.

Each function is called in a transaction that holds the group's lock.
"""

from typing import Any

import psycopg
from psycopg import sql

from projector.declare.projections import Projections
from projector.store import generations, outbox
from projector.store.changed import changed
from projector.store.copies import Copy, drop_schemas
from projector.store.names import copy_group, schemas
from projector.store.roles import let_readers_read

Cursor = psycopg.Cursor[Any]

_PLACE = 'topic, partition, "offset", record_time'
_SETTLED = f"""
SELECT theirs.id, ours.state FROM {{copy}}.dead_letters AS theirs JOIN dead_letters AS ours USING ({_PLACE})
WHERE theirs.state = 'open' AND ours.state IN ('replayed', 'purged') ORDER BY ours.id
"""
_LETTER = f"{_PLACE}, key, value, headers, reason, detail, type, entity, aggregate, sequence, state, arrived_at"
_JOURNAL = 'entity, aggregate, topic, partition, "offset", key, value, headers, record_time'
# In this order. What the copy's log does not reach back to stays as it is.
_TAKE_OVER = [
    # applied this time, or not any more
    """
    UPDATE dead_letters AS ours SET state = 'replayed' FROM {copy}.reaches AS r
    WHERE ours.state = 'open' AND (r.topic, r.partition) = (ours.topic, ours.partition) AND ours."offset" >= r.start
      AND NOT EXISTS (SELECT FROM {copy}.dead_letters AS theirs
        WHERE (theirs.topic, theirs.partition, theirs."offset", theirs.record_time)
          = (ours.topic, ours.partition, ours."offset", ours.record_time))
    """,
    """
    UPDATE dead_letters AS ours SET state = 'open' FROM {copy}.dead_letters AS theirs
    WHERE ours.state = 'replayed' AND theirs.state = 'open'
      AND (theirs.topic, theirs.partition, theirs."offset", theirs.record_time)
        = (ours.topic, ours.partition, ours."offset", ours.record_time)
    """,
    f"INSERT INTO dead_letters ({_LETTER}) SELECT {_LETTER} FROM {{copy}}.dead_letters ORDER BY id "
    "ON CONFLICT DO NOTHING",
    "DELETE FROM journals",
    "INSERT INTO journals SELECT entity, aggregate, base, records FROM {copy}.journals",
    "DELETE FROM journal_records",
    f"INSERT INTO journal_records ({_JOURNAL}) SELECT {_JOURNAL} FROM {{copy}}.journal_records ORDER BY n",
    # whoever follows is told to reset, for the generation is another: the copy's own feed goes with it
    "SELECT pg_notify('prejoin_changes:' || current_schema(), '')",
    """
    INSERT INTO positions (topic, partition, next, topic_id)
    SELECT topic, partition, next, topic_id FROM {copy}.positions
    ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next,
      topic_id = coalesce(excluded.topic_id, positions.topic_id)
    """,
    "INSERT INTO pending (relation, generation, keys, parts) "
    "SELECT relation, generation, keys, parts FROM {copy}.pending",
    "ALTER SCHEMA {entities} RENAME TO {aside}",
    "ALTER SCHEMA {copied} RENAME TO {entities}",
    "ALTER SCHEMA {aside} RENAME TO {copied}",
    "DROP SCHEMA {copy} CASCADE",  # dead letters, journals: they are the group's now
]
_MOVE = "DELETE FROM {copy}.outbox WHERE relation = %s RETURNING key"
_REGISTERED = """
INSERT INTO rebuilds (relation, generation, phase, runner) VALUES (%s, %s, 'draining', %s)
ON CONFLICT (relation) DO UPDATE SET generation = excluded.generation
"""
_ERASED = """
SELECT entity, array_agg(key) FROM (
  SELECT entity, key FROM {here}.erasures EXCEPT SELECT entity, key FROM {there}.erasures
) AS only_here GROUP BY entity
"""
_REPLACED = "UPDATE copies SET state = 'replaced', phase = 'done' WHERE id = %s"
_SNAPSHOT = "UPDATE copies SET state = 'snapshot', phase = 'done' WHERE id = %s"
_ITS = """
UPDATE generations SET state = 'snapshot', snapshot = %(name)s, as_of = %(until)s, positions = ARRAY(
  SELECT concat(topic, '/', partition, '@', next - 1) FROM {copy}.positions WHERE next > 0
  ORDER BY topic COLLATE "C", partition)
WHERE (relation, generation) = (%(relation)s, %(generation)s)
"""


def settled(connection: psycopg.Connection[Any], copy: str) -> list[tuple[int, str]]:
    """Open dead letters of a copy that the group has replayed or purged: their ids in the copy, and which of both."""
    return connection.execute(sql.SQL(_SETTLED).format(copy=sql.Identifier(copy))).fetchall()


def erased(connection: psycopg.Connection[Any], here: str, there: str) -> dict[str, list[str]]:
    """Who is erased in one group and not in another, as of a group and its copy: entity → keys."""
    query = sql.SQL(_ERASED).format(here=sql.Identifier(here), there=sql.Identifier(there))
    return dict(connection.execute(query).fetchall())


def move_outbox(cursor: Cursor, copy: str, relation: str) -> int:
    """Let the indexer see what the copy has changed of a relation; returns how many rows."""
    keys = [key for (key,) in cursor.execute(sql.SQL(_MOVE).format(copy=sql.Identifier(copy)), (relation,))]
    outbox.put(cursor, {relation: keys})
    return len(keys)


def take_over(cursor: Cursor, group: str, projections: Projections, copy: Copy) -> None:
    """Put the copy in the place of the group's entities and views, positions, journals and dead letters.

    The group's entities so far are then in the copy's schema, its views so far are kept as after any rebuild.
    """
    own = copy_group(group, copy.id)
    names = {
        "copy": own,
        "entities": schemas(group)[1],
        "copied": schemas(own)[1],
        "aside": f"{schemas(own)[1]}$",
    }
    for view in projections.searched:
        move_outbox(cursor, own, view.name)
    served = generations.served(cursor)
    for name, generation in copy.generations.items():
        cursor.execute(_REGISTERED, (name, generation, generations.this_process()))
    generations.switch(cursor, projections, served, copy.generations, changed(cursor, projections))
    generations.release(cursor, projections)
    for statement in _TAKE_OVER:  # behind the switch: what is kept tells the positions that were the group's
        cursor.execute(sql.SQL(statement).format(**{name: sql.Identifier(value) for name, value in names.items()}))
    cursor.execute(_REPLACED, (copy.id,))


def keep_snapshot(cursor: Cursor, group: str, projections: Projections, copy: Copy) -> None:
    """Keep the views of a copy as a snapshot, for those who may read what is served."""
    own = copy_group(group, copy.id)
    for relation in projections.served:
        let_readers_read(cursor, relation, copy.generations[relation.name])
    its = sql.SQL(_ITS).format(copy=sql.Identifier(own))
    for name, generation in copy.generations.items():
        values = {"name": copy.name, "until": copy.until, "relation": name, "generation": generation}
        cursor.execute(its, values)
    cursor.execute(_SNAPSHOT, (copy.id,))
    drop_schemas(cursor, group, copy)
