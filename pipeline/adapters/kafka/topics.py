"""Topics are made by chargeline itself, with their partitions, retention, timestamps and compaction."""

import time
from typing import NamedTuple

from pipeline.adapters.kafka.client import (
    AdminClient,
    BrokerError,
    KafkaError,
    KafkaException,
    NewTopic,
    TopicCollection,
    Uuid,
    admin,
)
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_TOPICS, NAMESPACE, TOPICS, Topic


class TopicFacts(NamedTuple):
    """What the broker says of a topic: its id is another one after a deletion, whatever its name."""

    name: str
    topic_id: bytes
    partitions: int


def create_topics(settings: Settings, timeout_s: float = 30) -> None:
    """Create every topic that is not there; leaves those that are untouched. Raises BrokerError.

    Safe to run again and by several processes at once.
    """
    client = admin(settings)
    wanted = [_new_topic(settings, topic) for topic in TOPICS]
    deadline = time.monotonic() + timeout_s
    for name, future in client.create_topics(wanted, request_timeout=settings.kafka.request_timeout_ms / 1000).items():
        try:
            future.result(max(deadline - time.monotonic(), 1))
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(f"topic {name} could not be created: {error.args[0].str()}") from None
    while True:
        try:
            describe_topics(settings)
        except BrokerError:  # created, but not yet known to the broker that answers
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def delete_topics(settings: Settings, timeout_s: float = 30) -> None:
    """Delete every topic of this namespace, and all that is in it; raises BrokerError. Gone already: nothing.

    Without a namespace this is a ledger that nobody gets back, so it is refused.
    """
    if not NAMESPACE:
        raise BrokerError("topics without a namespace are never deleted")
    client = admin(settings)
    names = [topic.name for topic in TOPICS]
    for name, future in client.delete_topics(names, request_timeout=timeout_s).items():
        try:
            future.result(timeout_s + 5)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerError(f"topic {name} could not be deleted: {error.args[0].str()}") from None


def broker_answers(bootstrap_servers: str) -> bool:
    """Tell whether a broker answers at this address now."""
    try:
        AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0}).list_topics(timeout=1)
    except KafkaException:
        return False
    return True


def describe_topics(settings: Settings) -> dict[str, TopicFacts]:
    """Return the facts of all topics; raises BrokerError where one is missing or the account topics differ."""
    client = admin(settings)
    names = [topic.name for topic in TOPICS]
    timeout_s = settings.kafka.request_timeout_ms / 1000
    facts = {}
    for name, future in client.describe_topics(TopicCollection(names), request_timeout=timeout_s).items():
        try:
            described = future.result(timeout_s + 5)
        except KafkaException as error:
            raise BrokerError(
                f"topic {name} is not there or not readable ({error.args[0].str()}); `chargeline up` creates topics, "
                "or `chargeline topics create` on a broker of your own"
            ) from None
        facts[name] = TopicFacts(name, _uuid_bytes(described.topic_id), len(described.partitions))
    counts = {topic.name: facts[topic.name].partitions for topic in ACCOUNT_TOPICS}
    if len(set(counts.values())) != 1:
        raise BrokerError(f"the account topics must have the same number of partitions, but: {counts}")
    return facts


def _uuid_bytes(topic_id: Uuid) -> bytes:
    most: int = topic_id.get_most_significant_bits()
    least: int = topic_id.get_least_significant_bits()
    return (most & (2**64 - 1)).to_bytes(8, "big") + (least & (2**64 - 1)).to_bytes(8, "big")


def _new_topic(settings: Settings, topic: Topic) -> NewTopic:
    kafka = settings.kafka
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions or kafka.ledger_partitions,
        replication_factor=kafka.replication_factor,
        config={**topic.config, "min.insync.replicas": str(kafka.min_insync_replicas)},
    )
