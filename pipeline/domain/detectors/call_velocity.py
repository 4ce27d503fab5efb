"""call_velocity: a line calls faster than a person can.

Definition: call attempts of one line within a sliding minute, and within ten. Dialling the same number again because it
did not answer is what people do, and counts once. A line that is usually busy (a call centre, a switchboard) is held
against its own usual peak. Source: the sliding 60 s of OpenSIPS' fraud_detection (calls per minute, a warning and a
critical value, more for those whose pattern it is).
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import (
    HOUR_MS,
    MINUTE_MS,
    Entry,
    Episode,
    Log,
    Usual,
    busiest,
    is_known,
    learned,
    logged,
    usual_peak,
)
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import LINE, NOTHING, Hit, Step, ids_of, speak
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

CALL_VELOCITY: Final = "call_velocity"
_WINDOW_MS: Final = 10 * MINUTE_MS
_KEPT: Final = 64


class Parameters(NamedTuple):
    """What operators may set.

    `calls_a_minute`, `calls_in_ten_minutes`: from so many on, abnormal; `times_usual`: and so many times the line's
    usual peak; `grace_ms`, `times_in_grace`: a line known for less than that must pass the limits so many times over.
    """

    calls_a_minute: int = 8
    calls_in_ten_minutes: int = 24
    times_usual: int = 2
    grace_ms: int = 12 * HOUR_MS
    times_in_grace: int = 2


class State(NamedTuple):
    """The attempts of the last ten minutes, and what the line's minutes and tens of minutes usually peak at."""

    seen: int
    episode: Episode | None
    log: Log
    minute: Usual | None
    ten: Usual | None


class CallVelocity:
    """See the module."""

    name = CALL_VELOCITY
    view = LINE
    kept_ms = 5 * 24 * HOUR_MS
    quiet_ms = HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the line that calls."""
        return use.line if use.usage.service == VOICE and use.usage.direction == "MO" else None

    def step(self, state: State | None, use: Use) -> Step:
        """Count the attempt."""
        if state is None:
            state = State(0, None, (), None, None)
        start, usage = use.start, use.usage
        log = state.log
        if log and not usage.answered and start - log[-1].start < _WINDOW_MS:
            for entry in log:
                if entry.party == use.other:
                    return state._replace(seen=use.clock), NOTHING
        log = logged(log, Entry(start, use.end, use.other, usage.record_id), _WINDOW_MS, _KEPT)
        ten = len(log)
        minute = busiest(log, start, MINUTE_MS) if ten > 1 else 1
        episode, found = state.episode, NOTHING
        rules = self._parameters
        if episode is not None or minute >= rules.calls_a_minute or ten >= rules.calls_in_ten_minutes:
            strict = 1 if is_known(use.since, start, rules.grace_ms) else rules.times_in_grace
            a_minute = max(rules.calls_a_minute * strict, rules.times_usual * usual_peak(state.minute))
            in_ten = max(rules.calls_in_ten_minutes * strict, rules.times_usual * usual_peak(state.ten))
            score = max(1_000 * minute // a_minute, 1_000 * ten // in_ten)
            if score >= 1_000:
                hit = Hit(
                    use.line,
                    use.account,
                    CRITICAL if score >= 2_000 else WARNING,
                    score,
                    ids_of(log),
                    {
                        "calls_in_60_s": minute,
                        "limit_in_60_s": a_minute,
                        "calls_in_600_s": ten,
                        "limit_in_600_s": in_ten,
                        "numbers_called": len({entry.party for entry in log}),
                    },
                    "Bar outgoing calls of the line until the customer has confirmed that they are his.",
                )
                episode, found = speak(CALL_VELOCITY, episode, hit, use, _WINDOW_MS)
        return State(
            use.clock, episode, log, learned(state.minute, start, minute), learned(state.ten, start, ten)
        ), found
