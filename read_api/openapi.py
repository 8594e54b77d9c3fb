"""OpenAPI 3.1 of the API, made from the views' columns: a new view is described as it is declared."""

from collections.abc import Iterable, Mapping
from typing import Any

from projector.store.names import SNAPSHOT_NAME
from read_api.export.formats import FORMATS
from read_api.freshness import MAX_WAIT, POSITIONS_PATTERN
from read_api.kinds import Schema, nullable
from read_api.parameters import COUNTS, DEFAULT_LIMIT, MAX_LIMIT, MAX_VALUES, SNAPSHOT, operators
from read_api.resource import NULL_KEY, Field, Resource, nested
from read_api.search.body import FACET_VALUES
from read_api.search.words import MAX_LENGTH, MAX_WORDS

Described = dict[str, Any]

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
_ABOUT = """Cross-service answers from views that were joined beforehand. GET and HEAD only.

Each answer tells how fresh it is: every event that the broker held at `Prejoin-As-Of` has been applied. To read what
you just wrote, send `Prejoin-Min-Position` with `Prefer: wait=N`."""
_WORDS = f"""Words that must all be there, at most {MAX_WORDS}; case and accents do not matter, the last may be the
beginning of a longer one, one typo is forgiven in words of five letters or more. `"a phrase"` as it is, `-word` not at
all. The best hits come first, unless `sort` says otherwise."""
_CREDENTIAL: Described = {
    "type": "http",
    "scheme": "bearer",
    "description": """An API key, or a token of the identity provider with scopes such as `prejoin:orders` or
`prejoin:all`. Without `prejoin:pii`, or a key's --pii, personal columns are null, neither filter nor sort, and words
in them are not found.""",
}
_CHANGES = """Server-sent events. `upsert`: a row as it is now; `delete`: none has this key, or it does not pass the
filters (perhaps it never did); `reset`: read the view anew, what was told before may be out of date."""
_EXAMPLE = 'id: …\nevent: upsert\ndata: {"key": {"order_id": "o1"}, "row": {"order_id": "o1", "status": "paid"}}\n\n'
_RESUME = "The last `id` that came, at most 24 hours old: go on behind it. Without it, from now on."
_SEARCHED: Schema = {
    "type": "object",
    "required": ["data", "total", "facets", "has_more", "next_cursor", "backend", "degraded"],
}
_FOUND: Described = {
    "total": {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "relation": {"enum": ["eq", "gte"]}},
        "required": ["value", "relation"],
    },
    "facets": {
        "type": "object",
        "additionalProperties": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"value": {"type": ["string", "integer", "boolean"]}, "count": {"type": "integer"}},
                "required": ["value", "count"],
            },
        },
    },
    "has_more": {"type": "boolean"},
    "next_cursor": {"type": ["string", "null"]},
    "backend": {"enum": ["elasticsearch", "postgres"]},
    "degraded": {"type": "boolean", "description": "Whether Postgres answered in Elasticsearch's place."},
}
_FRESHNESS: Described = {
    "Prejoin-As-Of": ("Every event that the broker held at this time has been applied. Absent before the first time.",
                      {"type": "string", "format": "date-time"}),
    "Prejoin-Lag": ("Now minus Prejoin-As-Of, in seconds.", {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?$"}),
    "Prejoin-Position": ("The last applied offset of each partition, such as orders/0@1234,payments/1@88.",
                         {"type": "string"}),
    "Preference-Applied": ("wait=N, where the request waited for a position.", {"type": "string"}),
}  # fmt: skip
_TAGGED: Described = {
    "ETag": ("Tells this answer from what it was or will be: give it as If-None-Match.", {"type": "string"}),
    "Link": ('The next page, relative to this one: `<?…>; rel="next"`.', {"type": "string"}),
    "Content-Disposition": ("The name of the file.", {"type": "string"}),
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "An error, as RFC 9457 has it.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"parameter": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["parameter", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}
_PROBLEMS = {
    "Unauthorized": "There is no key or token, or it is not good, or not any more.",
    "Forbidden": "The key or token lacks a scope; `WWW-Authenticate` names it.",
    "TooMany": "More requests than a caller may send; `Retry-After` says when to try again.",
    "BadRequest": "A parameter or header is wrong; `errors` names each.",
    "NotFound": "There is no such row.",
    "Unavailable": "The database does not answer, or not within its time, or the positions asked for are not applied"
    " yet; try again.",
}
_TEXT = "^[^\\u0000]*$"  # what Postgres can hold
_WAITING, _KNOWING = ("MinPosition", "Prefer"), ("IfNoneMatch",)
_INDEXED = "Indexed."
_NOT_INDEXED = "Not indexed: on its own it reads the rows one by one, for 10 seconds at most."
_OF_A_MOMENT = "The view as this snapshot has it, which `prejoin rebuild --as-of` made."
_FORMAT = """Of the file. CSV: texts in quotes, null as nothing, a quote before what a spreadsheet would run. NDJSON:
rows as a list has them. Parquet: money as decimals, times as UTC timestamps, lists as lists of structs."""
_COUNT: Described = {
    "name": "count",
    "in": "query",
    "description": "Adds `total_count`: counted one by one, or what Postgres expects, at no cost.",
    "schema": {"enum": list(COUNTS)},
}
_NOT_MODIFIED: Described = {
    "description": "What the client has still holds.",
    "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (*_FRESHNESS, "ETag")},
}
_STATUS: Schema = {
    "type": "object",
    "properties": {
        "state": {"enum": ["live", "lagging", "stuck", "stopped", "paused"]},
        "paused": {"type": ["object", "null"], "description": "Since when, where an operator holds the workers."},
        "as_of": {"type": ["string", "null"], "format": "date-time"},
        "lag_seconds": {"type": ["number", "null"]},
        "partitions": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "topic": {"type": "string"}, "partition": {"type": "integer"},
                "position": {"type": ["string", "null"], "examples": ["orders/0@1234"]},
                "end_offset": {"type": ["integer", "null"]}, "lag": {"type": ["integer", "null"]},
            },
        }},
        "views": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "view": {"type": "string"}, "generation": {"type": ["integer", "null"]},
                "state": {"enum": ["live", "lagging", "stuck", "stopped", "building", "paused"]},
                "rows": {"type": ["integer", "null"]}, "pending": {"type": "integer"},
                "rebuild": {"type": ["object", "null"], "description": "A generation being built."},
                "search": {
                    "type": ["object", "null"],
                    "properties": {
                        "backend": {"enum": ["elasticsearch", "postgres"]},
                        "outbox": {"type": "integer", "description": "Keys that the index has yet to see."},
                        "refused": {"type": "integer", "description": "Rows whose document Elasticsearch refused."},
                        "as_of": {"type": ["string", "null"], "format": "date-time"},
                    },
                },
            },
        }},
        "dead_letters": {"type": "integer"},
        "dead_letters_by_reason": {"type": "object", "additionalProperties": {"type": "integer"}},
        "workers": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "state": {"type": "string"}, "started_at": {"type": "string", "format": "date-time"},
                "seconds_since": {"type": "number", "description": "The last beat was so long ago."},
            },
        }},
    },
}  # fmt: skip


