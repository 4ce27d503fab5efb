"""One partition each of what detect reads: the ledger, the uses of shared objects, the dead letters.

Below the offset `sent` everything was said before, by this worker or by the one before it: it is read for the states
alone. Below `history` lies what was there before detect ever was: rows go on, marked as such; no alert is raised.
"""

import time
from typing import Any, Final, NamedTuple

from pipeline.adapters.avro import UndecodableError, UnknownSchemaError
from pipeline.adapters.detect_state import StateTopic, Written
from pipeline.adapters.kafka.client import end_offsets, offsets_at
from pipeline.adapters.ledger_codec import decode_used_event
from pipeline.adapters.logs import logger
from pipeline.adapters.stream_types import Handled, Incoming, Outgoing, Place
from pipeline.adapters.usage_codec import UsageDecoder
from pipeline.detect.alerts import FAULT, UNDECODABLE, UNKNOWN_SCHEMA, AlertMaker
from pipeline.domain.detectors.engine import make_parts
from pipeline.domain.detectors.rows import Router, dead_letter_text, message_text, read_message
from pipeline.domain.detectors.stages import LedgerStage, Rules, SharedStage
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import Refusal
from pipeline.settings import Settings
from pipeline.topics import AUDIT, DETECT_USE

STAGGERED: Final = 8
"""Into so many parts of the interval the first times of keeping are spread, or all partitions would be kept at once."""
_DIGITS_MAX: Final = 15

_log = logger("detect")


class Position(NamedTuple):
    """Where to go on: see the module. `seq`: the number of the event before, if it is known."""

    next_offset: int
    sent: int
    history: int
    seq: int | None


class Input:
    """A partition that is read, and what the broker knows of it."""

    def __init__(self, settings: Settings, place: Place, topic_id: str) -> None:
        self.topic_id = topic_id
        self._settings = settings
        self._place = (place.topic, place.partition)

    def offset_at(self, time_ms: int) -> int:
        """Return the offset of the first record of this time or later; of the end where there is none."""
        found = offsets_at(self._settings, [self._place], time_ms)[self._place]
        return found if found >= 0 else end_offsets(self._settings, [self._place], committed_only=True)[self._place]


