"""spend_baseline, roaming_cap, zero_rated_leak: an account's money, and use that should have cost some.

spend_baseline: the account's spend of a day against the median of its own last days, in units of their median
absolute deviation; days without spend count as days. Source: modified z-score of Iglewicz and Hoaglin (3.5 is usual;
bills are long-tailed, so the default is higher), after a grace of a week.

roaming_cap: the month's spend abroad against a cap, once at 80 and once at 100 per cent. Source: the EU's roaming
rule (a notice at 80 and 100 per cent of a monthly limit).

zero_rated_leak: octets that cost nothing by a free rule, much more of them than usual: an open door in a free service
is used as a tunnel. Source: revenue assurance practice.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, Episode
from pipeline.domain.detectors.finding import CRITICAL, INFO, WARNING
from pipeline.domain.detectors.part import ACCOUNT, NOTHING, Hit, Step, say
from pipeline.domain.detectors.use import NOT_PRICED, Use
from pipeline.domain.outcome import CHARGED
from pipeline.domain.tariff_time import civil
from pipeline.domain.usage import DATA

SPEND_BASELINE: Final = "spend_baseline"
ROAMING_CAP: Final = "roaming_cap"
ZERO_RATED_LEAK: Final = "zero_rated_leak"
_DAYS_KEPT: Final = 28
_IDS_KEPT: Final = 20
_MICROS: Final = 1_000_000
_GIB: Final = 1024**3


class BaselineParameters(NamedTuple):
    """What operators may set.

    `days`: so many days must be known; `z_thousandths`: from such a robust z on; `times_median`: and so many times
    the median; `floor_micros`: a day that costs less says nothing.
    """

    days: int = 7
    z_thousandths: int = 8_000
    times_median: int = 4
    floor_micros: int = 20 * _MICROS


class RoamingParameters(NamedTuple):
    """What operators may set.

    `cap_micros`: the month's cap, in micro-units of the account's currency.
    """

    cap_micros: int = 300 * _MICROS


class LeakParameters(NamedTuple):
    """What operators may set.

    `octets`: from so many free octets a day on, abnormal; `times_median`: and so many times the account's median.
    """

    octets: int = 4 * _GIB
    times_median: int = 5


class DayState(NamedTuple):
    """The day's sum, the sums of the days before (of days without any: 0), and the newest records."""

    seen: int
    episode: Episode | None
    day: int
    sum: int
    days: tuple[int, ...]
    record_ids: tuple[str, ...]


def added(state: DayState | None, use: Use, amount: int) -> DayState | None:
    """Return the state with an amount in its day; None for a day before the newest: it has been judged."""
    day, record_id = use.start // DAY_MS, use.usage.record_id
    if state is None:
        return DayState(use.clock, None, day, amount, (), (record_id,))
    if day < state.day:
        return None
    if day == state.day:
        ids = (*state.record_ids[1 - _IDS_KEPT :], record_id)
        return DayState(use.clock, state.episode, day, state.sum + amount, state.days, ids)
    empty = (0,) * min(day - state.day - 1, _DAYS_KEPT)
    days = (*state.days, state.sum, *empty)[-_DAYS_KEPT:]
    return DayState(use.clock, state.episode, day, amount, days, (record_id,))