def document(resources: Iterable[Resource]) -> Described:
    """The OpenAPI document of these views."""
    resources = list(resources)
    status = _content({"$ref": "#/components/schemas/Status"}, fresh=True)
    paths = {"/v1/status": {"get": _operation("status", "How the service is", "service", status)}}
    for resource in resources:
        paths[resource.path] = {"get": _list(resource)}
        paths[f"{resource.path}/changes"] = {"get": _changes(resource)}
        paths[resource.one_path] = {"get": _one(resource)}
        paths[f"{resource.path}/export"] = {"get": _export(resource)}
        if resource.search:
            paths[f"{resource.path}/search"] = {"get": _search(resource)}
    for parent, child, path in nested(resources):
        paths[path] = {"get": _list(child, parent)}
    for path, summary in (("/livez", "Whether the process is up"), ("/readyz", "Whether it can answer")):
        probe = _operation(path[1:], summary, "service", _content({"type": "object"}))
        answers = {status: its for status, its in probe["responses"].items() if status in ("200", "503")}
        paths[path] = {"get": probe | {"responses": answers, "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Prejoin", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": {r.name: _row(r) for r in resources} | {"Problem": _PROBLEM, "Status": _STATUS},
            "headers": {
                n: {"description": text, "schema": schema} for n, (text, schema) in (_FRESHNESS | _TAGGED).items()
            },
            "responses": {name: _problem(text) for name, text in _PROBLEMS.items()} | {"NotModified": _NOT_MODIFIED},
            "parameters": _headers(),
            "securitySchemes": {"credential": _CREDENTIAL},
        },
        "security": [{"credential": []}, {}],  # none is asked for on loopback, until there is a first key
    }


