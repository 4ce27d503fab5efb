"""A broker in this process, and the twin of charge's Kafka edge on it: for tests and for simulation.

It models what the protocol leans on. Producers with a transactional id have an epoch; an older one is fenced. The
records of a transaction lie in the log from the moment they were sent, and are seen by nobody before it ends; readers
of committed records stop before the first open transaction, while the latest offset counts everything. Markers and
aborted records use up offsets. A transaction whose end was decided may still lack its markers: it is prepared, and
no reader sees it yet. One MemoryBroker serves mediate and charge alike.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pipeline.adapters.ledger_codec import StoredEvent, decode_bare_event, decode_event
from pipeline.adapters.partition import FencedError, Inputs, LedgerHaltedError, Raw
from pipeline.domain.catalogue import Catalogue, Catalogues
from pipeline.domain.ledger import genesis_hash
from pipeline.domain.mediation import Headers
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, CATALOGUE, SUBSCRIBER, USAGE_ACCEPTED

USAGE_ID, COMMAND_ID, CATALOGUE_ID, AUDIT_ID = (bytes([n]) * 16 for n in range(1, 5))

OPEN: Final = "open"
PREPARED: Final = "prepared"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"

Where = tuple[str, int]
"""(topic, partition)"""


class EndNotReachedError(RuntimeError):
    """A reader waited for the end of a partition in vain: a transaction before it stays open."""


class InvalidTransactionError(RuntimeError):
    """The producer's transaction is not the one that the broker has: it was ended by something else."""


class Transaction:
    """A transaction as its coordinator knows it; its records refer to it."""

    __slots__ = ("places", "state", "wanted")

    def __init__(self, places: Sequence[Where]) -> None:
        self.places = tuple(places)
        self.state = OPEN
        self.wanted = OPEN
        """what a prepared transaction is about to be"""


class Entry(NamedTuple):
    """One offset of a log: a record, or the marker that ends a transaction (its value None and `marker` true)."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    time_ms: int = 0
    transaction: Transaction | None = None
    marker: bool = False


class Log:
    """One partition of a topic. The offset is the place in `entries`; what lies below `first` has expired."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.first = 0
        self._unfinished: dict[Transaction, int] = {}

    def append(self, entry: Entry) -> int:
        """Append and return the offset."""
        offset = len(self.entries)
        if entry.transaction is not None and not entry.marker:
            self._unfinished.setdefault(entry.transaction, offset)
        self.entries.append(entry)
        return offset

    def finish(self, transaction: Transaction) -> None:
        """Write the marker of a transaction that has ended."""
        self._unfinished.pop(transaction, None)
        self.entries.append(Entry(None, None, transaction=transaction, marker=True))

    @property
    def stable_end(self) -> int:
        """How far a reader of committed records sees: to the first transaction that has not ended."""
        return min(self._unfinished.values(), default=len(self.entries))

    def read(self, offset: int, records_max: int) -> tuple[list[tuple[int, Entry]], int]:
        """Return up to so many committed records from an offset on, and the next offset to read."""
        found: list[tuple[int, Entry]] = []
        at, end = offset, self.stable_end
        while at < end and len(found) < records_max:
            entry = self.entries[at]
            if not entry.marker and (entry.transaction is None or entry.transaction.state == COMMITTED):
                found.append((at, entry))
            at += 1
        return found, at

    def last(self) -> Entry | None:
        """Return the last committed record."""
        for entry in reversed(self.entries[self.first : self.stable_end]):
            if not entry.marker and (entry.transaction is None or entry.transaction.state == COMMITTED):
                return entry
        return None


class _Producer:
    __slots__ = ("epoch", "transaction")

    def __init__(self) -> None:
        self.epoch = 0
        self.transaction: Transaction | None = None


