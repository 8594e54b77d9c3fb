"""OpenAPI 3.1 of the API, made from the views' columns: a new view is described as it is declared."""

from collections.abc import Iterable

from read_api.export.formats import FORMATS
from read_api.kinds import Schema
from read_api.openapi.answers import (
    FOUND,
    FRESHNESS,
    HITS,
    NOT_MODIFIED,
    PROBLEM,
    PROBLEMS,
    STATUS,
    TAGGED,
    content,
    problem,
    row,
)
from read_api.openapi.asked import (
    COUNT,
    FORMAT,
    KNOWING,
    OF_A_MOMENT,
    RESUME,
    WAITING,
    filters,
    headers,
    in_path,
    paging,
    query,
    refer,
    searching,
)
from read_api.parameters import SNAPSHOT
from read_api.resource import Resource, nested

_ABOUT = """Cross-service answers from views that were joined beforehand. GET and HEAD only.

Each answer tells how fresh it is: every event that the broker held at `Prejoin-As-Of` has been applied. To read what
you just wrote, send `Prejoin-Min-Position` with `Prefer: wait=N`."""
_CREDENTIAL: Schema = {
    "type": "http",
    "scheme": "bearer",
    "description": """An API key, or a token of the identity provider with scopes such as `prejoin:orders` or
`prejoin:all`. Without `prejoin:pii`, or a key's --pii, personal columns are null, neither filter nor sort, and words
in them are not found.""",
}
_CHANGES = """Server-sent events. `upsert`: a row as it is now; `delete`: none has this key, or it does not pass the
filters (perhaps it never did); `reset`: read the view anew, what was told before may be out of date."""
_EXAMPLE = 'id: …\nevent: upsert\ndata: {"key": {"order_id": "o1"}, "row": {"order_id": "o1", "status": "paid"}}\n\n'


def document(resources: Iterable[Resource]) -> Schema:
    """The OpenAPI document of these views."""
    resources = list(resources)
    status = content({"$ref": "#/components/schemas/Status"}, fresh=True)
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
        probe = _operation(path[1:], summary, "service", content({"type": "object"}))
        answers = {status: its for status, its in probe["responses"].items() if status in ("200", "503")}
        paths[path] = {"get": probe | {"responses": answers, "security": []}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Prejoin", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": {r.name: row(r) for r in resources} | {"Problem": PROBLEM, "Status": STATUS},
            "headers": {
                n: {"description": text, "schema": schema} for n, (text, schema) in (FRESHNESS | TAGGED).items()
            },
            "responses": {name: problem(text) for name, text in PROBLEMS.items()} | {"NotModified": NOT_MODIFIED},
            "parameters": headers(),
            "securitySchemes": {"credential": _CREDENTIAL},
        },
        "security": [{"credential": []}, {}],  # none is asked for on loopback, until there is a first key
    }


def _list(resource: Resource, parent: Resource | None = None) -> Schema:
    page = {
        "type": "object",
        "properties": {
            # with `fields`, rows hold those columns alone
            "data": {"type": "array", "items": {**row(resource), "required": [f.name for f in resource.key]}},
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
    ok = content(page, fresh=True, tagged=("ETag", "Link"))
    described = _operation(name, what, resource.name, ok, missing=True, tagged=True)
    taken = [p for p in filters(resource) if above is None or p["name"] != above.name]
    within = [in_path(above)] if above else []
    return described | {"parameters": [*within, *paging(resource), COUNT, *taken, *refer(*WAITING, *KNOWING)]}


def _export(resource: Resource) -> Schema:
    files = {form.media_type: {"schema": {"type": "string"}} for form in FORMATS.values()}
    ok = content({}, fresh=True, tagged=("Content-Disposition",)) | {"content": files}
    described = _operation(f"export_{resource.name}", f"All rows of {resource.name} as a file", resource.name, ok, True)
    form = query("format", FORMAT, {"enum": list(FORMATS)}, required=True)
    options = [p for p in paging(resource) if p["name"] in ("sort", "fields", SNAPSHOT)]
    return described | {"parameters": [form, *options, *filters(resource), *refer(*WAITING)]}


def _changes(resource: Resource) -> Schema:
    described = _operation(
        f"follow_{resource.name}", f"Changes of {resource.name}, as they come", resource.name, content({}, fresh=True)
    )
    data = {"description": _CHANGES, "examples": [_EXAMPLE]}
    described["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string", **data}}}
    last = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "description": RESUME}
    return described | {"parameters": [last, *filters(resource), *refer(*WAITING)]}


def _search(resource: Resource) -> Schema:
    hit = {
        "type": "object",
        "properties": {
            "score": {"type": "number", "description": "1 for a word found as it is in a field of boost 1."},
            "highlights": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "row": {**row(resource), "required": [f.name for f in resource.key]},
        },
        "required": ["score", "highlights", "row"],
    }
    described = _operation(
        f"search_{resource.name}",
        f"Rows of {resource.name} by their words",
        resource.name,
        content({**HITS, "properties": {"data": {"type": "array", "items": hit}, **FOUND}}, fresh=True),
        missing=True,
    )
    return described | {"parameters": [*searching(resource), *paging(resource), *filters(resource), *refer(*WAITING)]}


def _one(resource: Resource) -> Schema:
    ok = content({"$ref": f"#/components/schemas/{resource.name}"}, fresh=True, tagged=("ETag",))
    key = [in_path(field) for field in resource.key]
    what = f"One row of {resource.name}"
    described = _operation(f"get_{resource.name}", what, resource.name, ok, missing=True, tagged=True)
    return described | {"parameters": [*key, OF_A_MOMENT, *refer(*WAITING, *KNOWING)]}


def _operation(name: str, summary: str, tag: str, ok: Schema, missing: bool = False, tagged: bool = False) -> Schema:
    others = {"400": "BadRequest", "503": "Unavailable"}
    others |= {"401": "Unauthorized", "403": "Forbidden", "429": "TooMany"}
    others |= {"404": "NotFound"} if missing else {}
    others |= {"304": "NotModified"} if tagged else {}
    answers = {status: {"$ref": f"#/components/responses/{name}"} for status, name in others.items()}
    return {"operationId": name, "summary": summary, "tags": [tag], "responses": {"200": ok} | answers}
