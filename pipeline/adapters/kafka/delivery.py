"""Sending records and learning where each of them came to lie."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pipeline.adapters.kafka.client import BrokerError, KafkaError, Message, producer
from pipeline.settings import Settings

Delivered = Callable[[int, int], None]
"""Called with the partition and the offset of a record that the broker has acknowledged."""

_FULL_WAIT_S: Final = 0.5


class Outgoing(NamedTuple):
    """A record to be sent. Without a partition, the client spreads records by their keys as it likes."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int | None = None


class Delivery:
    """An idempotent producer that keeps order within a partition and says of each record where it is.

    `timeout_s` is how long the broker may take to acknowledge a record; what was not acknowledged by then may have been
    written all the same. The first failure is raised by the next `send` or by `flush`. One thread uses an instance.
    """

    def __init__(self, settings: Settings, timeout_s: float, **extra: Any) -> None:
        self._producer = producer(settings, **{"message.timeout.ms": int(timeout_s * 1000), **extra})
        self._timeout_s = timeout_s
        self._failure: KafkaError | None = None

    def send(self, record: Outgoing, delivered: Delivered) -> None:
        """Hand a record over, waiting while the queue is full; raises BrokerError once any record has failed."""

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                delivered(message.partition(), message.offset())
            else:
                self._failure = self._failure or error

        options: dict[str, Any] = {} if record.partition is None else {"partition": record.partition}
        headers = list(record.headers)
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, on_delivery=report, headers=headers, **options
                )
                break
            except BufferError:
                self._producer.poll(_FULL_WAIT_S)
                self._raise_failure()
        self._producer.poll(0)
        self._raise_failure()

    def flush(self) -> None:
        """Return when every record sent is acknowledged; raises BrokerError if one was not."""
        left = self._producer.flush(self._timeout_s + 5)
        self._raise_failure()
        if left:
            raise BrokerError(f"{left} records were not acknowledged within {self._timeout_s:g} s")

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise BrokerError(f"a record was not acknowledged: {self._failure.str()}")
