"""Keeps the topics in an archive: reads what Kafka has, writes files, and goes on where the last file ends."""