class MemoryBroker:
    """Topics as logs, by partition, and the coordinator of transactions. Each method is one request of a client.

    Tests reach in; the edges keep the promises. `markers_wait`: an ended transaction stays prepared until `complete`
    or until its producer is heard of again.
    """

    def __init__(self) -> None:
        self.logs: defaultdict[Where, Log] = defaultdict(Log)
        self.versions: list[Catalogue] = []
        """the catalogue topic, its documents compiled"""
        self.topic_ids = {
            USAGE_ACCEPTED.name: USAGE_ID,
            ACCOUNT_COMMAND.name: COMMAND_ID,
            CATALOGUE.name: CATALOGUE_ID,
            AUDIT.name: AUDIT_ID,
        }
        self.markers_wait = False
        self._producers: defaultdict[str, _Producer] = defaultdict(_Producer)

    # --- records ---

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        time_ms: int = 0,
    ) -> int:
        """Append a record that is in no transaction; returns its offset."""
        return self.logs[topic, partition].append(Entry(key, value, headers, time_ms))

    def ends(self, topic: str, partition: int) -> tuple[int, int, int]:
        """Return the first offset kept, the end of what committed readers see, and the end of all."""
        log = self.logs[topic, partition]
        return log.first, log.stable_end, len(log.entries)

    def read(self, topic: str, partition: int, offset: int, records_max: int) -> tuple[list[tuple[int, Entry]], int]:
        """Return committed records from an offset on, and the next offset to read; raises IndexError if it expired."""
        log = self.logs[topic, partition]
        if offset < log.first:
            raise IndexError(f"{topic} [{partition}]: offset {offset} is gone, {log.first} is the first")
        return log.read(offset, records_max)

    def last(self, topic: str, partition: int) -> Entry | None:
        """Return the last committed record of a partition."""
        return self.logs[topic, partition].last()

    def published(self) -> list[Catalogue]:
        """Return every catalogue version published so far."""
        return self.versions

    def wait(self, topic: str, partition: int) -> None:
        """Wait a moment for transactions to end; here nothing else runs, so it is in vain."""
        raise EndNotReachedError(f"{topic} [{partition}]: a transaction stays open before the end")

    # --- transactions ---

    def init_producer(self, name: str) -> int:
        """Fence whoever had this transactional id: finish what was decided, abort what is open; returns the epoch."""
        producer = self._producers[name]
        self._end_unfinished(producer)
        producer.epoch += 1
        return producer.epoch

    def expire(self, name: str) -> None:
        """Abort the open transaction of a producer that was not heard of for too long, and fence it."""
        producer = self._producers[name]
        if producer.transaction is not None and producer.transaction.state == OPEN:
            self._end_unfinished(producer)
            producer.epoch += 1

    def begin(self, name: str, epoch: int, places: Sequence[Where]) -> None:
        """Begin a transaction that will write to these partitions."""
        producer = self._of(name, epoch)
        if producer.transaction is not None and producer.transaction.state == OPEN:
            raise InvalidTransactionError(f"{name}: a transaction is open already")
        self._end_unfinished(producer)
        producer.transaction = Transaction(places)

    def send(self, name: str, epoch: int, where: Where, key: bytes | None, value: bytes) -> None:
        """Append a record of the open transaction."""
        producer = self._of(name, epoch)
        transaction = producer.transaction
        if transaction is None or transaction.state != OPEN or where not in transaction.places:
            raise InvalidTransactionError(f"{name}: no open transaction writes to {where[0]} [{where[1]}]")
        self.logs[where].append(Entry(key, value, transaction=transaction))

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """End the open transaction; the same end of one that has ended already is told that it has."""
        producer = self._of(name, epoch)
        transaction, wanted = producer.transaction, COMMITTED if commit else ABORTED
        if transaction is None or (transaction.state != OPEN and transaction.wanted != wanted):
            raise InvalidTransactionError(f"{name}: there is no transaction to end")
        if transaction.state == OPEN:
            transaction.state, transaction.wanted = PREPARED, wanted
            if not self.markers_wait:
                self._complete(transaction)

    def complete(self, name: str) -> None:
        """Write the markers of a prepared transaction."""
        transaction = self._producers[name].transaction
        if transaction is not None and transaction.state == PREPARED:
            self._complete(transaction)

    def transactions(self) -> dict[str, Transaction]:
        """Return the newest transaction of each producer that ever began one."""
        return {name: p.transaction for name, p in self._producers.items() if p.transaction is not None}

    def _of(self, name: str, epoch: int) -> _Producer:
        producer = self._producers[name]
        if epoch != producer.epoch:
            raise FencedError(f"{name}: epoch {epoch} was followed by {producer.epoch}")
        return producer

    def _end_unfinished(self, producer: _Producer) -> None:
        transaction = producer.transaction
        if transaction is None:
            return
        if transaction.state == OPEN:
            transaction.state, transaction.wanted = PREPARED, ABORTED
        if transaction.state == PREPARED:
            self._complete(transaction)

    def _complete(self, transaction: Transaction) -> None:
        transaction.state = transaction.wanted
        for where in transaction.places:
            self.logs[where].finish(transaction)


