"""The HTTP API, from its OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from projector.declare.projections import load
from read_api.docs import grouped, resolve, row_of, type_of
from read_api.openapi.document import document
from read_api.resource import Resource
from tools.reference.markdown import code, paragraphs, table

ABOUT = """This page says the same as `/openapi.json` (OpenAPI 3.1) and `/docs` of a running API. By task:
[read the views](../how-to/read-api.md), [search](../how-to/search.md), [follow changes](../how-to/live-changes.md),
[secure the API](../how-to/secure-the-api.md)."""


def page() -> str:
    """The page."""
    described = document([Resource(relation) for relation in load("projections").served])
    return paragraphs(
        "# HTTP API",
        described["info"]["description"],
        ABOUT,
        *_by_tag(described),
    )


def _by_tag(described: dict[str, Any]) -> Iterator[str]:
    """The operations of each view, then those of the service, each group with a heading."""
    paths = [(path, item["get"]) for path, item in described["paths"].items()]
    by_tag: dict[str, list[str]] = {}
    for path, operation in paths:
        by_tag.setdefault(operation.get("tags", ["service"])[0], []).append(_path(described, path, operation))
    for tag, parts in by_tag.items():
        yield paragraphs(f"## {tag}", *parts)


def _path(described: dict[str, Any], path: str, operation: dict[str, Any]) -> str:
    parameters = grouped([resolve(described, p) for p in operation.get("parameters", [])])
    answers = operation["responses"]
    media = answers["200"]["content"]
    row = row_of(resolve(described, next(iter(media.values()))["schema"])).get("properties", {})
    told = [(code(status), resolve(described, answer)["description"]) for status, answer in answers.items()]
    return paragraphs(
        f"### GET {path}",
        f"{operation['summary']}. {operation.get('description', '')}",
        table(("parameter", "type", ""), [(code(name), kind, text) for name, kind, text in parameters]),
        f"Answers {', '.join(code(kind) for kind in media)}.",
        table(("field", "type"), [(code(name), type_of(schema)) for name, schema in row.items()]),
        table(("status", ""), told),
    )
