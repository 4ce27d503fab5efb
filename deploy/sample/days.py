"""The story's time: local days counted back from the moment it is told, so that it always lies in the near past."""

from datetime import date
from typing import Final, NamedTuple

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
TARIFF_OFFSET_MS: Final = 8 * HOUR_MS
"""China has had one offset all the year round since 1992."""
DAYS: Final = 10
"""How many whole local days before today have traffic."""
MARGIN_MS: Final = 15 * MINUTE_MS
OPENED_DAYS_AGO: Final = 90
"""When the accounts were opened: long enough for a record that comes two months late to have an owner."""
FRIDAY: Final = 4
MOVED_DAYS: Final = (
    "2026-01-01",
    "2026-02-17",
    "2026-02-18",
    "2026-02-19",
    "2026-02-28",
    "2026-10-01",
    "2026-10-02",
    "2026-10-10",
    "2027-01-01",
)
"""Days that the catalogue's calendar treats as another weekday: no episode about weekdays is told on them."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_MOVED: Final = frozenset(date.fromisoformat(text).toordinal() - _EPOCH for text in MOVED_DAYS)
_WEEKS_BACK: Final = 3


class Calendar(NamedTuple):
    """Moments (ms since 1970 UTC) told as the operator's local days before the anchor's own."""

    anchor_ms: int

    @property
    def end_ms(self) -> int:
        """Return when the story ends: nothing in it happens after this moment."""
        return self.anchor_ms - MARGIN_MS

    @property
    def opened_ms(self) -> int:
        """Return when the accounts were opened."""
        return self.at(OPENED_DAYS_AGO, 8)

    def at(self, days_ago: int, hour: int, minute: int = 0) -> int:
        """Return a local time of day, so many local days before the anchor's."""
        return (self._today() - days_ago) * DAY_MS - TARIFF_OFFSET_MS + hour * HOUR_MS + minute * MINUTE_MS

    def last(self, *weekdays: int) -> int:
        """Return how many days ago it last was one of these weekdays (Monday 0), at least two.

        Neither that day nor the one after it is one that the calendar moved.
        """
        return next(
            ago
            for ago in range(2, 2 + 7 * _WEEKS_BACK)
            if self._weekday(ago) in weekdays and not _MOVED & {self._today() - ago, self._today() - ago + 1}
        )

    def _today(self) -> int:
        return (self.anchor_ms + TARIFF_OFFSET_MS) // DAY_MS

    def _weekday(self, days_ago: int) -> int:
        return (self._today() - days_ago + 3) % 7  # 1970-01-01 was a Thursday
