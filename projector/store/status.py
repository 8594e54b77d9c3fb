"""What a group is at, as `prejoin status --json` and `GET /v1/status` say it: two statements and one pure function.

`SUMMARY` answers one JSON object; `count_rows` makes the statement that counts the views it names; `report` puts the
two together. Both statements are readable by the reading role.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from projector.declare.projections import Projections
from projector.declare.sql import quoted
from projector.declare.view import Relation, View
from projector.store.names import generation_name
from projector.store.shown import utc_text
from projector.store.topic_ids import other_ids


class End(NamedTuple):
    """Where a partition ends on the broker, and of which topic it is."""

    offset: int
    topic_id: str


Ends = Mapping[tuple[str, int], End]
"""By topic and partition."""

COUNTED = 1_000_000  # rows of a view that are counted one by one; above it, Postgres's estimate is told

# A worker that has not beaten for 10 s is not there.
SUMMARY = f"""
SELECT json_build_object(
  'as_of', (SELECT {utc_text("as_of")} FROM projection_group),
  'lag_seconds', (SELECT round(greatest(extract(epoch FROM clock_timestamp() - as_of), 0), 3) FROM projection_group
    WHERE as_of IS NOT NULL),
  'paused', (SELECT json_build_object('since', {utc_text("paused_at")}, 'by', paused_by) FROM projection_group
    WHERE paused_at IS NOT NULL),
  'workers', (SELECT coalesce(json_agg(json_build_object('state', state, 'started_at', {utc_text("started_at")},
      'seconds_since', round(extract(epoch FROM clock_timestamp() - beat_at), 1)) ORDER BY started_at), '[]')
    FROM workers WHERE beat_at > clock_timestamp() - interval '10 seconds'),
  'partitions', (SELECT coalesce(json_agg(json_build_object('topic', topic, 'partition', partition, 'next', next,
      'topic_id', topic_id, 'end_offset', end_offset) ORDER BY topic COLLATE "C", partition), '[]')
    FROM positions FULL JOIN ends USING (topic, partition)),
  'views', (SELECT coalesce(json_object_agg(relation, json_build_object(
      'generation', s.generation, 'state', g.state, 'pending', coalesce(pending, 0), 'search', s.search,
      'outbox', coalesce(keys, 0), 'refused', coalesce(r.dead_letters, 0),
      'search_as_of', {utc_text("i.as_of")})), '{{}}')
    FROM served AS s JOIN generations AS g USING (relation, generation)
    LEFT JOIN pending_count USING (relation, generation) LEFT JOIN outbox_count USING (relation)
    LEFT JOIN search_dead_letter_count AS r USING (relation)
    LEFT JOIN search_generations AS i USING (relation, generation, search)),
  'rebuilds', (SELECT coalesce(json_object_agg(relation, json_build_object('generation', generation, 'phase', phase,
      'rows', rows, 'expected', expected, 'started_at', {utc_text("started_at")},
      'seconds_since', round(extract(epoch FROM clock_timestamp() - beat_at), 1))), '{{}}')
    FROM (SELECT relation, generation, phase, rows, expected, started_at, beat_at FROM rebuilds
      UNION ALL SELECT relation, g::int, phase, done, total, started_at, beat_at
      FROM copies, jsonb_each_text(generations) AS each (relation, g) WHERE state = 'building' AND name IS NULL
    ) AS running),
  'drift', (SELECT coalesce(json_object_agg(relation, kinds), '{{}}') FROM (SELECT relation, json_object_agg(
      CASE place WHEN 'index' THEN 'search_' ELSE '' END || kind, keys) AS kinds
    FROM drift_count GROUP BY relation) AS d),
  'dead_letters', (SELECT dead_letters FROM dead_letter_count),
  'dead_letters_by_reason', (SELECT coalesce(json_object_agg(reason, dead_letters), '{{}}') FROM dead_letter_reasons))
