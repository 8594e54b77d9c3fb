"""What the API answers, as OpenAPI describes it: rows, hits, headers, problems and the status."""

from collections.abc import Iterable

from read_api.kinds import Schema, nullable
from read_api.resource import Resource

HITS: Schema = {
    "type": "object",
    "required": ["data", "total", "facets", "has_more", "next_cursor", "backend", "degraded"],
}
FOUND: Schema = {
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
FRESHNESS: Schema = {
    "Prejoin-As-Of": ("Every event that the broker held at this time has been applied. Absent before the first time.",
                      {"type": "string", "format": "date-time"}),
    "Prejoin-Lag": ("Now minus Prejoin-As-Of, in seconds.", {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,3})?$"}),
    "Prejoin-Position": ("The last applied offset of each partition, such as orders/0@1234,payments/1@88.",
                         {"type": "string"}),
    "Preference-Applied": ("wait=N, where the request waited for a position.", {"type": "string"}),
}  # fmt: skip
TAGGED: Schema = {
    "ETag": ("Tells this answer from what it was or will be: give it as If-None-Match.", {"type": "string"}),
    "Link": ('The next page, relative to this one: `<?…>; rel="next"`.', {"type": "string"}),
    "Content-Disposition": ("The name of the file.", {"type": "string"}),
}
PROBLEM: Schema = {
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
PROBLEMS = {
    "Unauthorized": "There is no key or token, or it is not good, or not any more.",
    "Forbidden": "The key or token lacks a scope; `WWW-Authenticate` names it.",
    "TooMany": "More requests than a caller may send; `Retry-After` says when to try again.",
    "BadRequest": "A parameter or header is wrong; `errors` names each.",
    "NotFound": "There is no such row, or no such snapshot: `detail` says which.",
    "Unavailable": "The database does not answer, or not within its time, or the positions asked for are not applied"
    " yet; try again.",
}
NOT_MODIFIED: Schema = {
    "description": "What the client has still holds.",
    "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in (*FRESHNESS, "ETag")},
}
STATUS: Schema = {
    "type": "object",
    "properties": {
        "state": {"enum": ["live", "lagging", "stuck", "stopped"]},
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
        "drift": {
            "type": "object",
            "description": "View → kind → keys that were found to differ, by workers' samples or `prejoin verify`.",
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
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


def row(resource: Resource) -> Schema:
    """A row with all of its columns."""
    key = {field.name for field in resource.key if not field.nullable}
    shown = {n: f.kind.schema if n in key else nullable(f.kind.schema) for n, f in resource.fields.items()}
    return {"type": "object", "properties": shown, "required": list(shown)}


def content(schema: Schema, fresh: bool = False, tagged: Iterable[str] = ()) -> Schema:
    """The answer 200 in JSON; `fresh`: with the headers that say how fresh it is; `tagged`: with these of TAGGED."""
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*(FRESHNESS if fresh else ()), *tagged)}
    return {"description": "OK", "headers": headers, "content": {"application/json": {"schema": schema}}}


def problem(text: str) -> Schema:
    """The answer of an error."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
