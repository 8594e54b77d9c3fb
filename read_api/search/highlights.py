"""Where in a row the words of a query stand. Made from the row, so that it is the same whichever backend found it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from projector.text import fold
from read_api.search.words import Phrase, Query, Word

LONGEST = 200  # characters of a fragment; more of a value is left out
_AROUND = 60  # characters before the first word found
_WORD = re.compile(r"[^\W_]+")

Span = tuple[int, int]


def highlights(query: Query, fields: Iterable[str], row: Mapping[str, Any]) -> dict[str, list[str]]:
    """Field → its values that hold a word of the query, as HTML with each such word in `<em>`."""
    found: dict[str, list[str]] = {}
    if query.wanted:
        for field in fields:
            if marked := [shown for value in _values(field, row) if (shown := _marked(query, value))]:
                found[field] = list(dict.fromkeys(marked))
    return found


def _values(field: str, row: Mapping[str, Any]) -> Iterator[str]:
    column, _, inside = field.partition(".")
    value = row.get(column)
    for one in (item.get(inside) for item in value or ()) if inside else (value,):
        if one is not None:
            yield str(one)


def _marked(query: Query, text: str) -> str | None:
    tokens = list(_tokens(text))
    hits = _hits(query, [word for word, _ in tokens])
    spans = [span for (_, span), hit in zip(tokens, hits, strict=True) if hit]
    if not spans:
        return None
    begin, end = _fragment(text, spans[0])
    parts, at = ["…" if begin else ""], begin
    for first, last in spans:
        if at <= first and last <= end:  # one character may be two words: ¼ is 1 and 4
            parts += [escape(text[at:first]), "<em>", escape(text[first:last]), "</em>"]
            at = last
    return "".join([*parts, escape(text[at:end]), "…" if end < len(text) else ""])


def _fragment(text: str, first: Span) -> Span:
    if len(text) <= LONGEST:
        return 0, len(text)
    begin = max(0, min(first[0] - _AROUND, len(text) - LONGEST))
    return begin, max(min(begin + LONGEST, len(text)), first[1])


def _hits(query: Query, words: list[str]) -> list[bool]:
    """Of each word of a text, whether the query found it."""
    hits = [any(isinstance(w, Word) and w.found_in(word) for w in query.wanted) for word in words]
    for phrase in (w.words for w in query.wanted if isinstance(w, Phrase)):
        for n in range(len(words) - len(phrase) + 1):
            if tuple(words[n : n + len(phrase)]) == phrase:
                hits[n : n + len(phrase)] = [True] * len(phrase)
    return hits


def _tokens(text: str) -> Iterator[tuple[str, Span]]:
    """The folded words of a text, each with where it stands in the text itself."""
    if text.isascii():
        for match in _WORD.finditer(text.lower()):
            yield match[0], match.span()
        return
    folded = [(letter, n) for n, original in enumerate(text) for letter in fold(original)]
    for match in _WORD.finditer("".join(letter for letter, _ in folded)):
        end = folded[match.end() - 1][1] + 1
        while end < len(text) and not fold(text[end]):
            end += 1  # marks that belong to its last letter
        yield match[0], (folded[match.start()][1], end)
