"""traffic_season: a source carries far less, or far more, of a service than it usually does at this hour.

Definition: the records of one source and service in an hour, against the median of the same hour of the last days, in
units of their median absolute deviation (a robust z), and by a plain factor. Records that come within an hour count.
Source: modified z-score (0.6745 x deviation / MAD) of Iglewicz and Hoaglin; Hampel identifier.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, Episode
from pipeline.domain.detectors.finding import WARNING, Finding
from pipeline.domain.detectors.part import NOTHING, SOURCE, Hit, Step, say
from pipeline.domain.detectors.use import Use

TRAFFIC_SEASON: Final = "traffic_season"
_HOURS: Final = 24
_DAYS_KEPT: Final = 9
_IDS_KEPT: Final = 5
_Z_SCALE: Final = 6_745
"""0.6745, in ten-thousandths."""


class Parameters(NamedTuple):
    """What operators may set.

    `days`: so many days must be known; `usual_records`: an hour that usually has fewer says nothing; `z_thousandths`:
    from such a robust z on; `less_percent`, `more_percent`: and only below, or above, so much of the usual;
    `beyond_percent`: and so far beyond the least, or greatest, of the days.
    """

    days: int = 6
    usual_records: int = 100
    z_thousandths: int = 6_000
    less_percent: int = 40
    more_percent: int = 300
    beyond_percent: int = 150


class State(NamedTuple):
    """The hour being counted, and for each hour of day its counts of the last days."""

    seen: int
    episode: Episode | None
    hour: int
    records: int
    last_hour: int
    record_ids: tuple[str, ...]
    days: tuple[tuple[int, ...], ...]


class TrafficSeason:
    """See the module."""

    name = TRAFFIC_SEASON
    view = SOURCE
    kept_ms = 7 * DAY_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return source and service."""
        return f"{use.usage.source} {use.usage.service}"

    def step(self, state: State | None, use: Use) -> Step:
        """Count the record in its hour; judge the hour before the last one once a new hour has begun."""
        hour = use.start // HOUR_MS
        if state is None:
            return State(use.clock, None, hour, 1, 0, (use.usage.record_id,), ((),) * _HOURS), NOTHING
        if hour == state.hour:
            _, episode, _, records, last, ids, days = state
            return State(use.clock, episode, hour, records + 1, last, ids, days), NOTHING
        if hour == state.hour - 1:
            return state._replace(seen=use.clock, last_hour=state.last_hour + 1), NOTHING
        if hour < state.hour or hour > use.clock // HOUR_MS:
            return state, NOTHING
        # the hour before the one that ends now is complete: late records of it had an hour to come
        before, slot = state.hour - 1, (state.hour - 1) % _HOURS
        found = NOTHING
        days, episode = state.days, state.episode
        usual = days[slot]
        if state.last_hour or usual:
            episode, found = self._judged(state, use, before, usual)
            if not found:
                days = (*days[:slot], (*usual, state.last_hour)[-_DAYS_KEPT:], *days[slot + 1 :])
        last = state.records if hour == state.hour + 1 else 0
        ids = (*state.record_ids[1 - _IDS_KEPT :], use.usage.record_id)
        return State(use.clock, episode, hour, 1, last, ids, days), found

    def _judged(
        self, state: State, use: Use, hour: int, usual: tuple[int, ...]
    ) -> tuple[Episode | None, tuple[Finding, ...]]:
        rules = self._parameters
        if len(usual) < rules.days:
            return state.episode, NOTHING
        median = _median(usual)
        deviation = max(_median(tuple(abs(count - median) for count in usual)), 1)
        records = state.last_hour
        z = _Z_SCALE * abs(records - median) // (10 * deviation)
        less = 100 * records < rules.less_percent * median and rules.beyond_percent * records < 100 * min(usual)
        more = 100 * records > rules.more_percent * median and 100 * records > rules.beyond_percent * max(usual)
        if median < rules.usual_records or z < rules.z_thousandths or not (less or more):
            return state.episode, NOTHING
        hit = Hit(
            f"source-{use.usage.source}",
            "",
            WARNING,
            1_000 * max(records, 1) // median if records > median else 1_000 * median // max(records, 1),
            state.record_ids,
            {
                "service": use.usage.service,
                "records_in_the_hour": records,
                "usual": median,
                "usual_deviation": deviation,
                "robust_z_thousandths": z,
            },
            "Compare with the other sources: a fault of the network, of the probe, or a day that is unlike others.",
        )
        return say(TRAFFIC_SEASON, state.episode, hit, hour * HOUR_MS, HOUR_MS, use.charge_id)


def _median(counts: tuple[int, ...]) -> int:
    return sorted(counts)[len(counts) // 2]
