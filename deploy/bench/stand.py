"""What is measured: servers, topics, a tariff and accounts, and chargeline's own processes; gone without a trace."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from deploy.bench.traffic import DECK_PREFIXES, REALISTIC, account_name, opening, write_catalogue
from deploy.local.configuration import as_document, as_toml, without_settings
from deploy.local.folder import Folder
from deploy.local.ports import HOST, Ports
from deploy.local.process import Child, LocalServerError, last_lines, stop
from deploy.local.servers import plan, start
from deploy.local.supervised import ask_ready
from deploy.local.supervision import with_addresses
from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.catalogue import FOR_ALL_TIME, load_directory
from pipeline.adapters.kafka.client import producer
from pipeline.adapters.kafka.topics import create_topics, delete_topics
from pipeline.adapters.store.redis import RedisStore
from pipeline.domain.catalogue import canonical_bytes, compile_catalogue
from pipeline.settings import Settings
from pipeline.topics import ACCOUNT_COMMAND, CATALOGUE, NAMESPACE, partition_of

READY_S: Final = 300
STALLED_S: Final = 60
"""Nothing moved for so long: the measurement is given up."""
SESSION_MS: Final = 120_000
"""How long a process may be held without losing its place in the group."""
OWN_NAMES: Final = re.compile(r"bench-[0-9a-f]{32}\.")
"""Namespaces that a measurement makes for itself, and whose topics and keys it therefore may remove."""
_LOOK_S: Final = 0.05
_STOP_S: Final = 20

Say = Callable[[str], None]


class BenchError(RuntimeError):
    """A measurement could not be made; the message says what was waited for."""


class Plan(NamedTuple):
    """What to measure with."""

    records: int = 100_000
    accounts: int = 20_000
    partitions: int = 4
    workers: int = 1
    plans: str = REALISTIC
    deck: int = DECK_PREFIXES
    allowances: int | None = None
    """of each account; None: those of the plan"""


class Usage(NamedTuple):
    """Of one process: seconds of CPU so far, bytes of memory now."""

    cpu_s: float
    rss_bytes: int


class Stand:
    """A deployment to be measured. Processes are started and stopped by name: mediate-1, charge-1, charge-2 ..."""

    def __init__(
        self, chosen: Plan, settings: Settings, folder: Folder, servers: Mapping[str, Child], say: Say
    ) -> None:
        self.plan = chosen
        self.settings = settings
        self.say = say
        self.now_ms = time.time_ns() // 1_000_000
        self.ports: dict[str, int] = {}
        self._folder = folder
        self._found = Ports(folder.ports)
        self._servers = dict(servers)
        self._workers: dict[str, Child] = {}

    # --- what it is made of ---

    def prepare(self) -> None:
        """Make topics, publish the tariff, send the commands that open all accounts."""
        create_topics(self.settings)
        with tempfile.TemporaryDirectory(prefix="chargeline-bench-") as directory:
            catalogue = Path(directory) / "catalogue"
            write_catalogue(catalogue, self.plan.plans, self.plan.deck, self.plan.allowances)
            document = load_directory(catalogue).document(FOR_ALL_TIME)
        version = compile_catalogue(document)
        out = producer(self.settings)
        value = {
            "hash": version.hash,
            "effective_from": version.effective_from,
            "published_at": 0,
            "document": canonical_bytes(document).decode(),
        }
        out.produce(CATALOGUE.name, CATALOGUE_VERSION.encode(value), version.hash)
        for number in range(self.plan.accounts):
            name = account_name(number)
            while len(out) > 90_000:
                out.poll(0.05)
            place = partition_of(name, self.plan.partitions)
            out.produce(ACCOUNT_COMMAND.name, opening(number, self.now_ms), name, place)
            out.poll(0)
        if out.flush(STALLED_S):
            raise BenchError("the broker did not take the accounts")

    def start(self, kind: str) -> None:
        """Start all processes of a kind (mediate, charge) and wait until each is ready; raises BenchError."""
        begun = [self._launch(f"{kind}-{n}", kind) for n in range(1, self.plan.workers + 1)]
        deadline = time.monotonic() + READY_S
        for child in begun:
            while ask_ready(HOST, self.ports[child.name]) is not None:
                if not child.running or time.monotonic() > deadline:
                    raise BenchError(
                        f"{child.name} did not get ready; the end of its log:\n{last_lines(child.output())}"
                    )
                time.sleep(_LOOK_S)

    def pause(self, kind: str) -> None:
        """Hold all processes of a kind where they are, as they are: warm, and members of their group for a while."""
        self._signal(kind, signal.SIGSTOP)

    def resume(self, kind: str) -> float:
        """Let them go on; returns when (monotonic seconds)."""
        begun = time.monotonic()
        self._signal(kind, signal.SIGCONT)
        return begun

    def _signal(self, kind: str, number: signal.Signals) -> None:
        for name, child in self._workers.items():
            if name.startswith(kind) and child.running:
                os.kill(child.pid, number)

    def _launch(self, name: str, kind: str) -> Child:
        self.ports[name] = self._found.port(name)
        told = {f"CHARGELINE_HTTP__{kind.upper()}_PORT": str(self.ports[name])}
        command = (sys.executable, "-P", "-m", "deploy.cli", "run", kind)
        child = Child(name, command, self._folder.log(name), {**self.environment(), **told}, 10**9)
        self._workers[name] = child
        return child

    def environment(self) -> dict[str, str]:
        """Return what a process of this deployment is told."""
        if not self._folder.settings.exists():
            self._folder.settings.write_text(as_toml(as_document(self.settings)))
        return {
            **without_settings(os.environ),
            "CHARGELINE_CONFIG": str(self._folder.settings),
            "CHARGELINE_DATA_DIR": str(self._folder.root),
        }

    # --- what it uses ---

    def usage(self) -> dict[str, Usage]:
        """Return what each process that runs here has used: servers that were given are not seen."""
        found = {}
        for name, child in {**self._servers, **self._workers}.items():
            try:
                process = psutil.Process(child.pid)
                times = process.cpu_times()
                found[name] = Usage(times.user + times.system, process.memory_info().rss)
            except psutil.NoSuchProcess:
                raise BenchError(_trouble(f"{name} ended", child)) from None
        return found

    def close(self) -> None:
        """Stop chargeline's processes; remove topics and keys where the servers were given, for they stay."""
        self._signal("", signal.SIGCONT)
        stop(self._workers.values(), _STOP_S)
        if len(self._servers) < 2:
            delete_topics(self.settings)
            store = RedisStore(self.settings)
            try:
                for partition in range(self.plan.partitions):
                    store.wipe(partition)
                    store.attempts_ended(partition)
            finally:
                store.close()


