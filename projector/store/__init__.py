"""What lies in Postgres: names, connections, the engine's tables, positions. The read API may import from here."""
