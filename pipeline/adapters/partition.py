"""What the owner of one ledger partition asks of the broker: the promise, kept by `kafka.partition`."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from pipeline.adapters.ledger_codec import StoredEvent
from pipeline.domain.catalogue import Catalogues


class LedgerHaltedError(RuntimeError):
    """Going on would lose money or invent it; the message names the range. Only an operator's word ends this."""


class FencedError(RuntimeError):
    """Another owner took this partition over; what this one had in hand never happened."""


class Raw(NamedTuple):
    """One record of an input of the partition, as it was read."""

    is_command: bool
    offset: int
    timestamp_ms: int
    value: bytes


class Inputs(NamedTuple):
    """What the broker says of the partition's inputs: their ids, and which offsets it still has."""

    usage_topic_id: bytes
    command_topic_id: bytes
    catalogue_topic_id: bytes
    usage_first: int
    usage_end: int
    command_first: int
    command_end: int


class PartitionEdge(Protocol):
    """One take-over of one ledger partition, from its fence to its close. Belongs to one thread.

    Any call may raise; after any exception the edge is closed and another one made: no producer is used again after
    an error, since a late commit could tear the next transaction.
    """

    def fence(self) -> None:
        """Shut out the owner before: its open transaction is aborted, its producer never commits again."""

    def genesis(self) -> bytes:
        """Return the `previous_hash` of this ledger's first event."""

    def last(self) -> StoredEvent | None:
        """Return the ledger's last event, None only when its end was reached and there is none. After the fence."""

    def events_after(self, seq: int) -> Iterator[StoredEvent]:
        """Yield the events seq + 1 ... to the end, bare: without usage, command and lines, which no fold asks for.

        Raises LedgerHaltedError where they are not there.
        """

    def event(self, seq: int) -> StoredEvent | None:
        """Return one event by its seq; None beyond the end."""

    def inputs(self) -> Inputs:
        """Return the inputs' ids and the offsets still kept."""

    def open_inputs(self, usage_offset: int, command_offset: int) -> None:
        """Begin reading both inputs at these offsets."""

    def fetch(self, records_max: int) -> list[Raw]:
        """Return what has come, at most so many, in each input's order; empty when nothing came in a moment."""

    def catalogues(self) -> tuple[Catalogues, int]:
        """Read the catalogue topic to its end; return all versions and the next offset."""

    def commit(self, events: Sequence[tuple[str, bytes]], bindings: Sequence[tuple[str, bytes]]) -> None:
        """Write events (account, value) and directory rows (key, value) in one transaction; raises FencedError.

        Any other exception leaves open whether it happened: take over again and read the tail.
        """

    def close(self) -> None:
        """Let go of everything."""
