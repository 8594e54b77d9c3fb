"""API keys: made and revoked by the writer, read by the API.

A key is 256 random bits, shown once. What is stored is its SHA-256: a slow hash protects what somebody could guess, and
nobody guesses 256 bits, however fast; so checking a key costs a microsecond. The id in it is no secret: it finds the
digest, and stands in logs.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row

from projector.errors import PrejoinError

PREFIX = "prejoin"
ALL = "SELECT id, name, digest, views, pii, created_at, expires_at, revoked_at FROM api_keys ORDER BY created_at, id"
_INSERT = "INSERT INTO api_keys (id, name, digest, views, pii, expires_at) VALUES (%s, %s, %s, %s, %s, %s)"
# of two revocations the first counts
_REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = ANY(%(ids)s) AND revoked_at IS NULL RETURNING id"
_FIND = "SELECT id FROM api_keys WHERE id = %(key)s OR name = %(key)s"
_TAKEN = "SELECT EXISTS (SELECT FROM api_keys WHERE name = %s AND revoked_at IS NULL)"


class ApiKey(NamedTuple):
    """What is known of a key. `views` None: all."""

    id: str
    name: str
    digest: bytes
    views: Sequence[str] | None
    pii: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def digest_of(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


def create(
    connection: psycopg.Connection[Any], name: str, views: Sequence[str] | None, pii: bool, expires: datetime | None
) -> tuple[str, str]:
    """Make a key; returns its id and the key, which nobody can tell again. Raises PrejoinError for a name in use."""
    (taken,) = connection.execute(_TAKEN, (name,)).fetchone() or (False,)
    if taken:
        raise PrejoinError(f"there is a key named {name} already: choose another name, or revoke that one first")
    id_ = secrets.token_hex(4)
    key = f"{PREFIX}_{id_}_{secrets.token_urlsafe(32)}"
    given = None if views is None else list(views)
    connection.execute(_INSERT, (id_, name, digest_of(key), given, pii, expires))
    return id_, key


def every(connection: psycopg.Connection[Any]) -> list[ApiKey]:
    """All keys, those of old included, the oldest first."""
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        return cursor.execute(ALL).fetchall()


def revoke(connection: psycopg.Connection[Any], key: str) -> list[str]:
    """Revoke the keys of an id or a name; returns the ids that were not before. Raises PrejoinError for an unknown."""
    ids = [id_ for (id_,) in connection.execute(_FIND, {"key": key})]
    if not ids:
        raise PrejoinError(f"there is no key of the id or name {key}: `prejoin keys list` shows them")
    return [id_ for (id_,) in connection.execute(_REVOKE, {"ids": ids})]
