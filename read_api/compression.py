"""Answers compressed with zstd or gzip, where the client takes that (RFC 9110, 12.5.3) and it is worth it.

Text alone: Parquet is compressed already, and events of a stream are to arrive one by one. Tags are weak, so that an
answer has the same one in each form.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import cramjam
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from read_api.fields import field

SMALLEST = 1_024  # bytes: below it, it saves no packet
LEVEL = 1  # of both: higher ones take several times as long for a tenth less
LONGEST_HEADER = 500
COMPRESSED = (
    b"application/json",
    b"application/problem+json",
    b"application/x-ndjson",
    b"text/csv",
    b"text/css",
    b"text/html",
    b"text/javascript",
)


class Compressor(Protocol):
    """What compresses a stream of bytes."""

    def compress(self, data: bytes, /) -> int: ...  # noqa: D102
    def flush(self) -> Any: ...  # noqa: D102
    def finish(self) -> Any: ...  # noqa: D102


_CODINGS: dict[str, Callable[[int], Compressor]] = {"zstd": cramjam.zstd.Compressor, "gzip": cramjam.gzip.Compressor}


class Compression:
    """ASGI middleware around what answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] == "http":
            send = _Sending(send, coding_for(field(scope, b"accept-encoding") or ""))
        await self._app(scope, receive, send)


@lru_cache(maxsize=256)
def coding_for(accepted: str) -> str | None:
    """The coding that an Accept-Encoding asks for: the one of most weight, zstd before gzip; None: as it is."""
    if not accepted or len(accepted) > LONGEST_HEADER:
        return None
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        try:
            weights[name.strip()] = float(parameter.partition("=")[2] or 1) if parameter else 1.0
        except ValueError:
            weights[name.strip()] = 0
    best = max(_CODINGS, key=lambda coding: weights.get(coding, weights.get("*", 0)))
    weight = weights.get(best, weights.get("*", 0))
    return best if weight > 0 and weight >= weights.get("identity", 0) else None


class _Sending:
    """`send`, which holds back the head until the first bytes show whether they are worth compressing."""

    def __init__(self, send: Send, coding: str | None) -> None:
        self._send, self._coding = send, coding
        self._head: Message | None = None
        self._compressor: Compressor | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"").partition(b";")[0]
            if kind in COMPRESSED or message["status"] == 304:
                message["headers"].append((b"vary", b"Accept-Encoding"))
                if self._coding and kind in COMPRESSED:
                    self._head = message
                    return
        elif self._head is not None:
            message = await self._first(message)
        elif self._compressor is not None:
            message = _compressed(self._compressor, message)
        await self._send(message)

    async def _first(self, message: Message) -> Message:
        """The body's first part, behind the head."""
        head, self._head = self._head, None
        assert head is not None
        more = message.get("more_body", False)
        if more or len(message.get("body", b"")) >= SMALLEST:
            self._compressor = _CODINGS[self._coding or ""](LEVEL)
            headers = MutableHeaders(raw=head["headers"])
            headers["content-encoding"] = self._coding or ""
            message = _compressed(self._compressor, message)
            if more:
                del headers["content-length"]
            else:
                headers["content-length"] = str(len(message["body"]))
        await self._send(head)
        return message


def _compressed(compressor: Compressor, message: Message) -> Message:
    """The message with what has come out so far: all that went in, so that nobody waits for it."""
    compressor.compress(message.get("body", b""))
    out = compressor.flush() if message.get("more_body", False) else compressor.finish()
    return {**message, "body": bytes(out)}
