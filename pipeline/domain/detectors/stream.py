"""Records and events as a stream of use: the clock, copies left out, what became of each, then the engine."""

from typing import Final

from pipeline.domain.detectors.engine import Engine
from pipeline.domain.detectors.event_time import DAY_MS, Clock
from pipeline.domain.detectors.finding import Finding
from pipeline.domain.detectors.use import Reference, Use, line_of, use_of
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import DUPLICATE, REVIEW
from pipeline.domain.usage import DATA, AcceptedUsage, UsageRecord

CONFLICTING_COPY: Final = "conflicting_copy"


class Copies:
    """The ids of the last one to two days of the clock, to leave copies out where no ledger says which they are."""

    __slots__ = ("_before", "_day", "_now")

    def __init__(self) -> None:
        self._day = 0
        self._now: set[str] = set()
        self._before: set[str] = set()

    def is_copy(self, record_id: str, clock: int) -> bool:
        """Tell whether this id was there before; from now on it was."""
        day = clock // DAY_MS
        if day > self._day:
            self._before = self._now if day == self._day + 1 else set()
            self._now, self._day = set(), day
        if record_id in self._now or record_id in self._before:
            return True
        self._now.add(record_id)
        return False


class RecordStream:
    """Records of a file, in its order, without accounts or prices."""

    def __init__(self, engine: Engine, reference: Reference) -> None:
        self._engine = engine
        self._reference = reference
        self._clock = Clock()
        self._copies = Copies()

    def take(self, usage: UsageRecord) -> list[Finding]:
        """Return what this record opens, updates or closes; a copy says nothing."""
        if self._copies.is_copy(usage.record_id, self._clock.now):
            return []
        clock = self._clock.see(usage.start_time)
        since = self._engine.since(line_of(usage), usage.start_time, clock)
        return self._engine.observe(use_of(usage, None, clock, self._reference, since))


class EventStream:
    """Events of a ledger: of each use, what became of it and what it cost.

    `arrivals`: the events' clock is the broker's, which says when each record came; offline nobody knows, and the clock
    is that of the records.
    """

    def __init__(self, engine: Engine, reference: Reference, *, arrivals: bool) -> None:
        self._engine = engine
        self._reference = reference
        self._arrivals = arrivals
        self._clock = Clock()

    def take(self, event: Event, charge_id: str) -> list[Finding]:
        """Return what the use in this event opens, updates or closes; copies, and what was seen before, say nothing."""
        use = self.use(event, charge_id)
        return [] if use is None else self._engine.observe(use)

    def use(self, event: Event, charge_id: str) -> Use | None:
        """Return the use in this event as detectors see it; None: there is none, or it was counted before."""
        usage = event.usage
        if usage is None or event.command is not None or event.kind == DUPLICATE:
            return None
        if event.kind == REVIEW and event.reason == CONFLICTING_COPY:
            return None
        clock = event.clock if self._arrivals else self._clock.see(usage.start_time)
        since = self._engine.since(line_of(usage), usage.start_time, clock)
        return use_of(
            usage,
            event.account or None,
            clock,
            self._reference,
            since,
            event.kind,
            charge_id,
            event.amount_micros,
            _free_octets(event, usage),
            usage.received_at if self._arrivals else None,
        )


def _free_octets(event: Event, usage: AcceptedUsage) -> int:
    """Return the octets that a free rule let through: no price, and no allowance that gave them."""
    if usage.service != DATA:
        return 0
    return sum(line.quantity for line in event.lines if line.unit_price is None and line.allowance is None)
