"""long_call: a call that lasts longer than people talk.

Definition: the duration of one call, all partial records of its session together, over a limit; the limits abroad and
in dear ranges are lower. A line whose calls are long as a rule (a leased line, an alarm line) is held against its own
usual. Source: the call duration pair of OpenSIPS' fraud_detection; operators cut calls at two to four hours.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import HOUR_MS, MINUTE_MS, Episode, Usual, learned, usual_peak
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import LINE, NOTHING, Hit, Step, speak
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

LONG_CALL: Final = "long_call"
_SESSIONS_KEPT: Final = 4
_PARTS_KEPT: Final = 16
_WORTH_KEEPING_MS: Final = 20 * MINUTE_MS


class Parameters(NamedTuple):
    """What operators may set.

    `duration_ms`, `abroad_ms`, `hot_ms`: from so long on a call is abnormal, at home, to another country, to a dear
    or abused range; `times_usual`: and so many times as long as the line's usual longest.
    """

    duration_ms: int = 180 * MINUTE_MS
    abroad_ms: int = 120 * MINUTE_MS
    hot_ms: int = 45 * MINUTE_MS
    times_usual: int = 2


class Session(NamedTuple):
    """The parts of a call known so far."""

    session_id: str
    duration_ms: int
    record_ids: tuple[str, ...]


class State(NamedTuple):
    """Sessions whose parts are being added up, and how long the line's longest calls usually are."""

    seen: int
    episode: Episode | None
    sessions: tuple[Session, ...]
    usual: Usual | None


class LongCall:
    """See the module."""

    name = LONG_CALL
    view = LINE
    kept_ms = 5 * 24 * HOUR_MS
    quiet_ms = 24 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the line that talks: what is short and no part of anything is never looked at."""
        usage = use.usage
        if usage.service != VOICE or not usage.answered:
            return None
        return use.line if usage.duration_ms >= _WORTH_KEEPING_MS or usage.session_id is not None else None

    def step(self, state: State | None, use: Use) -> Step:
        """Add the part to its call."""
        if state is None:
            state = State(0, None, (), None)
        usage = use.usage
        sessions = state.sessions
        call = Session(usage.session_id or "", usage.duration_ms, (usage.record_id,))
        if usage.session_id is not None:
            for known in sessions:
                if known.session_id == usage.session_id:
                    ids = (*known.record_ids, usage.record_id)[-_PARTS_KEPT:]
                    call = Session(known.session_id, known.duration_ms + usage.duration_ms, ids)
            others = [known for known in sessions if known.session_id != usage.session_id]
            sessions = (*others, call)[-_SESSIONS_KEPT:]
        rules = self._parameters
        limit = rules.hot_ms if use.hot else rules.abroad_ms if use.foreign else rules.duration_ms
        limit = max(limit, rules.times_usual * usual_peak(state.usual))
        episode, found = state.episode, NOTHING
        if call.duration_ms >= limit:
            hit = Hit(
                use.line,
                use.account,
                CRITICAL if use.hot else WARNING,
                1_000 * call.duration_ms // limit,
                call.record_ids,
                {"duration_ms": call.duration_ms, "limit_ms": limit, "other_party": use.other},
                "Ask the customer whether he knows of the call; end it in the network if it still goes on.",
            )
            episode, found = speak(LONG_CALL, episode, hit, use, HOUR_MS)
        usual = learned(state.usual, use.start, call.duration_ms)
        return State(use.clock, episode, sessions, usual), found