def _trouble(what: str, child: Child) -> str:
    return f"{what}; the end of its log:\n{last_lines(child.output())}"


@contextmanager
def stand(chosen: Plan, configured: Settings, say: Say) -> Iterator[Stand]:
    """Have a deployment of its own while in the block: embedded servers, or the given ones under a namespace.

    Everything is stopped and removed however the block ends. Raises LocalServerError or BenchError.
    """
    directory = Path(tempfile.mkdtemp(prefix="chargeline-bench-"))
    children: dict[str, Child] = {}
    try:
        kafka = configured.kafka.model_copy(update={"ledger_partitions": chosen.partitions})
        charge = configured.charge.model_copy(update={"session_timeout_ms": SESSION_MS})
        changed = {"data_dir": directory, "kafka": kafka, "charge": charge, "log_level": "warning"}
        own = configured.model_copy(update=changed)
        planned = plan(own, say)
        if len(planned.servers) < 2 and not OWN_NAMES.fullmatch(NAMESPACE):
            raise BenchError("servers that are given are measured by `chargeline bench`, under names of its own")
        for server in planned.servers:
            say(f"starting {server.name}")
            children[server.name] = start(server, own.local.start_timeout_s)
        made = Stand(chosen, with_addresses(own, planned.addresses), Folder(directory), children, say)
        try:
            yield made
        finally:
            made.close()
    finally:
        stop(children.values(), _STOP_S)
        shutil.rmtree(directory)


class Publisher:
    """A probe in a process of its own; its records are made before it is told to go."""

    def __init__(self, on: Stand, name: str, records: int, records_per_s: float = 0) -> None:
        self.cpu_s = 0.0
        """seconds of CPU it took to publish, once that is done"""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deploy.bench.publisher"],
            env=on.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        told = {"name": name, "records": records, "records_per_s": records_per_s}
        self._tell(json.dumps({**told, "accounts": on.plan.accounts, "now_ms": on.now_ms}))
        try:
            self._heard()
        except BaseException:
            self.close()
            raise

    def go(self) -> None:
        """Tell it to publish."""
        self._tell("go")

    def done(self) -> dict[str, Any]:
        """Wait until everything is acknowledged; returns when it began and ended (monotonic seconds)."""
        try:
            told = self._heard()
        finally:
            self.close()
        self.cpu_s = told["cpu_s"]
        return told

    def close(self) -> None:
        """End it; ended already: nothing."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the publisher ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("left"):
            raise BenchError(f"{answer['left']} records were not acknowledged by the broker")
        return answer


__all__ = ["BenchError", "LocalServerError", "Plan", "Publisher", "Stand", "Usage", "stand"]