class SpendBaseline:
    """See the module."""

    name = SPEND_BASELINE
    view = ACCOUNT
    kept_ms = 28 * DAY_MS
    quiet_ms = DAY_MS

    def __init__(self, parameters: BaselineParameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the account of what was charged."""
        return use.account if use.kind == CHARGED else None

    def step(self, state: DayState | None, use: Use) -> Step:
        """Add what the record cost."""
        after = added(state, use, use.amount_micros)
        if after is None:
            return state, NOTHING
        rules = self._parameters
        if len(after.days) < rules.days or after.sum < rules.floor_micros:
            return after, NOTHING
        median = sorted(after.days)[len(after.days) // 2]
        deviation = sorted(abs(day - median) for day in after.days)[len(after.days) // 2]
        # steady spenders have no deviation: a tenth of the median, or a unit of money, is the least
        deviation = max(deviation, median // 10, _MICROS)
        z = 6_745 * (after.sum - median) // (10 * deviation)
        if z < rules.z_thousandths or after.sum < rules.times_median * median:
            return after, NOTHING
        hit = Hit(
            f"account-{use.account}",
            use.account,
            WARNING,
            1_000 * z // rules.z_thousandths,
            after.record_ids,
            {
                "day_micros": after.sum,
                "median_micros": median,
                "deviation_micros": deviation,
                "robust_z_thousandths": z,
            },
            "Tell the customer what today has cost, and ask whether it is his use.",
        )
        episode, found = say(SPEND_BASELINE, after.episode, hit, use.start, DAY_MS, use.charge_id)
        return after._replace(episode=episode), found


class MonthState(NamedTuple):
    """The month's spend abroad."""

    seen: int
    episode: Episode | None
    month: int
    sum: int


class RoamingCap:
    """See the module. The thresholds have windows of their own and never close; the next month is another."""

    name = ROAMING_CAP
    view = ACCOUNT
    kept_ms = 32 * DAY_MS
    quiet_ms = 32 * DAY_MS

    def __init__(self, parameters: RoamingParameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the account of what was charged abroad."""
        return use.account if use.away and use.kind == CHARGED else None

    def step(self, state: MonthState | None, use: Use) -> Step:
        """Add what the record cost."""
        year, month_of_year, _ = civil(use.start // DAY_MS)
        month = year * 12 + month_of_year - 1
        if state is None or month > state.month:
            state = MonthState(use.clock, None, month, 0)
        elif month < state.month:
            return state, NOTHING
        after = state._replace(seen=use.clock, sum=state.sum + use.amount_micros)
        cap = self._parameters.cap_micros
        crossed = [percent for percent in (100, 80) if state.sum * 100 < cap * percent <= after.sum * 100]
        if not crossed:
            return after, NOTHING
        percent = crossed[0]
        hit = Hit(
            f"account-{use.account}",
            use.account,
            CRITICAL if percent == 100 else WARNING,
            1_000 * after.sum // cap,
            (use.usage.record_id,),
            {"percent": percent, "cap_micros": cap, "spend_before_micros": state.sum, "spend_after_micros": after.sum},
            f"Tell the customer that {percent} % of the month's cap abroad is spent.",
        )
        _, found = say(ROAMING_CAP, None, hit, use.start, DAY_MS, use.charge_id)
        window = f"{month // 12:04d}-{month % 12 + 1:02d}/{percent}%@{cap}"
        return after, tuple(finding._replace(window=window) for finding in found)


class ZeroRatedLeak:
    """See the module."""

    name = ZERO_RATED_LEAK
    view = ACCOUNT
    kept_ms = 28 * DAY_MS
    quiet_ms = DAY_MS

    def __init__(self, parameters: LeakParameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the account of priced data."""
        return use.account if use.kind not in (NOT_PRICED, "") and use.usage.service == DATA else None

    def step(self, state: DayState | None, use: Use) -> Step:
        """Add the record's free octets."""
        after = added(state, use, use.free_octets)
        if after is None:
            return state, NOTHING
        rules = self._parameters
        median = sorted(after.days)[len(after.days) // 2] if after.days else 0
        limit = max(rules.octets, rules.times_median * median)
        if after.sum < limit:
            return after, NOTHING
        hit = Hit(
            f"account-{use.account}",
            use.account,
            INFO,
            1_000 * after.sum // limit,
            after.record_ids,
            {"free_octets_in_the_day": after.sum, "limit": limit, "usual": median, "group": use.usage.rating_group},
            "Look at what the free rule lets through: close the door, or give it an allowance.",
        )
        episode, found = say(ZERO_RATED_LEAK, after.episode, hit, use.start, DAY_MS, use.charge_id)
        return after._replace(episode=episode), found
