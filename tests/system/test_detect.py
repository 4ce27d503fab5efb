"""detect on a real broker: what is raised, what is not, and what a fault costs."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.process import LocalServerError
from deploy.local.servers import embedded
from deploy.local.supervision import with_addresses
from pipeline.adapters.avro import ALERT
from pipeline.adapters.kafka.client import transactional_producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.adapters.ledger_codec import encode_event, usage_body_of
from pipeline.detect import STALLED_EXIT_CODE
from pipeline.domain.detectors.finding import alert_id
from pipeline.domain.ledger import Effects, Event, Position, Positions
from pipeline.domain.usage import AcceptedUsage
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED, AUDIT, partition_of

pytestmark = pytest.mark.system

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
    try:
        with embedded(planned) as addresses:
            made = with_addresses(planned, addresses)
            create_topics(made)
            yield made
    except LocalServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no broker here: {error}")


# --- a ledger written as charge writes it, by transactions ---


class Ledger:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.heads = dict.fromkeys(range(PARTITIONS), (0, bytes(32)))
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


def test_a_crossing_is_raised_and_its_recovery_closes_it(start, ledger, alerts):
    """Key, headers and content of both; the worker drains and ends with 0; nothing is printed but JSON lines."""
    account = account_in(1)
    worker = start()
    ids = ledger.commit((account, 15 * YUAN))
    wait_until(lambda: len(alerts.of(account)) == 1)
    ledger.commit((account, -15 * YUAN))
    wait_until(lambda: len(alerts.of(account)) == 2)
    opened, closed = alerts.of(account)
    assert (
        opened["alert_id"] == closed["alert_id"] == alert_id("low_balance", f"account-{account}", f"below@{10 * YUAN}")
    )
    assert (opened["state"], closed["state"]) == ("open", "close")
    assert opened["charge_ids"] == [ids[account]]
    assert opened["record_ids"] == [f"{account}/1"]
    record = next(r for r in alerts.records if r.key == f"account-{account}".encode())
    headers = dict(record.headers)
    assert headers["ce_type"] == b"charging.alert.raised.v1"
    assert headers["ce_time"].startswith(b"2026-11-01T")
    assert headers["traceparent"].startswith(b"00-1")
    assert worker.stop() == 0
    assert all(line.startswith("{") for line in worker.log.read_text().splitlines())


def test_what_a_transaction_aborted_is_not_read(start, ledger, alerts):
    """An aborted event was never in the ledger: no alert, and the committed one behind it has its own."""
    ghost, account = account_in(), account_in()
    start()
    ledger.abort((ghost, 15 * YUAN))
    ledger.commit((account, 15 * YUAN))
    ledger.abort((ghost, 15 * YUAN))
    ledger.commit((account, -15 * YUAN))
    wait_until(lambda: len(alerts.of(account)) == 2)
    assert alerts.of(ghost) == []


def test_poison_in_the_ledger_is_passed_over(start, ledger, alerts):
    """Values that are no event are counted and named by their place; alerts behind them are raised."""
    account = account_in()
    worker = start()
    ledger.poison(0, b"", None, b"\xc3\x01" + bytes(8), os.urandom(200))
    ledger.commit((account, 15 * YUAN))
    wait_until(lambda: len(alerts.of(account)) == 1)
    lines = worker.log.read_text()
    assert lines.count('"event":"event_passed_over"') == 4
    assert '"reason":"unknown_schema"' in lines
    port = lines.partition('"http_port":')[2].partition(",")[0].partition("}")[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    assert 'chargeline_detect_unreadable_total{reason="undecodable"} 3.0' in text
    assert 'chargeline_detect_alerts_total{detector="low_balance",state="open"}' in text


def test_no_alert_is_lost_when_workers_are_killed(start, ledger, alerts):
    """kill -9 in mid-stream, three times: every account's alert is there, under the one id it can have."""
    accounts = [account_in(number % PARTITIONS) for number in range(1_500)]
    for part in range(0, len(accounts), 100):
        ledger.commit(*((account, 15 * YUAN) for account in accounts[part : part + 100]))
    seen: set[str] = set()
    for _ in range(3):
        enough = len(seen) + 100
        worker = start()
        wait_until(lambda enough=enough: len({a["account"] for a in alerts.of(*accounts)}) > enough)
        worker.kill()
        seen = {alert["account"] for alert in alerts.of(*accounts)}
    assert seen < set(accounts), "killed too late to prove anything"
    worker = start()
    wait_until(lambda: {alert["account"] for alert in alerts.of(*accounts)} == set(accounts), 60)
    for alert in alerts.of(*accounts):
        assert alert["alert_id"] == alert_id("low_balance", f"account-{alert['account']}", f"below@{10 * YUAN}")
    assert worker.stop() == 0


