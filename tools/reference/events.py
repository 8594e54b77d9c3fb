"""The events: every contract with its fields, their bounds, and its golden example."""

from typing import Any

from projector.declare.projections import Projections, load
from schemas.contract import Contract
from schemas.registry import example_path
from tools.reference.markdown import block, code, paragraphs, table

ABOUT = """CloudEvents 1.0, structured or binary, JSON. The part of `type` before the point is the topic; events of one
aggregate share a key. Fields that a contract does not know are ignored. How a contract may change:
[change a contract](../how-to/change-a-contract.md)."""
_BOUNDS = {
    "pattern": "matches", "maxLength": "at most", "minimum": "from", "maximum": "to", "minItems": "at least",
    "maxItems": "at most",
}  # fmt: skip
_UNITS = {"maxLength": " characters", "minItems": " items", "maxItems": " items"}


def page() -> str:
    """The page."""
    projections = load("projections")
    folded = projections.by_contract
    parts = []
    topic = ""
    for contract in projections.registry.contracts.values():
        parts += [f"## {contract.topic}"] if contract.topic != topic else []
        topic = contract.topic
        parts.append(_contract(projections, contract, folded[contract].name if contract in folded else None))
    return paragraphs("# Events", ABOUT, *parts)


def _contract(projections: Projections, contract: type[Contract], entity: str | None) -> str:
    newest = projections.registry.newest[contract.type]
    becomes = f"Folded into {code(entity)}." if entity else f"Brought to {code(newest.wire_type)} when it is read."
    schema = contract.model_json_schema(mode="validation")
    return paragraphs(
        f"### {contract.wire_type}",
        f"{contract.__doc__} {becomes}",
        table(("field", "type and bounds", "required"), _fields(schema, schema.get("$defs", {}))),
        block("json", example_path(contract).read_text()),
    )


def _fields(schema: dict[str, Any], parts: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    """One row a field, with those of the objects in a list behind it."""
    rows = []
    for name, about in schema["properties"].items():
        default = f"no: {code(str(about['default']))}" if about.get("default") is not None else "no"
        required = "yes" if name in schema.get("required", ()) else default
        rows.append((code(prefix + name), _type(about), required))
        part = about.get("items", {}).get("$ref", "").rpartition("/")[2]
        rows += _fields(parts[part], parts, f"{prefix}{name}[].") if part else []
    return rows


def _type(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_type(each) for each in about["anyOf"])
    kind = about.get("type", "object")
    kind = f"{kind}, {about['format']}" if "format" in about else kind
    bounds = [
        f"{says} {code(str(about[bound]))}{_UNITS.get(bound, '')}" for bound, says in _BOUNDS.items() if bound in about
    ]
    return ", ".join([kind, *bounds])
