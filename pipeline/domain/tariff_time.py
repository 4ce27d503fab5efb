"""Tariff time: the wall clock that bands, days and months follow.

A catalogue carries its zone's UTC offsets as a list of moments at which the offset changes, frozen when it was
published. So a price never depends on the machine's own time zone data, and a night on which the clocks change is an
ordinary case: moments are UTC, and only their reading on the wall jumps.

Days are counted from 1970-01-01, weekdays from Monday = 0; times of day are ms since local midnight.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONDAY: Final = 0
SUNDAY: Final = 6
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday
_END_OF_TIME_MS: Final = 2**62


class LocalMoment:
    """A moment as the wall shows it, and until when (UTC ms, exclusive) the zone keeps this offset."""

    __slots__ = ("day", "offset_until_ms", "time_of_day_ms")

    def __init__(self, day: int, time_of_day_ms: int, offset_until_ms: int) -> None:
        self.day: Final = day
        self.time_of_day_ms: Final = time_of_day_ms
        self.offset_until_ms: Final = offset_until_ms


class LocalDay(NamedTuple):
    """What periods a day belongs to: its texts, and where the day and its month end (UTC ms, exclusive)."""

    day: str
    month: str
    day_end_ms: int
    month_end_ms: int


def civil(day: int) -> tuple[int, int, int]:
    """Return (year, month, day of month) of a day counted from 1970-01-01, in the Gregorian calendar."""
    # Years are counted from March, so that the leap day is the last of its year; 146097 days are 400 years.
    shifted = day + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return year, month, day_of_year - (153 * month_from_march + 2) // 5 + 1


def day_number(year: int, month: int, day: int) -> int:
    """Return the day counted from 1970-01-01; the reverse of `civil`."""
    shifted = year - 1 if month <= 2 else year
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def next_month(year: int, month: int) -> int:
    """Return the day number of the first day after this month."""
    return day_number(year + 1, 1, 1) if month == 12 else day_number(year, month + 1, 1)


@dataclass(frozen=True, slots=True)
class Band:
    """Hours of some days of the week: `from_ms` inclusive, `to_ms` exclusive, on the wall clock.

    `moved` says which days count as another weekday: a holiday as Sunday, a swapped workday as Monday.
    """

    id: str
    days: tuple[bool, ...]
    from_ms: int
    to_ms: int
    moved: Mapping[int, int]

    def on_day(self, day: int) -> bool:
        """Tell whether the band applies on this local day at all."""
        weekday = self.moved.get(day)
        return self.days[(day + _EPOCH_WEEKDAY) % 7 if weekday is None else weekday]

    def active(self, day: int, time_of_day_ms: int) -> bool:
        """Tell whether the band covers this local moment."""
        return self.from_ms <= time_of_day_ms < self.to_ms and self.on_day(day)


class TariffTime:
    """Reads UTC moments on the wall of the tariff's zone.

    `offsets`: (from UTC ms, seconds east of UTC), by time; the first holds for all time before it.
    """

    __slots__ = ("_days", "_from_ms", "_last", "_offset_ms")

    def __init__(self, offsets: Sequence[Sequence[int]]) -> None:
        self._from_ms = [begin for begin, _ in offsets]
        self._offset_ms = [seconds * 1_000 for _, seconds in offsets]
        assert self._from_ms, "a tariff zone without an offset"
        assert self._from_ms == sorted(set(self._from_ms)), "offsets not by time"
        self._days: dict[int, LocalDay] = {}
        self._last = self._stretch(self._from_ms[-1])

    def _stretch(self, moment_ms: int) -> tuple[int, int, int]:
        """Return the stretch of one offset that holds the moment: from, until (exclusive), offset."""
        after = bisect_right(self._from_ms, moment_ms)
        until = self._from_ms[after] if 0 < after < len(self._from_ms) else _END_OF_TIME_MS
        if after:
            return self._from_ms[after - 1], until, self._offset_ms[after - 1]
        return -_END_OF_TIME_MS, self._from_ms[1] if len(self._from_ms) > 1 else until, self._offset_ms[0]

    def local(self, moment_ms: int) -> LocalMoment:
        """Return the local day and time of day of a moment, and until when its offset holds."""
        begin, until, offset = self._last
        if not begin <= moment_ms < until:  # most records are of one season: the stretch asked for last is remembered
            begin, until, offset = self._last = self._stretch(moment_ms)
        day, time_of_day = divmod(moment_ms + offset, DAY_MS)
        return LocalMoment(day, time_of_day, until)

    def periods(self, moment_ms: int) -> LocalDay:
        """Return the day and the month of a moment; each local day is worked out once and remembered."""
        begin, until, offset = self._last
        day = (moment_ms + offset) // DAY_MS if begin <= moment_ms < until else self.local(moment_ms).day
        known = self._days.get(day)
        if known is None:
            year, month, day_of_month = civil(day)
            known = self._days[day] = LocalDay(
                f"{year:04d}-{month:02d}-{day_of_month:02d}",
                f"{year:04d}-{month:02d}",
                self.midnight_ms(day + 1),
                self.midnight_ms(next_month(year, month)),
            )
        return known

    def midnight_ms(self, day: int) -> int:
        """Return the UTC moment at which a local day begins: the first at which the wall shows it."""
        wanted = day * DAY_MS
        at = max(bisect_right(self._from_ms, wanted - DAY_MS) - 1, 0)
        while True:
            moment = wanted - self._offset_ms[at]
            if at > 0:  # the clocks jumped over midnight: the day begins with the jump
                moment = max(moment, self._from_ms[at])
            if at + 1 == len(self._from_ms) or moment < self._from_ms[at + 1]:
                return moment
            at += 1
