"""Cursors: where a page ended, as opaque text bound to the query it came from."""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from read_api.resource import Resource, Term
from read_api.statements import Condition

_DIGEST_SIZE = 9


class CursorError(ValueError):
    """The text is no cursor, or one of another query."""

    def __init__(self, detail: str = "is not a cursor of this list: pass a next_cursor as it came") -> None:
        super().__init__(detail)


def query_digest(
    resource: Resource, conditions: Sequence[Condition], sort: Sequence[tuple[str, bool]], q: str | None = None
) -> bytes:
    """What a cursor is bound to: view and snapshot, filters (in whatever order they were given), sort and, of a search,
    what it asks for; not limit nor fields.
    """
    filters = sorted((c.field, c.operator, sorted({str(value) for value in c.values})) for c in conditions)
    of = resource.name if resource.snapshot is None else [resource.name, resource.snapshot]
    bound = json.dumps([of, filters, list(sort), *([] if q is None else [q])])
    return hashlib.blake2b(bound.encode(), digest_size=_DIGEST_SIZE).digest()


def encode(digest: bytes, values: str) -> str:
    """A cursor from the last row's order values: a JSON list, each a text or null."""
    return base64.urlsafe_b64encode(digest + values.encode()).rstrip(b"=").decode("ascii")


def decode(cursor: str, digest: bytes, order: Sequence[Term]) -> tuple[Any, ...]:
    """The order values of the row behind which to go on. Raises CursorError."""
    values = contents(cursor, digest)
    if len(values) != len(order):
        raise CursorError
    return tuple(value_of(term, value) for term, value in zip(order, values, strict=True))


def contents(cursor: str, digest: bytes) -> list[Any]:
    """The list that a cursor of this query holds. Raises CursorError."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw[_DIGEST_SIZE:])
    except (ValueError, RecursionError, binascii.Error):
        raise CursorError from None
    if raw[:_DIGEST_SIZE] != digest:
        raise CursorError("is of another query: give the filters and the sort that it came with, or leave it out")
    if not isinstance(values, list):
        raise CursorError
    return values


def value_of(term: Term, value: object) -> Any:
    """The value of a column that a cursor holds as text. Raises CursorError."""
    if value is None and term.field.nullable:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise CursorError
    try:
        value.encode()
        return term.field.kind.read(value)
    except ValueError:
        raise CursorError from None
