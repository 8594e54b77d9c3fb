"""API keys as the API knows them: all of them, some seconds old at most; no request asks Postgres for its key."""

import asyncio
import hmac
import time
from datetime import UTC, datetime

from psycopg import errors

from projector.store.keys import ALL, PREFIX, ApiKey, digest_of
from read_api.access.callers import Caller
from read_api.database import Database
from read_api.problems import Problem, unavailable

SECONDS_KNOWN = 2.0  # so soon a new key is taken, and a revoked one refused
SECONDS_WITHOUT_POSTGRES = 30.0  # so long what was known counts, where Postgres does not answer
_NO_DIGEST = bytes(32)


class Keys:
    """The keys of the group."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, ApiKey] = {}
        self._asked = self._known = float("-inf")
        self._asking = asyncio.Lock()

    async def any(self) -> bool:
        """Whether there is, or was, any key. Raises a 503 Problem."""
        await self._learn()
        return bool(self._keys)

    async def caller(self, text: str) -> Caller | None:
        """Whose key it is; None: nobody's, or not any more. Raises a 503 Problem."""
        await self._learn()
        key = self._keys.get(text.split("_")[1] if text.count("_") >= 2 else "")
        # compared in any case, and in constant time: how long it takes tells nothing
        same = hmac.compare_digest(digest_of(text), key.digest if key else _NO_DIGEST)
        if key is None or not same or key.state(datetime.now(UTC)) != "active":
            return None
        views = None if key.views is None else frozenset(key.views)
        until = key.expires_at.timestamp() if key.expires_at else None
        return Caller(f"key:{key.id}", key.name, views, key.pii, until)

    async def holds(self, caller: Caller) -> bool:
        """Whether the key of a caller is still good."""
        await self._learn()
        key = self._keys.get(caller.id.removeprefix("key:"))
        return key is not None and key.state(datetime.now(UTC)) == "active"

    async def _learn(self) -> None:
        """Ask Postgres, if that was not done a moment ago; those who come meanwhile wait for the same answer."""
        if time.monotonic() - self._asked < SECONDS_KNOWN:
            return
        async with self._asking:
            if (now := time.monotonic()) - self._asked < SECONDS_KNOWN:
                return
            try:
                rows = [ApiKey(*row) for row in await self._database.all(ALL)]
            except (errors.UndefinedTable, errors.InsufficientPrivilege):
                raise unavailable("the database is not migrated: run `prejoin migrate`", "not-migrated") from None
            except Problem:
                if now - self._known > SECONDS_WITHOUT_POSTGRES:
                    raise unavailable(
                        "the database does not answer, so no key can be told from another", "database"
                    ) from None
            else:
                self._keys, self._known = {key.id: key for key in rows}, now
            self._asked = time.monotonic()


def is_key(text: str) -> bool:
    """Whether a credential is meant as a key of ours."""
    return text.startswith(f"{PREFIX}_")
