"""Dead letters: raw records that mediate could not accept, byte for byte, with the reason; and sending them again."""

import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.adapters.kafka.client import Fetched, end_offsets, first_offsets
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.domain.mediation import DEAD_LETTER_HEADERS
from pipeline.settings import Settings
from pipeline.topics import USAGE_DEAD_LETTER, USAGE_RECEIVED

REPLAYED_FROM: Final = "replayed_from"
"""Header of a replayed record: which dead letter it was."""


class DeadLetter(NamedTuple):
    """One dead letter; `id` is its own `<partition>-<offset>`. Times in ms."""

    id: str
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    detail: str
    source: str
    """`<topic>/<partition>/<offset>` of the raw record"""
    received_at: int | None
    """when the raw record was received first, whatever replays there were"""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def content(self) -> bytes:
        """SHA-256 of the bytes: equal for the dead letters of one record and of its replays."""
        return hashlib.sha256(self.value or b"").digest()


def dead_letter_of(record: Fetched) -> DeadLetter:
    """Read a record of the dead-letter topic; what a foreign writer left out is empty."""
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    received = said.get("received_at", "")
    return DeadLetter(
        f"{record.partition}-{record.offset}",
        record.partition,
        record.offset,
        record.timestamp_ms,
        said.get("reason", ""),
        said.get("detail", ""),
        "/".join(said.get(name, "") for name in ("source_topic", "source_partition", "source_offset")),
        int(received) if received.isdigit() and len(received) < 19 else None,
        record.key,
        record.value,
        record.headers,
    )


def dead_letters(settings: Settings, timeout_s: float) -> Iterator[DeadLetter]:
    """Yield every dead letter still kept, oldest first within a partition; raises BrokerError."""
    count = describe_topics(settings)[USAGE_DEAD_LETTER.name].partitions
    for partition in range(count):
        with FollowingReader.from_beginning(settings, [(USAGE_DEAD_LETTER.name, partition)]) as reader:
            for record in reader.read_to_end(timeout_s):
                yield dead_letter_of(record)


def dead_letter(settings: Settings, partition: int, offset: int, timeout_s: float) -> DeadLetter | None:
    """Return one dead letter, or None where there is none (any more)."""
    where = (USAGE_DEAD_LETTER.name, partition)
    if partition >= describe_topics(settings)[USAGE_DEAD_LETTER.name].partitions:
        return None
    first, end = first_offsets(settings, [where])[where], end_offsets(settings, [where], committed_only=False)[where]
    if not first <= offset < end:
        return None
    with FollowingReader(settings, {where: offset}) as reader:
        for record in reader.read_to_end(timeout_s):
            return dead_letter_of(record) if record.offset == offset else None
    return None


def replay(settings: Settings, letters: list[DeadLetter], timeout_s: float) -> int:
    """Send the original keys and bytes to the raw topic again; returns how many. Raises BrokerError.

    Each keeps the time it was received at first, and says which dead letter it was. A record that was accepted
    meanwhile, or is sent twice, is told as a duplicate: nothing is charged twice.
    """
    delivery = Delivery(settings, timeout_s, **{"message.max.bytes": 2 * 1024 * 1024})
    for letter in letters:
        headers = [h for h in letter.headers if h[0] not in DEAD_LETTER_HEADERS and h[0] != REPLAYED_FROM]
        if letter.received_at is not None:
            headers.append(("received_at", str(letter.received_at).encode()))
        headers.append((REPLAYED_FROM, f"{USAGE_DEAD_LETTER.name}/{letter.partition}/{letter.offset}".encode()))
        delivery.send(Outgoing(USAGE_RECEIVED.name, letter.key, letter.value, tuple(headers)), lambda *_: None)
    delivery.flush()
    return len(letters)
