"""Real Postgres, Kafka and Elasticsearch on loopback, from Python packages: no Docker, no system Java."""

from projector.embedded.errors import EmbeddedError
from projector.embedded.stack import (
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