def _row(resource: Resource) -> Schema:
    key = {field.name for field in resource.key if not field.nullable}
    shown = {n: f.kind.schema if n in key else nullable(f.kind.schema) for n, f in resource.fields.items()}
    return {"type": "object", "properties": shown, "required": list(shown)}


def _list(resource: Resource, parent: Resource | None = None) -> Described:
    page = {
        "type": "object",
        "properties": {
            # with `fields`, rows hold those columns alone
            "data": {"type": "array", "items": {**_row(resource), "required": [f.name for f in resource.key]}},
            "has_more": {"type": "boolean"},
            "next_cursor": {"type": ["string", "null"]},
            "total_count": {"type": "integer", "description": "With `count`: rows that the filters pass."},
        },
        "required": ["data", "has_more", "next_cursor"],
    }
    above = parent.key[0] if parent else None
    name, what = f"list_{resource.name}", f"Rows of {resource.name}"
    if parent and above:
        name, what = f"list_{resource.name}_of_{parent.name}", f"{what} of one row of {parent.name}"
    ok = _content(page, fresh=True, tagged=("ETag", "Link"))
    described = _operation(name, what, resource.name, ok, missing=True, tagged=True)
    taken = [p for p in _all_filters(resource) if above is None or p["name"] != above.name]
    within = [_in_path(above)] if above else []
    return described | {"parameters": [*within, *_paging(resource), _COUNT, *taken, *_refer(*_WAITING, *_KNOWING)]}


def _export(resource: Resource) -> Described:
    content = {form.media_type: {"schema": {"type": "string"}} for form in FORMATS.values()}
    ok = _content({}, fresh=True, tagged=("Content-Disposition",)) | {"content": content}
    described = _operation(f"export_{resource.name}", f"All rows of {resource.name} as a file", resource.name, ok, True)
    form = _query("format", _FORMAT, {"enum": list(FORMATS)}, required=True)
    options = [p for p in _paging(resource) if p["name"] in ("sort", "fields", SNAPSHOT)]
    return described | {"parameters": [form, *options, *_all_filters(resource), *_refer(*_WAITING)]}


def _changes(resource: Resource) -> Described:
    described = _operation(
        f"follow_{resource.name}", f"Changes of {resource.name}, as they come", resource.name, _content({}, fresh=True)
    )
    data = {"description": _CHANGES, "examples": [_EXAMPLE]}
    described["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string", **data}}}
    last = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "description": _RESUME}
    return described | {"parameters": [last, *_all_filters(resource), *_refer(*_WAITING)]}


def _search(resource: Resource) -> Described:
    hit = {
        "type": "object",
        "properties": {
            "score": {"type": "number", "description": "1 for a word found as it is in a field of boost 1."},
            "highlights": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "row": {**_row(resource), "required": [f.name for f in resource.key]},
        },
        "required": ["score", "highlights", "row"],
    }
    described = _operation(
        f"search_{resource.name}",
        f"Rows of {resource.name} by their words",
        resource.name,
        _content({**_SEARCHED, "properties": {"data": {"type": "array", "items": hit}, **_FOUND}}, fresh=True),
        missing=True,
    )
    return described | {
        "parameters": [*_searching(resource), *_paging(resource), *_all_filters(resource), *_refer(*_WAITING)]
    }


def _searching(resource: Resource) -> list[Described]:
    assert resource.search is not None
    words = {"type": "string", "maxLength": MAX_LENGTH, "examples": ['red "leather shoe" -used']}
    found = [_query("q", f"{_WORDS} Fields searched: {', '.join(resource.search.text)}.", words)]
    if resource.search.facets:
        facets = {"type": "array", "items": {"enum": list(resource.search.facets)}, "minItems": 1}
        what = (
            f"Columns whose values are counted over all hits, the {FACET_VALUES} most frequent of each; nulls are not."
        )
        found.append(_query("facets", what, facets, explode=False))
    return found


