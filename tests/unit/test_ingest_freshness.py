"""As-Of and "stuck", from what a heartbeat saw."""

from datetime import UTC, datetime, timedelta

from projector.apply.batch import TopicPartition
from projector.ingest.freshness import MAX_CAPTURES, Capture, Freshness, Stall, Watchdog

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


def looks(*seen: tuple[float, dict[TopicPartition, int]], excused: bool = False) -> Stall | None:
    """What a watchdog says at the last of these looks at A and B, which both end at 9; it looks each second."""
    watchdog, (now, _) = Watchdog(), seen[0]
    for until, positions in seen:
        while now <= until:
            found = watchdog.stalled(now, [A, B], positions, {A: 9, B: 9}, excused)
            now += 1
    return found


def test_a_partition_that_lags_and_does_not_move_is_suspect_and_then_stuck():
    assert not looks((100, {A: 5, B: 9}), (109, {A: 5, B: 9})).is_suspect
    suspect, stuck = looks((100, {A: 5, B: 9}), (110, {A: 5, B: 9})), looks((100, {A: 5, B: 9}), (120, {A: 5, B: 9}))
    assert suspect == (A, 10, 10)
    assert (suspect.is_suspect, suspect.is_stuck) == (True, False)
    assert stuck.is_stuck


def test_idle_moving_and_excused_partitions_are_not_stuck():
    assert not looks((100, {A: 9, B: 9}), (200, {A: 9, B: 9})).is_suspect  # nothing left
    assert not looks(*((100 + n, {A: n % 9, B: n % 9}) for n in range(100))).is_suspect  # they move
    assert not looks((100, {A: 5, B: 5}), (200, {A: 5, B: 5}), excused=True).is_suspect  # for a known reason
    assert Watchdog().stalled(100, [], {A: 5}, {A: 9}) is None  # somebody else's


def test_in_a_backlog_a_partition_may_wait_its_turn_but_not_for_ever():
    others_move = [(100 + n, {A: 5, B: n % 9}) for n in range(150)]
    assert not looks(*others_move[:119]).is_suspect
    assert looks(*others_move).is_stuck


def test_a_partition_with_nothing_applied_yet_may_be_stuck_too():
    assert looks((100, {B: 9}), (120, {B: 9})).is_stuck


def test_a_partition_given_away_and_back_begins_anew():
    watchdog = Watchdog()
    for now in range(100, 119):
        watchdog.stalled(now, [A], {A: 1}, {A: 2})
    watchdog.stalled(119, [], {A: 1}, {A: 2})
    assert watchdog.stalled(120, [A], {A: 1}, {A: 2}) == (A, 0, 0)


def test_what_nobody_saw_does_not_count():
    assert looks((100, {A: 1, B: 9}), (119, {A: 1, B: 9})).seconds == 19
    watchdog = Watchdog()
    assert watchdog.stalled(100, [A], {A: 1}, {A: 2}) == (A, 0, 0)
    assert watchdog.stalled(160, [A], {A: 1}, {A: 2}) == (A, 0, 0)
    assert watchdog.stalled(164, [A], {A: 1}, {A: 2}) == (A, 4, 4)
