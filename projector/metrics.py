"""Prometheus metrics of a long-running process, on a port of their own."""

import errno
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from projector.errors import SettingError


def serve(registry: CollectorRegistry, host: str, port: int) -> tuple[WSGIServer, Thread, int]:
    """Answer at host:port (0: any free one); returns the server, its thread and the port.

    Raises SettingError where that cannot be listened on.
    """
    try:
        server, thread = start_http_server(port, host, registry=registry)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    return server, thread, int(server.server_port)


def _cannot_listen(host: str, port: int, error: Any) -> SettingError:
    if error.errno == errno.EADDRINUSE:
        return SettingError(f"PREJOIN_METRICS_PORT {port} on {host} is taken: set another, or 0 for any free one")
    return SettingError(
        f"PREJOIN_METRICS_HOST {host}, PREJOIN_METRICS_PORT {port}: cannot listen there: {error.strerror}"
    )
