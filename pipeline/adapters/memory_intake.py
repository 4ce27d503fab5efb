"""Mediate's edges in memory, for trying it without a broker: the twins of `kafka.intake`, with the same promises.

`MemoryTopics` outlives the intakes opened on it, as a broker outlives its clients: drop an intake and open another,
and that is a crash.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.adapters.directory import Directory
from pipeline.adapters.intake import NO_NOTES, NotDeliveredError, Notes, Positions
from pipeline.domain.mediation import Headers, RawRecord
from pipeline.topics import USAGE_RECEIVED


class Sent(NamedTuple):
    """A record that was acknowledged."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class MemoryTopics:
    """The three topics of mediate and its group's offsets."""

    def __init__(self, received_partitions: int, ledger_partitions: int) -> None:
        self.received: dict[tuple[str, int], list[RawRecord]] = {
            (USAGE_RECEIVED.name, partition): [] for partition in range(received_partitions)
        }
        self.accepted: list[list[Sent]] = [[] for _ in range(ledger_partitions)]
        self.dead_letters: list[Sent] = []
        self.committed: dict[tuple[str, int], int] = {}
        self.notes: dict[tuple[str, int], str] = {}

    def receive(
        self, partition: int, broker_time_ms: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> RawRecord:
        """Append what a probe sent, at the broker's time, and return it with its offset."""
        log = self.received[USAGE_RECEIVED.name, partition]
        record = RawRecord(USAGE_RECEIVED.name, partition, len(log), broker_time_ms, key, value, headers)
        log.append(record)
        return record


class MemoryIntake:
    """The Intake of one process that has all partitions.

    `deliver_at_most`: the next flush acknowledges so many records and then fails, as a broker that goes away does.
    """

    def __init__(self, topics: MemoryTopics) -> None:
        self._topics = topics
        self._positions = {key: topics.committed.get(key, 0) for key in topics.received}
        self._unsent: list[tuple[list[Sent], Sent]] = []
        self._given = True
        self.deliver_at_most: int | None = None

    def poll(self, records_max: int, timeout_s: float) -> list[RawRecord]:  # noqa: ARG002 - nothing to wait for
        """Return what is there."""
        found: list[RawRecord] = []
        for key, at in self._positions.items():
            taken = self._topics.received[key][at : at + records_max - len(found)]
            self._positions[key] = at + len(taken)
            found += taken
        return found

    def give_back(self, records: Sequence[RawRecord]) -> None:
        """Read them again."""
        for record in records:
            key = record.topic, record.partition
            self._positions[key] = min(self._positions[key], record.offset)

    def send_accepted(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Keep it until flush."""
        self._unsent.append((self._topics.accepted[partition], Sent(key, value, headers)))

    def send_dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Keep it until flush."""
        self._unsent.append((self._topics.dead_letters, Sent(key, value, headers)))

    def flush(self) -> None:
        """Deliver what was sent, or the part of it that `deliver_at_most` says."""
        unsent, self._unsent = self._unsent, []
        arriving = unsent if self.deliver_at_most is None else unsent[: self.deliver_at_most]
        for topic, sent in arriving:
            topic.append(sent)
        if len(arriving) < len(unsent):
            raise NotDeliveredError(f"{len(unsent) - len(arriving)} records were not acknowledged")

    def taken_over(self) -> Notes | None:
        """Return all notes once, for nobody else takes a partition of this process."""
        given, self._given = self._given, False
        return {key: self._topics.notes.get(key, "") for key in self._positions} if given else None

    def commit(self, positions: Positions, notes: Notes = NO_NOTES) -> None:
        """Remember where to read on."""
        self._topics.committed.update(positions)
        self._topics.notes.update({key: notes.get(key, "") for key in positions})

    def lag(self) -> int:
        """Return how many records were not polled yet."""
        return sum(len(self._topics.received[key]) - at for key, at in self._positions.items())

    def close(self) -> None:
        """Nothing to leave."""


class MemoryDirectory:
    """The DirectoryFeed over a list of rows (key, value) that others append to."""

    def __init__(self, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        self._rows = rows
        self._read = 0
        self._directory = Directory()

    def read_to_end(self) -> None:
        """Take in the rows appended since."""
        for key, value in self._rows[self._read :]:
            self._directory.apply(key, value)
        self._read = len(self._rows)

    def accounts_at(self, identity: str, moment_ms: int) -> tuple[str, ...]:
        """Return the accounts that had the identity then, as far as it was read."""
        return self._directory.accounts_at(identity, moment_ms)

    def __len__(self) -> int:
        """Return how many identities are known."""
        return len(self._directory)
