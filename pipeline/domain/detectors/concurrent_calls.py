"""concurrent_calls: more calls open at once than a handset can hold.

Definition: answered calls of one line that overlap by more than a few seconds. One is active and one on hold; a third
at the same time is another device (a cloned SIM, a hacked switchboard, a stolen account). A switchboard has many as a
rule, and is held against its own usual peak. Source: concurrent calls of OpenSIPS' fraud_detection; overlapping CDRs.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import (
    HOUR_MS,
    SECOND_MS,
    Entry,
    Episode,
    Log,
    Usual,
    is_known,
    learned,
    logged,
    usual_peak,
)
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import LINE, NOTHING, Hit, Step, speak
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

CONCURRENT_CALLS: Final = "concurrent_calls"
_WINDOW_MS: Final = 3 * HOUR_MS
_KEPT: Final = 32


class Parameters(NamedTuple):
    """What operators may set.

    `calls`: from so many at once on, abnormal; `overlap_ms`: what clocks may differ by; `times_usual`: and so many
    times the line's usual peak; `grace_ms`, `calls_in_grace`: the limit of a line known for less than that.
    """

    calls: int = 3
    overlap_ms: int = 5 * SECOND_MS
    times_usual: int = 2
    grace_ms: int = 12 * HOUR_MS
    calls_in_grace: int = 12


class State(NamedTuple):
    """The answered calls of the last hours, and how many of the line's calls are usually open at once."""

    seen: int
    episode: Episode | None
    log: Log
    usual: Usual | None


class ConcurrentCalls:
    """See the module."""

    name = CONCURRENT_CALLS
    view = LINE
    kept_ms = 5 * 24 * HOUR_MS
    quiet_ms = 3 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the line that talks."""
        return use.line if use.usage.service == VOICE and use.usage.answered and use.end > use.start else None

    def step(self, state: State | None, use: Use) -> Step:
        """Find the calls open during this one."""
        if state is None:
            state = State(0, None, (), None)
        rules, start = self._parameters, use.start
        log = state.log
        together = [e for e in log if e[1] - rules.overlap_ms > start and e[0] + rules.overlap_ms < use.end]
        log = logged(log, Entry(start, use.end, use.other, use.usage.record_id), _WINDOW_MS, _KEPT)
        most = 1 + (_most_at_once(together, start, use.end) if together else 0)
        episode, found = state.episode, NOTHING
        if most >= rules.calls:
            known = is_known(use.since, start, rules.grace_ms)
            limit = max(rules.calls if known else rules.calls_in_grace, rules.times_usual * usual_peak(state.usual) + 1)
            if most >= limit:
                hit = Hit(
                    use.line,
                    use.account,
                    CRITICAL if most >= 2 * limit else WARNING,
                    1_000 * most // limit,
                    (*(e[3] for e in together), use.usage.record_id),
                    {"calls_at_once": most, "limit": limit, "usual_peak": usual_peak(state.usual)},
                    "Ask the customer whether the calls are his; change the SIM, or the switchboard's passwords.",
                )
                episode, found = speak(CONCURRENT_CALLS, episode, hit, use, HOUR_MS)
        return State(use.clock, episode, log, learned(state.usual, start, most)), found


def _most_at_once(calls: list[Entry], start: int, end: int) -> int:
    """Return how many of these calls, at most, are open at one moment of the stretch."""
    moments = sorted([(max(call[0], start), 1) for call in calls] + [(min(call[1], end), -1) for call in calls])
    open_, most = 0, 0
    for _, change in moments:
        open_ += change
        most = max(most, open_)
    return most
