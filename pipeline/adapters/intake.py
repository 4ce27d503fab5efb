"""What mediate asks of the outside: the promises, kept by `kafka.intake` and by the twin in `memory_intake`."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from pipeline.domain.mediation import DirectoryView, Headers, RawRecord

Positions = Mapping[tuple[str, int], int]
"""The next offset to be read of each (topic, partition)."""
Notes = Mapping[tuple[str, int], str]
"""A short text beside the position of each (topic, partition)."""
NO_NOTES: Final[Notes] = {}


class NotDeliveredError(RuntimeError):
    """Something sent was not acknowledged: nothing of this batch may be committed, and the process ends."""


class Intake(Protocol):
    """Raw records in, accepted records and dead letters out. One instance belongs to one thread.

    Whoever opens an intake reads on from what was committed last, at first from the oldest record kept: what was not
    committed comes again, to this process or to another of the group.
    """

    def poll(self, records_max: int, timeout_s: float) -> list[RawRecord]:
        """Return what is there, up to `records_max`, in order within a partition; wait `timeout_s` for the first."""
        ...

    def give_back(self, records: Sequence[RawRecord]) -> None:
        """Have these records, the ones polled last, come again at the next poll."""
        ...

    def send_accepted(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Hand over an accepted record; delivered in order within a partition once `flush` has returned."""
        ...

    def send_dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Hand over a dead letter; delivered once `flush` has returned."""
        ...

    def flush(self) -> None:
        """Return when all that was sent is acknowledged; raise NotDeliveredError if one thing was not.

        What was sent may then lie on the topics in part: the batch runs again, and charge removes the repeats.
        """
        ...

    def taken_over(self) -> Notes | None:
        """Return the note beside each partition's committed position, for all partitions of this process.

        None where they are the same as when it was asked last, and nobody else had them in between. Ask after each
        poll, before its records are begun.
        """
        ...

    def commit(self, positions: Positions, notes: Notes = NO_NOTES) -> None:
        """Remember durably where to read on; raises where the group no longer lets this process say so.

        A note is kept beside its position; a position without one has none from then on.
        """
        ...

    def lag(self) -> int:
        """Return how many raw records wait on the partitions of this process; raises where the broker is silent."""
        ...

    def close(self) -> None:
        """Leave; others of the group take over at once."""
        ...


class DirectoryFeed(DirectoryView, Protocol):
    """The subscriber directory, as far as it was read to."""

    def read_to_end(self) -> None:
        """Take in everything written until now, transactions still open included, once they end; raise if in vain."""
        ...

    def __len__(self) -> int:
        """Return how many identities are known."""
        ...
