"""Mediate's edges in memory, for trying it without a broker: the twins of `kafka.intake`, with the same promises.

`MemoryTopics` outlives the intakes opened on it, as a broker outlives its clients: drop an intake and open another,
and that is a crash.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.adapters.directory import Directory
from pipeline.adapters.intake import NO_NOTES, NotDeliveredError, Notes, Positions
from pipeline.adapters.memory_broker import MemoryBroker, Where
from pipeline.domain.mediation import Headers, RawRecord
from pipeline.topics import SUBSCRIBER, USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED


class NotMemberError(RuntimeError):
    """The group gave the partition to another member: this one commits nothing for it any more."""


class Sent(NamedTuple):
    """A record that was acknowledged."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class MemoryTopics:
    """The topics of mediate on a broker, and its group: who has which partition, and the offsets committed."""

    def __init__(self, received_partitions: int, ledger_partitions: int, broker: MemoryBroker | None = None) -> None:
        self.broker = MemoryBroker() if broker is None else broker
        self.received: tuple[Where, ...] = tuple((USAGE_RECEIVED.name, p) for p in range(received_partitions))
        self.committed: dict[Where, int] = {}
        self.notes: dict[Where, str] = {}
        self.members: dict[Where, MemoryIntake] = {}
        self._ledger_partitions = ledger_partitions

    @property
    def accepted(self) -> list[list[Sent]]:
        """Every accepted record, by partition."""
        return [self._sent(USAGE_ACCEPTED.name, p) for p in range(self._ledger_partitions)]

    @property
    def dead_letters(self) -> list[Sent]:
        """Every dead letter."""
        return self._sent(USAGE_DEAD_LETTER.name, 0)

    def receive(
        self, partition: int, broker_time_ms: int, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> RawRecord:
        """Append what a probe sent, at the broker's time, and return it with its offset."""
        topic = USAGE_RECEIVED.name
        offset = self.broker.append(topic, partition, key, value, headers, broker_time_ms)
        return RawRecord(topic, partition, offset, broker_time_ms, key, value, headers)

    def commit(self, member: "MemoryIntake", positions: Positions, notes: Notes) -> None:
        """Commit a member's offsets and notes, all or none; raises NotMemberError for a partition that is another's."""
        if any(self.members.get(where) is not member for where in positions):
            raise NotMemberError("a partition went to another member")
        self.committed.update(positions)
        self.notes.update({where: notes.get(where, "") for where in positions})

    def _sent(self, topic: str, partition: int) -> list[Sent]:
        records, _ = self.broker.read(topic, partition, 0, len(self.broker.logs[topic, partition].entries))
        return [Sent(entry.key, entry.value, entry.headers) for _, entry in records]


class MemoryIntake:
    """The Intake of one member of mediate's group; opening it takes over its partitions (None: all of them).

    `deliver_at_most`: the next flush acknowledges so many records and then fails, as a broker that goes away does.
    """

    def __init__(
        self, topics: MemoryTopics, partitions: Iterable[int] | None = None, broker: MemoryBroker | None = None
    ) -> None:
        """`broker`: by which way the topics are reached, if not directly."""
        self._topics = topics
        self._broker = topics.broker if broker is None else broker
        own = topics.received if partitions is None else tuple(topics.received[p] for p in partitions)
        self._positions = {where: topics.committed.get(where, 0) for where in own}
        topics.members.update(dict.fromkeys(own, self))
        self._unsent: list[tuple[Where, Sent]] = []
        self._given = True
        self.deliver_at_most: int | None = None

    def poll(self, records_max: int, timeout_s: float) -> list[RawRecord]:  # noqa: ARG002 - nothing to wait for
        """Return what is there."""
        found: list[RawRecord] = []
        for where, at in self._positions.items():
            records, self._positions[where] = self._broker.read(*where, at, records_max - len(found))
            found += [
                RawRecord(*where, offset, entry.time_ms, entry.key, entry.value, entry.headers)
                for offset, entry in records
            ]
        return found

    def give_back(self, records: Sequence[RawRecord]) -> None:
        """Read them again."""
        for record in records:
            where = record.topic, record.partition
            self._positions[where] = min(self._positions[where], record.offset)

    def send_accepted(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Keep it until flush."""
        self._unsent.append(((USAGE_ACCEPTED.name, partition), Sent(key, value, headers)))

    def send_dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Keep it until flush."""
        self._unsent.append(((USAGE_DEAD_LETTER.name, 0), Sent(key, value, headers)))

    def flush(self) -> None:
        """Deliver what was sent, or the part of it that `deliver_at_most` says."""
        unsent, self._unsent = self._unsent, []
        arriving = unsent if self.deliver_at_most is None else unsent[: self.deliver_at_most]
        for where, sent in arriving:
            self._broker.append(*where, sent.key, sent.value, sent.headers)
        if len(arriving) < len(unsent):
            raise NotDeliveredError(f"{len(unsent) - len(arriving)} records were not acknowledged")

    def taken_over(self) -> Notes | None:
        """Return the notes of the partitions once: what this process has, it was given at its start."""
        given, self._given = self._given, False
        return {where: self._topics.notes.get(where, "") for where in self._positions} if given else None

    def commit(self, positions: Positions, notes: Notes = NO_NOTES) -> None:
        """Remember where to read on; raises NotMemberError."""
        self._topics.commit(self, positions, notes)

    def lag(self) -> int:
        """Return how many records were not polled yet."""
        return sum(self._broker.ends(*where)[2] - at for where, at in self._positions.items())

    def close(self) -> None:
        """Nothing to leave."""


class MemoryDirectory:
    """The DirectoryFeed over the subscriber topic of a broker in memory."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._position = 0
        self._directory = Directory()

    def read_to_end(self) -> None:
        """Take in the rows up to the end as it is now; raises EndNotReachedError where a transaction stays open."""
        topic, end = SUBSCRIBER.name, self._broker.ends(SUBSCRIBER.name, 0)[2]
        while self._position < end:
            rows, position = self._broker.read(topic, 0, self._position, end - self._position)
            if position == self._position:
                self._broker.wait(topic, 0)
            for _, row in rows:
                self._directory.apply(row.key, row.value)
            self._position = position

    def accounts_at(self, identity: str, moment_ms: int) -> tuple[str, ...]:
        """Return the accounts that had the identity then, as far as it was read."""
        return self._directory.accounts_at(identity, moment_ms)

    def __len__(self) -> int:
        """Return how many identities are known."""
        return len(self._directory)
