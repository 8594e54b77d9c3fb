"""Bearer tokens of an OpenID Connect provider: JWTs (RFC 7519), checked as RFC 8725 has it.

Signatures by asymmetric algorithms only, the algorithm from the kind of the key, never from the token alone; issuer,
audience, subject and expiry must be there and right.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from projector.settings import TokenSettings
from read_api.access.callers import SCOPE, Caller
from read_api.problems import unavailable

LEEWAY = 10  # seconds that clocks may differ
LONGEST = 8_192  # letters of a token
SECONDS_KNOWN = 600.0  # the provider's keys; then they are read anew
SECONDS_BETWEEN_READS = 10.0  # where a token names a key that is not among them
SECONDS_TO_READ = 5.0
LARGEST = 2**20  # bytes of a key set
_ALGORITHMS = {
    "RSA": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
    "EC": ["ES256", "ES384", "ES512"],
    "OKP": ["EdDSA"],
}
_REQUIRED = ["exp", "aud", "iss", "sub"]


class Tokens:
    """The tokens of one issuer for one audience."""

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried = self._known = float("-inf")
        self._reading = asyncio.Lock()

    async def caller(self, token: str) -> Caller | None:
        """Whose token it is; None: it is not good. Raises a 503 Problem where the issuer's keys cannot be read."""
        try:
            if len(token) > LONGEST:
                return None
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=_ALGORITHMS[key.key_type or ""],
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
            return _caller(claims)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            return None

    async def _key(self, kid: object) -> jwt.PyJWK | None:
        now = time.monotonic()
        known = kid in self._keys if isinstance(kid, str) else len(self._keys) == 1
        if now - self._known > SECONDS_KNOWN or not known:
            await self._read()
        if isinstance(kid, str):
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if kid is None and len(self._keys) == 1 else None

    async def _read(self) -> None:
        """Read the issuer's keys, unless that was tried a moment ago; those known before count where it fails."""
        async with self._reading:
            if time.monotonic() - self._tried > SECONDS_BETWEEN_READS:
                self._tried = time.monotonic()
                try:
                    self._keys = _asymmetric(json.loads(await self._text()))
                    self._known = time.monotonic()
                except (OSError, ValueError, TimeoutError, aiohttp.ClientError, jwt.PyJWTError):
                    pass
        if not self._keys:
            raise unavailable("the keys of the token's issuer cannot be read", "issuer")

    async def _text(self) -> bytes:
        where = self._settings.jwks
        if not where.startswith(("https://", "http://")):
            return await asyncio.to_thread(Path(where).read_bytes)
        timeout = aiohttp.ClientTimeout(total=SECONDS_TO_READ)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(where, allow_redirects=False) as answer,
        ):
            answer.raise_for_status()
            text = bytearray()
            async for part in answer.content.iter_any():
                text += part
                if len(text) > LARGEST:
                    raise ValueError(f"the key set has more than {LARGEST} bytes")
            return bytes(text)


def _asymmetric(found: dict[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """The keys that verify signatures, by their ids; a symmetric one would let whoever knows it make tokens."""
    keys: dict[str | None, jwt.PyJWK] = {}
    for each in found["keys"] if isinstance(found.get("keys"), list) else ():
        if isinstance(each, dict) and each.get("kty") in _ALGORITHMS and each.get("use", "sig") == "sig":
            try:
                keys[each.get("kid")] = jwt.PyJWK.from_dict(each)
            except jwt.PyJWTError:
                continue  # of a kind that is not known here
    return keys


def _caller(claims: dict[str, Any]) -> Caller:
    given = claims.get("scope") or claims.get("scp") or ""
    scopes = given.split() if isinstance(given, str) else [s for s in given if isinstance(s, str)]
    ours = {scope.removeprefix(SCOPE) for scope in scopes if scope.startswith(SCOPE)}
    views = None if "all" in ours else frozenset(ours - {"pii"})
    subject = str(claims["sub"])
    return Caller(f"token:{subject}", subject[:100], views, "pii" in ours, float(claims["exp"]) + LEEWAY)
