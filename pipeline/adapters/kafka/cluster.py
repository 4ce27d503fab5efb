"""What a cluster says of itself: its brokers, how its topics are kept, and who reads them. Nothing here changes it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.adapters.kafka.client import (
    AdminClient,
    BrokerError,
    ConfigResource,
    KafkaException,
    admin,
)
from pipeline.settings import Settings
from pipeline.topics import TOPICS

_EMPTY_STATES: Final = frozenset({"EMPTY", "DEAD", "UNKNOWN", "UNKOWN"})
"""Group states without a member; the library spells one of them both ways."""


class KeptTopic(NamedTuple):
    """A topic as the broker keeps it: `replicas` of its worst partition, `config` as it is in force."""

    partitions: int
    replicas: int
    config: dict[str, str]


class Cluster(NamedTuple):
    """The brokers and those of our topics that are there."""

    brokers: int
    topics: dict[str, KeptTopic]


def describe_cluster(settings: Settings) -> Cluster:
    """Return the facts; raises BrokerError where no broker answers, or one that refuses."""
    client = admin(settings)
    timeout_s = settings.kafka.request_timeout_ms / 1000
    try:
        metadata = client.list_topics(timeout=timeout_s)
        there = [topic.name for topic in TOPICS if topic.name in metadata.topics]
        configs = _configs(client, there, timeout_s)
    except KafkaException as error:
        raise BrokerError(f"no broker answers at {settings.kafka.bootstrap_servers}: {error.args[0].str()}") from None
    topics = {}
    for name in there:
        partitions = metadata.topics[name].partitions
        replicas = min((len(partition.replicas) for partition in partitions.values()), default=0)
        topics[name] = KeptTopic(len(partitions), replicas, configs[name])
    return Cluster(len(metadata.brokers), topics)


def _configs(client: AdminClient, names: Sequence[str], timeout_s: float) -> dict[str, dict[str, str]]:
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    if not asked:
        return {}
    answers = client.describe_configs(asked, request_timeout=timeout_s)
    return {
        resource.name: {name: str(entry.value) for name, entry in future.result(timeout_s + 5).items()}
        for resource, future in answers.items()
    }


def members_of(settings: Settings, groups: Sequence[str]) -> dict[str, int]:
    """Return how many members each consumer group has now; raises BrokerError."""
    timeout_s = settings.kafka.request_timeout_ms / 1000
    client = admin(settings)  # kept: its questions die with it
    answers = client.describe_consumer_groups(list(groups), request_timeout=timeout_s)
    found = {}
    for name, future in answers.items():
        try:
            group = future.result(timeout_s + 5)
        except KafkaException:  # a group that never was is an error to some brokers, and an empty group to others
            found[name] = 0
            continue
        found[name] = 0 if group.state.name in _EMPTY_STATES else len(group.members)
    return found
