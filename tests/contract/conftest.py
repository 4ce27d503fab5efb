"""Real servers for the contracts: one broker and one Redis a session, started when first asked for."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local.process import LocalServerError, stop
from deploy.local.servers import plan, start
from pipeline.adapters.kafka.topics import create_topics
from pipeline.settings import KafkaSettings, RedisSettings, Settings

PARTITIONS = 64


class Servers:
    """Starts each embedded server at its first use; a server that cannot be had skips the test, but fails in CI."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._addresses: dict[str, str] = {}

    def address(self, name: str) -> str:
        if name not in self._addresses:
            try:
                planned = plan(Settings(data_dir=self._folder), lambda _line: None)
                server = planned.kafka if name == "kafka" else planned.redis
                assert server is not None
                child = start(server, 90)
            except LocalServerError as error:
                if os.environ.get("CI"):
                    raise
                pytest.skip(f"no {name}: {error}")
            self._stack.callback(stop, [child], 20)
            found = planned.addresses
            self._addresses[name] = found.bootstrap_servers if name == "kafka" else found.redis_url
        return self._addresses[name]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="chargeline-contract-") as folder, ExitStack() as stack:
        yield Servers(Path(folder), stack)


@pytest.fixture(scope="session")
def redis_settings(servers: Servers) -> Settings:
    """Settings of a Redis that nobody else uses; a silence of a second is a time-out."""
    return Settings(redis=RedisSettings(url=servers.address("redis"), socket_timeout_s=1))


@pytest.fixture(scope="session")
def kafka_settings(servers: Servers) -> Settings:
    """Settings of a broker that nobody else uses, its topics made; each test takes partitions of its own."""
    kafka = KafkaSettings(bootstrap_servers=servers.address("kafka"), ledger_partitions=PARTITIONS)
    settings = Settings(kafka=kafka)
    create_topics(settings)
    return settings
