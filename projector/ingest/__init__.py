"""From Kafka to the applier: faust delivering whole chunks, positions from Postgres, heartbeat, metrics."""
