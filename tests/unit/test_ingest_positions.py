"""Positions against what the broker has: each loss is named, with what to do about it."""

import pytest

from projector.apply.batch import TopicPartition
from projector.ingest.broker import Topic
from projector.ingest.ledger import Stored
from projector.ingest.positions import EventsGone, TopicReplaced, check_end, check_start, check_topics

A = TopicPartition("a", 3)
NO_ID = "00000000-0000-0000-0000-000000000000"


def test_a_topic_made_again_is_told_by_its_id():
    with pytest.raises(
        TopicReplaced, match=r'a: deleted and made again.*DELETE FROM "g".positions WHERE topic IN \(\'a\'\)'
    ):
        check_topics("g", {A: Stored(7, "old")}, {"a": Topic("a", "new", {3: 1})})


@pytest.mark.parametrize(
    ("stored", "now"), [("one", "one"), (None, "one"), ("one", NO_ID), (NO_ID, "one")],
    ids=["the same", "not yet stored", "a broker without ids", "stored from a broker without ids"],
)  # fmt: skip
def test_an_id_that_is_not_known_proves_nothing(stored, now):
    check_topics("g", {A: Stored(7, stored)}, {"a": Topic("a", now, {3: 1})})


def test_a_topic_that_is_missing_is_waited_for():
    check_topics("g", {A: Stored(7, "old")}, {})


def test_offsets_that_are_gone_are_named():
    with pytest.raises(EventsGone, match=r"a/3: offsets 7 to 9 are gone.*SET next = 10 WHERE"):
        check_start("g", A, 7, 10)
    check_start("g", A, 10, 10)


def test_a_log_that_was_cut_is_told():
    with pytest.raises(EventsGone, match=r"a/3: applied up to offset 6, but Kafka ends at 2"):
        check_end("g", A, 7, 2)
    check_end("g", A, 7, 7)
