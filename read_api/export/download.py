"""An answer that is made while it is sent, and that ends where its client goes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from read_api.leaving import until_left
from read_api.problems import unavailable

SECONDS_TO_TAKE = 30  # for each part: who takes nothing for so long holds a snapshot for nothing
PART = 65_536  # bytes: of a larger one who takes it slowly would seem to take nothing


class Download:
    """An ASGI answer. `make` sends it, start and all; it is cancelled when the client has gone."""

    def __init__(self, make: Callable[[Send], Coroutine[Any, Any, None]]) -> None:
        self._make = make

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises what `make` raises; where nobody takes it, `make` is given a Problem to pass on."""

        async def patiently(message: Message) -> None:
            for part in _parts(message):
                try:
                    async with asyncio.timeout(SECONDS_TO_TAKE):
                        await send(part)
                except TimeoutError:
                    raise unavailable(f"its client took nothing of it for {SECONDS_TO_TAKE} s", "timeout") from None

        making = asyncio.create_task(self._make(patiently))
        if not await until_left(making, receive):
            making.result()


def _parts(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    last = max(0, len(body) - 1) // PART * PART
    for at in range(0, last, PART):
        yield {**message, "body": body[at : at + PART], "more_body": True}
    yield {**message, "body": body[last:]} if "body" in message else message
