"""`prejoin api` in the test's own event loop, and clients that follow changes through a socket."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI


@dataclass
class Follower:
    """What one client was told. `held` is what it makes of that, by key."""

    headers: Mapping[str, str]
    lines: AsyncIterator[str]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    held: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    comments: int = 0

    @property
    def last_id(self) -> str:
        return self.ids[-1]

    async def next(self, seconds: float = 20) -> tuple[str, dict[str, Any]]:
        """The next event; StopAsyncIteration where the connection ends."""
        async with asyncio.timeout(seconds):
            kind, data = "", ""
            while True:
                line = await anext(self.lines)
                name, _, value = line.partition(": ")
                if name == "id":
                    self.ids.append(value)
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif line.startswith(":"):
                    self.comments += 1
                elif line == "" and kind:
                    return self._take(kind, json.loads(data))

    async def beats(self, times: int) -> None:
        """Follow until so many heartbeats came, and no event; StopAsyncIteration where the connection ends."""
        async with asyncio.timeout(20):
            wanted = self.comments + times
            while self.comments < wanted:
                line = await anext(self.lines)
                assert not line.startswith("event"), line
                self.comments += line.startswith(":")

    async def until(self, key: str, column: str, value: Any, seconds: float = 20) -> None:
        """Follow until the row of a key has a value, or is deleted (value None of column '')."""
        async with asyncio.timeout(seconds):
            while True:
                kind, data = await self.next(seconds)
                if data["key"] is None or key not in data["key"].values():
                    continue
                if (kind == "delete" and column == "") or (data["row"] and column and data["row"][column] == value):
                    return

    def _take(self, kind: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if kind == "reset":
            assert data == {"key": None, "row": None}
            self.held.clear()
        else:
            key = tuple(data["key"].values())
            if kind == "upsert":
                assert data["row"].items() >= data["key"].items()
                self.held[key] = data["row"]
            else:
                assert (kind, data["row"]) == ("delete", None)
                self.held.pop(key, None)
        self.events.append((kind, data))
        return kind, data


async def _lines(answer: httpx.Response) -> AsyncIterator[str]:
    """Lines end with LF alone: other things that Unicode calls line ends may be in a name."""
    rest = b""
    async for block in answer.aiter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode()


@asynccontextmanager
async def follow(
    client: httpx.AsyncClient, path: str, last_id: str | None = None, **headers: str
) -> AsyncIterator[Follower]:
    """A client that follows; it has been let in, and hears of what comes from now on."""
    resuming = {"Last-Event-ID": last_id.encode("latin-1")} if last_id is not None else {}
    told = {name: value.encode() for name, value in headers.items()} | resuming
    async with client.stream("GET", path, headers=told) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        follower = Follower(answer.headers, _lines(answer))
        async with asyncio.timeout(20):
            while not follower.ids:
                name, _, value = (await anext(follower.lines)).partition(": ")
                follower.ids += [value] if name == "id" else []
        yield follower


def clock_at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let it be so many seconds since 1970, for the question of whether those who follow may stay."""
    monkeypatch.setattr("read_api.access.gate.time", SimpleNamespace(time=lambda: seconds))


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a socket, as `prejoin api` serves it, and a client of it without limits."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=8)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    try:
        while not server.started:  # noqa: ASYNC110 – uvicorn tells by this alone
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=address, timeout=30, limits=limits) as client:
            yield client
    finally:
        app.state.streams.stop()
        server.should_exit = True
        await serving
        with contextlib.suppress(OSError):
            listener.close()
