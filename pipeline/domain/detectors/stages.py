"""The detectors behind the ledger, in two stages, each of them one engine a partition.

The ledger's stage sees the events of one ledger partition: all that one account and its lines do. What many accounts
touch (a called range, a caller, a device, a source) no ledger partition sees whole: its uses go on as rows to the
stage of shared objects, to the partition of each object. Both are pure: states in memory, the same input in the same
order says the same.
"""

from typing import Any, Final, NamedTuple

from pipeline.domain.detectors import Finding, Parameters, findings
from pipeline.domain.detectors.engine import OWN_VIEWS, SHARED_VIEWS, Change, Engine, Fault, make_parts
from pipeline.domain.detectors.event_time import MINUTE_MS
from pipeline.domain.detectors.kept import read_state
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.rows import Message, Router, use_text
from pipeline.domain.detectors.stream import EventStream
from pipeline.domain.detectors.use import Reference
from pipeline.domain.ledger import Event

Marks = dict[str, Any]
"""What a stage keeps beside its states: JSON."""


class Rules(NamedTuple):
    """What all stages of a worker go by."""

    money: Parameters
    detectors: DetectorParameters
    reference: Reference


class Taken(NamedTuple):
    """What one event gave: alerts; its text, the partitions it goes to with their views; a new minute's clock."""

    findings: list[Finding]
    text: str
    targets: dict[int, int]
    tick: int | None


_NOWHERE: Final[dict[int, int]] = {}


class LedgerStage:
    """What one account shows, of one ledger partition."""

    def __init__(self, rules: Rules, partition: int, shared_partitions: int) -> None:
        self._rules = rules
        self._partition = partition
        parts = make_parts(rules.detectors, rules.reference, priced=True, totals=False)
        self._engine = Engine(tuple(part for part in parts if part.view in OWN_VIEWS), kept=True)
        self._stream = EventStream(self._engine, rules.reference, arrivals=True)
        self._router = Router(parts, shared_partitions)
        self._minute = 0

    def take(self, event: Event, *, quiet: bool) -> Taken:
        """Take one event, in the order of the ledger; `quiet` says that it is history: rows say so as well."""
        charge_id = f"{self._partition}-{event.seq}"
        found = findings(event, charge_id, self._rules.money)
        use = self._stream.use(event, charge_id)
        minute, tick = event.clock // MINUTE_MS, None
        if minute > self._minute:
            self._minute, tick = minute, event.clock
        if use is None:
            return Taken(found, "", _NOWHERE, tick)
        found += self._engine.observe(use)
        return Taken(found, use_text(event.seq, use, quiet=quiet), self._router.targets(use), tick)

    def faults(self) -> list[Fault]:
        """Return, once, what detectors raised."""
        return _taken(self._engine)

    def changes(self) -> list[Change]:
        """Return the states that changed since this was last asked."""
        return self._engine.changes()

    def marks(self) -> Marks:
        """Return what is kept beside the states."""
        return {"times": self._engine.times()}

    def restore(self, states: list[tuple[str, str, Any]], marks: Marks) -> None:
        """Take over what was kept; raises what states of another shape raise."""
        _restore(self._engine, states, marks)


class SharedStage:
    """What many accounts touch, of one partition of objects. Its clock is the latest of those that rows came from."""

    def __init__(self, rules: Rules) -> None:
        parts = make_parts(rules.detectors, rules.reference, priced=True, totals=False)
        self._engine = Engine(tuple(part for part in parts if part.view in SHARED_VIEWS), kept=True)
        self._clock = 0
        self._numbers: dict[str, int] = {}
        """the last number that came from each origin: what is not above it came again"""

    def take(self, message: Message) -> list[Finding]:
        """Take one message of rows, in the order of its partition; return what is to be said.

        Of rows that are history nothing is said; what only time can say is said once the clock is past them.
        """
        found: list[Finding] = []
        engine = self._engine
        known = self._numbers.get(message.origin, -1)
        for row in message.rows:
            if row.number <= known:
                continue
            known = row.number
            use = row.use
            if use.clock > self._clock:
                self._clock = use.clock
            elif use.clock < self._clock:
                use = use._replace(clock=self._clock)
            said = engine.observe(use, row.views)
            if said and not row.quiet:
                found += said
        self._numbers[message.origin] = known
        if not message.rows and message.clock > self._clock:
            self._clock = message.clock
            found += engine.tick(message.clock)
        return found

    def faults(self) -> list[Fault]:
        """Return, once, what detectors raised."""
        return _taken(self._engine)

    def changes(self) -> list[Change]:
        """Return the states that changed since this was last asked."""
        return self._engine.changes()

    def marks(self) -> Marks:
        """Return what is kept beside the states."""
        return {"times": self._engine.times(), "clock": self._clock, "numbers": self._numbers}

    def restore(self, states: list[tuple[str, str, Any]], marks: Marks) -> None:
        """Take over what was kept; raises what states of another shape raise."""
        _restore(self._engine, states, marks)
        self._clock = marks["clock"]
        self._numbers = dict(marks["numbers"])


def _taken(engine: Engine) -> list[Fault]:
    faults = engine.faults
    if faults:
        engine.faults = []
    return faults


def _restore(engine: Engine, states: list[tuple[str, str, Any]], marks: Marks) -> None:
    looked_at, swept_at = marks["times"]
    engine.restore([Change(part, key, read_state(part, value)) for part, key, value in states], (looked_at, swept_at))
