"""Drift that was seen and is not known to be mended: keys of rows, and of documents of the search index."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

REMEMBERED = 1_000  # keys of a view, and of its index

# What is seen anew is kept in place of what was known of the same key. One over the limit does no harm.
SEE = f"""
INSERT INTO drift (relation, place, key, kind)
SELECT %(relation)s, %(place)s, key, kind FROM unnest(%(keys)s::text[], %(kinds)s::text[]) AS seen (key, kind)
WHERE (SELECT count(*) FROM drift WHERE relation = %(relation)s AND place = %(place)s) < {REMEMBERED}
ON CONFLICT (relation, place, key) DO UPDATE SET kind = excluded.kind, seen_at = now()
"""
CLEAR = "DELETE FROM drift WHERE relation = %(relation)s AND place = %(place)s"
COUNTED = "SELECT relation, place, kind, keys FROM drift_count"

VIEW, INDEX = "view", "index"


def seen(relation: str, place: str, found: Iterable[tuple[Sequence[Any], str]]) -> dict[str, Any]:
    """Parameters of SEE and CLEAR: what was found, pairs of a key (the values of its columns) and what is wrong."""
    listed = list(found)[:REMEMBERED]
    keys = [json.dumps(list(key), ensure_ascii=False, default=str) for key, _ in listed]
    return {"relation": relation, "place": place, "keys": keys, "kinds": [kind for _, kind in listed]}
