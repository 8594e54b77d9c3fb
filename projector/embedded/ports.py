"""Ports on loopback: chosen free once, kept from then on as long as nobody else takes them."""

import random
import socket
from collections.abc import Container, Iterable
from pathlib import Path

from projector.embedded.errors import EmbeddedError
from projector.embedded.files import read_json, write_json

# Below the range from which the kernel takes the ports of outgoing connections: a client that tries again and again
# while a server is down can otherwise be given the server's own port, connect to itself, and keep the server out.
CHOICES = range(15000, 32000)
ATTEMPTS = 100


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def claim(path: Path, names: Iterable[str]) -> dict[str, int]:
    """Find a free port for each name: the one that the file remembers if nobody has it, else a new one.

    Raises EmbeddedError where there is none.
    """
    kept: dict[str, int] = read_json(path) or {}
    ports = dict(kept)
    for name in names:
        if name not in kept or not is_free(kept[name]):
            ports[name] = free_port(set(ports.values()))
    write_json(path, ports)
    return ports


def free_port(taken: Container[int] = ()) -> int:
    """A port that nobody has, and none of `taken`. Raises EmbeddedError where there is none."""
    for port in random.sample(CHOICES, ATTEMPTS):
        if port not in taken and is_free(port):
            return port
    raise EmbeddedError(f"no free port between {CHOICES.start} and {CHOICES.stop} on 127.0.0.1: stop other servers")
