"""Rating without servers, by the very core that charges: commands first, then records in the order of their file.

One ledger of one partition is kept in memory. There is no broker's time: a record is received at its own start, a
command at its `at`, and nothing is late. What mediate would set aside as a dead letter is REJECTED here, and so is a
line that is no record, so that every line has its event.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from pipeline.adapters.avro import USAGE_RECORD, Record
from pipeline.adapters.directory import Directory
from pipeline.adapters.formats import Unreadable
from pipeline.adapters.ledger_codec import StoredEvent, encode_event, usage_body_of
from pipeline.domain.batch import CommandInput, Decided, Head, Input, State, UsageInput, prepare_one
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Position, Positions, genesis_hash
from pipeline.domain.mediation import Accepted, MediationRules, RawRecord, mediate
from pipeline.domain.outcome import REJECTED, Refusal, json_text
from pipeline.domain.usage import AcceptedUsage, UsageRecord, accepted_usage
from pipeline.domain.wire import accepted_body, record_body

TOPIC: Final = "file"
_NO_TOPIC: Final = Position(bytes(16), 0)
_KEPT_DAYS: Final = 36_500
"""Nothing is late offline, and nothing that was used up in an earlier period is forgotten."""


class OfflineLedger:
    """Rates commands and records one after the other; each answer is an event of one growing ledger."""

    def __init__(self, catalogues: Catalogues, rules: MediationRules) -> None:
        self._rules = rules
        self._directory = Directory()
        self._previous = genesis_hash(TOPIC, 0)
        head = Head(0, 0, 0, _KEPT_DAYS, 1, Positions(_NO_TOPIC, _NO_TOPIC, _NO_TOPIC))
        everywhere: defaultdict[str, int] = defaultdict(int)
        self._batch = Batch(head, State({}, {}, {}, set(), set()), catalogues, everywhere, late=False)

    def commands(self, commands: Iterable[Record]) -> Iterator[StoredEvent]:
        """Yield the event of each command."""
        for command in commands:
            offset = self._batch.head.positions.command.offset
            decided = self._decide(CommandInput(offset, command, b"", None, command["at"]))
            for binding in decided.bindings:
                self._directory.bind(binding.identity, binding.account, binding.spans)
            yield self._store(decided)

    def records(self, lines: Iterable[UsageRecord | Unreadable]) -> Iterator[StoredEvent]:
        """Yield the event of each line."""
        for offset, line in enumerate(lines):
            if isinstance(line, Unreadable):
                detail = {**line.detail, "line": line.line_number}
                yield self._store(self._rejected(f"{TOPIC}-{offset}", None, Refusal(line.reason, detail)))
                continue
            body = record_body(line)
            raw = RawRecord(TOPIC, 0, offset, line.start_time, None, USAGE_RECORD.header + body, ())
            found = mediate(raw, line, self._directory, self._rules)
            if isinstance(found, Accepted):
                usage = found.usage
                if not found.as_sent:
                    body = record_body(usage)
                decided = self._decide(UsageInput(offset, usage, accepted_body(body, usage), b"", None))
            else:
                usage = accepted_usage(line, "", line.start_time, TOPIC, 0, offset, on_net=False)
                decided = self._rejected(line.record_id, usage, found.refusal)
            yield self._store(decided)

    def _decide(self, source: Input) -> Decided:
        return self._batch.decide(prepare_one(source, {}))

    def _rejected(self, event_id: str, usage: AcceptedUsage | None, refusal: Refusal) -> Decided:
        """Write an event for what never reaches charge, in the mould of the one that decides nothing: a SEAL."""
        event = self._batch.seal(refusal.reason, {}).event
        event = event._replace(kind=REJECTED, event_id=event_id, usage=usage, detail=json_text(refusal.detail))
        return Decided(event, None if usage is None else usage_body_of(usage))

    def _store(self, decided: Decided) -> StoredEvent:
        previous = self._previous
        _, self._previous = encode_event(decided.event, decided.usage_body, previous)
        return StoredEvent(decided.event, previous, self._previous)
