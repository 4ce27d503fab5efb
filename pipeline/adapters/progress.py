"""How far the pipeline has come: what each process has yet to do, and whether everything sent was answered.

Drained means: mediate has committed all of the raw topic, the ledger's positions stand at the ends of both account
topics, and the view stands at the ledger's last event. Nothing here changes anything.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pipeline.adapters.kafka.client import (
    AdminClient,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
    assigned_consumer,
)
from pipeline.adapters.kafka.ledger_lookup import LedgerLookup
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.store import Store
from pipeline.domain.ledger import Event
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, NAMESPACE, USAGE_ACCEPTED, USAGE_RECEIVED

MEDIATE_GROUP: Final = NAMESPACE + "chargeline-mediate"
DETECT_GROUP: Final = NAMESPACE + "chargeline-detect"

Where = tuple[str, int]


class Progress(NamedTuple):
    """Records that each process has yet to read, and records it has read so far.

    `view_lag` counts ledger events that the view has not got; None of `detect_lag`: detect has never run.
    """

    mediate_lag: int
    charge_lag: int
    view_lag: int
    detect_lag: int | None
    mediate_done: int
    charge_done: int
    detect_done: int

    @property
    def drained(self) -> bool:
        """Tell whether every record and command has its event or dead letter, and the view shows it."""
        return self.mediate_lag == 0 and self.charge_lag == 0 and self.view_lag == 0


class ProgressReader:
    """Asks the broker and the view how far things are; keep one for many questions, in one thread."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._lookup = LedgerLookup(settings)
        self._mediate = GroupOffsets(settings, MEDIATE_GROUP)
        self._detect = GroupOffsets(settings, DETECT_GROUP)
        facts = describe_topics(settings)
        self._raw = [(USAGE_RECEIVED.name, p) for p in range(facts[USAGE_RECEIVED.name].partitions)]
        self._ledger = range(facts[AUDIT.name].partitions)

    def read(self) -> Progress:
        """Return how far everything is now; raises BrokerError, KafkaException or ViewUnavailableError.

        Asked in the order in which records flow: what moves on between two questions is counted as not done.
        """
        raw_ends = self._lookup.ends(self._raw)
        mediated = self._mediate.committed(self._raw)
        inputs = [(topic.name, p) for topic in (USAGE_ACCEPTED, ACCOUNT_COMMAND) for p in self._ledger]
        input_ends = self._lookup.ends(inputs)
        lasts = self._lookup.lasts(self._ledger)
        positions = self._positions(inputs, {p: found.stored.event for p, found in lasts.items()})
        audit = [(AUDIT.name, p) for p in self._ledger]
        detected = self._detect.committed(audit)
        # a ledger ends in markers that no reader ever sees: its last event is where a reader has done
        events = {(AUDIT.name, p): found.offset + 1 for p, found in lasts.items()}
        return Progress(
            mediate_lag=_lag(raw_ends, self._known(mediated, self._raw)),
            charge_lag=_lag(input_ends, positions),
            view_lag=sum(max(found.stored.event.seq - self._view_seq(p), 0) for p, found in lasts.items()),
            detect_lag=_lag(events, dict.fromkeys(audit, 0) | detected) if detected else None,
            mediate_done=sum(mediated.values()),
            charge_done=sum(found.stored.event.seq for found in lasts.values()),
            detect_done=sum(detected.values()),
        )

    def _positions(self, inputs: list[Where], lasts: Mapping[int, Event]) -> dict[Where, int]:
        """Return the ledger's own positions; a partition without events stands at its inputs' beginnings."""
        positions = {}
        for p, event in lasts.items():
            positions[USAGE_ACCEPTED.name, p] = event.positions.usage.offset
            positions[ACCOUNT_COMMAND.name, p] = event.positions.command.offset
        return self._known(positions, inputs)

    def _known(self, positions: dict[Where, int], wanted: list[Where]) -> dict[Where, int]:
        """Fill in the oldest offset kept where no position is known: that is where a process would begin."""
        unknown = [where for where in wanted if where not in positions]
        return positions | self._lookup.firsts(unknown)

    def _view_seq(self, partition: int) -> int:
        return int(self._store.head(partition).get("seq", "0"))

    def close(self) -> None:
        """Leave the broker."""
        for part in (self._lookup, self._mediate, self._detect):
            part.close()


class GroupOffsets:
    """What a consumer group has committed, asked without joining it."""

    def __init__(self, settings: Settings, group: str) -> None:
        self._consumer = assigned_consumer(settings, **_of_group(group))
        self._timeout_s = settings.kafka.request_timeout_ms / 1000

    def committed(self, partitions: list[Where]) -> dict[Where, int]:
        """Return the committed offsets; partitions of which the group never committed anything are left out."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        found = {}
        for answer in self._consumer.committed(asked, self._timeout_s):
            if answer.error is not None:
                raise KafkaException(answer.error)
            if answer.offset >= 0:
                found[answer.topic, answer.partition] = answer.offset
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def committed_offsets(settings: Settings, client: AdminClient, group: str, wanted: list[Where]) -> dict[Where, int]:
    """Return what a consumer group has committed, by an admin client that is there anyway; see GroupOffsets."""
    timeout_s = settings.kafka.request_timeout_ms / 1000
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for topic, p in wanted])
    future = client.list_consumer_group_offsets([request], request_timeout=timeout_s)[group]
    try:
        answer = future.result(timeout_s + 5)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    return {(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions if tp.offset >= 0}


def _of_group(group: str) -> dict[str, Any]:
    return {"group.id": group}


def _lag(ends: Mapping[Where, int], positions: Mapping[Where, int]) -> int:
    return sum(max(end - positions[where], 0) for where, end in ends.items())
