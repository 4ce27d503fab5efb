"""The supervisor itself: a loop over processes, in the background or in the foreground, until SIGTERM or SIGINT.

| what happens | what is done |
|---|---|
| a server cannot be started, topics cannot be made | everything is stopped, the state says why, it ends |
| a process ends, a server too | it is started again where it was: supervised.py |
| SIGTERM, SIGINT | workers drain, servers stop, the state is removed, it ends |
| it is killed | Linux kills what it started; elsewhere the next start ends that first |
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from deploy.local.configuration import as_document, as_toml, of_document
from deploy.local.folder import Folder, locked
from deploy.local.ports import Ports
from deploy.local.process import Child, LocalServerError, end_strays, identity, stop
from deploy.local.servers import Addresses, Plan, plan, start
from deploy.local.state import READY, STOPPED, ProcessState, State, last_state, write_state
from deploy.local.supervised import Embedded, Supervised, Worker
from pipeline.adapters.logs import configure, logger
from pipeline.settings import Settings

Workers = tuple[tuple[str, tuple[str, ...]], ...]
"""The name and the command of each worker process."""

WORKERS: Final[Workers] = tuple(
    (name, (sys.executable, "-P", "-m", "deploy.cli", "run", name))
    for name in ("mediate", "charge", "detect", "audit", "alerts")
)
LOOP_S: Final = 0.1
_log = logger("supervisor")


class AlreadyUpError(LocalServerError):
    """Another supervisor, or a test's servers, hold the data directory."""


class _Stop:
    """Whether it was asked to stop. Handlers only set a flag: what they interrupt may hold any lock."""

    asked = False

    def __call__(self) -> bool:
        return self.asked

    def set(self, _signal: int, _frame: object) -> None:
        self.asked = True


def supervise(settings: Settings, workers: Workers, progress: Callable[[str], None]) -> Addresses:
    """Run everything until SIGTERM or SIGINT; returns the addresses it had. In the main thread.

    Raises AlreadyUpError where the directory is held, LocalServerError where a server or the topics cannot be had.
    """
    configure(settings.log_level)
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    folder = Folder(settings.data_dir)
    folder.make()
    with locked(folder.lock, wait=False) as ours, _stop_on_signals() as stopping:
        if not ours:
            raise AlreadyUpError(f"the data directory {folder.root} is in use")
        return _Supervisor(settings, folder, stopping, progress).run(workers)


class _Supervisor:
    def __init__(
        self, settings: Settings, folder: Folder, stopping: Callable[[], bool], progress: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._stopping = stopping
        self._progress = progress
        self._me = identity(os.getpid())
        self._addresses = Addresses("", "")
        self._servers: list[Supervised] = []
        self._workers: list[Supervised] = []
        self._written: State | None = None
        self._to_come: tuple[str, ...] = ()
        self._begun = False
        self._told: set[str] = set()

    def run(self, workers: Workers) -> Addresses:
        failed: str | None = None
        self._to_come = tuple(name for name, _ in workers)
        try:
            self._end_left_over()
            self._begin(workers)
            while not self._stopping():
                for supervised in (*self._servers, *self._workers):
                    supervised.tick()
                self._write()
                self._tell()
                time.sleep(LOOP_S)
        except LocalServerError as error:
            if not self._stopping():
                failed = str(error)
                raise
        except Exception as error:
            failed = f"the supervisor failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._stop()
            if failed is None:
                self._folder.state.unlink(missing_ok=True)
            else:
                self._write(failed)
        return self._addresses

    def _end_left_over(self) -> None:
        before = last_state(self._folder.state)
        if before is not None:
            left_over = [process.identity for process in before.processes if process.identity is not None]
            ended = end_strays(left_over, self._settings.local.stop_timeout_s)
            if ended:
                _log.warning("left_over_processes_ended", processes=ended)
        self._write()  # from here on `down` finds this supervisor

    def _begin(self, workers: Workers) -> None:
        """Start the servers, make the topics, start the workers."""
        local = self._settings.local
        planned = plan(self._settings, self._progress)
        self._servers = [
            Supervised(Embedded(server), local, starting_max_s=local.start_timeout_s) for server in planned.servers
        ]
        self._addresses = planned.addresses
        self._write()
        for supervised, server in zip(self._servers, planned.servers, strict=True):
            self._progress(f"starting {server.name}")
            supervised.adopt(start(server, local.start_timeout_s, self._stopping))
            self._addresses = planned.addresses
            self._write()
        settings = with_addresses(self._settings, self._addresses)
        _make_topics(settings)
        self._workers = self._make_workers(settings, planned, workers)
        self._begun = True
        _log.info("servers_ready", embedded=[server.name for server in planned.servers])

    def _make_workers(self, settings: Settings, planned: Plan, workers: Workers) -> list[Supervised]:
        self._folder.settings.write_text(as_toml(as_document(settings)))
        environment = {
            "CHARGELINE_CONFIG": str(self._folder.settings),
            "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": planned.addresses.bootstrap_servers,
            "CHARGELINE_REDIS__URL": planned.addresses.redis_url,
            "CHARGELINE_DATA_DIR": str(self._folder.root),
        }
        ports = Ports(self._folder.ports)
        made = [Worker(name, command, environment, settings, ports) for name, command in workers]
        return [Supervised(worker, settings.local) for worker in made]

    def _stop(self) -> None:
        """Workers first, so that they drain into servers that are still there."""
        for group in (self._workers, self._servers):
            children: list[Child] = [one.child for one in group if one.child is not None]
            stop(children, self._settings.local.stop_timeout_s)
            for supervised in group:
                supervised.stopped()

    def _tell(self) -> None:
        """Say, once, of each process that it is ready."""
        for process in self._written.processes if self._written else ():
            if process.state == READY and process.name not in self._told:
                self._told.add(process.name)
                self._progress(f"{process.name} is ready")

    def _write(self, failed: str | None = None) -> None:
        begun = [supervised.state for supervised in (*self._servers, *self._workers)]
        to_come = (
            [] if self._workers else [ProcessState(name, None, None, STOPPED, 0, 0, None) for name in self._to_come]
        )
        processes = (*begun, *to_come)
        state = State(self._me, *self._addresses, str(self._folder.root), processes, self._begun, failed)
        if state != self._written:
            write_state(self._folder.state, state)
            self._written = state


def with_addresses(settings: Settings, addresses: Addresses) -> Settings:
    """Return the settings with these servers configured."""
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": addresses.bootstrap_servers})
    redis = settings.redis.model_copy(update={"url": addresses.redis_url})
    return settings.model_copy(update={"kafka": kafka, "redis": redis})


def _make_topics(settings: Settings) -> None:
    from pipeline.adapters.kafka.client import BrokerError
    from pipeline.adapters.kafka.topics import create_topics

    try:
        create_topics(settings)
    except BrokerError as error:
        raise LocalServerError(f"the topics could not be made: {error}") from error


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    stopping = _Stop()
    before = {number: signal.signal(number, stopping.set) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    """Become a supervisor in the background, of what standard input says; its process id is printed before."""
    told = json.load(sys.stdin)
    pid = os.fork()
    if pid:
        print(pid, flush=True)  # noqa: T201 - for the process that started this one
        return 0
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the other end of standard output is waited for
    workers = tuple((name, tuple(command)) for name, command in told["workers"])
    try:
        supervise(of_document(told["settings"]), workers, lambda line: _log.info("progress", message=line))
    except AlreadyUpError:
        return 0  # two were started at once: the other one does it
    except LocalServerError as error:
        _log.error("not_started", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
