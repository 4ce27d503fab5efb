"""Is everything answered that lay on the topics at a moment? Asked of the broker and Redis while either may be broken."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from pipeline.adapters.kafka.client import (
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
    admin,
    end_offsets,
)
from pipeline.adapters.kafka.intake import GROUP
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.store.redis import RedisStore
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND, USAGE_ACCEPTED, USAGE_RECEIVED

BROKEN: Final = (KafkaException, RuntimeError, TimeoutError, ConnectionError)
"""What asking a server that is just being broken may raise."""

ANSWER_S: Final = 5
TRIES: Final = 10


class Answers:
    """Looks at mediate's committed offsets and at the `seq` of the view: one event for each input."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = admin(settings)  # it must outlive what it is asked
        self._facts = describe_topics(settings)
        self.trouble = ""
        """what went wrong with the last question that was not answered"""

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end of each partition."""
        places = [(topic, p) for p in range(self._facts[topic].partitions)]
        return {p: end for (_, p), end in end_offsets(self._settings, places, committed_only=False).items()}

    def _until_told(self, topic: str) -> dict[int, int]:
        for _ in range(TRIES):
            try:
                return self.ends(topic)
            except BROKEN as error:
                self.trouble = repr(error)
                time.sleep(0.5)
        raise AssertionError(f"the broker says nothing of {topic}: {self.trouble}")

    def mark(self) -> Callable[[], bool]:
        """Return a question: is all mediated and charged that lies on the topics now?"""
        raw = self._until_told(USAGE_RECEIVED.name)
        inputs = Counter(self._until_told(USAGE_ACCEPTED.name)) + Counter(self._until_told(ACCOUNT_COMMAND.name))

        def answered() -> bool:
            return self._ask(lambda: self._mediated(raw) and self._charged(inputs))

        return answered

    def all(self) -> bool:
        """Whether nothing waits anywhere: what mediate has just handed over counts as waiting."""
        return self._ask(lambda: self._mediated(self.ends(USAGE_RECEIVED.name)) and self.mark()())

    def _ask(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except BROKEN as error:
            self.trouble = repr(error)
            self._admin = admin(self._settings)  # one that lived through a broker's death may wait for it for ever
            return False

    def _mediated(self, wanted: dict[int, int]) -> bool:
        if not any(wanted.values()):
            return True
        asked = [TopicPartition(USAGE_RECEIVED.name, p) for p in wanted]
        (future,) = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, asked)]).values()
        return all(max(tp.offset, 0) >= wanted[tp.partition] for tp in future.result(ANSWER_S).topic_partitions)

    def _charged(self, wanted: Counter[int]) -> bool:
        store = RedisStore(self._settings)
        try:
            return all(int(store.head(p).get("seq", "0")) >= count for p, count in wanted.items())
        finally:
            store.close()
