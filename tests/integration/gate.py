"""A way to Postgres that can be closed, whoever is on it, and opened again: the server is away for one worker only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Gate:
    """`url` leads to the server while it is open."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.url = ""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        credentials = self._to.netloc.rpartition("@")[0]
        self.url = self._to._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    async def close(self) -> None:
        self._server.close()
        for writer in self._ways:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._ways |= {writer, back}
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await source.read(1 << 16):
                target.write(some)
                await target.drain()
        target.close()


@asynccontextmanager
async def gate(url: str) -> AsyncIterator[Gate]:
    """One that is open."""
    made = Gate(url)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