class _Keeping:
    """When states are kept: after so many records, or so long."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._events = settings.detect.keep_events
        self._interval_s = settings.detect.keep_interval_s
        self._new = 0
        self._due_s = time.monotonic() + self._interval_s * (partition % STAGGERED + 1) / STAGGERED

    def count(self, records: int) -> None:
        self._new += records

    def is_due(self, now_s: float) -> bool:
        return self._new >= self._events or (self._new > 0 and now_s >= self._due_s)

    def begin(self, now_s: float) -> None:
        self._new, self._due_s = 0, now_s + self._interval_s


class LedgerPlace:
    """A partition of the ledger."""

    def __init__(
        self,
        settings: Settings,
        stage: LedgerStage,
        topic: StateTopic,
        topic_id: str,
        partition: int,
        shared_partitions: int,
        alerts: AlertMaker,
        at: Position,
        committed: int | None,
    ) -> None:
        self.topic = topic
        self.next_offset = at.next_offset
        self._stage = stage
        self._topic_id = topic_id
        self._partition = partition
        self._origin = f"ledger-{partition}"
        self._shared = range(shared_partitions)
        self._alerts = alerts
        self._sent, self._history, self._seq = at.sent, at.history, at.seq
        self._read_before = max(committed or 0, at.next_offset)
        self._keeping = _Keeping(settings, partition)

    def handle(self, records: list[Incoming]) -> Handled:
        """Handle events in their order. Numbers that are missing end it: nobody has handled them."""
        messages: list[Outgoing] = []
        rows: dict[int, list[tuple[int, str]]] = {}
        tick: int | None = None
        clock = handled = 0
        problem = None
        for record in records:
            offset = record.offset
            if offset < self.next_offset:
                continue
            handled += 1
            event = self._decoded(record)
            if event is None:
                self.next_offset = offset + 1
                continue
            if self._is_skipped(offset, event.seq):
                problem = f"events before offset {offset} of partition {self._partition} were skipped"
                break
            is_new, quiet = offset >= self._sent, offset < self._history
            try:
                taken = self._stage.take(event, quiet=quiet)
            except Exception as error:  # noqa: BLE001 - whatever one event provokes, the next ones have alerts too
                self._alerts.passed_over(AUDIT.name, self._partition, offset, FAULT, error)
                self.next_offset, self._seq = offset + 1, event.seq
                continue
            self.next_offset, self._seq = offset + 1, event.seq
            faults = self._stage.faults()
            if faults:
                self._alerts.faults(faults, AUDIT.name, self._partition, offset)
            if not is_new:
                continue
            clock = event.clock
            tick = taken.tick or tick
            for target, bits in taken.targets.items():
                rows.setdefault(target, []).append((bits, taken.text))
            if taken.findings and not quiet:
                messages += self._alerts.records(taken.findings, record.headers)
        self._alerts.events.inc(handled)
        self._keeping.count(handled)
        for target in self._shared:
            if target in rows or tick is not None:
                text = message_text(self._origin, clock, rows.get(target, ()))
                messages.append(Outgoing(DETECT_USE.name, None, text.encode(), {}, target))
        return Handled(messages, self.next_offset, problem)

    def _decoded(self, record: Incoming) -> Event | None:
        """Return the event; None where it cannot be read, which is counted the first time."""
        try:
            return decode_used_event(record.value or b"")
        except UnknownSchemaError:
            reason = UNKNOWN_SCHEMA
        except UndecodableError:
            reason = UNDECODABLE
        if record.offset >= self._sent:
            self._alerts.passed_over(AUDIT.name, self._partition, record.offset, reason)
        return None

    def _is_skipped(self, offset: int, seq: int) -> bool:
        """Tell whether numbers are missing that nobody has handled.

        The worker then ends, having committed what lies before the gap. If the ledger itself lacks the numbers, the
        next worker finds the same gap where the one before it ended, and goes on.
        """
        if self._seq is None or seq <= self._seq + 1 or offset <= self.next_offset:
            return False
        if self.next_offset <= self._read_before:
            _log.warning("ledger_lacks_numbers", partition=self._partition, offset=offset)
            return False
        return True

    def is_due(self, now_s: float) -> bool:
        """Tell whether states are to be kept."""
        return self._keeping.is_due(now_s)

    def prepared(self, now_s: float) -> Written:
        """Return what is to be kept, as it is now."""
        self._keeping.begin(now_s)
        marks: dict[str, Any] = {
            **self._stage.marks(),
            "topic": self._topic_id,
            "next": self.next_offset,
            "seq": self._seq,
            "history": self._history,
        }
        return self.topic.prepared(self._stage.changes(), marks)


class SharedPlace:
    """A partition of the uses of shared objects."""

    def __init__(
        self,
        settings: Settings,
        stage: SharedStage,
        topic: StateTopic,
        topic_id: str,
        partition: int,
        rules: Rules,
        alerts: AlertMaker,
        at: Position,
    ) -> None:
        self.topic = topic
        self.next_offset = at.next_offset
        self._stage = stage
        self._topic_id = topic_id
        self._partition = partition
        self._reference = rules.reference
        self._alerts = alerts
        self._quiet_below = max(at.sent, at.history)
        self._keeping = _Keeping(settings, partition)

    def handle(self, records: list[Incoming]) -> Handled:
        """Handle messages of rows in their order."""
        messages: list[Outgoing] = []
        for record in records:
            offset = record.offset
            if offset < self.next_offset:
                continue
            if offset > self.next_offset > self._quiet_below:
                problem = f"uses before offset {offset} of partition {self._partition} were skipped"
                return Handled(messages, self.next_offset, problem)
            self.next_offset = offset + 1
            try:
                message = read_message(record.value or b"", self._reference)
                found = self._stage.take(message)
            except ValueError:
                self._alerts.passed_over(DETECT_USE.name, self._partition, offset, UNDECODABLE)
                continue
            self._keeping.count(len(message.rows))
            faults = self._stage.faults()
            if faults:
                self._alerts.faults(faults, DETECT_USE.name, self._partition, offset)
            if found and offset >= self._quiet_below:
                messages += self._alerts.records(found, record.headers)
        return Handled(messages, self.next_offset)

    def is_due(self, now_s: float) -> bool:
        """Tell whether states are to be kept."""
        return self._keeping.is_due(now_s)

    def prepared(self, now_s: float) -> Written:
        """Return what is to be kept, as it is now."""
        self._keeping.begin(now_s)
        marks: dict[str, Any] = {
            **self._stage.marks(),
            "topic": self._topic_id,
            "next": self.next_offset,
            "seq": None,
            "history": 0,
        }
        return self.topic.prepared(self._stage.changes(), marks)


class DeadLetterPlace:
    """A partition of the dead letters: those that can be read count for their source."""

    def __init__(
        self, rules: Rules, partition: int, shared_partitions: int, alerts: AlertMaker, next_offset: int
    ) -> None:
        self.next_offset = next_offset
        self._router = Router(
            make_parts(rules.detectors, rules.reference, priced=True, totals=False), shared_partitions
        )
        self._partition = partition
        self._alerts = alerts
        self._decoder = UsageDecoder()

    def handle(self, records: list[Incoming]) -> Handled:
        """Hand on what can be read; what cannot has no source, and mediate has counted it."""
        rows: dict[int, list[tuple[int, str]]] = {}
        for record in records:
            if record.offset < self.next_offset:
                continue
            self.next_offset = record.offset + 1
            usage = self._decoder.decode(record.value)
            if isinstance(usage, Refusal):
                continue
            said = record.headers.get("received_at", b"")
            received_at = int(said) if said.isdigit() and len(said) <= _DIGITS_MAX else record.timestamp_ms
            text = dead_letter_text(record.offset, usage, received_at, quiet=False)
            for target, bits in self._router.dead_letter_target(usage).items():
                rows.setdefault(target, []).append((bits, text))
        origin = f"dead-letters-{self._partition}"
        return Handled(
            [
                Outgoing(DETECT_USE.name, None, message_text(origin, 0, listed).encode(), {}, target)
                for target, listed in rows.items()
            ],
            self.next_offset,
        )
