"""control_total: what came is not what a source says it sent.

Definition: for whole hours of a source, the records, durations, octets and messages that it declares, against those
that were counted. Any difference counts. Declarations come when the hours are over; they are held against what has
come by then. Source: audit rules of TAP (callEventDetailsCount, total charge); layered reconciliation.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS, Episode
from pipeline.domain.detectors.finding import WARNING
from pipeline.domain.detectors.part import NOTHING, SOURCE, Hit, Step, say
from pipeline.domain.detectors.use import Use

CONTROL_TOTAL: Final = "control_total"
_HOURS_KEPT: Final = 72


class Totals(NamedTuple):
    """Sums over records; durations in ms."""

    records: int
    duration_ms: int
    octets: int
    messages: int


class Declared(NamedTuple):
    """What a source says it sent with a start from `begin` (inclusive) to `end` (exclusive), both on the hour."""

    source: str
    begin: int
    end: int
    totals: Totals


class State(NamedTuple):
    """What came from a source, by the hour of its start."""

    seen: int
    episode: Episode | None
    hours: tuple[tuple[int, Totals], ...]


class ControlTotal:
    """See the module. It counts records and takes declarations: see `declare`."""

    name = CONTROL_TOTAL
    view = SOURCE
    kept_ms = 4 * DAY_MS
    quiet_ms = DAY_MS

    def key(self, use: Use) -> str | None:
        """Return the source."""
        return use.usage.source

    def step(self, state: State | None, use: Use) -> Step:
        """Count the record in its hour."""
        usage, hour = use.usage, use.start // HOUR_MS
        hours = () if state is None else state.hours
        at = next((at for at in range(len(hours) - 1, -1, -1) if hours[at][0] == hour), None)
        before = Totals(0, 0, 0, 0) if at is None else hours[at][1]
        after = Totals(
            before.records + 1,
            before.duration_ms + usage.duration_ms,
            before.octets + usage.uplink_octets + usage.downlink_octets,
            before.messages + usage.message_count,
        )
        if at is None:
            hours = tuple(sorted((*hours, (hour, after)))[-_HOURS_KEPT:])
        else:
            hours = (*hours[:at], (hour, after), *hours[at + 1 :])
        return State(use.clock, None if state is None else state.episode, hours), NOTHING

    def declare(self, state: State | None, declared: Declared) -> Step:
        """Hold what a source declares against what came."""
        first, end = declared.begin // HOUR_MS, declared.end // HOUR_MS
        inside = [totals for hour, totals in (() if state is None else state.hours) if first <= hour < end]
        came = Totals(*(sum(column) for column in zip(*inside, strict=True))) if inside else Totals(0, 0, 0, 0)
        if came == declared.totals:
            return state, NOTHING
        off = abs(came.records - declared.totals.records)
        hit = Hit(
            f"source-{declared.source}",
            "",
            WARNING,
            1_000 * max(off, 1),
            (),
            {"declared": declared.totals._asdict(), "came": came._asdict(), "from": declared.begin, "to": declared.end},
            "Find the missing or surplus records with the source before the period is closed.",
        )
        episode, found = say(CONTROL_TOTAL, None, hit, declared.begin, declared.end - declared.begin)
        return (State(declared.end, episode, ()) if state is None else state._replace(episode=episode)), found
