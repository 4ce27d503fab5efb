"""A broker, a ledger written as charge writes it, and detect in processes of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from real_servers import own_servers

from pipeline.adapters.avro import ALERT
from pipeline.adapters.kafka.client import transactional_producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.adapters.ledger_codec import encode_event, usage_body_of
from pipeline.domain.ledger import BoughtStep, Effects, Event, Line, Position, Positions
from pipeline.domain.usage import AcceptedUsage, UsageRecord
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED, AUDIT, partition_of

YUAN = 1_000_000
START = 1_793_500_000_000
PARTITIONS = 2

WORKER = """
import signal, sys, threading, time
from pipeline.adapters import logs
from pipeline import detect
from pipeline.settings import Settings
logs.configure("info")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
{fault}
sys.exit(detect.run(Settings(), stop))
"""
HANG = "detect.Worker.handle = lambda *_: time.sleep(3600)"


def nowhere_redis(data_dir: Path) -> Settings:
    """detect needs no Redis: one that is configured is not started."""
    return Settings(data_dir=data_dir, redis={"url": "redis://127.0.0.1:1"}, kafka={"ledger_partitions": PARTITIONS})


def wait_until(condition: Callable[[], bool], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Iterator[Settings]:
    """A broker for these tests alone: detect's group and topics have fixed names."""
    planned = nowhere_redis(tmp_path_factory.mktemp("broker"))
    with own_servers(planned) as made:
        create_topics(made)
        yield made


# --- a ledger written as charge writes it, by transactions ---


class Ledger:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.heads = dict.fromkeys(range(PARTITIONS), (0, bytes(32)))
        self.clocks = dict.fromkeys(range(PARTITIONS), 0)
        self.accounts: dict[str, tuple[int, int]] = {}
        self.topic_id = describe_topics(settings)[AUDIT.name].topic_id
        self.producer = transactional_producer(settings, "test-ledger")
        self.producer.init_transactions(10)

    def commit(self, *charges: tuple[str, int]) -> dict[str, str]:
        """Charge each account in one transaction; returns the charge_id of each account's last one."""
        heads, accounts = dict(self.heads), dict(self.accounts)
        ids = self._produce(charges, self.heads, self.accounts)
        self.producer.commit_transaction(10)
        assert self.heads != heads or accounts == self.accounts
        return ids

    def abort(self, *charges: tuple[str, int]) -> None:
        self._produce(charges, dict(self.heads), dict(self.accounts))
        self.producer.abort_transaction(10)

    def poison(self, partition: int, *values: bytes | None) -> None:
        self.producer.begin_transaction()
        for value in values:
            self.producer.produce(AUDIT.name, value, b"nobody", partition)
        self.producer.commit_transaction(10)

    def commit_uses(self, uses: Iterable[tuple[str, UsageRecord]], days_ago: int | None = None) -> None:
        """Charge these records in one transaction, as they come in; `days_ago`: the broker is told so."""
        self.producer.begin_transaction()
        for account, record in uses:
            partition = partition_of(account, PARTITIONS)
            seq, previous = self.heads[partition]
            account_seq, before = self.accounts.get(account, (0, 1_000 * YUAN))
            self.clocks[partition] = max(self.clocks[partition], record.start_time + record.duration_ms)
            event = priced(record, account, seq + 1, account_seq + 1, before, self.clocks[partition])
            value, event_hash = encode_event(event, usage_body_of(event.usage), previous)
            when = {} if days_ago is None else {"timestamp": self.clocks[partition] - days_ago * 86_400_000}
            self.producer.produce(AUDIT.name, value, account.encode(), partition, **when)
            self.producer.poll(0)
            self.heads[partition] = (seq + 1, event_hash)
            self.accounts[account] = (account_seq + 1, event.balance_after_micros)
        self.producer.commit_transaction(20)

    def _produce(self, charges, heads, accounts) -> dict[str, str]:
        self.producer.begin_transaction()
        ids = {}
        for account, amount in charges:
            partition = partition_of(account, PARTITIONS)
            seq, previous = heads[partition]
            account_seq, before = accounts.get(account, (0, 20 * YUAN))
            event = charged(account, seq + 1, account_seq + 1, before, amount)
            value, event_hash = encode_event(event, usage_body_of(event.usage), previous)
            headers = [("traceparent", b"00-" + b"1" * 32)]
            self.producer.produce(AUDIT.name, value, account.encode(), partition, headers=headers)
            self.producer.poll(0)
            heads[partition] = (seq + 1, event_hash)
            accounts[account] = (account_seq + 1, before - amount)
            ids[account] = f"{partition}-{seq + 1}"
        self.producer.flush(20)
        return ids


