"""Tariff time: the wall clock of a catalogue's zone, by the offsets that were published with it."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ANY_OFFSET_MS: Final = 2 * DAY_MS
"""No zone is further than this from UTC."""


class Wall:
    """One catalogue's clock, calendars and bands. Moments are ms since 1970 UTC."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._changes = [int(change[0]) for change in document["offsets"]]
        self._offsets_ms = [int(change[1]) * 1_000 for change in document["offsets"]]
        self._calendars: Mapping[str, Mapping[str, Sequence[str]]] = document["calendars"]
        self._bands: Mapping[str, Mapping[str, Any]] = document["bands"]
        times = [_time_of_day_ms(band[end]) for band in self._bands.values() for end in ("from", "to")]
        self._times = sorted({*times, DAY_MS} - {0})

    def day(self, moment: int) -> date:
        """Return the date on the wall."""
        return date.fromordinal(_EPOCH + self._local(moment) // DAY_MS)

    def month(self, moment: int) -> str:
        """Return the month on the wall, YYYY-MM."""
        return self.day(moment).isoformat()[:7]

    def period(self, every: str, moment: int) -> str:
        """Return the day, YYYY-MM-DD, or the month on the wall."""
        return self.day(moment).isoformat() if every == "day" else self.month(moment)

    def days_of_month(self, moment: int) -> int:
        """Return how many days the month on the wall has."""
        first = self.day(moment).replace(day=1)
        return (_next_month(first) - first).days

    def in_band(self, name: str, moment: int) -> bool:
        """Tell whether a band applies at this moment."""
        band = self._bands[name]
        time = self._local(moment) % DAY_MS
        if not _time_of_day_ms(band["from"]) <= time < _time_of_day_ms(band["to"]):
            return False
        day = self.day(moment)
        kind = _DAYS[day.weekday()]
        if band["calendar"] is not None:
            calendar = self._calendars[band["calendar"]]
            if day.isoformat() in calendar["holidays"]:
                kind = "sun"
            elif day.isoformat() in calendar["workdays"]:
                kind = "mon"
        return kind in band["days"]

    def next_edge(self, moment: int) -> int:
        """Return the next moment at which any band may begin or end: by the wall, or because the clocks change."""
        time = self._local(moment) % DAY_MS
        edge = moment + min(at for at in self._times if at > time) - time
        index = bisect_right(self._changes, moment)
        return edge if index == len(self._changes) else min(edge, self._changes[index])

    def start_of_period(self, every: str, moment: int) -> int:
        """Return the moment at which the day or month of the wall began."""
        day = self.day(moment)
        return self._first_at((day if every == "day" else day.replace(day=1)).toordinal())

    def end_of_period(self, every: str, moment: int) -> int:
        """Return the moment at which the next day or month of the wall begins."""
        day = self.day(moment)
        return self._first_at(day.toordinal() + 1 if every == "day" else _next_month(day).toordinal())

    def _local(self, moment: int) -> int:
        index = max(bisect_right(self._changes, moment) - 1, 0)
        return moment + self._offsets_ms[index]

    def _first_at(self, ordinal: int) -> int:
        """Return the first moment at which the wall shows this day's 00:00, or more where that is skipped."""
        local = (ordinal - _EPOCH) * DAY_MS
        around = (local - _ANY_OFFSET_MS, local + _ANY_OFFSET_MS)
        candidates = [local - (self._local(moment) - moment) for moment in around]
        return min(moment for moment in candidates if self._local(moment) >= local)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _time_of_day_ms(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * _HOUR_MS + int(minute) * 60_000
