"""Usage records onto the raw topic, as a probe sends them, and watching until each one has its answer."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.kafka.client import BrokerError, end_offsets
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import decode_event, iso_time
from pipeline.domain.usage import RECORD_BYTES_MAX, UsageRecord
from pipeline.settings import Settings
from pipeline.topics import AUDIT, USAGE_DEAD_LETTER, USAGE_RECEIVED

EVENT_TYPE: Final = b"charging.usage.received.v1"
CONTENT_TYPE: Final = b"application/avro"
DEAD_LETTER: Final = "dead letter"
_POLL_S: Final = 0.05


class RecordTooLargeError(ValueError):
    """The record is larger than the contract allows; it was not sent."""


class UsageSender:
    """Produces usage records and remembers where each came to lie.

    The key is the subscriber, so that what one does keeps its order; without it records are spread over partitions.
    """

    def __init__(self, settings: Settings, timeout_s: float, *, keyed: bool = True) -> None:
        self._delivery = Delivery(settings, timeout_s)
        self._keyed = keyed
        self._trace = os.environ.get("TRACEPARENT")
        self.delivered: set[tuple[int, int]] = set()
        """(partition, offset) of every record the broker has acknowledged"""

    def send(self, usage: UsageRecord) -> None:
        """Hand a record over; raises RecordTooLargeError (it was not sent) or BrokerError."""
        value = USAGE_RECORD.encode(usage._asdict())
        if len(value) > RECORD_BYTES_MAX:
            raise RecordTooLargeError(f"the record is {len(value)} bytes; at most {RECORD_BYTES_MAX} are accepted")
        subscriber = (usage.msisdn or usage.imsi) if self._keyed else None
        headers: list[tuple[str, bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", usage.record_id.encode()),
            ("ce_source", usage.source.encode()),
            ("ce_type", EVENT_TYPE),
            ("ce_time", iso_time(usage.start_time).encode()),
            ("content-type", CONTENT_TYPE),
        ]
        if self._trace:
            headers.append(("traceparent", self._trace.encode()))
        key = None if subscriber is None else subscriber.encode()
        self._delivery.send(Outgoing(USAGE_RECEIVED.name, key, value, tuple(headers)), self._landed)

    def send_bytes(self, value: bytes) -> None:
        """Hand over bytes that claim to be a record, as a broken probe would; raises BrokerError."""
        self._delivery.send(Outgoing(USAGE_RECEIVED.name, None, value, ()), self._landed)

    def flush(self) -> None:
        """Return when every record is acknowledged; raises BrokerError if one was not."""
        self._delivery.flush()

    def _landed(self, partition: int, offset: int) -> None:
        self.delivered.add((partition, offset))


class AnswerWatch:
    """Watches the ledger and the dead letters from a moment on; make it before the first record is sent."""

    def __init__(self, settings: Settings) -> None:
        facts = describe_topics(settings)
        watched = [(AUDIT.name, p) for p in range(facts[AUDIT.name].partitions)]
        watched += [(USAGE_DEAD_LETTER.name, p) for p in range(facts[USAGE_DEAD_LETTER.name].partitions)]
        self._settings = settings
        self._start = end_offsets(settings, watched, committed_only=False)
        self.kinds: Counter[str] = Counter()
        """events by kind, and dead letters: one answer for each record, the first one it got"""
        self.reached: dict[int, int] = {}
        """the greatest `seq` of an answer, by ledger partition"""

    def wait(self, sent: set[tuple[int, int]], timeout_s: float) -> Iterator[int]:
        """Yield how many of the raw records `sent` (partition, offset) still have no answer, until none is left.

        Raises BrokerError when nothing was answered for so long.
        """
        left = set(sent)
        deadline = time.monotonic() + timeout_s
        with FollowingReader(self._settings, self._start) as reader:
            while left:
                before = len(left)
                for record in reader.poll(2_000, _POLL_S):
                    if record.value is None and record.topic == AUDIT.name:
                        continue
                    if record.topic == AUDIT.name:
                        assert record.value is not None
                        self._event(record.partition, record.value, left)
                    else:
                        self._dead_letter(record.headers, left)
                if len(left) < before:
                    deadline = time.monotonic() + timeout_s
                elif time.monotonic() > deadline:
                    raise BrokerError(f"{len(left)} records had no answer, and nothing came for {timeout_s:g} s")
                yield len(left)

    def _event(self, partition: int, value: bytes, left: set[tuple[int, int]]) -> None:
        event = decode_event(value).event
        usage = event.usage
        if usage is None or usage.source_topic != USAGE_RECEIVED.name:
            return
        place = (usage.source_partition, usage.source_offset)
        if place in left:
            left.remove(place)
            self.kinds[event.kind] += 1
            self.reached[partition] = event.seq

    def _dead_letter(self, headers: tuple[tuple[str, bytes | None], ...], left: set[tuple[int, int]]) -> None:
        said = dict(headers)
        partition, offset = said.get("source_partition"), said.get("source_offset")
        if partition is None or offset is None or said.get("source_topic") != USAGE_RECEIVED.name.encode():
            return
        place = (int(partition), int(offset))
        if place in left:
            left.remove(place)
            self.kinds[DEAD_LETTER] += 1
