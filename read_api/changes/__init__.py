"""`GET /v1/<path>/changes`: what changes in a view, as server-sent events."""
