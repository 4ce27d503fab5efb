"""Reading what an audit needs of the topics: a partition to its end, offsets in gaps, dead letters, catalogues."""

import json
import time
from collections.abc import Iterator
from typing import Final

from consumers.audit.pricing import Published
from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.kafka.client import BrokerError, Fetched, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.settings import Settings
from pipeline.topics import CATALOGUE, USAGE_DEAD_LETTER

_READ_RECORDS: Final = 2_000
_POLL_S: Final = 0.2
_STALL_S: Final = 30
"""Longer than an open transaction can hold back what is behind it."""


def read_partition(settings: Settings, topic: str, partition: int, first: int, end: int) -> Iterator[Fetched]:
    """Yield the committed records from offset `first` to `end` (exclusive), waiting for transactions still open.

    Raises BrokerError when nothing moves for so long that no open transaction explains it: a partition that was not
    read to its end is never taken for a short one.
    """
    key = (topic, partition)
    with FollowingReader(settings, {key: first}) as reader:
        last, moved_at = first, time.monotonic()
        while reader.positions[key] < end:
            for record in reader.poll(_READ_RECORDS, _POLL_S):
                if record.offset < end:
                    yield record
            now = time.monotonic()
            if reader.positions[key] > last:
                last, moved_at = reader.positions[key], now
            elif now - moved_at > _STALL_S:
                raise BrokerError(f"{topic}[{partition}] is stuck at offset {last} of {end}")


def bounds(settings: Settings, topic: str, partition: int) -> tuple[int, int]:
    """Return the first offset kept, and the next one of all records, those of open transactions included."""
    key = (topic, partition)
    return first_offsets(settings, [key])[key], end_offsets(settings, [key], committed_only=False)[key]


class PublishedVersions:
    """The catalogue versions of the topic, read as far as the ledger asks; compaction keeps every version."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._versions: list[tuple[int, Published]] = []
        self._read_to = 0

    def below(self, offset: int) -> list[Published]:
        """Return the versions published below this offset of the topic."""
        if offset > self._read_to:
            self._read_on()
        return [version for at, version in self._versions if at < offset]

    def _read_on(self) -> None:
        first, end = bounds(self._settings, CATALOGUE.name, 0)
        for record in read_partition(self._settings, CATALOGUE.name, 0, max(first, self._read_to), end):
            if record.value is not None:
                document = json.loads(CATALOGUE_VERSION.decode(record.value)["document"])
                self._versions.append((record.offset, Published(document)))
        self._read_to = max(self._read_to, end)


def count_dead_letters(settings: Settings, partitions: int) -> int:
    """Return how many distinct raw records have a dead letter: mediate may send the same one again after a crash."""
    raw: set[tuple[bytes | None, ...]] = set()
    topic = USAGE_DEAD_LETTER.name
    for partition in range(partitions):
        for record in read_partition(settings, topic, partition, *bounds(settings, topic, partition)):
            headers = dict(record.headers)
            place = tuple(headers.get(name) for name in ("source_topic", "source_partition", "source_offset"))
            # one without a source stands for itself
            raw.add(place if None not in place else (b"", str(partition).encode(), str(record.offset).encode()))
    return len(raw)
