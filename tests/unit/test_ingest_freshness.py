"""As-Of and "stuck", from what a heartbeat saw."""

from datetime import UTC, datetime, timedelta

from projector.apply.batch import TopicPartition
from projector.ingest.freshness import MAX_CAPTURES, Capture, Freshness, Watchdog

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def test_a_moment_is_reached_when_every_partition_is_where_it_ended_then():
    freshness = Freshness()
    freshness.note(Capture(at(1), {A: 10, B: 5}))
    assert freshness.reached({A: 10, B: 4}, pending=False) is None
    assert freshness.reached({A: 11, B: 5}, pending=False) == at(1)


def test_a_partition_without_position_is_reached_where_it_is_empty():
    freshness = Freshness()
    freshness.note(Capture(at(1), {A: 0, B: 5}))
    assert freshness.reached({B: 5}, pending=False) == at(1)


def test_the_newest_of_the_moments_reached_counts_and_the_later_ones_stay():
    freshness = Freshness()
    for second in range(1, 5):
        freshness.note(Capture(at(second), {A: second * 10}))
    assert freshness.reached({A: 25}, pending=False) == at(2)
    assert freshness.reached({A: 25}, pending=False) is None
    assert freshness.reached({A: 40}, pending=False) == at(4)


def test_pending_keys_hold_every_moment_back_but_lose_none():
    freshness = Freshness()
    freshness.note(Capture(at(1), {A: 1}))
    assert freshness.reached({A: 1}, pending=True) is None
    assert freshness.reached({A: 1}, pending=False) == at(1)


def test_under_a_long_backlog_the_moments_are_thinned_out_and_the_oldest_stays():
    freshness = Freshness()
    for second in range(10 * MAX_CAPTURES):
        freshness.note(Capture(at(second), {A: second + 1}))
    assert freshness.reached({A: 1}, pending=False) == at(0)
    reached = freshness.reached({A: 10 * MAX_CAPTURES}, pending=False)
    assert reached is not None
    assert reached > at(9 * MAX_CAPTURES)


def test_a_partition_that_lags_and_does_not_move_is_stuck_after_a_while():
    watchdog = Watchdog(patience=3)
    found = [watchdog.stalled(now, [A, B], {A: 5, B: 5}, {A: 9, B: 5}) for now in range(10, 14)]
    assert found == [None, None, None, A]


def test_idle_moving_foreign_and_excused_partitions_are_not_stuck():
    for positions, assigned, ends, excused in (
        ([{A: 5}, {A: 5}], [A], {A: 5}, False),  # nothing left
        ([{A: 5}, {A: 6}], [A], {A: 9}, False),  # it moves
        ([{A: 5}, {A: 5}], [], {A: 9}, False),  # somebody else's
        ([{A: 5}, {A: 5}], [A], {A: 9}, True),  # for a known reason
    ):
        watchdog = Watchdog(patience=3)
        for now, position in enumerate(positions):
            assert watchdog.stalled(10 + now * 4, assigned, position, ends, excused) is None


def test_a_partition_with_nothing_applied_yet_may_be_stuck_too():
    watchdog = Watchdog(patience=3)
    assert watchdog.stalled(10, [A], {}, {A: 1}) is None
    assert watchdog.stalled(14, [A], {}, {A: 1}) == A


def test_a_partition_given_away_and_back_begins_anew():
    watchdog = Watchdog(patience=3)
    assert watchdog.stalled(10, [A], {A: 1}, {A: 2}) is None
    assert watchdog.stalled(12, [], {A: 1}, {A: 2}) is None
    assert watchdog.stalled(14, [A], {A: 1}, {A: 2}) is None


def test_what_nobody_saw_does_not_count():
    watchdog = Watchdog(patience=3)
    assert watchdog.stalled(10, [A], {A: 1}, {A: 2}) is None
    assert watchdog.stalled(100, [A], {A: 1}, {A: 2}) is None
    assert watchdog.stalled(104, [A], {A: 1}, {A: 2}) == A
