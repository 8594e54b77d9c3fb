"""Who comes in: each request has a caller from here on, or is answered 401 or 429."""

import base64
import binascii
import time
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from projector.settings import Settings
from read_api.access.callers import Caller
from read_api.access.keys import Keys, is_key
from read_api.access.rates import Rates
from read_api.access.tokens import Tokens
from read_api.database import Database
from read_api.fields import field
from read_api.problems import Problem

PROBES = ("/livez", "/readyz")
_MISNAMED = (
    "the API is open to this machine alone, and was asked by another name than localhost: make a key (`prejoin keys "
    "create`), or set PREJOIN_API_OPEN=true if something else guards it"
)
_PROBE = Caller("probe", "probe", frozenset(), pii=False)


class Access:
    """What is known of callers: keys, tokens, and whether it is open to whoever comes."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._keys = Keys(database)
        self._tokens = Tokens(settings.tokens) if settings.tokens else None
        self._may_be_open = settings.tokens is None and (settings.api_open or settings.on_loopback)
        self._to_this_machine_alone = not settings.api_open

    async def caller(self, authorization: str, address: str, host: str) -> Caller:
        """Who asks, whom they call `host`. Raises a 401 or 403 Problem, and a 503 one where that cannot be told."""
        scheme, _, credential = authorization.partition(" ")
        text = credential.strip()
        if scheme.lower() == "basic":
            text = _password(text)
        elif scheme.lower() != "bearer":
            text = ""
        if await self._open():
            if self._to_this_machine_alone and not _names_this_machine(host):
                raise Problem(403, _MISNAMED)
            return Caller(f"address:{address}", "anonymous")
        if not text:
            raise _unauthorized("there is no key or token: send `Authorization: Bearer KEY`", "")
        found = await self._keys.caller(text) if is_key(text) else None
        if found is None and self._tokens and not is_key(text):
            found = await self._tokens.caller(text)
        if found is None:
            raise _unauthorized("the key or token is not good, or not any more", "invalid_token")
        return found

    async def still(self, caller: Caller) -> bool:
        """Whether one who was let in may stay. While Postgres is away, yes: there is nothing to tell it."""
        if caller.until is not None and caller.until <= time.time():
            return False
        try:
            if caller.id.startswith("key:"):
                return await self._keys.holds(caller)
            return caller.id.startswith("token:") or await self._open()
        except Problem:
            return True

    async def _open(self) -> bool:
        return self._may_be_open and not await self._keys.any()


class Gate:
    """ASGI middleware: a request gets its caller, as `scope["caller"]`, and its answer the RateLimit headers."""

    def __init__(self, app: ASGIApp, access: Access, rates: Rates) -> None:
        self._app, self._access, self._rates = app, access, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            scope["caller"] = _PROBE
            await self._app(scope, receive, send)
            return
        try:
            headers = await self._let_in(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            await send(message)

        await self._app(scope, receive, telling if headers else send)

    async def _let_in(self, scope: Scope) -> Mapping[str, str]:
        address = (scope.get("client") or ("", 0))[0]
        authorization, host = field(scope, b"authorization") or "", field(scope, b"host") or ""
        try:
            caller = await self._access.caller(authorization, address, host)
        except Problem as problem:
            if problem.status == 401:
                problem.headers |= self._rates.take(f"address:{address}")
                if "text/html" in (field(scope, b"accept") or ""):
                    # a browser then asks for a key by itself, as a password alone: Chromium takes two challenges in
                    # one field for one, whose scheme is the first
                    problem.headers["WWW-Authenticate"] = 'Basic realm="prejoin", charset="UTF-8"'
            raise
        scope["caller"] = caller
        return self._rates.take(caller.id)


@lru_cache(maxsize=64)  # of what may be as long as a head is
def _names_this_machine(host: str) -> bool:
    """Whether a Host header does. A page of elsewhere may have its own name lead here (DNS rebinding), and then reads
    with the eyes of the browser that shows it.
    """
    try:
        name = urlsplit(f"//{host}").hostname or "localhost"
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False


def _password(text: str) -> str:
    """The key that a browser sends as the password of whatever user; empty: none."""
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return "?"


def _unauthorized(detail: str, error: str) -> Problem:
    told: dict[str, Any] = {"WWW-Authenticate": 'Bearer realm="prejoin"' + (f', error="{error}"' if error else "")}
    return Problem(401, detail, headers=told)
