"""A deployment of our own to break: broker and Redis that can be killed, charge as real processes, and a check.

The check shares no code with the fold: it reads the ledger and keeps the last value after of each effect.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from charging_traffic import DOCUMENT, account_name, command, usage

from deploy.local.process import Child, stop
from deploy.local.servers import plan, start
from pipeline.adapters.avro import ACCEPTED_USAGE, ACCOUNT_COMMAND, CATALOGUE_VERSION, USAGE_RECORD
from pipeline.adapters.kafka.client import end_offsets, producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.adapters.ledger_codec import decode_event, expected_hash
from pipeline.adapters.store.dump import dump_partition
from pipeline.adapters.store.redis import RedisStore
from pipeline.domain.catalogue import canonical_bytes, compile_catalogue
from pipeline.domain.usage import UsageRecord
from pipeline.settings import ChargeSettings, HttpSettings, KafkaSettings, RedisSettings, Settings
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import AUDIT, CATALOGUE, USAGE_ACCEPTED, USAGE_RECEIVED, partition_of

START_S = 90
ACCOUNTS = 400
SMALL_BATCH = 10
"""records a batch, where a process is to come by its crash points more than once"""
FIRST_RAW = 10**9
REPEATED = 0.03
"""of the traffic: records that come twice"""


class Worker:
    """One process, of charge if nothing else is said; `crash_at`: where it is to die or stop, see crash_points."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        name: str,
        port: int,
        crash_at: str = "",
        process: str = "charge",
        batch: int | None = None,
    ) -> None:
        self.name = name
        self.process_name = process
        self.port = port
        self.log = folder / f"{name}.log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("CHARGELINE_")}
        env |= {
            "CHARGELINE_DATA_DIR": str(settings.data_dir),
            "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
            "CHARGELINE_REDIS__URL": str(settings.redis.url),
            "CHARGELINE_REDIS__SOCKET_TIMEOUT_S": "3",
            f"CHARGELINE_HTTP__{process.upper()}_PORT": str(port),
            "CHARGELINE_CRASH_AT": crash_at,
            "CHARGELINE_CHARGE__INSTANCE_ID": name,
        }
        if batch is not None:
            env[f"CHARGELINE_{process.upper()}__BATCH_RECORDS"] = str(batch)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "run", process], env=env, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()

    def sleep(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def sleeps(self) -> bool:
        """Whether it was stopped, by itself or by us."""
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> int:
        """Ask it to end; returns its exit code."""
        if self.process.poll() is None:
            self.wake()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def ready(self) -> bool:
        """Ask its health page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def said(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of this name."""
        with self.log.open("rb") as log:  # whoever had this name before wrote into it too
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line.get("event") == event]


class Published(NamedTuple):
    """What was sent: how often each record, by account and id, and how many inputs in all."""

    records: Counter[tuple[str, str]]
    inputs: int


