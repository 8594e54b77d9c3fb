"""Words in Postgres: the search backend where there is no Elasticsearch, folded as `projector/text.py` folds.

`search_fold(text)` and `search_words(text)` are functions in the group's schema, made anew by each `prejoin migrate`;
they are immutable, so that an index can hold what they say. `vector` is the text search vector of a view's row: the
words of all its searched fields, each with the *grade* of its field. It is an expression, kept nowhere but in the index
of it: docs/decisions/0013-search-in-postgres.md.
"""

import hashlib
from functools import cache

from projector.declare.search import Search
from projector.declare.sql import quoted
from projector.declare.view import View
from projector.store.names import generation_name
from projector.text import MARKS, PLAIN

GRADES = "ABCD"
"""The weights that Postgres tells apart."""
LEXEME = "w"
"""What each word begins with in a vector: Postgres' parser takes `1e0e` for a number and a letter, `w1e0e` as it is."""
# Between the values of a field, and between fields, so that no phrase goes over an end. A word of its own, for those
# alone have a position; it is taken out of the vector.
_GAP = "0gap0"


def grades(search: Search) -> dict[str, int]:
    """Field → its grade, 0 the most important. Boosts beyond the four highest count as the fourth."""
    boosts = sorted(set(search.text.values()), reverse=True)
    return {field: min(boosts.index(boost), len(GRADES) - 1) for field, boost in search.text.items()}


def _split(text: str, letters: str) -> str:
    return f"regexp_replace(' ' || {text}, '[^{letters}]+', ' {LEXEME}', 'g')"


def _ranges(codes: range, taken: str) -> str:
    """What stands inside `[…]` for the characters of a range that a test of `str` takes."""
    found: list[list[int]] = []
    for code in codes:
        if getattr(chr(code), taken)():
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return "".join(chr(first) + (f"-{chr(last)}" if last > first else "") for first, last in found)


@cache
def functions() -> dict[str, str]:
    """Name and arguments → DDL of the functions, in the order in which they need each other.

    Text in ASCII, which most is, goes a short way. `pg_unicode_fast` folds as Unicode says whatever the database's
    locale; which characters are marks, letters and digits is told by Python's tables, as on the other side.
    """
    single = {a: b for a, b in PLAIN.items() if len(b) == 1}
    apart = "normalize(casefold(normalize(t, NFKD) COLLATE pg_catalog.pg_unicode_fast), NFKD)"
    unmarked = f"regexp_replace({apart}, '[{MARKS}]+', '', 'g')"
    folded = f"translate({unmarked}, '{''.join(single)}', '{''.join(single.values())}')"
    for letter, plain in PLAIN.items():
        if len(plain) > 1:
            folded = f"replace({folded}, '{letter}', '{plain}')"
    others = _ranges(range(0x80, 0x110000), "isalnum")
    ascii_only = "octet_length(t) = char_length(t)"
    as_is = "LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE"
    return {
        "search_fold(text)": f"CREATE OR REPLACE FUNCTION search_fold(t text) RETURNS text {as_is} RETURN CASE WHEN "
        f"{ascii_only} THEN lower(t COLLATE pg_catalog.pg_unicode_fast) ELSE {folded} END",
        "search_words(text)": f"CREATE OR REPLACE FUNCTION search_words(t text) RETURNS tsvector {as_is} COST 500 "
        "RETURN ts_delete(to_tsvector('pg_catalog.simple', CASE WHEN "
        f"{ascii_only} THEN {_split('lower(t COLLATE pg_catalog.pg_unicode_fast)', 'a-z0-9')} "
        f"ELSE {_split('search_fold(t)', f'a-z0-9{others}')} END), ARRAY['{LEXEME}', '{LEXEME}{_GAP}'])",
        "search_listed(jsonb, text)": f"CREATE OR REPLACE FUNCTION search_listed(items jsonb, field text) RETURNS text "
        f"{as_is} COST 100 RETURN (SELECT string_agg(item ->> field, ' {_GAP} ') "
        "FROM jsonb_array_elements(items) AS item)",
    }


def vector(view: View) -> str:
    """The row's words as an SQL expression of type tsvector over the view's columns."""
    assert view.search is not None
    by_grade: dict[int, list[str]] = {}
    for field, grade in grades(view.search).items():
        by_grade.setdefault(grade, []).append(_text(field))
    parts = []
    for grade, texts in sorted(by_grade.items()):
        joined = f" || ' {_GAP} ' || ".join(texts)
        parts.append(f"setweight(search_words({joined}), '{GRADES[grade]}')")
    # the constant takes up a position, as the gap inside them does
    gap = f" || '{_GAP}:1'::tsvector || "
    return parts[0] if len(parts) == 1 else f"ts_delete({gap.join(parts)}, '{_GAP}')"


def _text(field: str) -> str:
    column, _, inside = field.partition(".")
    text = f"search_listed({quoted(column)}, '{inside}')" if inside else quoted(column)
    return f"coalesce({text}, '')"


def words_index(view: View, generation: int) -> dict[str, str]:
    """Index name → DDL; another name where the functions or the expression are others."""
    table = generation_name(view.name, generation)
    expression = vector(view)
    digest = hashlib.sha256("\0".join([expression, *functions().values()]).encode()).hexdigest()
    name = f"ix_{table}_words_{digest[:8]}"
    return {name: f"CREATE INDEX {quoted(name)} ON {quoted(table)} USING gin (({expression}))"}