def _one(resource: Resource) -> Described:
    ok = _content({"$ref": f"#/components/schemas/{resource.name}"}, fresh=True, tagged=("ETag",))
    key = [_in_path(field) for field in resource.key]
    what = f"One row of {resource.name}"
    described = _operation(f"get_{resource.name}", what, resource.name, ok, missing=True, tagged=True)
    return described | {"parameters": [*key, _SNAPSHOT, *_refer(*_WAITING, *_KNOWING)]}


def _in_path(field: Field) -> Described:
    return {
        "name": field.name,
        "in": "path",
        "required": True,
        "description": f"`{NULL_KEY}` is null" if field.nullable else "",
        "schema": {"type": "string"} if field.nullable else field.kind.schema,
    }


def _operation(
    name: str, summary: str, tag: str, ok: Described, missing: bool = False, tagged: bool = False
) -> Described:
    others = {"400": "BadRequest", "503": "Unavailable"}
    others |= {"401": "Unauthorized", "403": "Forbidden", "429": "TooMany"}
    others |= {"404": "NotFound"} if missing else {}
    others |= {"304": "NotModified"} if tagged else {}
    answers = {status: {"$ref": f"#/components/responses/{name}"} for status, name in others.items()}
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": {"200": ok} | answers}


def _content(schema: Schema, fresh: bool = False, tagged: Iterable[str] = ()) -> Described:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*(_FRESHNESS if fresh else ()), *tagged)}
    return {"description": "OK", "headers": headers, "content": {"application/json": {"schema": schema}}}


def _problem(text: str) -> Described:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}


def _all_filters(resource: Resource) -> list[Described]:
    return [p for f in resource.filters.values() for p in _filters(f, f.name in resource.indexed)]


def _filters(field: Field, indexed: bool) -> list[Described]:
    schema = field.kind.schema
    one = {**schema, "pattern": _TEXT} if schema == {"type": "string"} else schema
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_VALUES}
    means = f"Is any of these; a comma inside a value is `%5C,`. {_INDEXED if indexed else _NOT_INDEXED}"
    found = [_query(field.name, means, several, explode=False)]
    for operator in operators(field)[1:]:
        others: dict[str, Schema] = {"ne": several, "null": {"type": "boolean"}}
        schema = others.get(operator, one)
        found.append(_query(f"{field.name}[{operator}]", f"{field.name} {_MEANS[operator]}", schema, explode=False))
    return found


def _paging(resource: Resource) -> list[Described]:
    plain = [f.name for f in resource.fields.values() if f.plain]
    sortable = [*plain, *(f"-{name}" for name in plain)]
    limit = {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}
    columns = {"type": "array", "items": {"enum": list(resource.fields)}, "minItems": 1}
    return [
        _query(
            "sort",
            _SORT,
            {"type": "array", "items": {"enum": sortable}, "minItems": 1, "uniqueItems": True},
            explode=False,
        ),
        _query("limit", f"Rows of a page, at most {MAX_LIMIT}: more is cut to that.", limit),
        _query("cursor", "`next_cursor` of the page before, with the same filters and sort.", {"type": "string"}),
        _query("fields", "The columns wanted; the key always comes.", columns, explode=False),
        _SNAPSHOT,
    ]


def _query(name: str, description: str, schema: Schema, **more: object) -> Described:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


_SNAPSHOT = _query(SNAPSHOT, _OF_A_MOMENT, {"type": "string", "pattern": f"^{SNAPSHOT_NAME.pattern}$"})


def _headers() -> Mapping[str, Described]:
    positions = {"type": "string", "pattern": POSITIONS_PATTERN, "examples": ["orders/0@1240"]}
    return {
        "MinPosition": {"name": "Prejoin-Min-Position", "in": "header", "schema": positions,
                        "description": "Answer only once these offsets are applied, else 503."},
        "Prefer": {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["wait=5"]},
                   "description": f"`wait=N`: wait up to N seconds for the positions, at most {MAX_WAIT} (RFC 7240)."},
        "IfNoneMatch": {"name": "If-None-Match", "in": "header", "schema": {"type": "string"},
                        "description": "ETags of answers that the client has: 304 where one of them still holds."},
    }  # fmt: skip


def _refer(*names: str) -> list[Described]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
