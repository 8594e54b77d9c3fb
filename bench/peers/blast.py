"""A load generator: `python -m bench.peers.blast URL CONNECTIONS SECONDS [HEADER]` prints requests, CPU time as JSON.

Each connection sends a request as soon as it has the answer to the one before. A URL may end in several names in
braces, `/v1/orders/{o1,o2}`: they are asked for in turn. It reads no more of an answer than its
status and length, so that it is not what is measured; `cpu` says how much of one CPU it took all the same.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit


class Connection(asyncio.Protocol):
    """One connection; `seconds` are those of each answer."""

    def __init__(self, requests: Iterator[bytes], seconds: list[float], wrong: list[bytes]) -> None:
        self.requests, self.seconds, self.wrong = requests, seconds, wrong
        self.left, self.head, self.began = 0, b"", 0.0

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= len(data)
        else:
            head, found, body = (self.head + data).partition(b"\r\n\r\n")
            self.head = b"" if found else head
            if not found:
                return
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")):
                self.wrong.append(head[:100])
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self.left = int(length or 0) - len(body)
        if self.left <= 0:
            self.seconds.append(time.perf_counter() - self.began)
            self.ask()


async def blast(url: str, connections: int, seconds: float, header: str = "") -> dict[str, float]:
    """Ask for a second to warm up, and then for so long."""
    address, found, wrong = urlsplit(url), list[float](), list[bytes]()
    head, _, names = (address.path + (f"?{address.query}" if address.query else "")).partition("{")
    rest = f" HTTP/1.1\r\nHost: {address.netloc}\r\n" + (f"{header}\r\n" if header else "") + "\r\n"
    requests = cycle([f"GET {head}{name}{rest}".encode() for name in names.rstrip("}").split(",")])
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(requests, found, wrong), address.hostname, address.port)
    await asyncio.sleep(1)
    before = len(found)
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    spent, busy = time.perf_counter() - began, time.process_time() - busy
    its = sorted(found[before:])
    if wrong:
        raise SystemExit(f"answered {wrong[0]!r}")
    return {
        "all": len(found),
        "rate": len(its) / spent,
        "p50": its[len(its) // 2] * 1000,
        "p99": its[int(len(its) * 0.99)] * 1000,
        "cpu": busy / spent,
    }


if __name__ == "__main__":
    import uvloop

    url, connections, seconds, *header = sys.argv[1:]
    print(json.dumps(uvloop.run(blast(url, int(connections), float(seconds), *header))))
