"""Real Postgres, Kafka and Elasticsearch on loopback, from Python packages: no Docker, no system Java."""

from projector.embedded.errors import EmbeddedError, require

require("psutil")  # installed with the extra [embedded]: says so in one line, where an ImportError would not

from projector.embedded.stack import (  # noqa: E402
    SERVICES,
    Endpoints,
    ServiceState,
    Stack,
    running_endpoints,
    service_states,
    supervisor_of,
)

__all__ = [
    "SERVICES",
    "EmbeddedError",
    "Endpoints",
    "ServiceState",
    "Stack",
    "running_endpoints",
    "service_states",
    "supervisor_of",
]
