"""Start embedded servers and wait until they answer, here and now: for the supervisor's first start, and for tests."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from deploy.local.folder import Folder, locked
from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import Ports
from deploy.local.process import POLL_S, Child, LocalServerError, last_lines, stop
from deploy.local.redis_server import RedisServer
from pipeline.settings import Settings

MOVES_MAX: Final = 5
IN_USE: Final = "address already in use"

Progress = Callable[[str], None]
"""Told what is going on, a line at a time."""


class Server(Protocol):
    """An embedded server: `launch` starts its process, `ready` asks that process, `move` takes other ports."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    def move(self) -> None: ...

    def launch(self) -> Child: ...

    def ready(self, child: Child) -> bool: ...


class Addresses(NamedTuple):
    """Where the servers are: configured ones as they were given, embedded ones as they were started."""

    bootstrap_servers: str
    redis_url: str


class Plan(NamedTuple):
    """The embedded servers that a configuration needs; None where one of its own is configured, which always wins."""

    kafka: KafkaServer | None
    redis: RedisServer | None
    configured: Settings

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(server for server in (self.redis, self.kafka) if server is not None)

    @property
    def addresses(self) -> Addresses:
        """As of now: a server that moves while it is started for the first time has another address then."""
        kafka, redis = self.configured.kafka.bootstrap_servers, self.configured.redis.url
        return Addresses(
            self.kafka.bootstrap_servers if self.kafka else kafka or "",
            self.redis.url if self.redis else redis or "",
        )


def plan(settings: Settings, progress: Progress) -> Plan:
    """Find all that the embedded servers need, fetching what is missing; raises LocalServerError. Starts nothing."""
    folder = Folder(settings.data_dir.absolute())
    folder.make()
    ports = Ports(folder.ports)
    return Plan(
        None if settings.kafka.bootstrap_servers else KafkaServer(settings, folder, ports, progress),
        None if settings.redis.url else RedisServer(settings, folder, ports),
        settings,
    )


def start(server: Server, timeout_s: float, stopping: Callable[[], bool] = lambda: False) -> Child:
    """Start a server and wait until it answers; takes other ports, a few times, where its own are not free any more.

    Raises LocalServerError with the end of its log where it ends, is not ready in time, or `stopping` says so.
    """
    for _ in range(MOVES_MAX):
        child = server.launch()
        deadline = time.monotonic() + timeout_s
        while child.running and time.monotonic() < deadline and not stopping():
            if server.ready(child):
                return child
            time.sleep(POLL_S)
        ended = child.exit_code
        child.kill()
        said = child.output()
        if ended is None or IN_USE not in said.lower():
            how = f"is not ready after {timeout_s:g} s" if ended is None else f"ended with exit code {ended}"
            raise LocalServerError(f"{server.name} {how}; the end of its log:\n{last_lines(said, 10)}")
        server.move()
    raise LocalServerError(f"{server.name} found none of {MOVES_MAX} ports free when it started")


@contextmanager
def embedded(settings: Settings, progress: Progress = lambda _line: None) -> Iterator[Addresses]:
    """Have the embedded servers while in the block, without a supervisor; raises LocalServerError.

    Nobody restarts them. Their data stay in the data directory. A directory that is in use is refused.
    """
    folder = Folder(settings.data_dir.absolute())
    folder.make()
    with locked(folder.lock, wait=False) as ours:
        if not ours:
            raise LocalServerError(
                f"the data directory {folder.root} is in use; `chargeline down` stops what runs there"
            )
        planned = plan(settings, progress)
        children: list[Child] = []
        try:
            for server in planned.servers:
                progress(f"starting {server.name}")
                children.append(start(server, settings.local.start_timeout_s))
            yield planned.addresses
        finally:
            stop(children, settings.local.stop_timeout_s)
