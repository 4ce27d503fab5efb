"""The doctor's judgement: each mistake is found, named and given its mend, and a sound set-up passes whole."""

import pytest

from deploy.doctor import FAILED, PASSED, WARNED, Facts, judge
from deploy.doctor.checks import CHECKS, FREE_BYTES_MIN
from deploy.doctor.facts import SecretFile, Stand
from pipeline.adapters.kafka.cluster import Cluster, KeptTopic
from pipeline.adapters.store.redis import ServerFacts
from pipeline.domain.ledger import LAYOUT
from pipeline.topics import AUDIT, CATALOGUE, SUBSCRIBER, TOPICS, USAGE_ACCEPTED, USAGE_RECEIVED

NOW = 1_790_000_000_000
CLUSTER = Cluster(
    3,
    {topic.name: KeptTopic(topic.partitions or 8, 3, {**topic.config, "min.insync.replicas": "2"}) for topic in TOPICS},
)
SOUND = Facts(
    embedded=False,
    cluster=CLUSTER,
    view=ServerFacts(NOW, "noeviction", "yes", "always"),
    clock_ms=NOW + 20,
    published=True,
    members={"mediate": 1, "charge": 2},
    stands={0: Stand(10, 10, LAYOUT), 1: Stand(0, 0, None), 2: Stand(10, 8, LAYOUT)},
    secrets=(SecretFile("CHARGELINE_REDIS__PASSWORD_FILE", 0o600, empty=False),),
    free_bytes=None,
)


def with_topic(name, **change):
    config = {**CLUSTER.topics[name].config, **change.pop("config", {})}
    topics = {**CLUSTER.topics, name: CLUSTER.topics[name]._replace(config=config, **change)}
    return SOUND._replace(cluster=CLUSTER._replace(topics=topics))


def without_topic(name):
    topics = {other: kept for other, kept in CLUSTER.topics.items() if other != name}
    return SOUND._replace(cluster=CLUSTER._replace(topics=topics))


BROKEN = [
    ("broker", FAILED, SOUND._replace(cluster="no broker answers"), "no broker answers"),
    ("redis", FAILED, SOUND._replace(view="Redis: ConnectionError", stands="not asked"), "ConnectionError"),
    ("topics", FAILED, without_topic(USAGE_ACCEPTED.name), USAGE_ACCEPTED.name),
    ("partitions", FAILED, with_topic(USAGE_ACCEPTED.name, partitions=9), "has 9"),
    (
        "broker time",
        FAILED,
        with_topic(USAGE_RECEIVED.name, config={"message.timestamp.type": "CreateTime"}),
        "CreateTime",
    ),
    ("kept for ever", FAILED, with_topic(AUDIT.name, config={"retention.ms": "604800000"}), "retention.ms=604800000"),
    ("kept for ever", FAILED, with_topic(AUDIT.name, config={"cleanup.policy": "compact"}), "cleanup.policy=compact"),
    ("kept for ever", FAILED, with_topic(SUBSCRIBER.name, config={"cleanup.policy": "delete"}), SUBSCRIBER.name),
    ("replication", FAILED, with_topic(AUDIT.name, replicas=2), "2 replica"),
    ("replication", FAILED, with_topic(AUDIT.name, config={"min.insync.replicas": "1"}), "min.insync.replicas=1"),
    (
        "replication",
        FAILED,
        with_topic(AUDIT.name, config={"unclean.leader.election.enable": "true"}),
        "unclean",
    ),
    ("eviction", FAILED, SOUND._replace(view=ServerFacts(NOW, "allkeys-lru", "yes", "always")), "allkeys-lru"),
    ("persistence", WARNED, SOUND._replace(view=ServerFacts(NOW, "noeviction", "no", "always")), "append-only"),
    ("clocks", WARNED, SOUND._replace(clock_ms=NOW + 61_000), "61.0 s"),
    ("tariffs", FAILED, SOUND._replace(published=False), "no catalogue"),
    ("tariffs", FAILED, SOUND._replace(published="its hash is not that of its document"), "hash"),
    ("processes", FAILED, SOUND._replace(members={"mediate": 1, "charge": 0}), "nobody runs charge"),
    ("books", FAILED, SOUND._replace(stands={3: Stand(9, 12, LAYOUT)}), "partition 3"),
    ("books", WARNED, SOUND._replace(stands={3: Stand(9, 9, "0")}), "layout 0"),
    ("secrets", FAILED, SOUND._replace(secrets=(SecretFile("A_FILE", None, empty=True),)), "cannot be read"),
    ("secrets", FAILED, SOUND._replace(secrets=(SecretFile("A_FILE", 0o600, empty=True),)), "empty"),
    ("secrets", WARNED, SOUND._replace(secrets=(SecretFile("A_FILE", 0o644, empty=False),)), "644"),
    ("disk", FAILED, SOUND._replace(embedded=True, free_bytes=FREE_BYTES_MIN - 1), "MiB are free"),
]


def test_a_sound_set_up_passes_whole():
    """Every check passes where nothing is wrong; a view that is merely behind its ledger is no mistake."""
    verdicts = judge(SOUND)
    assert [verdict.check for verdict in verdicts] == [check.name for check in CHECKS]
    assert {verdict.result for verdict in verdicts} == {PASSED}


@pytest.mark.parametrize(("check", "result", "facts", "word"), BROKEN)
def test_each_mistake_is_found_alone_and_given_its_mend(check, result, facts, word):
    """One mistake makes one check speak, in words that name it, and says what to do."""
    spoke = [verdict for verdict in judge(facts) if verdict.result != PASSED]
    assert {verdict.check for verdict in spoke} == {check}
    assert spoke[0].result == result
    assert word in spoke[0].finding
    assert spoke[0].mend


def test_every_check_has_a_mistake_that_it_finds():
    """No check is there that never speaks."""
    assert {check for check, _, _, _ in BROKEN} == {check.name for check in CHECKS}


def test_one_broker_for_trying_out_is_not_asked_for_three():
    """The embedded broker keeps one copy, and is not blamed for it; a configured one is."""
    alone = {name: kept._replace(replicas=1) for name, kept in CLUSTER.topics.items()}
    facts = SOUND._replace(cluster=Cluster(1, alone), embedded=True)
    assert {verdict.result for verdict in judge(facts)} == {PASSED}
    configured = [v for v in judge(facts._replace(embedded=False)) if v.result != PASSED]
    assert {verdict.check for verdict in configured} == {"replication"}
    assert CATALOGUE.name in "".join(verdict.finding for verdict in configured)
