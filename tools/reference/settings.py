"""The settings: names, values and defaults of `projector.settings`, meanings of the guide that a test holds to them."""

import re
from pathlib import Path
from typing import Any

from projector.settings import Settings
from tools.reference.markdown import code, paragraphs, table

GUIDE = Path(__file__).parents[2] / "docs/how-to/configure.md"
ABOUT = """Environment variables, or a `.env` file in the working directory; the environment wins. More on
them is in [configure](../how-to/configure.md)."""


def page() -> str:
    """The page."""
    properties = Settings.model_json_schema()["properties"]
    meanings = dict(re.findall(r"^\| `PREJOIN_(\w+)` \|[^|]*\| (.*) \|$", GUIDE.read_text(), re.MULTILINE))
    rows = [
        (code(f"PREJOIN_{name.upper()}"), _values(schema), _default(schema), _linked(meanings[name.upper()]))
        for name, schema in properties.items()
    ]
    return paragraphs("# Settings", ABOUT, table(("setting", "value", "default", "meaning"), rows))


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    kind = next((s for s in schema.get("anyOf", [schema]) if s["type"] != "null"), schema)
    bounds = [
        f"{says} {kind[bound]:,}"
        for bound, says in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if bound in kind
    ]
    secret = "secret text" if kind.get("format") == "password" else {"string": "text"}.get(kind["type"], kind["type"])
    return " ".join([secret, *bounds, code(kind.get("pattern", ""))])


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return "–" if default is None else code(shown) or "empty"


def _linked(meaning: str) -> str:
    return re.sub(r"\]\((?=[a-z-]+\.md)", "](../how-to/", meaning)
