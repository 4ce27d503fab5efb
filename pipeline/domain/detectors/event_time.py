"""Event time: the rules by which detectors take records that come late, twice or out of order. All of them, here.

1. A record counts at its own start, whenever it arrives.
2. The clock of a stream moves on with what it reads, never back, and by no single record: it is the median of the last
   five starts (the broker's own time where the ledger says it). A record with a wild date moves nothing.
3. Each object (a line, a range, a source) keeps what lies within its window, back from its newest record. What is older
   than that when it arrives is not counted; what comes out of order within it is put in its place, so that the same
   records give the same figures in any order.
4. A copy of a record counts once: the ledger says which are copies (DUPLICATE); in a file the last ids tell.
5. An alert opens with the record that decided it, is updated when its score has doubled, and closes when its object has
   been quiet for a stated time by the clock. While it is open, what is found is the same alert.
"""

from bisect import bisect_left, insort
from typing import Final, NamedTuple

from pipeline.domain.tariff_time import civil

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_MEDIAN_OF: Final = 5


class Clock:
    """The stream's clock: see rule 2."""

    __slots__ = ("_last", "now")

    def __init__(self) -> None:
        self.now = 0
        self._last: tuple[int, ...] = ()

    def see(self, start: int) -> int:
        """Take a record's start; returns the clock."""
        last = self._last = (*self._last[1 - _MEDIAN_OF :], start)
        if start > self.now:
            median = sorted(last)[len(last) // 2] if len(last) > 2 else min(last)
            self.now = max(self.now, median)
        return self.now


class Entry(NamedTuple):
    """What a window keeps of a record: when, with whom, and its id as evidence."""

    start: int
    end: int
    party: str
    record_id: str


Log = tuple[Entry, ...]
"""Entries by start, none older than the window behind the newest, and no more than so many: the newest ones."""


def logged(log: Log, entry: Entry, window_ms: int, most: int) -> Log:
    """Return the log with this entry in its place; the same log if the entry is too old to count (rule 3)."""
    if not log:
        return (entry,)
    start, newest = entry[0], log[-1][0]
    if start >= newest:
        if log[0][0] <= start - window_ms:
            log = log[bisect_left(log, (start - window_ms + 1,)) :]
        return (*log[1 - most :], entry) if len(log) >= most else (*log, entry)
    if start <= newest - window_ms:
        return log
    found = list(log)
    insort(found, entry)
    return tuple(found[-most:])


def busiest(log: Log, start: int, width_ms: int) -> int:
    """Return the greatest number of entries within any stretch of so many ms that holds this start."""
    first = bisect_left(log, (start - width_ms + 1,))
    last = bisect_left(log, (start + width_ms,))
    most, begin = 0, first
    for at in range(first, last):
        while log[begin][0] <= log[at][0] - width_ms:
            begin += 1
        if log[begin][0] <= start <= log[at][0]:
            most = max(most, at - begin + 1)
    return most


class Episode(NamedTuple):
    """An alert that is open: its window and object, when it opened, when it was last confirmed, its score as last said.

    The score is in thousandths: 1000 is just at the limit.
    """

    window: str
    object_: str
    account: str
    opened_at: int
    last: int
    score: int


def window_name(start: int, window_ms: int) -> str:
    """Name the stretch of time that holds this moment: its begin in UTC and its length, `2026-11-01T08:00Z/60min`."""
    begin = start - start % window_ms
    day, rest = divmod(begin, DAY_MS)
    year, month, day_of_month = civil(day)
    minutes = rest // MINUTE_MS
    return (
        f"{year:04d}-{month:02d}-{day_of_month:02d}T{minutes // 60:02d}:{minutes % 60:02d}Z/{window_ms // MINUTE_MS}min"
    )


class Usual(NamedTuple):
    """How high an object usually peaks.

    Since when it is known, the pane of six hours that holds its newest record, that pane's peak, and those of the
    panes before in which it was active.
    """

    since: int
    pane: int
    now: int
    before: tuple[int, ...]


PANE_MS: Final = 6 * HOUR_MS
PANES_KEPT: Final = 16


def learned(usual: Usual | None, start: int, peak: int) -> Usual:
    """Return what is usual once a record at this time has peaked at so much; an older pane's peak is not changed."""
    pane = start // PANE_MS
    if usual is None:
        return Usual(start, pane, peak, ())
    if pane > usual.pane:
        return Usual(usual.since, pane, peak, (*usual.before, usual.now)[-PANES_KEPT:])
    if pane == usual.pane and peak > usual.now:
        return usual._replace(now=peak)
    return usual


def usual_peak(usual: Usual | None) -> int:
    """Return the second highest of the earlier panes' peaks: one bad stretch is not usual; one alone is its peak."""
    if usual is None or not usual.before:
        return 0
    before = usual.before
    return before[0] if len(before) == 1 else sorted(before)[-2]


def is_known(since: int, start: int, grace_ms: int) -> bool:
    """Tell whether what was first seen at `since` has been known for so long."""
    return start - since >= grace_ms