class Deployment:
    """Broker, Redis and workers on one folder."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.folder = folder
        self._plan = plan(Settings(data_dir=folder), lambda _line: None)
        assert self._plan.kafka is not None
        assert self._plan.redis is not None
        self.kafka: Child = start(self._plan.kafka, START_S)
        self.redis: Child = start(self._plan.redis, START_S)
        self.workers: list[Worker] = []
        self.partitions = partitions
        self.settings = Settings(
            data_dir=folder,
            kafka=KafkaSettings(bootstrap_servers=self._plan.kafka.bootstrap_servers, ledger_partitions=partitions),
            redis=RedisSettings(url=self._plan.redis.url),
            charge=ChargeSettings(),
            http=HttpSettings(),
        )
        create_topics(self.settings)
        self.sent = Published(Counter(), 0)
        self.raw: set[tuple[str, str]] = set()
        """records that were sent as a probe does; mediate may hand one on more than once"""
        self.small_batches = False
        self._random = random.Random(7)

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        stop([self.kafka, self.redis], 20)

    # --- breaking it ---

    def start_worker(self, name: str | None = None, crash_at: str = "", process: str = "charge") -> Worker:
        """Start one more process; one of the same name takes the place of the one before without a wait."""
        name = name or f"{process}-{len(self.workers)}"
        batch = SMALL_BATCH if self.small_batches else None
        worker = Worker(self.settings, self.folder, name, _free_port(), crash_at, process, batch)
        self.workers.append(worker)
        return worker

    def kill_broker(self) -> None:
        self.kafka.kill()

    def start_broker(self) -> None:
        assert self._plan.kafka is not None
        self.kafka = start(self._plan.kafka, START_S)

    def kill_redis(self) -> None:
        self.redis.kill()

    def start_redis(self) -> None:
        assert self._plan.redis is not None
        self.redis = start(self._plan.redis, START_S)

    def cut_redis(self, octets: int) -> int:
        """Cut the end off the append-only file of a Redis that does not run; returns how long it was."""
        (file,) = sorted((self.folder / "redis").glob("appendonlydir/*.incr.aof"))[-1:]
        size = file.stat().st_size
        assert size > octets, f"only {size} octets to cut {octets} from"
        os.truncate(file, size - octets)
        return size

    def wipe_redis(self) -> None:
        self._ask_redis("FLUSHALL")

    def break_scripts(self) -> None:
        """Let Redis refuse to add to a set: apply then ends half way, its hashes written, its `seq` not."""
        self._ask_redis("ACL", "SETUSER", "default", "-sadd")

    def mend_scripts(self) -> None:
        self._ask_redis("ACL", "SETUSER", "default", "+sadd")

    def _ask_redis(self, *words: str) -> None:
        store = RedisStore(self.settings)
        try:
            store._call(*words)
        finally:
            store.close()

    # --- traffic ---

    def open_accounts(self) -> None:
        """Publish the catalogue and open every account."""
        out = producer(self.settings)
        version = compile_catalogue(DOCUMENT)
        value = {"hash": version.hash, "effective_from": 0, "published_at": 0}
        document = canonical_bytes(DOCUMENT).decode()
        out.produce(CATALOGUE.name, CATALOGUE_VERSION.encode({**value, "document": document}), version.hash)
        for number in range(ACCOUNTS):
            name = account_name(number)
            opening = command("open_account", f"open-{name}", number)
            out.produce(COMMANDS.name, ACCOUNT_COMMAND.encode(opening), name, partition_of(name, self.partitions))
        assert out.flush(30) == 0
        self.sent = Published(self.sent.records, self.sent.inputs + ACCOUNTS)

    def publish(self, records: int, top_ups: int = 0) -> None:
        """Send so many more records, some of them twice, and top-ups between them."""
        out = producer(self.settings)
        sent, inputs = self.sent
        now = int(time.time() * 1000)
        first = len(sent)
        for n in range(first, first + records):
            number = self._random.randrange(ACCOUNTS)
            name = account_name(number)
            value = ACCEPTED_USAGE.encode(usage(n, number, now, self._random)._asdict())
            for _ in range(2 if self._random.random() < REPEATED else 1):
                while len(out) > 90_000:
                    out.poll(0.05)
                out.produce(USAGE_ACCEPTED.name, value, name, partition_of(name, self.partitions))
                sent[name, f"{n:032x}"] += 1
                inputs += 1
            out.poll(0)
        for n in range(top_ups):
            number = self._random.randrange(ACCOUNTS)
            name = account_name(number)
            body = ACCOUNT_COMMAND.encode(command("top_up", f"top-{inputs}-{n}", number))
            out.produce(COMMANDS.name, body, name, partition_of(name, self.partitions))
            inputs += 1
        assert out.flush(30) == 0
        self.sent = Published(sent, inputs)

    def publish_raw(self, records: int) -> None:
        """Send so many more records as probes do."""
        out = producer(self.settings)
        now = int(time.time() * 1000)
        first = FIRST_RAW + len(self.raw)
        for n in range(first, first + records):
            number = self._random.randrange(ACCOUNTS)
            fields = usage(n, number, now, self._random)._asdict()
            value = USAGE_RECORD.encode({name: fields[name] for name in UsageRecord._fields})
            out.produce(USAGE_RECEIVED.name, value, fields["msisdn"])
            self.raw.add((account_name(number), f"{n:032x}"))
        assert out.flush(30) == 0

    # --- watching it ---

    def answered(self) -> int:
        """How many events the view stands at; 0 while it cannot be asked."""
        store = RedisStore(self.settings)
        try:
            return sum(int(store.head(p).get("seq", "0")) for p in range(self.partitions))
        except RuntimeError:
            return 0
        finally:
            store.close()

    def wait_answered(self, count: int, timeout_s: float = 60) -> None:
        wait_until(lambda: self.answered() >= count, timeout_s, lambda: f"{self.answered()} of {count}; {self._logs()}")

    def drain(self, timeout_s: float = 90) -> None:
        """Wait until every input has its event, in ledger and view."""
        self.wait_answered(self.sent.inputs, timeout_s)

    def supervise(self, worker: Worker, done: Callable[[], bool], timeout_s: float = 90) -> Worker:
        """Start the worker again whenever it ends, until this is done; returns the one that runs then."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {self._logs()}"
            if worker.process.poll() is not None:
                worker = self.start_worker()
            time.sleep(0.1)
        return worker

    def _logs(self) -> str:
        return "\n".join("\n".join(worker.log.read_text().splitlines()[-5:]) for worker in self.workers)

    # --- the check ---

    def check(self, seals: int = 0) -> Counter[str]:
        """Hold the whole ledger against what was sent and against Redis; returns the count of each kind of event."""
        facts = describe_topics(self.settings)
        topic_id = facts[AUDIT.name].topic_id.hex()
        charged: Counter[tuple[str, str]] = Counter()
        answered: Counter[tuple[str, str]] = Counter()
        kinds: Counter[str] = Counter()
        for partition in range(self.partitions):
            kinds += self._check_partition(partition, topic_id, charged, answered)
        again = {record: answered.pop(record) - 1 for record in self.raw & answered.keys()}
        assert again.keys() == self.raw, "a raw record has no event"
        assert answered == self.sent.records, "a record has no event, or more than it was sent"
        assert set(charged.values()) <= {1}, "a record is charged twice"
        assert charged.keys() == self.sent.records.keys() | self.raw, "a record was never charged"
        assert kinds.total() == self.sent.inputs + len(again) + sum(again.values()) + seals
        return kinds

    def _check_partition(
        self, partition: int, topic_id: str, charged: Counter[Any], answered: Counter[Any]
    ) -> Counter[str]:
        kinds: Counter[str] = Counter()
        previous = hashlib.sha256(f"{topic_id}:{partition}".encode()).digest()
        balances: dict[str, int] = {}
        hashes: dict[str, dict[str, str]] = {}
        numbers: dict[str, set[int]] = {}
        tag = f"{{{partition}}}"
        seq = epoch = 0
        key = (AUDIT.name, partition)
        with FollowingReader.from_beginning(self.settings, [key]) as reader:
            for record in reader.read_to_end(20):
                assert record.value is not None
                event, linked, event_hash = decode_event(record.value)
                seq += 1
                assert event.seq == seq, f"partition {partition}: {event.seq} follows {seq - 1}"
                assert linked == previous
                assert event_hash == expected_hash(record.value)
                previous = event_hash
                assert event.epoch >= epoch
                epoch = event.epoch
                kinds[event.kind] += event.reason != "seal"  # they come by number and by the clock, and answer nothing
                if event.usage is not None:
                    answered[event.account, event.event_id] += 1
                    if event.kind == "CHARGED":
                        charged[event.account, event.event_id] += 1
                if not event.account_seq:
                    continue
                assert event.balance_before_micros == balances.get(event.account, 0)
                balances[event.account] = event.balance_after_micros
                effects = event.effects
                fields = hashes.setdefault(f"account:{tag}:{event.account}", {})
                standing = {"balance": str(event.balance_after_micros), "seq": str(event.account_seq)}
                _keep(fields, {**effects.account, **standing})
                if effects.kept:
                    _keep(hashes.setdefault(f"kept:{tag}:{event.account}", {}), effects.kept)
                if effects.session is not None:
                    name = f"session:{tag}:{effects.session.key}"
                    fields = {} if effects.session.begins else hashes.get(name, {})
                    _keep(fields, effects.session.fields)
                    hashes[name] = fields
                if effects.seen is not None:
                    name = f"seen:{tag}:{effects.seen.day}:{effects.seen.bucket}"
                    numbers.setdefault(name, set()).update((effects.seen.record, effects.seen.content))
        view = dump_partition(self.settings, partition)
        assert view.after["seq"] == str(seq)
        assert view.after["hash"] == previous.hex()
        assert not view.strange
        assert view.hashes == hashes
        assert {name: set(found) for name, found in view.sets.items()} == numbers
        return kinds


def _keep(fields: dict[str, str], changes: Any) -> None:
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value


@contextmanager
def deployment(folder: Path, partitions: int = 4) -> Iterator[Deployment]:
    """Start broker and Redis on this folder, and end all that was started."""
    made = Deployment(folder, partitions)
    try:
        yield made
    finally:
        made.close()


def wait_until(true: Callable[[], bool], timeout_s: float, told: Callable[[], str] = str) -> None:
    """Wait for something to become true, or fail with what is told."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {told()}"
        time.sleep(0.05)


def waiting(settings: Settings, topic: str, partition: int) -> int:
    """Return the next offset of one partition of a topic."""
    return end_offsets(settings, [(topic, partition)], committed_only=False)[topic, partition]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
