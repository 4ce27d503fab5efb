"""wangiri: calls that ring once, so that many people call back a dear number.

Definition: calls of few callers to many distinct numbers within an hour, nearly all of them unanswered or over in
seconds. A caller abroad is taken by his block of ten thousand numbers, one of our own country by his number. A call
centre reaches a good part of whom it calls and lets it ring; a wangiri caller does neither. Call-backs to an open
range make it critical. Source: analyses of wangiri traffic (ring of at most 3 to 5 s, 20 to 50 numbers an hour and
range, about 5 % call back).
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import HOUR_MS, SECOND_MS, Entry, Episode, Log, logged
from pipeline.domain.detectors.finding import CRITICAL, WARNING
from pipeline.domain.detectors.part import CALLER, NOTHING, Hit, Step, speak
from pipeline.domain.detectors.ranges import block_of, common_prefix
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import VOICE

WANGIRI: Final = "wangiri"
_KEPT: Final = 64
_BACK: Final = ""
"""Party of a call that was no short one."""


class Parameters(NamedTuple):
    """What operators may set.

    `numbers`: so many distinct numbers called within an hour; `short_percent`: so much of the calls is short;
    `ring_ms`: an unanswered call that rang longer is an ordinary one (0: the source does not say); `talk_ms`: an
    answered call of at most this is short; `callers_percent`: callers are at most such a part of the numbers called.
    """

    numbers: int = 20
    short_percent: int = 85
    ring_ms: int = 10 * SECOND_MS
    talk_ms: int = 5 * SECOND_MS
    callers_percent: int = 25


class State(NamedTuple):
    """The caller's calls of the last hour (party: caller and called, or nothing for an ordinary call), call-backs."""

    seen: int
    episode: Episode | None
    log: Log
    call_backs: int


class Wangiri:
    """See the module."""

    name = WANGIRI
    view = CALLER
    kept_ms = 2 * HOUR_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return whose calls these are: the block abroad (called back as well), or the caller's own number."""
        usage = use.usage
        if usage.service != VOICE:
            return None
        if use.foreign:
            return block_of(use.other)
        if usage.direction == "MO":
            return usage.msisdn
        return use.other or None

    def step(self, state: State | None, use: Use) -> Step:
        """Add the call, or the call-back."""
        usage, rules, start = use.usage, self._parameters, use.start
        back = use.foreign and usage.direction == "MO"
        duration = usage.duration_ms
        short = duration <= (rules.talk_ms if usage.answered else rules.ring_ms)
        if back:
            # calls to the block count once it is suspected; before that it is anybody's
            if state is None or state.episode is None:
                return state, NOTHING
            return state._replace(call_backs=state.call_backs + 1), NOTHING
        if state is None:
            if not short:
                return None, NOTHING
            state = State(0, None, (), 0)
        served = usage.msisdn or use.line
        pair = f"{use.other} {served}" if usage.direction == "MT" else f"{served} {use.other}"
        log = logged(state.log, Entry(start, use.end, pair if short else _BACK, usage.record_id), HOUR_MS, _KEPT)
        episode, found = state.episode, NOTHING
        if short and len(log) >= rules.numbers:
            pairs = [entry[2].split(" ") for entry in log if entry[2]]
            numbers, callers = {pair[1] for pair in pairs}, tuple({pair[0]: None for pair in pairs})
            if (
                len(numbers) >= rules.numbers
                and 100 * len(pairs) >= rules.short_percent * len(log)
                and 100 * len(callers) <= rules.callers_percent * len(numbers)
            ):
                one = callers[0] if len(callers) == 1 else ""
                hit = Hit(
                    f"msisdn-{one}" if one[:1] == "+" else f"range-{common_prefix(callers)}",
                    use.account if usage.direction == "MO" else "",
                    CRITICAL if state.call_backs else WARNING,
                    1_000 * len(numbers) // rules.numbers,
                    tuple(entry[3] for entry in log if entry[2]),
                    {
                        "numbers_called_in_60_min": len(numbers),
                        "limit": rules.numbers,
                        "callers": len(callers),
                        "short_calls": len(pairs),
                        "calls": len(log),
                        "call_backs": state.call_backs,
                    },
                    "Block calls from the range, bar calls to it, and do not charge those who called back.",
                )
                episode, found = speak(WANGIRI, episode, hit, use, HOUR_MS)
        return State(use.clock, episode, log, state.call_backs), found