LINE = Line(
    "call-peak", "7f" * 32, "basic", "peak", "+8613", 60_000, 60_000, "min", None, 0, "0.15",
    (BoughtStep("0", "0.15", "1", "1", 1, "150000"),), 150_000, None, 0, 60_000, "0", "150000", 0, None, None, None,
    None, "150000",
)  # fmt: skip


def priced(record: UsageRecord, account: str, seq: int, account_seq: int, before: int, clock: int) -> Event:
    """The event of a record that cost something, as large as such events are."""
    usage = AcceptedUsage(*record, account, clock, "charging.usage.received.v1", 0, seq, False)
    return charged(account, seq, account_seq, before, 150_000)._replace(
        usage=usage, event_id=record.record_id, lines=(LINE,), clock=clock,
        effects=Effects({"bucket:basic:voice:2026-12": "5/900", "spend:2026-12": str(account_seq)}, {}, None, None),
    )  # fmt: skip


def charged(account: str, seq: int, account_seq: int, before: int, amount: int) -> Event:
    nowhere = Position(bytes(16), 0)
    usage = AcceptedUsage(
        f"{account}/{account_seq}", "msc", None, "VOICE", "MO", "+8613800000001", None, None, "+8613900000002",
        START + seq, 60_000, 0, 0, 0, True, None, None, None, None, None, None, False, account, START, "raw", 0, seq, False,
    )  # fmt: skip
    return Event(
        seq=seq, kind="CHARGED", event_id=usage.record_id, account=account, account_seq=account_seq, usage=usage,
        command=None, digest=bytes(32), reason=None, detail=None, lines=(), amount_micros=amount, currency="CNY",
        balance_before_micros=before, balance_after_micros=before - amount, effects=Effects({}, {}, None, None),
        clock=START, late_window_days=35, positions=Positions(nowhere, nowhere, nowhere), epoch=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ledger(settings) -> Ledger:
    return Ledger(settings)


# --- a worker in a process of its own ---


class Worker:
    def __init__(self, settings: Settings, log: Path, fault: str = "", **detect: int) -> None:
        self.log = log
        environment = {
            **os.environ,
            "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
            "CHARGELINE_KAFKA__LEDGER_PARTITIONS": str(PARTITIONS),
            "CHARGELINE_DATA_DIR": str(settings.data_dir),
            "CHARGELINE_DETECT__SESSION_TIMEOUT_MS": "6000",
            "BROKER_URL": "kafka://127.0.0.1:1",  # what Faust would believe before anything else
            **{f"CHARGELINE_DETECT__{name.upper()}": str(value) for name, value in detect.items()},
        }
        command = [sys.executable, "-W", "error", "-c", WORKER.format(fault=fault)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=environment, stderr=out, stdout=out)

    def stop(self, timeout_s: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


@pytest.fixture
def start(settings, tmp_path) -> Iterator[Callable[..., Worker]]:
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(Worker(settings, tmp_path / "worker.log", **more))


class Alerts:
    """All alerts on the topic so far, repeats included."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.reader = FollowingReader.from_beginning(settings, [(ALERT_RAISED.name, 0)])
        self.records: list = []

    def of(self, *accounts: str) -> list[dict]:
        self.records += self.reader.poll(10_000, 0.2)
        wanted = {f"account-{account}".encode() for account in accounts}
        return [ALERT.decode(record.value) for record in self.records if record.key in wanted]


@pytest.fixture
def alerts(settings) -> Iterator[Alerts]:
    made = Alerts(settings)
    yield made
    made.reader.close()


def account_in(partition: int = 0) -> str:
    while True:
        name = f"acc-{uuid.uuid4().hex[:12]}"
        if partition_of(name, PARTITIONS) == partition:
            return name
