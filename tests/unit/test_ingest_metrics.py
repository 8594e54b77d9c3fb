"""What Prometheus is told."""

import socket
import urllib.request

import pytest

from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.errors import SettingError
from projector.ingest.metrics import Metrics

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_batch_is_counted_without_the_chunks_refused():
    metrics = Metrics()
    outcome = Outcome(applied=2, duplicates=1, dead_letters={"orphan": 1}, refused={B: 5}, rows={"orders": 3})
    outcome.seconds = {"fold": 0.5}
    metrics.applied([Chunk(A, 0, 4, [None] * 4), Chunk(B, 0, 9, [None] * 9)], outcome)
    assert sample(metrics, "prejoin_records_total", topic="a") == 4
    assert sample(metrics, "prejoin_records_total", topic="b") is None
    assert sample(metrics, "prejoin_batch_records_sum") == 4
    assert sample(metrics, "prejoin_events_total", outcome="applied") == 2
    assert sample(metrics, "prejoin_events_total", outcome="dead_letter") == 1
    assert sample(metrics, "prejoin_dead_letters_total", reason="orphan") == 1
    assert sample(metrics, "prejoin_rows_written_total", relation="orders") == 3
    assert sample(metrics, "prejoin_apply_seconds_sum", phase="fold") == 0.5
    assert sample(metrics, "prejoin_refused_chunks_total") == 1


def test_they_are_served_on_a_free_port():
    metrics = Metrics()
    server, thread, port = metrics.serve("127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"prejoin_batches_total 0.0" in answer.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_port_that_is_taken_names_the_setting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingError, match="PREJOIN_METRICS_PORT"):
            Metrics().serve("127.0.0.1", taken.getsockname()[1])
