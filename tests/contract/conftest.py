"""Real servers for the contracts: the Redis that all tests share, and a broker with partitions enough for each test."""

import os
from collections.abc import Iterator

import pytest

from deploy.local.process import LocalServerError
from deploy.local.servers import embedded
from pipeline.adapters.kafka.topics import create_topics
from pipeline.settings import KafkaSettings, RedisSettings, Settings

PARTITIONS = 64


@pytest.fixture(scope="session")
def redis_settings(servers: Settings) -> Settings:
    """Settings of a Redis in which each test takes a partition of its own; a silence of a second is a time-out."""
    return Settings(redis=RedisSettings(url=servers.redis.url, socket_timeout_s=1))


@pytest.fixture(scope="session")
def kafka_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a broker of our own, its topics made; each test takes a partition of its own."""
    no_redis = RedisSettings(url="redis://127.0.0.1:1/0")  # configured, so none is started
    try:
        held = embedded(Settings(data_dir=tmp_path_factory.mktemp("broker"), redis=no_redis))
        with held as addresses:
            kafka = KafkaSettings(bootstrap_servers=addresses.bootstrap_servers, ledger_partitions=PARTITIONS)
            settings = Settings(kafka=kafka)
            create_topics(settings)
            yield settings
    except LocalServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no broker here: {error}")