class MemoryPartition:
    """Keeps the promises of PartitionEdge on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, partition: int) -> None:
        self._broker = broker
        self._partition = partition
        self._name = f"charge-{partition}"
        self._epoch: int | None = None
        self._usage_at = 0
        self._command_at = 0
        self._catalogues = Catalogues(())
        self._versions = 0

    def fence(self) -> None:
        """See PartitionEdge."""
        self._epoch = self._broker.init_producer(self._name)

    def genesis(self) -> bytes:
        """See PartitionEdge."""
        return genesis_hash(self._broker.topic_ids[AUDIT.name].hex(), self._partition)

    def last(self) -> StoredEvent | None:
        """See PartitionEdge."""
        assert self._epoch is not None, "fence first"
        self._wait_for_end()
        entry = self._broker.last(AUDIT.name, self._partition)
        return None if entry is None else decode_event(entry.value or b"")

    def events_after(self, seq: int) -> Iterator[StoredEvent]:
        """See PartitionEdge."""
        expected = seq + 1
        for value in self._values():
            stored = decode_bare_event(value)
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
        return next((stored for stored in map(decode_event, self._values()) if stored.event.seq == seq), None)

    def inputs(self) -> Inputs:
        """See PartitionEdge."""
        ids = self._broker.topic_ids
        usage_first, _, usage_end = self._broker.ends(USAGE_ACCEPTED.name, self._partition)
        command_first, _, command_end = self._broker.ends(ACCOUNT_COMMAND.name, self._partition)
        return Inputs(
            ids[USAGE_ACCEPTED.name],
            ids[ACCOUNT_COMMAND.name],
            ids[CATALOGUE.name],
            usage_first,
            usage_end,
            command_first,
            command_end,
        )

    def open_inputs(self, usage_offset: int, command_offset: int) -> None:
        """See PartitionEdge."""
        self._usage_at, self._command_at = usage_offset, command_offset

    def fetch(self, records_max: int) -> list[Raw]:
        """See PartitionEdge."""
        broker, partition = self._broker, self._partition
        room = self._commands_of(records_max)
        commands, self._command_at = broker.read(ACCOUNT_COMMAND.name, partition, self._command_at, room)
        records = [Raw(True, offset, entry.time_ms, entry.value or b"") for offset, entry in commands]
        room = records_max - len(records)
        usage, self._usage_at = broker.read(USAGE_ACCEPTED.name, partition, self._usage_at, room)
        return records + [Raw(False, offset, entry.time_ms, entry.value or b"") for offset, entry in usage]

    def _commands_of(self, records_max: int) -> int:
        """How many of a fetch may be commands: all. No broker promises that, so the simulation draws it."""
        return records_max

    def catalogues(self) -> tuple[Catalogues, int]:
        """See PartitionEdge."""
        versions = self._broker.published()
        if len(versions) != self._versions:
            self._versions = len(versions)
            self._catalogues = Catalogues(versions)
        return self._catalogues, self._versions

    def commit(self, events: Sequence[tuple[str, bytes]], bindings: Sequence[tuple[str, bytes]]) -> None:
        """See PartitionEdge."""
        assert self._epoch is not None, "fence first"
        broker, name, epoch = self._broker, self._name, self._epoch
        audit, subscriber = (AUDIT.name, self._partition), (SUBSCRIBER.name, 0)
        broker.begin(name, epoch, (audit, subscriber) if bindings else (audit,))
        for account, value in events:
            broker.send(name, epoch, audit, account.encode(), value)
        for key, value in bindings:
            broker.send(name, epoch, subscriber, key.encode(), value)
        broker.end(name, epoch, commit=True)

    def close(self) -> None:
        """See PartitionEdge."""
        self._epoch = None

    def _wait_for_end(self) -> int:
        """Return the end of the ledger as it is now, once every transaction before it has ended."""
        _, stable, end = self._broker.ends(AUDIT.name, self._partition)
        while stable < end:
            self._broker.wait(AUDIT.name, self._partition)
            stable = self._broker.ends(AUDIT.name, self._partition)[1]
        return end

    def _values(self) -> list[bytes]:
        """Return the events of the ledger to its end as it is now."""
        end = self._wait_for_end()
        first = self._broker.ends(AUDIT.name, self._partition)[0]
        records, _ = self._broker.read(AUDIT.name, self._partition, first, end)
        return [entry.value or b"" for _, entry in records]
