"""An answer that is made while it is sent, and that ends where its client goes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from read_api.leaving import until_left

SECONDS_TO_TAKE = 30  # for each part: who takes nothing for so long holds a snapshot for nothing


class Download:
    """An ASGI answer. `make` sends it, start and all; it is cancelled when the client has gone."""

    def __init__(self, make: Callable[[Send], Coroutine[Any, Any, None]]) -> None:
        self._make = make

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises what `make` raises, and TimeoutError where nobody takes it."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(SECONDS_TO_TAKE):
                await send(message)

        making = asyncio.create_task(self._make(patiently))
        if not await until_left(making, receive):
            making.result()
