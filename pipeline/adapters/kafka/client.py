"""Kafka clients, configured so that no default of the library can lose or repeat anything unseen.

The only importer of confluent-kafka. What is set against its defaults, and why: `auto.offset.reset=error` (the default
skips to the end and loses use), `enable.auto.commit` and `enable.auto.offset.store` off (an offset is committed when
the work is done, not when it was fetched), idempotence on, `check.crcs` on, partitions computed by ourselves (its
default is not the one of Java's client).
"""

import time
from collections.abc import Sequence
from operator import methodcaller
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from pipeline.settings import Settings

__all__ = [
    "END_OF_PARTITION",
    "OFFSET_BEGINNING",
    "OFFSET_END",
    "TIMESTAMP_LOG_APPEND_TIME",
    "AdminClient",
    "BrokerError",
    "ConfigResource",
    "Consumer",
    "ConsumerGroupTopicPartitions",
    "Fetched",
    "KafkaError",
    "KafkaException",
    "Message",
    "NewTopic",
    "Producer",
    "TopicCollection",
    "TopicPartition",
    "Uuid",
    "admin",
    "assigned_consumer",
    "connection",
    "end_offsets",
    "fetched",
    "first_offsets",
    "group_consumer",
    "headers_of",
    "offsets_at",
    "producer",
    "transactional_producer",
]

END_OF_PARTITION: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - the library's public name for it


_NEW_LEADER: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
"""What a broker says while it makes a topic, or moves one: the next question is answered."""


class BrokerError(RuntimeError):
    """The broker did not do what was asked; the message says what was tried."""


class Fetched(NamedTuple):
    """One record as it was read. `timestamp_ms` is the broker's own where the topic says LogAppendTime."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def connection(settings: Settings) -> dict[str, Any]:
    """Return what every client needs to reach the broker; raises BrokerError where no broker is configured."""
    kafka = settings.kafka
    if not kafka.bootstrap_servers:
        raise BrokerError("no broker: set CHARGELINE_KAFKA__BOOTSTRAP_SERVERS, or start one with `chargeline up`")
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "socket.keepalive.enable": True,
        "socket.timeout.ms": kafka.socket_timeout_ms,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 3,
    }
    if kafka.sasl_mechanism:
        config["sasl.mechanism"] = kafka.sasl_mechanism
        config["sasl.username"] = kafka.sasl_username
        if kafka.sasl_password_file is not None:
            config["sasl.password"] = kafka.sasl_password_file.read_text().strip()
    if kafka.ssl_ca_file is not None:
        config["ssl.ca.location"] = str(kafka.ssl_ca_file)
    return config


def admin(settings: Settings) -> AdminClient:
    """Return an admin client."""
    return AdminClient(connection(settings))


def producer(settings: Settings, **extra: Any) -> Producer:
    """Return an idempotent producer whose delivery errors reach the caller's callback, never retried blindly."""
    return Producer(
        {
            **connection(settings),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 1_000_000,
            **_producer_queue(settings),
            **extra,
        }
    )


def _producer_queue(settings: Settings) -> dict[str, Any]:
    """Return how much a producer holds: beyond it `produce` raises BufferError, and the caller waits."""
    return {
        "queue.buffering.max.messages": settings.kafka.producer_queue_records,
        "queue.buffering.max.kbytes": settings.kafka.producer_queue_kbytes,
    }


def transactional_producer(settings: Settings, transactional_id: str) -> Producer:
    """Return a producer of transactions; call `init_transactions` before anything else: it fences the one before."""
    return Producer(
        {
            **connection(settings),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": settings.charge.transaction_timeout_ms,
            "socket.timeout.ms": min(settings.kafka.socket_timeout_ms, settings.charge.transaction_timeout_ms),
            "compression.type": "lz4",
            "linger.ms": 2,
            "batch.size": 1_000_000,
            **_producer_queue(settings),
            "message.max.bytes": 4 * 1024 * 1024,
            "retry.backoff.ms": 5,
        }
    )


def assigned_consumer(settings: Settings, *, committed_only: bool = True, **extra: Any) -> Consumer:
    """Return a consumer to be assigned partitions at given offsets: it belongs to no group and commits nothing.

    End of partition comes as a message whose error is END_OF_PARTITION; an offset out of range is an error.
    """
    return Consumer(
        {
            **connection(settings),
            "group.id": "chargeline-assigned",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed" if committed_only else "read_uncommitted",
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 10,
            "fetch.error.backoff.ms": 50,
            "queued.max.messages.kbytes": settings.charge.queued_kbytes,
            **extra,
        }
    )


def group_consumer(settings: Settings, group: str, **extra: Any) -> Consumer:
    """Return a member of a consumer group (classic protocol) that commits only what it is told to."""
    return Consumer(
        {
            **connection(settings),
            "group.id": group,
            "group.protocol": "classic",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": settings.charge.session_timeout_ms,
            "heartbeat.interval.ms": max(settings.charge.session_timeout_ms // 6, 100),
            "check.crcs": True,
            **extra,
        }
    )


def fetched(message: Message) -> Fetched:
    """Return a message's content; raises KafkaException where the message is an error."""
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    return Fetched(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )


_ask_headers: Final = methodcaller("headers")
"""A call that looks at the result: the interpreter's fast path for methods does not, see `headers_of`."""


def headers_of(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """Return the headers; none where a name is not UTF-8, for the library cannot read them then.

    It sets an error and returns a list with a hole in it, which ends the process when touched. A call that looks at
    the result raises SystemError instead, the first time only.
    """
    try:
        return tuple(_ask_headers(message) or ())
    except SystemError:
        return ()


def end_offsets(
    settings: Settings, partitions: Sequence[tuple[str, int]], *, committed_only: bool
) -> dict[tuple[str, int], int]:
    """Return the next offset of each partition: of all records, or of those no open transaction holds back."""
    return _offsets(settings, partitions, OFFSET_END, committed_only=committed_only)


def first_offsets(settings: Settings, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the oldest offset still kept of each partition."""
    return _offsets(settings, partitions, OFFSET_BEGINNING, committed_only=False)


def offsets_at(settings: Settings, partitions: Sequence[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int]:
    """Return the offset of each partition's first record of this time or later; negative where there is none."""
    return _offsets(settings, partitions, max(time_ms, 0), committed_only=False)


def _offsets(
    settings: Settings, partitions: Sequence[tuple[str, int]], moment: int, *, committed_only: bool
) -> dict[tuple[str, int], int]:
    if not partitions:
        return {}
    # asked through a consumer: the admin client's way waits a second now and then
    asker = assigned_consumer(settings, committed_only=committed_only)
    timeout_s = settings.kafka.request_timeout_ms / 1000
    deadline = time.monotonic() + timeout_s
    try:
        asked = [TopicPartition(topic, partition, moment) for topic, partition in partitions]
        while True:
            try:
                answers = asker.offsets_for_times(asked, timeout_s)
                failed = next((answer.error for answer in answers if answer.error is not None), None)
            except KafkaException as error:
                failed = error.args[0]
            if failed is None:
                return {(answer.topic, answer.partition): answer.offset for answer in answers}
            if failed.code() not in _NEW_LEADER or time.monotonic() > deadline:
                raise KafkaException(failed)
            time.sleep(0.05)
    finally:
        asker.close()