"""


def count_rows(projections: Projections, summary: Mapping[str, Any]) -> str:
    """A statement of one JSON object, view → rows, for the served views in the summary.

    Where a generation was dropped since the summary it fails with UndefinedTable: read the summary again.
    """
    there = {name: view["generation"] for name, view in summary["views"].items()}
    pairs = [(r, _rows_of(projections, r)) for r in projections.served]
    counts = [_count(r, stored, there) for r, stored in pairs if r.name in there and stored.name in there]
    return f"SELECT json_build_object({', '.join(counts)})"


def with_ends(partitions: Iterable[Mapping[str, Any]], ends: Ends) -> list[Mapping[str, Any]]:
    """The summary's partitions with the broker's own ends in place of those that a worker noted last.

    Of a topic that was made again since, nothing is applied: its position is of the one before.
    """
    known = {(p["topic"], p["partition"]): p for p in partitions}
    for place in ends.keys() - known.keys():
        known[place] = {"topic": place[0], "partition": place[1], "next": None}
    return [_with_end(p, ends.get(place)) for place, p in sorted(known.items())]


def _with_end(partition: Mapping[str, Any], end: End | None) -> Mapping[str, Any]:
    if end is None:
        return {"end_offset": None, **partition}
    topic = partition["topic"]
    made_again = bool(other_ids({topic: partition.get("topic_id")}, {topic: end.topic_id}))
    return {**partition, "end_offset": end.offset, "made_again": made_again}


def report(projections: Projections, summary: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """The status in the shape that CONTRACT gives `prejoin status --json`; times are RFC 3339 texts, lags numbers."""
    partitions = [_partition(p) for p in summary["partitions"]]
    behind = any(p["lag"] for p in partitions) or any(v["pending"] for v in summary["views"].values())
    paused = summary["paused"]
    state = _state([worker["state"] for worker in summary["workers"]], behind)
    of_views = state if paused is None else "paused"
    return {
        "state": state,
        "as_of": summary["as_of"],
        "lag_seconds": summary["lag_seconds"],
        "partitions": partitions,
        "paused": paused,
        "views": [_view(r, of_views, summary, rows) for r in projections.served],
        "dead_letters": summary["dead_letters"],
        "drift": summary["drift"],
        "dead_letters_by_reason": summary["dead_letters_by_reason"],
        "workers": summary["workers"],
    }


def _state(workers: list[str], behind: bool) -> str:
    """Of the group; that it is paused is told of its views, and by `paused`."""
    if not workers:
        return "stopped"
    if "stuck" in workers:
        return "stuck"
    return "lagging" if behind else "live"


def _partition(row: Mapping[str, Any]) -> dict[str, Any]:
    following, end = row["next"] or 0, row["end_offset"]
    return {
        "topic": row["topic"],
        "partition": row["partition"],
        "position": f"{row['topic']}/{row['partition']}@{following - 1}" if following else None,
        "end_offset": end,
        "lag": None if end is None else end if row.get("made_again") else max(end - following, 0),
    }


def _view(relation: Relation, state: str, summary: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """A view is at what its group is at, unless its copy is still being built."""
    name = relation.name
    copy = summary["views"].get(name, {"generation": None, "state": "building", "pending": 0})
    return {
        "view": name,
        "generation": copy["generation"],
        "state": state if copy["state"] == "live" else copy["state"],
        "rows": rows.get(name),
        "pending": copy["pending"],
        "rebuild": summary["rebuilds"].get(name),
        "search": _search(copy) if isinstance(relation, View) and relation.search else None,
    }


def _search(copy: Mapping[str, Any]) -> dict[str, Any]:
    """Who answers searches, how many keys the index has yet to see, how many it refused, and what it holds."""
    return {
        "backend": "postgres" if copy.get("search") is None else "elasticsearch",
        "outbox": copy.get("outbox", 0),
        "refused": copy.get("refused", 0),
        "as_of": copy.get("search_as_of"),
    }


def _rows_of(projections: Projections, relation: Relation) -> Relation:
    """The relation whose table has as many rows: of a virtual view, the one that it computes over."""
    if not (isinstance(relation, View) and relation.virtual):
        return relation
    return next(r for r in projections.relations if r.table is relation.query.get_final_froms()[0])


def _count(relation: Relation, stored: Relation, generations: Mapping[str, int]) -> str:
    table = quoted(generation_name(relation.name, generations[relation.name]))
    estimated = quoted(generation_name(stored.name, generations[stored.name]))
    return (
        f"'{relation.name}', (SELECT CASE WHEN reltuples > {COUNTED} THEN reltuples::bigint ELSE"
        f" (SELECT count(*) FROM (SELECT FROM {table} LIMIT {COUNTED + 1}) AS counted) END"
        f" FROM pg_class WHERE oid = to_regclass('{estimated}'))"
    )
