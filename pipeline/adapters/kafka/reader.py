"""Reading a partition from an offset to its end, and knowing that the end was reached."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from pipeline.adapters.kafka.client import (
    END_OF_PARTITION,
    OFFSET_END,
    BrokerError,
    Fetched,
    KafkaException,
    TopicPartition,
    assigned_consumer,
    fetched,
    first_offsets,
)
from pipeline.settings import Settings


class FollowingReader:
    """Follows some partitions from given offsets: `poll` what is there, or `read_to_end` of what is there now.

    Committed records only. One instance belongs to one thread; close it, or use it as a context.
    """

    def __init__(self, settings: Settings, start: dict[tuple[str, int], int]) -> None:
        self._settings = settings
        self._consumer = assigned_consumer(settings)
        # asks for ends only: of all records, which a client that reads committed ones is never told
        self._asker = assigned_consumer(settings, committed_only=False)
        self.positions: dict[tuple[str, int], int] = {}
        self.seek(start)

    @classmethod
    def from_beginning(cls, settings: Settings, partitions: list[tuple[str, int]]) -> Self:
        """Follow from the oldest record kept."""
        return cls(settings, first_offsets(settings, partitions))

    def seek(self, start: dict[tuple[str, int], int]) -> None:
        """Go on from other offsets; what was fetched and not yet read is dropped."""
        self.positions = dict(start)
        self._consumer.assign([TopicPartition(topic, partition, at) for (topic, partition), at in start.items()])

    def rest(self) -> None:
        """Fetch nothing until the next `seek`: one that only lies by costs the broker a hundred fetches a second."""
        self.seek({})

    def poll(self, records_max: int, timeout_s: float) -> list[Fetched]:
        """Return up to `records_max` records that came within the time; raises KafkaException on an error."""
        records = []
        for message in self._consumer.consume(records_max, timeout_s):
            error = message.error()
            key = (message.topic(), message.partition())
            if error is not None:
                if error.code() != END_OF_PARTITION:
                    raise KafkaException(error)
                # the end lies behind markers and aborted records, which are positions without a record
                self.positions[key] = max(self.positions[key], message.offset())
                continue
            self.positions[key] = message.offset() + 1
            records.append(fetched(message))
        return records

    def bounds(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return the oldest offset kept and the next one of all records, of each partition followed."""
        timeout_s = self._settings.kafka.request_timeout_ms / 1000
        return {
            key: self._asker.get_watermark_offsets(TopicPartition(*key), timeout_s, cached=False)
            for key in self.positions
        }

    def read_to_end(self, timeout_s: float) -> Iterator[Fetched]:
        """Yield everything up to the end as it stands now, waiting for transactions still open before it.

        The end asked for is that of *all* records: a committed-only end would hide what an open transaction is about
        to commit. Raises BrokerError when nothing comes for `timeout_s` before it: an unread end is never an empty
        topic.
        """
        ends = self._ends()
        while self._behind(ends):
            before = dict(self.positions)
            deadline = time.monotonic() + timeout_s
            while self.positions == before and self._behind(ends):
                yield from self.poll(2_000, 0.05)
                if time.monotonic() > deadline and self.positions == before:
                    places = {key: (self.positions[key], end) for key, end in ends.items()}
                    raise BrokerError(f"no progress for {timeout_s:g} s before the end: (position, end) is {places}")

    def _behind(self, ends: dict[tuple[str, int], int]) -> bool:
        return any(self.positions[key] < end for key, end in ends.items())

    def _ends(self) -> dict[tuple[str, int], int]:
        """Ask for all ends in one request a broker, not one a partition: mediate asks before every batch."""
        timeout_s = self._settings.kafka.request_timeout_ms / 1000
        asked = [TopicPartition(topic, partition, OFFSET_END) for topic, partition in self.positions]
        if not asked:  # at rest: the library takes an empty question for a fault
            return {}
        ends = {}
        for answer in self._asker.offsets_for_times(asked, timeout_s):
            if answer.error is not None:
                raise KafkaException(answer.error)
            if answer.offset < 0:  # not an offset: taken for an end, it would make an unread topic an empty one
                raise BrokerError(f"{answer.topic} [{answer.partition}]: the broker named no end")
            ends[answer.topic, answer.partition] = answer.offset
        return ends

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
        self._asker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
