"""One ledger partition on Kafka: fence, tail, inputs, transactions. See adapters/partition.py for the promises."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from pipeline.adapters.crash_points import reached
from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.client import (
    BrokerError,
    Consumer,
    Fetched,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
    assigned_consumer,
    end_offsets,
    first_offsets,
    transactional_producer,
)
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import TopicFacts
from pipeline.adapters.ledger_codec import StoredEvent, decode_bare_event, decode_event
from pipeline.adapters.partition import FencedError, Inputs, LedgerHaltedError, Raw
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.ledger import genesis_hash
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, CATALOGUE, NAMESPACE, SUBSCRIBER, USAGE_ACCEPTED

_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - the library's public name for it
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
    }
)
_BACK_EVENTS: Final = 64
_BACK_FACTOR: Final = 8
_POLL_S: Final = 0.05


class KafkaPartition:
    """Keeps the promises of PartitionEdge on a broker. Make one for each take-over."""

    def __init__(
        self,
        settings: Settings,
        facts: dict[str, TopicFacts],
        partition: int,
        feed: CatalogueFeed,
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._partition = partition
        self._feed = feed
        self._timeout_s = settings.kafka.request_timeout_ms / 1000
        self._producer: Producer | None = None
        self._inputs: Consumer | None = None
        self._ledger: FollowingReader | None = None

    def fence(self) -> None:
        """See PartitionEdge."""
        producer = transactional_producer(self._settings, f"{NAMESPACE}charge-{self._partition}")
        try:
            producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            raise _named(error) from None
        self._producer = producer

    def genesis(self) -> bytes:
        """See PartitionEdge."""
        return genesis_hash(self._facts[AUDIT.name].topic_id.hex(), self._partition)

    def last(self) -> StoredEvent | None:
        """See PartitionEdge."""
        return next(iter(deque(self._read_back(lambda _first: True), maxlen=1)), None)

    def events_after(self, seq: int) -> Iterator[StoredEvent]:
        """See PartitionEdge."""
        expected = seq + 1
        for stored in self._read_back(lambda first: first.event.seq <= seq + 1):
            if stored.event.seq < expected:
                continue
            if stored.event.seq != expected:
                raise LedgerHaltedError(
                    f"ledger partition {self._partition}: events {expected} to {stored.event.seq - 1} are gone"
                )
            expected += 1
            yield stored

    def event(self, seq: int) -> StoredEvent | None:
        """See PartitionEdge."""
        try:
            return self._find(seq)
        finally:
            self._rest()

    def _find(self, seq: int) -> StoredEvent | None:
        key = (AUDIT.name, self._partition)
        low = first_offsets(self._settings, [key])[key]
        high = end_offsets(self._settings, [key], committed_only=True)[key]
        # the event's offset is seq - 1 and one more for each transaction's marker before it: seq grows with offset
        low = max(low, seq - 1)
        while low < high:
            middle = (low + high) // 2
            found = self._first_at(middle, high)
            if found is None or found.event.seq > seq:
                high = middle
            elif found.event.seq == seq:
                return found
            else:
                low = middle + 1
        return None

    def inputs(self) -> Inputs:
        """See PartitionEdge."""
        usage, command = (USAGE_ACCEPTED.name, self._partition), (ACCOUNT_COMMAND.name, self._partition)
        first = first_offsets(self._settings, [usage, command])
        end = end_offsets(self._settings, [usage, command], committed_only=False)
        return Inputs(
            self._facts[USAGE_ACCEPTED.name].topic_id,
            self._facts[ACCOUNT_COMMAND.name].topic_id,
            self._facts[CATALOGUE.name].topic_id,
            first[usage],
            end[usage],
            first[command],
            end[command],
        )

    def open_inputs(self, usage_offset: int, command_offset: int) -> None:
        """See PartitionEdge."""
        self._rest()
        # the broker answers at once when something comes: until then it need not be asked a hundred times a second
        wait_ms = self._settings.charge.fetch_wait_ms
        waits: dict[str, Any] = {"enable.partition.eof": False, "fetch.wait.max.ms": wait_ms}
        self._inputs = assigned_consumer(self._settings, **waits)
        self._inputs.assign(
            [
                TopicPartition(USAGE_ACCEPTED.name, self._partition, usage_offset),
                TopicPartition(ACCOUNT_COMMAND.name, self._partition, command_offset),
            ]
        )

    def fetch(self, records_max: int) -> list[Raw]:
        """See PartitionEdge."""
        assert self._inputs is not None
        # one record ends the wait, and whatever else is in the queue comes with it: no record waits for a full batch
        messages = self._inputs.consume(1, self._settings.charge.fetch_wait_ms / 1000)
        if messages and records_max > 1:
            messages += self._inputs.consume(records_max - 1, 0)
        records = []
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            records.append(
                Raw(
                    message.topic() == ACCOUNT_COMMAND.name,
                    message.offset(),
                    message.timestamp()[1],
                    message.value() or b"",
                )
            )
        return records

    def catalogues(self) -> tuple[Catalogues, int]:
        """See PartitionEdge."""
        return self._feed.read_to_end()

    def commit(self, events: Sequence[tuple[str, bytes]], bindings: Sequence[tuple[str, bytes]]) -> None:
        """See PartitionEdge."""
        producer = self._producer
        assert producer is not None, "fence first"
        try:
            producer.begin_transaction()
            for account, value in events:
                self._produce(producer, AUDIT.name, value, account, self._partition)
            if bindings:  # events first: a take-over mends rows that were torn off, but not rows ahead of their event
                producer.flush(self._timeout_s)
            for key, value in bindings:
                self._produce(producer, SUBSCRIBER.name, value, key)
            reached("charge.after_produce")
            producer.commit_transaction(self._settings.charge.transaction_timeout_ms / 1000)
        except KafkaException as error:
            raise _named(error) from None

    def _produce(self, producer: Producer, *record: Any) -> None:
        """Hand a record of the transaction over, waiting while the queue is full: it empties as the broker answers."""
        deadline = time.monotonic() + self._settings.charge.transaction_timeout_ms / 1000
        while True:
            try:
                producer.produce(*record)
            except BufferError:
                producer.poll(_POLL_S)
                if time.monotonic() > deadline:
                    raise BrokerError("the queue of the transaction did not empty in time") from None
            else:
                return

    def close(self) -> None:
        """See PartitionEdge."""
        # a producer is dropped, not aborted: an abort sent now could reach the broker after the next owner's fence
        self._producer = None
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _read_back(self, far_enough: Callable[[StoredEvent], bool]) -> Iterator[StoredEvent]:
        """Yield the ledger from some point on to its end; the point is far enough back, by its first event.

        The end is that of all records, asked after the fence, so no transaction of an owner before can still add to
        it; reaching it is what tells an empty ledger from an unread one.
        """
        key = (AUDIT.name, self._partition)
        low = first_offsets(self._settings, [key])[key]
        high = end_offsets(self._settings, [key], committed_only=False)[key]
        back = _BACK_EVENTS
        while True:
            start = max(low, high - back)
            records = self._reader_at(start).read_to_end(self._timeout_s * 6)
            first = next(records, None)
            if first is not None:
                stored = _bare(first)
                if start == low or far_enough(stored):
                    yield stored
                    for record in records:
                        yield _bare(record)
                    return
            elif start == low:
                return
            back *= _BACK_FACTOR

    def _first_at(self, offset: int, end: int) -> StoredEvent | None:
        """Return the first event from this offset on and before the end; None where there are only markers."""
        reader = self._reader_at(offset)
        deadline = time.monotonic() + self._timeout_s
        while reader.positions[AUDIT.name, self._partition] < end:
            # one record, not what else is there: a command may name any event of a long ledger
            found = reader.poll(1, _POLL_S)
            if found:
                return _stored(found[0]) if found[0].offset < end else None
            if time.monotonic() > deadline:
                raise BrokerError(f"ledger partition {self._partition}: offset {offset} was not read in time")
        return None

    def _rest(self) -> None:
        """Let the ledger's reader lie by: what is read of the ledger while batches run is an event now and then."""
        if self._ledger is not None:
            self._ledger.rest()

    def _reader_at(self, offset: int) -> FollowingReader:
        key = (AUDIT.name, self._partition)
        if self._ledger is None:
            self._ledger = FollowingReader(self._settings, {key: offset})
        else:
            self._ledger.seek({key: offset})
        return self._ledger


def _stored(record: Fetched) -> StoredEvent:
    return decode_event(_value(record))


def _bare(record: Fetched) -> StoredEvent:
    return decode_bare_event(_value(record))


def _value(record: Fetched) -> bytes:
    if record.value is None:
        raise LedgerHaltedError(f"the ledger holds an empty value at offset {record.offset}")
    return record.value


def _named(error: KafkaException) -> Exception:
    code = error.args[0].code()
    if code in _FENCED:
        return FencedError(error.args[0].str())
    return BrokerError(error.args[0].str())
