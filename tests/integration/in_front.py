"""A server in front of Elasticsearch, which passes requests on, but for those that a test wants to go wrong."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

BUSY = {"type": "es_rejected_execution_exception", "reason": "rejected execution of a bulk"}
_OWN = {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding", "host"}

# What happens to a request, by path and body: a status is answered in Elasticsearch's place; `lost` does what was
# asked, and nobody hears of it; `busy` does it, and says of the first document that it was not taken; empty: nothing.
# One that is awaited holds the request up.
Fault = Callable[[str, bytes], str | Awaitable[str]]


@asynccontextmanager
async def in_front(url: str, fault: Fault) -> AsyncIterator[str]:
    """The address of such a server."""

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        wrong = fault(request.path, body)
        if not isinstance(wrong, str):
            wrong = await wrong
        if wrong.isdigit():
            return web.json_response({"error": {"type": "busy", "reason": "busy"}}, status=int(wrong), headers=_ELASTIC)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        async with session.request(request.method, f"{url}{request.path_qs}", data=body, headers=headers) as found:
            told = await found.read()
        if wrong == "lost":
            assert request.transport
            request.transport.abort()
        if wrong == "busy":
            told = _all_but_the_first(told)
        kept = {name: value for name, value in found.headers.items() if name.lower() not in _OWN}
        return web.Response(status=found.status, body=told, headers=kept)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with ClientSession() as session:
            port: Any = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


_ELASTIC = {"X-Elastic-Product": "Elasticsearch"}


def _all_but_the_first(told: bytes) -> bytes:
    answer = json.loads(told)
    ((kind, _),) = answer["items"][1].items()  # the first is what the index holds
    answer["items"][1] = {kind: {"status": 429, "error": BUSY}}
    return json.dumps(answer).encode()