def test_two_workers_share_the_ledger_and_one_takes_over_from_the_other(start, ledger, alerts):
    """A second worker joins, the first leaves: whatever happens meanwhile is raised."""
    accounts = [account_in(number % PARTITIONS) for number in range(200)]
    first = start()
    ledger.commit(*((account, 15 * YUAN) for account in accounts[:50]))
    wait_until(lambda: len({a["account"] for a in alerts.of(*accounts)}) == 50)
    start()
    for account in accounts[50:150]:
        ledger.commit((account, 15 * YUAN))
    assert first.stop() == 0
    ledger.commit(*((account, 15 * YUAN) for account in accounts[150:]))
    wait_until(lambda: {a["account"] for a in alerts.of(*accounts)} == set(accounts))


def test_the_watchdog_ends_a_worker_that_does_not_get_on(start, ledger, alerts):
    """Records wait and nothing moves: the process ends with its own code, commits nothing, and the next one goes on."""
    account = account_in()
    hanging = start(fault=HANG, stall_timeout_s=4)
    ledger.commit((account, 15 * YUAN))
    assert hanging.process.wait(60) == STALLED_EXIT_CODE
    assert '"event":"worker_stalled"' in hanging.log.read_text()
    assert alerts.of(account) == []
    start()
    wait_until(lambda: len(alerts.of(account)) == 1)


def test_the_watchdog_leaves_an_idle_worker_alone(start, ledger, alerts):
    """A ledger ends in transaction markers, which no reader ever passes: that is no stall."""
    account = account_in()
    idle = start(stall_timeout_s=2)
    ledger.commit((account, 15 * YUAN))
    ledger.abort((account, 15 * YUAN))
    wait_until(lambda: len(alerts.of(account)) == 1)
    time.sleep(8)
    assert idle.process.poll() is None
    assert idle.stop() == 0


def test_a_worker_ends_where_numbers_are_missing_and_the_next_one_goes_on(start, ledger, alerts):
    """A gap in the numbers may be events that were skipped: a new worker reads from there, and takes a real gap as it is."""
    before, behind = account_in(), account_in()
    worker = start()
    ledger.commit((before, 15 * YUAN))
    wait_until(lambda: len(alerts.of(before)) == 1)
    seq, previous = ledger.heads[0]
    ledger.heads[0] = (seq + 5, previous)
    ledger.commit((behind, 15 * YUAN))
    assert worker.process.wait(30) == 1
    assert '"event":"worker_gives_up"' in worker.log.read_text()
    assert alerts.of(behind) == []
    start()
    wait_until(lambda: len(alerts.of(behind)) == 1)
    assert len(alerts.of(before)) == 1, "what was handled is committed on the way out"


@pytest.mark.timeout(90)
def test_the_subscriber_of_the_guide_runs(start, settings, ledger, alerts):
    """The example in docs/guide-alerts.md, word for word, prints an alert that was just raised."""
    guide = Path(__file__).parents[2].joinpath("docs", "guide-alerts.md").read_text(encoding="utf-8")
    example = guide.partition("```python\n")[2].partition("```")[0]
    account = account_in()
    start()
    ledger.commit((account, 15 * YUAN))
    environment = {**os.environ, "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers)}
    with subprocess.Popen([sys.executable, "-c", example], env=environment, stdout=subprocess.PIPE, text=True) as shown:
        line = next(line for line in shown.stdout if account in line)
        shown.kill()
    assert line.startswith(f"open low_balance account-{account} 1 Ask the customer")
