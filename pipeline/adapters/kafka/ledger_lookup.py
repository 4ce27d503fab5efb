"""Finding events of the ledger: one by its number, the newest, those of one account."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from pipeline.adapters.kafka.client import (
    END_OF_PARTITION,
    BrokerError,
    Fetched,
    KafkaException,
    TopicPartition,
    admin,
    assigned_consumer,
    end_offsets,
    first_offsets,
)
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.ledger_codec import StoredEvent, decode_event
from pipeline.settings import Settings
from pipeline.topics import AUDIT

_NEAR: Final = 200
"""Offsets so close that reading on costs less than another seek."""
_FETCH_LITTLE: Final[dict[str, Any]] = {"max.partition.fetch.bytes": 65_536, "fetch.queue.backoff.ms": 5}
"""A question wants one event: what is fetched ahead of it is thrown away."""


class Found(NamedTuple):
    """An event, and the offset it lies at."""

    offset: int
    stored: StoredEvent


class LedgerLookup:
    """Fetches single events by bisection; one instance a thread, one consumer kept for many questions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = admin(settings)
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
            for found in self._read(partition, at, high):
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

    def last(self, partition: int) -> Found | None:
        """Return the newest committed event, or None of an empty ledger."""
        first, end = self._bounds(partition)
        back = 8
        at = end
        while at > first:
            at = max(end - back, first)
            found = list(self._read(partition, at, end))
            if found:
                return found[-1]
            back *= 8
        return None

    def _bounds(self, partition: int) -> tuple[int, int]:
        where = (AUDIT.name, partition)
        first = first_offsets(self._settings, [where], client=self._admin)[where]
        end = end_offsets(self._settings, [where], committed_only=True, client=self._admin)[where]
        return first, end

    def _read(self, partition: int, at: int, end: int) -> Iterator[Found]:
        """Yield the events from offset `at` on, up to `end` or the end of what is committed."""
        self._consumer.assign([TopicPartition(AUDIT.name, partition, at)])
        deadline = time.monotonic() + self._timeout_s
        while True:
            message = self._consumer.poll(0.1)
            if message is None:
                if time.monotonic() > deadline:
                    raise BrokerError(f"partition {partition} of the ledger was not readable in {self._timeout_s:g} s")
                continue
            error = message.error()
            if error is not None:
                if error.code() == END_OF_PARTITION:
                    return
                raise KafkaException(error)
            if message.offset() >= end:
                return
            yield Found(message.offset(), decode_event(message.value()))
            deadline = time.monotonic() + self._timeout_s

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
