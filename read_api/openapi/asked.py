"""What the API can be asked, as OpenAPI describes it: filters, pages, words, keys and headers."""

from collections.abc import Mapping

from projector.store.names import SNAPSHOT_NAME
from read_api.freshness import MAX_WAIT, POSITIONS_PATTERN
from read_api.kinds import Schema
from read_api.parameters import COUNTS, DEFAULT_LIMIT, MAX_LIMIT, MAX_VALUES, SNAPSHOT, operators
from read_api.resource import NULL_KEY, Field, Resource
from read_api.search.body import FACET_VALUES
from read_api.search.words import MAX_LENGTH, MAX_WORDS

_MEANS = {
    "ne": "is neither of these (null matches nothing)",
    "gt": "is above",
    "gte": "is at least",
    "lt": "is below",
    "lte": "is at most",
    "null": "is null, or is not",
}
_SORT = """Columns to sort by, `-` before one for descending; the key breaks ties.
Nulls come last ascending, first descending."""
_WORDS = f"""Words that must all be there, at most {MAX_WORDS}; case and accents do not matter, the last may be the
beginning of a longer one, one typo is forgiven in words of five letters or more. `"a phrase"` as it is, `-word` not at
all. The best hits come first, unless `sort` says otherwise."""
RESUME = "The last `id` that came, at most 24 hours old: go on behind it. Without it, from now on."
_TEXT = "^[^\\u0000]*$"  # what Postgres can hold
WAITING, KNOWING = ("MinPosition", "Prefer"), ("IfNoneMatch",)
_INDEXED = "Indexed."
_NOT_INDEXED = "Not indexed: on its own it reads the rows one by one, for 10 seconds at most."
_OF_A_MOMENT_TEXT = "The view as this snapshot has it, which `prejoin rebuild --as-of` made."
FORMAT = """Of the file. CSV: texts in quotes, null as nothing, a quote before what a spreadsheet would run. NDJSON:
rows as a list has them. Parquet: money as decimals, times as UTC timestamps, lists as lists of structs."""
COUNT: Schema = {
    "name": "count",
    "in": "query",
    "description": "Adds `total_count`: counted one by one, or what Postgres expects, at no cost.",
    "schema": {"enum": list(COUNTS)},
}


def query(name: str, description: str, schema: Schema, **more: object) -> Schema:
    """A parameter of the query string."""
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


OF_A_MOMENT = query(SNAPSHOT, _OF_A_MOMENT_TEXT, {"type": "string", "pattern": f"^{SNAPSHOT_NAME.pattern}$"})


def filters(resource: Resource) -> list[Schema]:
    """Those of all columns that filter, operators included."""
    return [p for f in resource.filters.values() for p in _filters_of(f, f.name in resource.indexed)]


def _filters_of(field: Field, indexed: bool) -> list[Schema]:
    schema = field.kind.schema
    one = {**schema, "pattern": _TEXT} if schema == {"type": "string"} else schema
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_VALUES}
    means = f"Is any of these; a comma inside a value is `%5C,`. {_INDEXED if indexed else _NOT_INDEXED}"
    found = [query(field.name, means, several, explode=False)]
    for operator in operators(field)[1:]:
        others: dict[str, Schema] = {"ne": several, "null": {"type": "boolean"}}
        # whatever is not a value is most of an index
        told = _INDEXED if indexed and operator != "ne" else "Not indexed."
        means = f"{field.name} {_MEANS[operator]}. {told}"
        found.append(query(f"{field.name}[{operator}]", means, others.get(operator, one), explode=False))
    return found


def paging(resource: Resource) -> list[Schema]:
    """Those of a list's pages, exports' too."""
    plain = [f.name for f in resource.fields.values() if f.plain]
    sortable = [*plain, *(f"-{name}" for name in plain)]
    limit = {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}
    columns = {"type": "array", "items": {"enum": list(resource.fields)}, "minItems": 1}
    return [
        query(
            "sort",
            _SORT,
            {"type": "array", "items": {"enum": sortable}, "minItems": 1, "uniqueItems": True},
            explode=False,
        ),
        query("limit", f"Rows of a page, at most {MAX_LIMIT}: more is cut to that.", limit),
        query("cursor", "`next_cursor` of the page before, with the same filters and sort.", {"type": "string"}),
        query("fields", "The columns wanted; the key always comes.", columns, explode=False),
        OF_A_MOMENT,
    ]


def searching(resource: Resource) -> list[Schema]:
    """Those of searches alone."""
    assert resource.search is not None
    words = {"type": "string", "maxLength": MAX_LENGTH, "examples": ['red "leather shoe" -used']}
    found = [query("q", f"{_WORDS} Fields searched: {', '.join(resource.search.text)}.", words)]
    if resource.search.facets:
        facets = {"type": "array", "items": {"enum": list(resource.search.facets)}, "minItems": 1}
        what = (
            f"Columns whose values are counted over all hits, the {FACET_VALUES} most frequent of each; nulls are not."
        )
        found.append(query("facets", what, facets, explode=False))
    return found


def in_path(field: Field) -> Schema:
    """A column of the key, as part of the path."""
    return {
        "name": field.name,
        "in": "path",
        "required": True,
        "description": f"`{NULL_KEY}` is null" if field.nullable else "",
        "schema": {"type": "string"} if field.nullable else field.kind.schema,
    }


def headers() -> Mapping[str, Schema]:
    """The request headers by their names in `refer`."""
    positions = {"type": "string", "pattern": POSITIONS_PATTERN, "examples": ["orders/0@1240"]}
    return {
        "MinPosition": {"name": "Prejoin-Min-Position", "in": "header", "schema": positions,
                        "description": "Answer only once these offsets are applied to all rows, else 503."},
        "Prefer": {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["wait=5"]},
                   "description": f"`wait=N`: wait up to N seconds for the positions, at most {MAX_WAIT} (RFC 7240)."},
        "IfNoneMatch": {"name": "If-None-Match", "in": "header", "schema": {"type": "string"},
                        "description": "ETags of answers that the client has: 304 where one of them still holds."},
    }  # fmt: skip


def refer(*names: str) -> list[Schema]:
    """References to headers."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
