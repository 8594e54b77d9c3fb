"""`Search`: what of a view is searched by its words, and what its hits are counted by."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Column, Date, DateTime, Integer, Numeric, String
from sqlalchemy.types import TypeEngine

from projector.declare.types import ListOf

MOST_TEXTS, MOST_FACETS, MOST_BOOST = 32, 16, 1_000


@dataclass(frozen=True)
class Search:
    """Keeps a view in the search index.

    `text`: field → how much a word found there counts (1 is plain). `facets`: fields whose values are counted over all
    hits. A field is a column, or `lines.product_name` for a field of the objects in a column that is a list.
    """

    text: Mapping[str, float]
    facets: Sequence[str] = field(default=())

    def problems(self, name: str, columns: Sequence[Column[Any]], key: Sequence[str]) -> list[str]:
        """Everything wrong with it for a view of these columns, a line each."""
        known = plain_fields(columns)
        found = [] if self.text else [f"{name}: search= has no text field; name one at least"]
        if len(key) != 1:
            found.append(f"{name}: search= needs a key of one column; it has {', '.join(key)}")
        for n, most, what in ((len(self.text), MOST_TEXTS, "text"), (len(self.facets), MOST_FACETS, "facet")):
            found += [f"{name}: search= has {n} {what} fields; {most} at most"] if n > most else []
        found += [
            f"{name}: search= names {f!r}, which {wrong}" for f in self.text if (wrong := _no_text(f, columns, known))
        ]
        found += [
            f"{name}: search= gives {f!r} the boost {boost!r}; above 0, {MOST_BOOST} at most"
            for f, boost in self.text.items()
            if isinstance(boost, bool) or not isinstance(boost, int | float) or not 0 < boost <= MOST_BOOST
        ]
        found += [
            f"{name}: search= has the facet {f!r}, which {wrong}"
            for f in self.facets
            if (wrong := _no_facet(f, columns, known))
        ]
        twice = sorted({f for f in self.facets if list(self.facets).count(f) > 1})
        return found + [f"{name}: search= has the facet {f!r} twice; name it once" for f in twice]


def plain_fields(columns: Sequence[Column[Any]]) -> dict[str, TypeEngine[Any]]:
    """What filters: field → type of each column with one value, and of each in the objects of a list."""
    found: dict[str, TypeEngine[Any]] = {}
    for column in columns:
        inside = column.type.fields if isinstance(column.type, ListOf) else {}
        fields = {f"{column.name}.{name}": kind for name, kind in inside.items()} or {column.name: column.type}
        found |= {name: kind for name, kind in fields.items() if is_plain(kind)}
    return found


def is_plain(kind: TypeEngine[Any]) -> bool:
    """Whether values of the type are single ones, in an order."""
    return isinstance(kind, Integer | Numeric | String | Boolean | Date) or (
        isinstance(kind, DateTime) and kind.timezone
    )


def _no_text(name: str, columns: Sequence[Column[Any]], known: Mapping[str, TypeEngine[Any]]) -> str:
    if name not in known:
        return _unknown(name, columns, known)
    return "" if isinstance(known[name], String) else "is no text; search by words needs one"


def _no_facet(name: str, columns: Sequence[Column[Any]], known: Mapping[str, TypeEngine[Any]]) -> str:
    if name not in known:
        return _unknown(name, columns, known)
    kind = known[name]
    if isinstance(kind, DateTime) or (isinstance(kind, Numeric) and kind.scale != 0):
        return "has too many values to count; a facet is text, a whole number, a date, or true and false"
    return ""


def _unknown(name: str, columns: Sequence[Column[Any]], known: Mapping[str, TypeEngine[Any]]) -> str:
    inside = [known_name for known_name in known if known_name.startswith(f"{name}.")]
    if inside:
        return f"is a list; name a field in it, such as {inside[0]!r}"
    if any(column.name == name for column in columns):
        return "is an object; name a column with one value"
    near = difflib.get_close_matches(name, list(known), 1)
    return f"the view does not have; did you mean {near[0]!r}?" if near else "the view does not have"
