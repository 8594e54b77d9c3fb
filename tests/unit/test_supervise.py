"""What a worker left for, and whether another start may mend it; how long it waits."""

import psycopg
import pytest

from projector.apply.batch import FoldError
from projector.errors import NotMigrated, OutOfDate, SettingError, TooManyDeadLetters
from projector.ingest.broker import KafkaUnreachable
from projector.ingest.heartbeat import Stuck
from projector.ingest.positions import EventsGone, TopicReplaced
from projector.ingest.starts import NotReachable
from projector.ingest.supervise import Backoff, verdict
from projector.ingest.worker import Crashed
from projector.store.connect import DatabaseUnreachable


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([Stuck(), Crashed(), NotReachable(), psycopg.OperationalError(), ZeroDivisionError()], "again"),
        ([KafkaUnreachable(), DatabaseUnreachable()], "unreachable"),
        ([SettingError(), OutOfDate(), NotMigrated("g"), TooManyDeadLetters(), FoldError()], "for good"),
        ([TopicReplaced(), EventsGone(), psycopg.errors.InsufficientPrivilege()], "for good"),
    ],
)
def test_only_what_may_have_passed_is_worth_another_start(errors, said):
    assert [verdict(error) for error in errors] == [said] * len(errors)


def test_the_wait_doubles_up_to_half_a_minute_and_begins_anew_after_a_good_run():
    backoff = Backoff()
    waits = [backoff.after(seconds=3) for _ in range(8)]
    for wait, about in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert 0.8 * about <= wait <= 1.2 * about
    assert backoff.after(seconds=61) <= 1.2
    assert 1.6 <= backoff.after(seconds=3) <= 2.4
