"""The outermost layer: what is no URL is refused, HEAD has no body, each request is counted, no error gets out."""

import logging
import time
import traceback
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from read_api.access.log import tell
from read_api.metrics import Metrics
from read_api.problems import Problem, on_defect

MAX_URL = 32_768  # bytes of path and query: a cursor over several long columns fits
# An answer is what it says it is, runs nothing, stands in no frame of another page, and no link tells where it was.
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
FRAMES = 8  # of a traceback, the innermost: those before are the framework's
_log = logging.getLogger("prejoin.api")


class Boundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: bool = False) -> None:
        self._app, self._metrics, self._log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on; `lifespan` as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answer = time.perf_counter(), _Answer(send, scope["method"] == "HEAD")
        try:
            if refused := _refuse(scope):
                await refused.response()(scope, receive, answer)
            else:
                await self._app(scope, receive, answer)
        except _BrokenOff as end:
            _log.error("%s %s was broken off: %s", scope["method"], _route_of(scope), end.__context__)
        except Exception as error:  # noqa: BLE001 – the boundary: 500 tells nothing of the inside
            _tell(error, scope)
            if not answer.status:
                told = await on_defect(Request(scope), error)
                await told(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.observe(scope, answer.status, seconds)
            if self._log:
                tell(scope, answer.status, seconds)


class _BrokenOff(Exception):
    """An answer that had begun cannot be finished: its client is told by a connection that ends before the body."""


class _Answer:
    """`send`, remembering the status; of an answer to HEAD only the head."""

    def __init__(self, send: Send, head: bool) -> None:
        self._send, self._head, self.status = send, head, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self.status:
                raise _BrokenOff
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            message["headers"] += [each for each in SAFE if each[0] not in given]
        elif self._head:
            message = {**message, "body": b""}
        await self._send(message)


def _refuse(scope: Scope) -> Problem | None:
    raw: bytes = scope.get("raw_path") or b""
    if len(raw) + len(scope["query_string"]) > MAX_URL:
        return Problem(414, f"path and query have more than {MAX_URL:,} bytes")
    if b"%" in raw:
        try:
            path = unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            return Problem(400, "the path is not valid UTF-8")
        if "\0" in path:
            return Problem(400, "the path holds a NUL character")
    return None


def _tell(error: Exception, scope: Scope) -> None:
    """Where it happened, without the message: that may hold values of rows."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-FRAMES:])
    _log.error("%s while answering %s %s\n%s", type(error).__name__, scope["method"], _route_of(scope), frames)


def _route_of(scope: Scope) -> str:
    """The template: a path may hold values of rows."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
