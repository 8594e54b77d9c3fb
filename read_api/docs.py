"""`/docs`: the OpenAPI document as a page to read. It loads nothing from anywhere: it works offline too."""

from html import escape
from typing import Any

Described = dict[str, Any]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
code, h2, summary { font-family: ui-monospace, monospace; }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .3rem; padding-top: .8rem; border-top: 1px solid #d8dee6; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #eef1f4; }
summary { cursor: pointer; margin: .3rem 0; }
td { overflow-wrap: anywhere; }
td:first-child { min-width: 9rem; }
@media (prefers-color-scheme: dark) { body { background: #12161c; color: #d9e0e8; } a { color: #8ab4f8; }
  h2 { border-color: #333c48; } td, th { border-color: #262d36; } }
"""
_FILTERS = """<p>A list is filtered by its columns: <code>column=a,b</code> for any of several values, and with an
operator in brackets <code>column[gte]=100</code>, <code>column[null]=true</code>. Of an indexed column each but
<code>[ne]</code> is answered by the index. <code>sort=-column</code> begins with the greatest; <code>fields=a,b</code>
leaves the other columns out.</p>"""
SHOWN = 6  # values of a list; more of them, such as the columns to sort by, are in a table below


def docs_page(described: Described) -> str:
    """The page as HTML."""
    body = "".join(_path(described, path, item["get"]) for path, item in described["paths"].items())
    about = "".join(f"<p>{_prose(part)}</p>" for part in described["info"]["description"].split("\n\n"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Prejoin API</title><style>{_STYLE}</style>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<h1>Prejoin API</h1>{about}{_FILTERS}<p>The same as <a href="openapi.json">OpenAPI 3.1</a>.</p>{body}</html>'
    )


def _path(described: Described, path: str, operation: Described) -> str:
    shown = escape(path)
    link = shown if "{" in path else f'<a href="{shown}">{shown}</a>'
    parameters = [resolve(described, p) for p in operation.get("parameters", [])]
    ok = operation["responses"]["200"]["content"]
    return (
        f"<section><h2>GET {link}</h2><p>{escape(operation['summary'])}</p>"
        + _folded("parameters", grouped(parameters))
        + _folded("row", _columns(row_of(resolve(described, next(iter(ok.values()))["schema"]))))
        + "</section>"
    )


def grouped(parameters: list[Described]) -> list[tuple[str, str, str]]:
    """Name, type and description of each, a column's filters with all their operators in one row."""
    operators: dict[str, list[str]] = {}
    for parameter in parameters:
        name, bracket, operator = parameter["name"].partition("[")
        operators.setdefault(name, []).extend([f"`[{operator}`"] if bracket else [])
    return [
        (p["name"], type_of(p["schema"]), " ".join([p.get("description", ""), *operators[p["name"]]]))
        for p in parameters
        if p["name"] in operators
    ]


def row_of(schema: Described) -> Described:
    """Of a page the row that it lists, of a search the row of its hits."""
    row: Described = schema.get("properties", {}).get("data", {}).get("items", schema)
    return row.get("properties", {}).get("row", row) if "highlights" in row.get("properties", {}) else row


def _columns(row: Described) -> list[tuple[str, str, str]]:
    return [(name, type_of(schema), "") for name, schema in row.get("properties", {}).items()]


def _folded(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{_prose(text)}" for name, kind, text in rows
    )
    return f"<details><summary>{title} ({len(rows)})</summary><table>{cells}</table></details>"


def type_of(schema: Described) -> str:
    """A schema in a few words."""
    if "enum" in schema:
        return ", ".join(schema["enum"]) if len(schema["enum"]) <= SHOWN else "column"
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = " or ".join(kind)
    inner = schema.get("items", {})
    form = schema.get("format") or ("decimal" if schema.get("pattern", "").startswith("^-?[0-9]") else "")
    listed = f" of {type_of(inner)}" if inner and "properties" not in inner else ""
    return f"{kind}{listed}" + (f" ({form})" if form else "")


def resolve(described: Described, part: Described) -> Described:
    """A part of the document, or what it refers to."""
    while "$ref" in part:
        found: Any = described
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def _prose(text: str) -> str:
    """Text with `code` in it."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
