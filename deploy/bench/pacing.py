"""When records are due, and what came of it: an open-loop schedule and percentiles, as pure functions.

Open loop: record n is due n / rate after the beginning, however long those before it took. Latency counts from then,
so a pipeline that stands still is charged for every record that would have come meanwhile.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Latency(NamedTuple):
    """What records waited, in ms, from being due to be published to their balance applied."""

    p50: float
    p95: float
    p99: float
    max: float


def due_count(elapsed_s: float, records_per_s: float, records: int) -> int:
    """Return how many records are due by now; the first one is at 0."""
    return min(math.floor(elapsed_s * records_per_s) + 1, records) if elapsed_s >= 0 else 0


def due_at(number: int, records_per_s: float) -> float:
    """Return when the n-th record (from 0) is due, in seconds from the beginning."""
    return number / records_per_s


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed (nearest rank, no blending)."""
    assert ordered, "no values, no percentile"
    assert 0 < share <= 1, "a share of the values"
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def latency(waited_s: Sequence[float]) -> Latency:
    """Return the percentiles of waiting times."""
    ordered = sorted(waited_s)
    return Latency(*(round(percentile(ordered, share) * 1000, 2) for share in (0.50, 0.95, 0.99, 1.0)))


def median(values: Sequence[float]) -> float:
    """Return the middle value; of an even number, the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
