"""The contracts of every service's events. A new service is a new folder here, and nothing else."""

from schemas.registry import discover

registry = discover(__name__, __path__)
