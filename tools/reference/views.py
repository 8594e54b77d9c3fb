"""The views: their columns and types, keys, indexes and searched fields, as declared."""

import sys

from projector.declare.personal import personal_columns
from projector.declare.projections import Projections, load, reads
from projector.declare.view import Relation, Rollup, View
from read_api.docs import type_of
from read_api.kinds import kind_of
from tools.reference.markdown import code, codes, paragraphs, table

ABOUT = """What the API serves: one row for each key. Types are those of JSON; money and other decimals are strings, so
that nothing is rounded. Any column may be null unless it is part of the key. How one is made:
[add a view](../how-to/add-a-view.md)."""


def page() -> str:
    """The page."""
    projections = load("projections")
    personal = personal_columns(projections)
    return paragraphs(
        "# Views",
        ABOUT,
        *(
            _view(relation, {c for found in personal.get(relation.name, ()) for c in found.columns}, projections)
            for relation in projections.served
        ),
    )


def _view(relation: Relation, personal: set[str], projections: Projections) -> str:
    rows = [
        (code(c.name), type_of(kind_of(c.type).schema), "personal" if c.name in personal else "")
        for c in relation.columns
    ]
    facts = [
        ("path", code(f"/v1/{relation.path}")),
        ("key", codes(relation.key)),
        ("reads", codes(t.name for t in reads(relation))),
        ("rows", _kept(relation)),
        ("indexes", "; ".join(codes(index) for index in relation.indexes)),
        *_search(relation),
    ]
    return paragraphs(
        f"## {relation.name}",
        _told(relation, projections),
        table(facts[0], [fact for fact in facts[1:] if fact[1]]),
        table(("column", "type", ""), rows),
    )


def _told(relation: Relation, projections: Projections) -> str:
    """What the file that declares it says of it."""
    modules = (module for name, module in sys.modules.items() if name.startswith(f"{projections.name}."))
    return next((m.__doc__ or "" for m in modules if vars(m).get(relation.name) is relation), "")


def _kept(relation: Relation) -> str:
    if isinstance(relation, Rollup):
        return f"a rollup of {code(relation.source.name)}, moved by differences"
    return "kept in a table" if relation.stored else "none of its own: computed when they are read"


def _search(relation: Relation) -> list[tuple[str, str]]:
    search = relation.search if isinstance(relation, View) else None
    if search is None:
        return []
    weighed = ", ".join(f"{code(field)} × {boost:g}" for field, boost in search.text.items())
    return [("searched", weighed), ("facets", codes(search.facets))]
