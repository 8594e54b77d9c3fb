"""An answer that is made while it is sent, and that ends where its client goes."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

SECONDS_TO_TAKE = 30  # for each part: who takes nothing for so long holds a snapshot for nothing


class Download:
    """An ASGI answer. `make` sends it, start and all; it is cancelled when the client has gone.

    As a task of its own: what cancels it does so once, so that it has the time to end its statement in Postgres.
    """

    def __init__(self, make: Callable[[Send], Awaitable[None]]) -> None:
        self._make = make

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises what `make` raises, and TimeoutError where nobody takes it."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(SECONDS_TO_TAKE):
                await send(message)

        making = asyncio.ensure_future(self._make(patiently))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone = not making.done()
            for task in (making, leaving):
                task.cancel()
            await asyncio.wait((making, leaving))
        if not gone:
            making.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
