"""Finding events of the ledger: one by its number, the newest, those of one account."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from pipeline.adapters.kafka.client import (
    END_OF_PARTITION,
    BrokerError,
    Fetched,
    KafkaException,
    TopicPartition,
    assigned_consumer,
)
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.ledger_codec import StoredEvent, decode_event
from pipeline.settings import Settings
from pipeline.topics import AUDIT

_NEAR: Final = 200
"""Offsets so close that reading on costs less than another seek."""
_TAIL: Final = 8
"""Offsets from the end where a newest event is looked for at first, and the factor for going further back."""
_END: Final = -1
_BEGINNING: Final = -2
"""Moments that the protocol knows for the two ends of a partition (ListOffsets)."""
_FETCH_LITTLE: Final[dict[str, Any]] = {"max.partition.fetch.bytes": 65_536, "fetch.queue.backoff.ms": 5}
"""A question wants one event: what is fetched ahead of it is thrown away."""


class Found(NamedTuple):
    """An event, and the offset it lies at."""

    offset: int
    stored: StoredEvent


class LedgerLookup:
    """Fetches single events by bisection; one instance a thread, one consumer kept for many questions."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = assigned_consumer(settings, **_FETCH_LITTLE)
        self._timeout_s = settings.kafka.request_timeout_ms / 1000

    def event(self, partition: int, seq: int) -> StoredEvent | None:
        """Return the event of this number, or None if the ledger has none; raises BrokerError or KafkaException.

        An event takes one offset, and so do the markers of transactions: event n lies at offset n - 1 or later, and
        between two events there are at least as many offsets as numbers.
        """
        if seq < 1:
            return None
        first, end = self._bounds(partition)
        low, high = max(first, seq - 1), end
        while low < high:
            at = low if high - low <= _NEAR else (low + high) // 2
            for _, found in self._read({partition: at}, {partition: high}):
                step = seq - found.stored.event.seq
                if step == 0:
                    return found.stored
                if step < 0:
                    high = min(at, found.offset + step + 1)
                    break
                low = found.offset + step
                if step > _NEAR:
                    break
            else:
                high = at
        return None

    def lasts(self, partitions: Sequence[int]) -> dict[int, Found]:
        """Return the newest committed event of each partition; empty ledgers are left out.

        A tail may hold nothing but markers and aborted records: then it is read from further back.
        """
        where = [(AUDIT.name, partition) for partition in partitions]
        firsts, ends = self.firsts(where), self.ends(where)
        found: dict[int, Found] = {}
        left = {partition for _, partition in where if firsts[AUDIT.name, partition] < ends[AUDIT.name, partition]}
        back = _TAIL
        while left:
            start = {p: max(ends[AUDIT.name, p] - back, firsts[AUDIT.name, p]) for p in left}
            found.update(self._read(start, {p: ends[AUDIT.name, p] for p in left}))  # the last of each counts
            left = {p for p in left if p not in found and start[p] > firsts[AUDIT.name, p]}
            back *= _TAIL
        return found

    def ends(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the next offset of each partition that no open transaction holds back, by one quick request."""
        return self._offsets(partitions, _END)

    def firsts(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the oldest offset still kept of each partition."""
        return self._offsets(partitions, _BEGINNING)

    def _offsets(self, partitions: Sequence[tuple[str, int]], moment: int) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        asked = [TopicPartition(topic, partition, moment) for topic, partition in partitions]
        found = {}
        for answer in self._consumer.offsets_for_times(asked, self._timeout_s):
            if answer.error is not None:
                raise KafkaException(answer.error)
            found[answer.topic, answer.partition] = answer.offset
        return found

    def _bounds(self, partition: int) -> tuple[int, int]:
        where = (AUDIT.name, partition)
        return self.firsts([where])[where], self.ends([where])[where]

    def _read(self, start: dict[int, int], end: dict[int, int]) -> Iterator[tuple[int, Found]]:
        """Yield (partition, event) from the offsets of `start` up to those of `end`, in order within each partition."""
        self._consumer.assign([TopicPartition(AUDIT.name, partition, at) for partition, at in start.items()])
        left = set(start)
        deadline = time.monotonic() + self._timeout_s
        while left:
            message = self._consumer.poll(0.1)
            if message is None:
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"the ledger was not readable in {self._timeout_s:g} s: partitions {sorted(left)}"
                    )
                continue
            deadline = time.monotonic() + self._timeout_s
            partition, error = message.partition(), message.error()
            if error is not None:
                if error.code() != END_OF_PARTITION:
                    raise KafkaException(error)
                left.discard(partition)
            elif message.offset() >= end[partition]:
                left.discard(partition)
            elif partition in left:
                yield partition, Found(message.offset(), decode_event(message.value()))

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def account_events(settings: Settings, account: str, partition: int, timeout_s: float) -> Iterator[StoredEvent]:
    """Yield every event of one account in order, from the ledger's beginning to its end as it stands now.

    Raises BrokerError when the end was not reached in time.
    """
    key = account.encode()
    for record in read_partition(settings, AUDIT.name, partition, timeout_s):
        if record.key == key and record.value is not None:
            yield decode_event(record.value)


def read_partition(settings: Settings, topic: str, partition: int, timeout_s: float) -> Iterator[Fetched]:
    """Yield every record of a partition from the oldest kept to the end as it stands now; raises BrokerError."""
    with FollowingReader.from_beginning(settings, [(topic, partition)]) as reader:
        yield from reader.read_to_end(timeout_s)
