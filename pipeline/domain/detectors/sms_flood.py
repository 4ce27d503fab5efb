"""sms_flood: a line sends, or is sent, messages by the hundred.

Definition: messages of one line within ten minutes and within an hour, in each direction; and messages to many
numbers of one block of a thousand within an hour (pumping: numbers are tried one after the other). A line that always
sends many (a bank, a courier) is held against its own usual peak. What people send at New Year stays below the
limits. Source: operators' rules against artificially inflated traffic (runs of consecutive numbers, a spike over the
usual).
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import (
    HOUR_MS,
    MINUTE_MS,
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
from pipeline.domain.usage import MMS, SMS

SMS_FLOOD: Final = "sms_flood"
_KEPT: Final = 64
_BLOCK_DIGITS: Final = 3
_TEN: Final = 10


class Parameters(NamedTuple):
    """What operators may set.

    `in_ten_minutes`, `in_an_hour`: from so many messages on, abnormal; `block_numbers`: so many distinct numbers of
    one block of a thousand within an hour; `times_usual`: and so many times the line's usual peak; `grace_ms`,
    `times_in_grace`: a line known for less than that must pass the limits so many times over.
    """

    in_ten_minutes: int = 60
    in_an_hour: int = 150
    block_numbers: int = 20
    times_usual: int = 3
    grace_ms: int = 12 * HOUR_MS
    times_in_grace: int = 2


class State(NamedTuple):
    """Messages by the minute in the last hour, the newest ones themselves, and how many an hour are usual."""

    seen: int
    episode: Episode | None
    minutes: tuple[tuple[int, int], ...]
    log: Log
    usual: Usual | None


class SmsFlood:
    """See the module."""

    name = SMS_FLOOD
    view = LINE
    kept_ms = 5 * 24 * HOUR_MS
    quiet_ms = 3 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the line that sends; behind the direction, for what it is sent counts by itself."""
        usage = use.usage
        if usage.service not in (SMS, MMS):
            return None
        return use.line if usage.direction == "MO" else f"{use.line} MT"

    def step(self, state: State | None, use: Use) -> Step:
        """Count the messages."""
        if state is None:
            state = State(0, None, (), (), None)
        usage, rules, start = use.usage, self._parameters, use.start
        minute = start // MINUTE_MS
        minutes = counted(state.minutes, minute, usage.message_count)
        log = logged(state.log, Entry(start, start, use.other, usage.record_id), HOUR_MS, _KEPT)
        hour = ten = usage.message_count
        if len(minutes) > 1:
            hour = sum([count for _, count in minutes])
            if hour >= rules.in_ten_minutes:
                ten = sum([count for at, count in minutes if minute - _TEN < at <= minute])
        elif minutes:
            hour = ten = minutes[0][1]
        block = numbers = 0
        if usage.direction == "MO" and len(log) >= rules.block_numbers:
            prefix = use.other[:-_BLOCK_DIGITS]
            # a run through a block is told by the messages just before this one
            if len(prefix) > _BLOCK_DIGITS and any(entry[2].startswith(prefix) for entry in log[-4:-1]):
                numbers = len({entry[2] for entry in log if entry[2].startswith(prefix)})
                block = numbers * 1_000 // rules.block_numbers
        episode, found = state.episode, NOTHING
        if ten >= rules.in_ten_minutes or hour >= rules.in_an_hour or block >= 1_000:
            strict = 1 if is_known(use.since, start, rules.grace_ms) else rules.times_in_grace
            usual = rules.times_usual * usual_peak(state.usual)
            in_ten, in_hour = max(rules.in_ten_minutes * strict, usual), max(rules.in_an_hour * strict, usual)
            score = max(1_000 * ten // in_ten, 1_000 * hour // in_hour, block if hour >= usual else 0)
            if score >= 1_000:
                hit = Hit(
                    use.line,
                    use.account,
                    CRITICAL if score >= 2_000 else WARNING,
                    score,
                    tuple(entry[3] for entry in log),
                    {
                        "direction": usage.direction,
                        "messages_in_10_min": ten,
                        "limit_in_10_min": in_ten,
                        "messages_in_60_min": hour,
                        "limit_in_60_min": in_hour,
                        "numbers_of_one_block": numbers,
                    },
                    "Hold the line's messages, look at what they say, and ask the customer whether he sends them."
                    if usage.direction == "MO"
                    else "Filter messages to the line; somebody floods it, often to hide a message that matters.",
                )
                episode, found = speak(SMS_FLOOD, episode, hit, use, HOUR_MS)
        return State(use.clock, episode, minutes, log, learned(state.usual, start, hour)), found


def counted(minutes: tuple[tuple[int, int], ...], minute: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return the counts by minute with these added; minutes more than an hour behind the newest are gone."""
    if not minutes:
        return ((minute, count),)
    newest = minutes[-1][0]
    if minute > newest:
        if minutes[0][0] <= minute - 60:
            minutes = tuple([pair for pair in minutes if pair[0] > minute - 60])
        return (*minutes, (minute, count))
    if minute == newest:
        return (*minutes[:-1], (minute, minutes[-1][1] + count))
    if minute <= newest - 60:
        return minutes
    found = dict(minutes)
    found[minute] = found.get(minute, 0) + count
    return tuple(sorted(found.items()))
