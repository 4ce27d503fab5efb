"""The doctor on real servers: a set-up is broken in ten ways, and each is found and named."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions
from real_servers import own_servers

from deploy.cli import main
from deploy.doctor import FAILED, PASSED, WARNED, gather, judge
from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.topics import create_topics
from pipeline.adapters.store import keys
from pipeline.adapters.store.redis import connect
from pipeline.settings import Settings
from pipeline.topics import AUDIT, SUBSCRIBER, USAGE_ACCEPTED, USAGE_RECEIVED

pytestmark = [pytest.mark.system]
FRESH = {"tariffs": FAILED, "processes": FAILED}
"""What a broker with topics, on which nothing was started yet, still lacks."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Servers of their own, for they are misconfigured here."""
    with own_servers(Settings(data_dir=tmp_path_factory.mktemp("doctor"))) as settings:
        yield settings


def spoken(settings: Settings, *, embedded: bool = True) -> dict[str, str]:
    """What the doctor finds."""
    return {v.check: v.result for v in judge(gather(settings, embedded=embedded)) if v.result != PASSED}


@contextmanager
def topic_set(settings: Settings, topic: str, name: str, value: str, back: str) -> Iterator[None]:
    """Have a topic kept otherwise while in the block."""
    client = admin(settings)
    for setting in (value, back):
        entry = ConfigEntry(name, setting, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for future in client.incremental_alter_configs([resource]).values():
            future.result(10)
        time.sleep(0.3)  # the broker answers before all of it knows
        if setting is value:
            yield


@contextmanager
def redis_set(settings: Settings, name: str, value: str) -> Iterator[None]:
    """Have Redis set up otherwise while in the block."""
    with closing(connect(settings)) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, before)


def test_a_broker_without_topics(made):
    """Topics that are not there are found first, and named; then they are made, and only what comes later is left."""
    assert spoken(made)["topics"] == FAILED
    create_topics(made)
    assert spoken(made) == FRESH


def test_no_broker(made):
    """A broker that does not answer is one finding; what depends on it stays silent."""
    kafka = made.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1", "request_timeout_ms": 1_000})
    assert spoken(made.model_copy(update={"kafka": kafka})) == {"broker": FAILED}


def test_no_redis(made):
    """So is a Redis."""
    redis = made.redis.model_copy(update={"url": "redis://127.0.0.1:1/0"})
    assert spoken(made.model_copy(update={"redis": redis})) == FRESH | {"redis": FAILED}


def test_the_senders_time(made):
    """An input that carries its sender's time is found."""
    with topic_set(made, USAGE_RECEIVED.name, "message.timestamp.type", "CreateTime", "LogAppendTime"):
        assert spoken(made) == FRESH | {"broker time": FAILED}


def test_a_ledger_that_expires(made):
    """A ledger that is kept for a week is found."""
    with topic_set(made, AUDIT.name, "retention.ms", "604800000", "-1"):
        assert spoken(made) == FRESH | {"kept for ever": FAILED}
    with topic_set(made, SUBSCRIBER.name, "cleanup.policy", "delete", "compact"):
        assert spoken(made) == FRESH | {"kept for ever": FAILED}


def test_one_copy_in_production(made):
    """A configured broker that keeps one copy is found."""
    assert spoken(made, embedded=False) == FRESH | {"replication": FAILED}


def test_a_redis_that_evicts(made):
    """A Redis that may evict balances is found."""
    with redis_set(made, "maxmemory-policy", "allkeys-lru"):
        assert spoken(made) == FRESH | {"eviction": FAILED}


def test_a_redis_that_forgets(made):
    """A Redis without its append-only file is found."""
    with redis_set(made, "appendonly", "no"):
        assert spoken(made) == FRESH | {"persistence": WARNED}


def test_the_redis_of_another_deployment(made):
    """A view that has seen more than the ledger holds is found."""
    with closing(connect(made)) as client:
        client.hset(keys.ledger(3), mapping={"seq": "7", "layout": "1"})
        try:
            assert spoken(made) == FRESH | {"books": FAILED}
        finally:
            client.delete(keys.ledger(3))


def test_a_secret_that_others_may_read(made, tmp_path):
    """A password file that everybody may read is found."""
    file = tmp_path / "password"
    file.write_text("word")
    file.chmod(0o644)
    kafka = made.kafka.model_copy(update={"sasl_password_file": file})
    assert spoken(made.model_copy(update={"kafka": kafka})) == FRESH | {"secrets": WARNED}


def test_as_somebody_types_it(made, monkeypatch, capsys):
    """The command says each finding with its mend and exits 1; `--json` gives a line a check."""
    monkeypatch.setenv("CHARGELINE_KAFKA__BOOTSTRAP_SERVERS", str(made.kafka.bootstrap_servers))
    monkeypatch.setenv("CHARGELINE_REDIS__URL", str(made.redis.url))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr()
    assert "chargeline catalogue publish DIR" in shown.out
    assert "failed" in shown.err
    assert main(["doctor", "--json"]) == 1
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"check", "result", "finding", "mend"} == set(verdicts[0])


def test_account_topics_that_differ(made):
    """Account topics of different counts are found. The last test here: a partition is never taken away."""
    client = admin(made)
    client.create_partitions([NewPartitions(USAGE_ACCEPTED.name, 9)])[USAGE_ACCEPTED.name].result(10)
    deadline = time.monotonic() + 10
    while spoken(made).get("partitions") != FAILED and time.monotonic() < deadline:
        time.sleep(0.2)
    assert spoken(made)["partitions"] == FAILED
