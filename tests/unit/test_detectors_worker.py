"""When a worker counts as stalled."""

from pipeline.detect import StallClock


def test_a_partition_stalls_when_it_stands_still_with_records_for_the_whole_time():
    """Not at the time-out, but behind it; and it is the one that stands that is named."""
    clock = StallClock(10)
    assert clock.stalled(0, {1: 5, 2: 5}) is None
    assert clock.stalled(6, {1: 5, 2: 6}) is None
    assert clock.stalled(10, {1: 5, 2: 6}) is None
    assert clock.stalled(10.1, {1: 5, 2: 6}) == 1


def test_any_progress_begins_the_time_anew():
    """An offset that moved is progress, however little."""
    clock = StallClock(10)
    assert clock.stalled(0, {1: 5}) is None
    assert clock.stalled(9, {1: 6}) is None
    assert clock.stalled(18, {1: 6}) is None
    assert clock.stalled(19.5, {1: 6}) == 1


def test_a_partition_without_waiting_records_has_no_time():
    """Idle, given away, or a broker that does not answer: nothing counts from before."""
    clock = StallClock(10)
    assert clock.stalled(0, {1: 5}) is None
    assert clock.stalled(8, {}) is None
    assert clock.stalled(12, {1: 5}) is None
    assert clock.stalled(21, {1: 5}) is None
