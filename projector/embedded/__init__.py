"""Real Postgres, Kafka and Elasticsearch on loopback, from Python packages: no Docker, no system Java."""

from projector.embedded.errors import EmbeddedError
from projector.embedded.stack import SERVICES, Endpoints, Stack, default_root, running_endpoints, service_states

__all__ = ["SERVICES", "EmbeddedError", "Endpoints", "Stack", "default_root", "running_endpoints", "service_states"]
