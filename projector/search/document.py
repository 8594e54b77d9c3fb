"""A view's index: its name, its mapping, and the document of a row. Core features of Elasticsearch alone.

A document has four parts. `row` is the row as the API shows it, stored and not indexed: hits are answered from it.
`is` has one keyword a field, in the form of `sortable`: what filters, ranges, orders and facets look at. `text` has the
words of the fields that are searched, folded and split here, so that the index has nothing to analyze. `whole` has the
folded text of such a column as one keyword: a full id, or a full name, is told from one that shares a word with it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import String

from projector.declare.search import Search, plain_fields
from projector.declare.view import View
from projector.search.sortable import LONGEST, REMEMBERED, sorter
from projector.store.names import generation_name
from projector.text import fold, words

# The one document that is no row: what the index holds, `{"state": {"is": "true", "as_of": …, "positions": {…}}}`.
# Not a key: ids have no space.
STATE_ID = "prejoin state"
STATE_FIELD = "state.is"
STATE = "true"
_FORM = "1"  # of documents; another one makes other indexes
_KEYWORD = {"type": "keyword"}
_WHOLE = {"type": "keyword", "doc_values": False}
_WORDS = {"type": "text", "analyzer": "whitespace", "index_prefixes": {"min_chars": 2, "max_chars": 6}}

SETTINGS: dict[str, Any] = {
    # one: a document that was written behind others is not seen before them
    "number_of_shards": 1,
    # the indexer refreshes, once a second (`showing.py`): this is for what one that was stopped has left
    "refresh_interval": "5s",
    # how long a deleted document's version is remembered, and a late write of it refused
    "gc_deletes": "1h",
}

Document_ = dict[str, Any]


class Document:
    """How one view is kept in the index; all of it follows from its declaration."""

    def __init__(self, view: View, group: str) -> None:
        assert view.search is not None
        self.view, self.search = view, view.search
        self.alias = view.name if group == "prejoin" else f"{group}.{view.name}"
        self.fields = plain_fields(view.columns)
        self._is = _Picked({name: sorter(kind) for name, kind in self.fields.items()})
        self._text = _Picked(dict.fromkeys(self.search.text, _joined))
        self._whole = _Picked(dict.fromkeys(whole_fields(view), _folded))

    def index_name(self, generation: int, search_generation: int) -> str:
        """The index of one search generation of one generation of the view."""
        return f"{generation_name(self.alias, generation)}_s{search_generation}"

    @property
    def settings(self) -> dict[str, Any]:
        """The index's settings."""
        return SETTINGS

    @property
    def mapping(self) -> dict[str, Any]:
        """The index's mapping; what it does not name is stored and not indexed."""
        return {
            "dynamic": False,
            "_meta": {"digest": self.digest},
            "properties": {
                "row": {"type": "object", "enabled": False},
                "is": _properties(dict.fromkeys(self.fields, _KEYWORD)),
                "text": _properties(dict.fromkeys(self.search.text, _WORDS)),
                "whole": _properties(dict.fromkeys(whole_fields(self.view), _WHOLE)),
                "state": {"properties": {"is": _KEYWORD}},
            },
        }

    @property
    def digest(self) -> str:
        """Of what documents are made like: another one needs another index. Boosts and facets are asked with alone."""
        kinds = {name: repr(kind) for name, kind in self.fields.items()}
        parts = [_FORM, list(self.search.text), kinds, [c.name for c in self.view.columns]]
        return hashlib.sha256(json.dumps([parts, SETTINGS]).encode()).hexdigest()

    def line(self, shown: str) -> bytes:
        """The document of a row given as JSON text, as a line of a bulk: the row goes in as it is."""
        found = self.of(msgspec.json.decode(shown))
        del found["row"]
        return b'{"row":' + shown.encode() + b"," + msgspec.json.encode(found)[1:]

    def of(self, row: Mapping[str, Any]) -> Document_:
        """The document of a row as the API shows it."""
        return {"row": row, "is": self._is.of(row), "text": self._text.of(row), "whole": self._whole.of(row)}


def whole_fields(view: View) -> list[str]:
    """The searched columns whose whole text is a keyword of its own, `whole.…`."""
    columns = {c.name for c in view.columns if isinstance(c.type, String)}
    return [name for name in (view.search or Search({})).text if name in columns]


class _Picked:
    """Some fields of a row, each with what makes its value; absent where it is null."""

    def __init__(self, made: Mapping[str, Callable[[Any], str]]) -> None:
        self._plain = [(name, make) for name, make in made.items() if "." not in name]
        self._inside: dict[str, list[tuple[str, Callable[[Any], str]]]] = {}
        for name, make in made.items():
            column, dot, inside = name.partition(".")
            if dot:
                self._inside.setdefault(column, []).append((inside, make))

    def of(self, row: Mapping[str, Any]) -> Document_:
        found: Document_ = {name: make(value) for name, make in self._plain if (value := row[name]) is not None}
        for column, fields in self._inside.items():
            if items := row[column]:
                lists = {
                    name: made
                    for name, make in fields
                    if (made := [make(value) for item in items if (value := item[name]) is not None])
                }
                if lists:
                    found[column] = lists
        return found


@lru_cache(REMEMBERED)
def _joined(text: str) -> str:
    return " ".join(words(text))


@lru_cache(REMEMBERED)
def _folded(text: str) -> str:
    return fold(text)[:LONGEST]


def _properties(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`{"properties": …}` of fields by name; a dot leads into an object."""
    found: dict[str, Any] = {}
    for name, mapping in fields.items():
        column, _, inside = name.partition(".")
        if inside:
            found.setdefault(column, {"properties": {}})["properties"][inside] = mapping
        else:
            found[column] = mapping
    return {"properties": found}
