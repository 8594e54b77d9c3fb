"""The shop's entities and views: one file an entity, one file a view. `registry` holds the contracts they fold."""

from schemas import registry

__all__ = ["registry"]
