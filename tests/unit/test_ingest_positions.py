"""Positions against what the broker has: each loss is named, with what to do about it."""

import pytest

from projector.apply.batch import TopicPartition
from projector.ingest.broker import Topic
from projector.ingest.ledger import Stored
from projector.ingest.positions import EventsGone, TopicReplaced, check_ends, check_starts, check_topics

A, B = TopicPartition("a", 3), TopicPartition("b", 0)
NO_ID = "00000000-0000-0000-0000-000000000000"


def test_a_topic_made_again_is_told_by_its_id_with_what_was_left_of_the_one_before():
    stored = {A: Stored(7, "old", 10), B: Stored(7, "b", 10)}
    topics = {"a": Topic("a", "new", {3: 1}), "b": Topic("b", "b", {0: 1})}
    with pytest.raises(
        TopicReplaced, match=r"^a: deleted and made again.*a/3: offsets 7 to 9 \(3\) were seen .*loss`$"
    ):
        check_topics(stored, topics)
    with pytest.raises(TopicReplaced, match="all that was seen is applied"):
        check_topics({A: Stored(7, "old", 7)}, topics)


@pytest.mark.parametrize(
    ("stored", "now"), [("one", "one"), (None, "one"), ("one", NO_ID), (NO_ID, "one")],
    ids=["the same", "not yet stored", "a broker without ids", "stored from a broker without ids"],
)  # fmt: skip
def test_an_id_that_is_not_known_proves_nothing(stored, now):
    check_topics({A: Stored(7, stored)}, {"a": Topic("a", now, {3: 1})})


def test_a_topic_that_is_missing_is_waited_for():
    check_topics({A: Stored(7, "old")}, {})


def test_offsets_that_are_gone_are_named_and_counted():
    with pytest.raises(
        EventsGone, match=r"^a/3: offsets 7 to 9 \(3\), b/0: offsets 0 to 1999 \(2,000\) are gone.*loss`$"
    ):
        check_starts({A: 7, B: 0}, {A: 10, B: 2_000})
    check_starts({A: 10}, {A: 10, B: 5})


def test_a_log_that_was_cut_is_told():
    with pytest.raises(EventsGone, match=r"^a/3: applied up to offset 6, but Kafka ends at 2: .*loss`$"):
        check_ends({A: 7, B: 1}, {A: 2, B: 1})
    check_ends({A: 7}, {A: 7})
