"""Which ledger partitions are this worker's: the consumer group decides that and nothing else.

The member subscribes to the accepted topic, pauses whatever it is given, and reads no message through it; owners read
through consumers of their own, assigned at the ledger's positions, so no stale fetch can follow a rebalance.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pipeline.adapters.kafka.client import (
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    group_consumer,
)
from pipeline.settings import Settings
from pipeline.topics import NAMESPACE, USAGE_ACCEPTED

GROUP: Final = NAMESPACE + "chargeline-charge"


class Membership:
    """A member of charge's group. `poll` it often from one thread: the callbacks run inside."""

    def __init__(
        self, settings: Settings, given: Callable[[Iterable[int]], None], taken: Callable[[Iterable[int], bool], None]
    ) -> None:
        """`given(partitions)`; `taken(partitions, lost)`: revoked in good order, or lost already."""
        self.partitions: frozenset[int] = frozenset()
        self.polls = 0
        """how often the group was asked: an owner that failed waits for the next before it takes over again"""
        self._fatal: KafkaError | None = None
        """a member that was fenced stays in no group for ever, and says so only once"""
        self._given = given
        self._taken = taken
        instance = settings.charge.instance_id or f"charge-{socket.gethostname()}-{os.getpid()}"
        self._consumer = group_consumer(
            settings,
            GROUP,
            **{
                "error_cb": self._on_error,
                "group.instance.id": instance,
                "partition.assignment.strategy": "cooperative-sticky",
                "queued.max.messages.kbytes": 64,
            },
        )
        self._consumer.subscribe(
            [USAGE_ACCEPTED.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, timeout_s: float) -> None:
        """Keep the membership alive; raises KafkaException when it cannot be (the process then ends)."""
        message = self._consumer.poll(timeout_s)
        error = None if message is None else message.error()
        if error is not None and (error.fatal() or error.code() == KafkaError._FATAL):  # noqa: SLF001 - its public name
            self._fatal = error
        if self._fatal is not None:
            raise KafkaException(self._fatal)
        self.polls += 1

    def broker_trouble(self, timeout_s: float) -> str | None:
        """Ask the broker for the topic; return what is wrong, None where it answers in time.

        A member whose broker is away owns nothing and has no error to show: only a question tells.
        """
        try:
            self._consumer.list_topics(USAGE_ACCEPTED.name, timeout_s)
        except KafkaException as error:
            return f"did not answer: {error.args[0].str()}"
        return None

    def show_progress(self, offsets: Mapping[int, int]) -> None:
        """Commit offsets so that tools show a lag; nothing depends on them, so errors are of no consequence."""
        if offsets:
            shown = [TopicPartition(USAGE_ACCEPTED.name, p, offset) for p, offset in offsets.items()]
            with contextlib.suppress(KafkaException):
                self._consumer.commit(offsets=shown, asynchronous=True)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001 - the library's public name for it
            self._fatal = error

    def close(self) -> None:
        """Leave; partitions still held are taken on the way."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        paused = [TopicPartition(tp.topic, tp.partition, OFFSET_END) for tp in partitions]
        consumer.incremental_assign(paused)
        consumer.pause(paused)
        given = frozenset(tp.partition for tp in partitions)
        self.partitions |= given
        self._given(given)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(consumer, partitions, lost=True)

    def _leave(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        taken = frozenset(tp.partition for tp in partitions)
        self.partitions -= taken
        self._taken(taken, lost)
        consumer.incremental_unassign(partitions)
