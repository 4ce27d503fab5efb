"""late_share and rejected_share: too much of what a source sends is late, or is not charged.

Definition: within an hour of the clock, the part of a source's records that came long after their end, or that ended
REJECTED or in REVIEW, over a limit and over what is usual for the source. Source: NRTRDE's four hours for roaming
records; assurance of the share of rejected usage.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, Episode, Usual, learned, usual_peak
from pipeline.domain.detectors.finding import WARNING
from pipeline.domain.detectors.part import NOTHING, SOURCE, Hit, Step, say
from pipeline.domain.detectors.use import NOT_PRICED, Use
from pipeline.domain.outcome import REJECTED, REVIEW

LATE_SHARE: Final = "late_share"
REJECTED_SHARE: Final = "rejected_share"
_IDS_KEPT: Final = 20
_WHOLE: Final = 1_000
_LEAST: Final = 10
"""Fewer marked records are chance, whatever their share."""


class LateParameters(NamedTuple):
    """What operators may set.

    `late_ms`: a record that comes later than this behind its end is late; `records`: fewer in the hour say nothing;
    `permille`: from such a share on, abnormal; `times_usual`: and so many times the usual share.
    """

    late_ms: int = 4 * HOUR_MS
    records: int = 100
    permille: int = 40
    times_usual: int = 3


class RejectedParameters(NamedTuple):
    """As for late records: `records`, `permille`, `times_usual`."""

    records: int = 50
    permille: int = 50
    times_usual: int = 3


class State(NamedTuple):
    """The hour's records, those that are marked, and the share that is usual, in thousandths."""

    seen: int
    episode: Episode | None
    hour: int
    records: int
    marked: int
    record_ids: tuple[str, ...]
    usual: Usual | None


class _Share:
    name = ""
    view = SOURCE
    kept_ms = 7 * DAY_MS
    quiet_ms = 6 * HOUR_MS
    action = ""

    def __init__(self, records: int, permille: int, times_usual: int) -> None:
        self._records = records
        self._permille = permille
        self._times_usual = times_usual

    def _is_marked(self, use: Use) -> bool:
        raise NotImplementedError

    def step(self, state: State | None, use: Use) -> Step:
        """Count the record in the hour in which it came."""
        hour = use.clock // HOUR_MS
        usual = None if state is None else state.usual
        if state is None:
            state = State(use.clock, None, hour, 0, 0, (), None)
        elif hour > state.hour:
            if state.records >= self._records:
                usual = learned(usual, state.hour * HOUR_MS, _WHOLE * state.marked // state.records)
            state = State(use.clock, state.episode, hour, 0, 0, (), usual)
        records = state.records + 1
        if not self._is_marked(use):
            return State(use.clock, state.episode, hour, records, state.marked, state.record_ids, usual), NOTHING
        marked = state.marked + 1
        ids = (*state.record_ids[1 - _IDS_KEPT :], use.usage.record_id)
        episode, found = state.episode, NOTHING
        limit = max(self._permille, self._times_usual * usual_peak(usual))
        if marked >= _LEAST and records >= self._records and _WHOLE * marked >= limit * records:
            hit = Hit(
                f"source-{use.usage.source}",
                "",
                WARNING,
                _WHOLE * _WHOLE * marked // (limit * records),
                ids,
                {
                    "records": records,
                    "marked": marked,
                    "limit_permille": limit,
                    "usual_permille": usual_peak(usual),
                    "reason": use.kind or "late",
                },
                self.action,
            )
            episode, found = say(self.name, episode, hit, use.clock, HOUR_MS, use.charge_id)
        return State(use.clock, episode, hour, records, marked, ids, usual), found


class LateShare(_Share):
    """See the module."""

    name = LATE_SHARE
    action = "Look at the source's transfer: what is later than the late window is held for review."

    def __init__(self, parameters: LateParameters) -> None:
        super().__init__(parameters.records, parameters.permille, parameters.times_usual)
        self._late_ms = parameters.late_ms

    def key(self, use: Use) -> str | None:
        """Return the source."""
        return use.usage.source

    def _is_marked(self, use: Use) -> bool:
        return (use.received_at or use.clock) - use.end > self._late_ms


class RejectedShare(_Share):
    """See the module."""

    name = REJECTED_SHARE
    action = "Look at the reasons: a tariff or an account is missing; send the records again once it is there."

    def __init__(self, parameters: RejectedParameters) -> None:
        super().__init__(parameters.records, parameters.permille, parameters.times_usual)

    def key(self, use: Use) -> str | None:
        """Return the source of a record that was priced, or should have been."""
        return use.usage.source if use.kind != NOT_PRICED else None

    def _is_marked(self, use: Use) -> bool:
        return use.kind in (REJECTED, REVIEW)
