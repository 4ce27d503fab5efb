"""A broker in this process: the twin of the Kafka edge, for tests, simulation and measuring without a network.

It models what the protocol leans on: transactions that commit whole or not at all, fencing by transactional id, a tail
that ends where a committed record ends. A marker takes an offset after each transaction, as it does on a broker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.adapters.ledger_codec import StoredEvent, decode_bare_event, decode_event
from pipeline.adapters.partition import FencedError, Inputs, LedgerHaltedError, Raw
from pipeline.domain.catalogue import Catalogue, Catalogues
from pipeline.domain.ledger import genesis_hash

USAGE_ID, COMMAND_ID, CATALOGUE_ID, AUDIT_ID = (bytes([n]) * 16 for n in range(1, 5))


@dataclass
class MemoryBroker:
    """Topics as lists, by partition. Tests reach in; the edge below keeps the promises."""

    usage: dict[int, list[bytes]] = field(default_factory=dict)
    commands: dict[int, list[tuple[int, bytes]]] = field(default_factory=dict)
    """(broker time in ms, value)"""
    audit: dict[int, list[bytes | None]] = field(default_factory=dict)
    """None is a transaction's marker"""
    directory: list[tuple[str, bytes]] = field(default_factory=list)
    versions: list[Catalogue] = field(default_factory=list)
    epochs: dict[int, int] = field(default_factory=dict)


class MemoryPartition:
    """Keeps the promises of PartitionEdge on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, partition: int) -> None:
        self._broker = broker
        self._partition = partition
        self._epoch: int | None = None
        self._usage_at = 0
        self._command_at = 0
        self._catalogues = Catalogues(())
        self._versions = 0

    def fence(self) -> None:
        """See PartitionEdge."""
        self._epoch = self._broker.epochs.get(self._partition, 0) + 1
        self._broker.epochs[self._partition] = self._epoch

    def genesis(self) -> bytes:
        """See PartitionEdge."""
        return genesis_hash(AUDIT_ID.hex(), self._partition)

    def last(self) -> StoredEvent | None:
        """See PartitionEdge."""
        assert self._epoch is not None, "fence first"
        for value in reversed(self._broker.audit.get(self._partition, [])):
            if value is not None:
                return decode_event(value)
        return None

    def events_after(self, seq: int) -> Iterator[StoredEvent]:
        """See PartitionEdge."""
        expected = seq + 1
        for value in self._broker.audit.get(self._partition, []):
            if value is None:
                continue
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
        values = (value for value in self._broker.audit.get(self._partition, []) if value is not None)
        return next((stored for stored in map(decode_event, values) if stored.event.seq == seq), None)

    def inputs(self) -> Inputs:
        """See PartitionEdge."""
        usage = len(self._broker.usage.get(self._partition, []))
        commands = len(self._broker.commands.get(self._partition, []))
        return Inputs(USAGE_ID, COMMAND_ID, CATALOGUE_ID, 0, usage, 0, commands)

    def open_inputs(self, usage_offset: int, command_offset: int) -> None:
        """See PartitionEdge."""
        self._usage_at, self._command_at = usage_offset, command_offset

    def fetch(self, records_max: int) -> list[Raw]:
        """See PartitionEdge."""
        commands = self._broker.commands.get(self._partition, [])[self._command_at : self._command_at + records_max]
        records = [Raw(True, self._command_at + i, at, value) for i, (at, value) in enumerate(commands)]
        room = records_max - len(records)
        usage = self._broker.usage.get(self._partition, [])[self._usage_at : self._usage_at + room]
        records += [Raw(False, self._usage_at + i, 0, value) for i, value in enumerate(usage)]
        self._command_at += len(commands)
        self._usage_at += len(usage)
        return records

    def catalogues(self) -> tuple[Catalogues, int]:
        """See PartitionEdge."""
        if len(self._broker.versions) != self._versions:
            self._versions = len(self._broker.versions)
            self._catalogues = Catalogues(self._broker.versions)
        return self._catalogues, self._versions

    def commit(self, events: Sequence[tuple[str, bytes]], bindings: Sequence[tuple[str, bytes]]) -> None:
        """See PartitionEdge."""
        assert self._epoch is not None, "fence first"
        if self._epoch != self._broker.epochs.get(self._partition):
            raise FencedError(f"epoch {self._epoch}")
        log = self._broker.audit.setdefault(self._partition, [])
        log += [value for _, value in events]
        log.append(None)
        self._broker.directory += bindings

    def close(self) -> None:
        """See PartitionEdge."""
        self._epoch = None
