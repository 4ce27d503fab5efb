"""implausible: records that cannot be true.

Definition: a call longer than a day, an unanswered one that rang for many minutes, more octets than any radio carries
in the time, a message of a thousand parts, a date far from all others. One alert a source and day. Source: record
sanity of revenue assurance (duration against release, negative volume, start in the future).
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, MINUTE_MS, Episode
from pipeline.domain.detectors.finding import INFO, WARNING
from pipeline.domain.detectors.part import SOURCE, Hit, Step, say
from pipeline.domain.detectors.use import Use
from pipeline.domain.usage import DATA, VOICE

IMPLAUSIBLE: Final = "implausible"
_IDS_KEPT: Final = 50


class Parameters(NamedTuple):
    """What operators may set.

    `call_ms`, `ring_ms`: longer than any; `octets_a_ms`: more than a radio carries (1,250,000 is 10 Gbit/s);
    `messages`: parts of one record; `ahead_ms`, `behind_ms`: so far from the clock a start cannot lie; `many`: from
    so many records a day on, a warning.
    """

    call_ms: int = DAY_MS
    ring_ms: int = 10 * MINUTE_MS
    octets_a_ms: int = 1_250_000
    messages: int = 255
    ahead_ms: int = 30 * DAY_MS
    behind_ms: int = 400 * DAY_MS
    many: int = 10


class State(NamedTuple):
    """The day's implausible records of a source."""

    seen: int
    episode: Episode | None
    records: int
    record_ids: tuple[str, ...]


class Implausible:
    """See the module."""

    name = IMPLAUSIBLE
    view = SOURCE
    kept_ms = DAY_MS
    quiet_ms = 6 * HOUR_MS

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def key(self, use: Use) -> str | None:
        """Return the source of an implausible record, and nothing of all others."""
        return use.usage.source if self._why(use) is not None else None

    def step(self, state: State | None, use: Use) -> Step:
        """Count it."""
        rules = self._parameters
        records = 1 if state is None else state.records + 1
        ids = (use.usage.record_id,) if state is None else (*state.record_ids[1 - _IDS_KEPT :], use.usage.record_id)
        hit = Hit(
            f"source-{use.usage.source}",
            "",
            WARNING if records >= rules.many else INFO,
            1_000 * records,
            ids,
            {"records": records, "why": self._why(use), "record_id": use.usage.record_id},
            "Ask the source what happened; adjust what was charged by these records.",
        )
        # a date that cannot be is no time to name a window after
        before = None if state is None else state.episode
        episode, found = say(IMPLAUSIBLE, before, hit, use.clock, DAY_MS, use.charge_id)
        return State(use.clock, episode, records, ids), found

    def _why(self, use: Use) -> str | None:
        usage, rules = use.usage, self._parameters
        duration = usage.duration_ms
        if usage.service == VOICE:
            if duration > (rules.call_ms if usage.answered else rules.ring_ms):
                return "duration_ms"
        elif usage.service == DATA:
            if usage.uplink_octets + usage.downlink_octets > rules.octets_a_ms * duration > 0:
                return "octets"
        elif usage.message_count > rules.messages:
            return "message_count"
        if duration < 0 or usage.uplink_octets < 0 or usage.downlink_octets < 0 or usage.message_count < 0:
            return "negative"
        now = use.received_at or use.clock
        if use.start - now > rules.ahead_ms or now - use.start > rules.behind_ms:
            return "start_time"
        return None
