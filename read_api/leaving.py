"""An answer that takes its time ends where its client goes."""

import asyncio

from starlette.types import Receive


async def until_left(answering: asyncio.Task[None], receive: Receive) -> bool:
    """Wait until a task has answered, or its client has gone, and end it; returns whether the client had gone.

    A task of its own, for it is cancelled once: so it has the time to end its statement in Postgres. What it raised is
    its caller's to ask for.
    """
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        return leaving.done()
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
