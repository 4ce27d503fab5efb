"""Mediate's edge to the broker: raw records by group, what becomes of them by an idempotent producer, the directory."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.adapters.directory import Directory
from pipeline.adapters.intake import NO_NOTES, NotDeliveredError, Notes, Positions
from pipeline.adapters.kafka.client import (
    TIMESTAMP_LOG_APPEND_TIME,
    BrokerError,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    group_consumer,
    headers_of,
    producer,
)
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.domain.mediation import DEAD_LETTER_HEADERS, Headers, RawRecord
from pipeline.settings import Settings
from pipeline.topics import NAMESPACE, SUBSCRIBER, USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED

GROUP: Final = NAMESPACE + "chargeline-mediate"
SEND_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one record before compression: a probe's, compressed well, may be longer than its topic's limit suggests."""
KEPT_BYTES: Final = 64 * 1024
"""What is kept of a dead letter that its topic does not take whole."""
Letter = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers."""
_FULL_WAIT_S: Final = 0.5
_FLUSH_GRACE_S: Final = 5


class KafkaIntake:
    """The Intake of one member of mediate's group."""

    def __init__(self, settings: Settings) -> None:
        self._delivery_timeout_s = settings.mediate.delivery_timeout_ms / 1000
        self._request_timeout_s = settings.kafka.request_timeout_ms / 1000
        self._failure: KafkaError | None = None
        self._too_long: list[Letter] = []
        self._producer = producer(
            settings,
            **{
                "delivery.timeout.ms": settings.mediate.delivery_timeout_ms,
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
                "message.max.bytes": SEND_BYTES_MAX,
                "partitioner": "murmur2_random",
            },
        )
        # a partition that is given to us waits for the fetch under way: keep that short
        limits = {
            "fetch.wait.max.ms": settings.mediate.fetch_wait_ms,
            "queued.max.messages.kbytes": settings.mediate.queued_kbytes,
        }
        self._consumer = group_consumer(settings, GROUP, **limits)
        self._given: list[TopicPartition] | None = []
        """partitions as the group gave them last, until somebody asks"""
        self._consumer.subscribe(
            [USAGE_RECEIVED.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, records_max: int, timeout_s: float) -> list[RawRecord]:
        """Return what was fetched; raises KafkaException on an error, BrokerError where the time is not the broker's.

        The library's own batch call waits until it is full: so wait for one, then take what lies there.
        """
        messages = self._consumer.consume(1, timeout_s)
        if messages and records_max > 1:
            messages += self._consumer.consume(records_max - 1, 0)
        return [_raw(message) for message in messages]

    def give_back(self, records: Sequence[RawRecord]) -> None:
        """Seek back to the first of them; a partition that went to another member is read there."""
        first: dict[tuple[str, int], int] = {}
        for record in records:
            first.setdefault((record.topic, record.partition), record.offset)
        for (topic, partition), offset in first.items():
            try:
                self._consumer.seek(TopicPartition(topic, partition, offset))
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001 - the library's public name for it
                    raise

    def send_accepted(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Hand it to the producer, waiting while its queue is full."""
        while True:
            try:
                self._producer.produce(USAGE_ACCEPTED.name, value, key, partition, headers=list(headers))
            except BufferError:
                self._make_room()
            else:
                return

    def send_dead_letter(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Hand it to the producer, waiting while its queue is full.

        A probe's compression may be better than ours: a letter that its topic does not take is sent again by `flush`,
        as `cut_letter` makes it.
        """

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                self._too_long.append(cut_letter(key, value or b"", headers))
            else:
                self._on_failure(error, _message)

        self._put_letter((key, value, headers), report)

    def _put_letter(self, letter: Letter, report: Callable[[KafkaError | None, Message], None]) -> None:
        key, value, headers = letter
        while True:
            try:
                self._producer.produce(USAGE_DEAD_LETTER.name, value, key, headers=list(headers), on_delivery=report)
            except BufferError:
                self._make_room()
            else:
                return

    def flush(self) -> None:
        """Wait for all acknowledgements, as long as the delivery time-out allows."""
        left = self._producer.flush(self._delivery_timeout_s + _FLUSH_GRACE_S)
        if self._too_long and not left:
            cut, self._too_long = self._too_long, []
            for letter in cut:
                self._put_letter(letter, self._on_failure)
            left = self._producer.flush(self._delivery_timeout_s + _FLUSH_GRACE_S)
        self._raise_failure()
        if left:
            raise NotDeliveredError(f"{left} records were not acknowledged within {self._delivery_timeout_s:g} s")

    def taken_over(self) -> Notes | None:
        """Ask the group's coordinator, once after each change; raises KafkaException."""
        if self._given is None:
            return None
        given, self._given = self._given, None
        found = {}
        for answer in self._consumer.committed(given, self._request_timeout_s) if given else ():
            if answer.error is not None:
                raise KafkaException(answer.error)
            found[answer.topic, answer.partition] = answer.metadata or ""
        return found

    def commit(self, positions: Positions, notes: Notes = NO_NOTES) -> None:
        """Commit and wait for the answer; raises KafkaException."""
        asked = [
            TopicPartition(topic, partition, offset, metadata=notes.get((topic, partition), ""))
            for (topic, partition), offset in positions.items()
        ]
        for answer in self._consumer.commit(offsets=asked, asynchronous=False):
            if answer.error is not None:
                raise KafkaException(answer.error)

    def lag(self) -> int:
        """Ask the broker for each partition's end; raises KafkaException where it does not answer in time."""
        assigned = self._consumer.assignment()
        if not assigned:  # its session may have ended because the broker is away: that is no empty topic
            self._consumer.list_topics(USAGE_RECEIVED.name, self._request_timeout_s)
            return 0
        total = 0
        committed = self._consumer.committed(assigned, self._request_timeout_s)
        for here, stored in zip(self._consumer.position(assigned), committed, strict=True):
            low, high = self._consumer.get_watermark_offsets(here, self._request_timeout_s)
            read = here.offset if here.offset >= 0 else stored.offset
            total += high - max(read, low)
        return total

    def close(self) -> None:
        """Leave the group; what was sent and not flushed is given up."""
        self._producer.purge()
        self._consumer.close()

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._given = partitions

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._given = []

    def _on_failure(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _make_room(self) -> None:
        self._producer.poll(_FULL_WAIT_S)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise NotDeliveredError(f"a record was not acknowledged: {self._failure.str()}")


class KafkaDirectory:
    """The DirectoryFeed over the subscriber topic. One thread uses it; read it to its end before the first question."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._timeout_s = settings.mediate.directory_timeout_ms / 1000
        self._reader = FollowingReader.from_beginning(
            settings, [(SUBSCRIBER.name, partition) for partition in range(partitions)]
        )
        self._directory = Directory()

    def read_to_end(self) -> None:
        """Read on to the end as it is now; raises BrokerError or KafkaException where it is not reached."""
        for record in self._reader.read_to_end(self._timeout_s):
            self._directory.apply(record.key, record.value)

    def accounts_at(self, identity: str, moment_ms: int) -> tuple[str, ...]:
        """Return the accounts that had the identity then, as far as it was read."""
        return self._directory.accounts_at(identity, moment_ms)

    def __len__(self) -> int:
        """Return how many identities are known."""
        return len(self._directory)

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()


def cut_letter(key: bytes | None, value: bytes, headers: Headers) -> Letter:
    """Return the beginning of a letter too long for its topic, with the size and SHA-256 of the whole in its detail.

    Key and the raw record's own headers may be what is too long: they are left out, and only ours stay.
    """
    ours = {name: said for name, said in headers if name in DEAD_LETTER_HEADERS}
    detail = json.loads(ours.get("detail") or b"{}")
    cut = {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest(), "kept_bytes": KEPT_BYTES}
    ours["detail"] = json.dumps({**detail, **cut}, ensure_ascii=False, separators=(",", ":")).encode()
    return key if len(key or b"") <= KEPT_BYTES else None, value[:KEPT_BYTES], tuple(ours.items())


def _raw(message: Message) -> RawRecord:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    kind, broker_time_ms = message.timestamp()
    if kind != TIMESTAMP_LOG_APPEND_TIME:
        # a probe's clock would decide which use is late, for all accounts of a partition
        raise BrokerError(
            f"{topic} [{partition}] at {offset} has no broker time: the topic must have "
            "message.timestamp.type=LogAppendTime"
        )
    return RawRecord(topic, partition, offset, broker_time_ms, message.key(), message.value(), headers_of(message))
