"""Looking through all that a group keeps for what must be in it no more."""

import base64
import re
from collections.abc import Iterator

from projector.store.names import schemas
from tests.world import World

_BYTEA = re.compile(r"\\x((?:[0-9a-f]{2})+)")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def tables_with(shop: World, *words: str) -> set[str]:
    """The tables of the group, kept copies and all, that hold one of the words: as text, in bytes or in base64."""
    copies = [name for (name,) in shop.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", _copies(shop))]
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY(%s)"
    found = set()
    for schema, table in shop.fetch(query, [*schemas(shop.group), *copies]):
        for (row,) in shop.fetch(f'SELECT t::text FROM "{schema}"."{table}" AS t'):
            found |= {table for text in _readings(row) for word in words if word in text}
    return found


def _copies(shop: World) -> str:
    return shop.group.replace("_", r"\_") + "$%"


def _readings(row: str) -> Iterator[str]:
    """A row as Postgres writes it, what its bytea hold, and what in either is base64, as headers are in their JSON."""
    plain = [row, *(bytes.fromhex(digits).decode(errors="replace") for digits in _BYTEA.findall(row))]
    for text in plain:
        yield text
        yield from (base64.b64decode(coded).decode(errors="replace") for coded in _BASE64.findall(text))
