"""The auditor on real servers: it proves the books as they grow, goes on after a kill, and is loud at a breach."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, running

from consumers.audit import offline
from consumers.audit.follow import Follower
from consumers.audit.signing import SealKey
from consumers.audit.store import AuditStore
from deploy.local.supervisor import read_state
from pipeline.adapters.avro import ALERT
from pipeline.adapters.kafka.client import producer
from pipeline.adapters.kafka.ledger_lookup import read_partition
from pipeline.adapters.store.dump import Dump, dump_partition
from pipeline.adapters.store.redis import connect
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED, AUDIT, partition_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PARTITIONS = 4
OFFLINE = offline.__file__


class Stack:
    """A deployment with the sample's traffic, and its auditor."""

    def __init__(self, chargeline: CommandLine, data_dir: Path) -> None:
        self.chargeline = chargeline
        self.data_dir = data_dir
        self.settings = chargeline.settings()

    def process(self):
        state = read_state(self.data_dir)
        assert state is not None
        return next(process for process in state.processes if process.name == "audit")

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.process().port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        lines = [line.rpartition(" ") for line in self.page("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def alerts(self) -> list[dict]:
        records = read_partition(self.settings, ALERT_RAISED.name, 0, 20)
        found = [ALERT.decode(record.value) for record in records]
        return [alert for alert in found if alert["detector"] == "control_total"]


def until(true: Callable[[], bool], told: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data_dir = tmp_path_factory.mktemp("audited")
    options = {
        "KAFKA__LEDGER_PARTITIONS": str(PARTITIONS),
        "AUDIT__VIEW_INTERVAL_S": "1",
        "AUDIT__POLL_MS": "200",
        "CHARGE__SEAL_EVENTS": "20",
    }
    with running(data_dir, "--sample", **options) as chargeline:
        yield Stack(chargeline, data_dir)


def audited(stack: Stack, events: int) -> bool:
    metrics = stack.metrics()
    return sum(value for name, value in metrics.items() if name.startswith("chargeline_audit_last_seq")) == events


def test_it_proves_the_books_as_they_grow(stack):
    """Every event audited, charges priced again, Redis compared, records in = records out: as `audit verify` says."""
    report = stack.chargeline.one("audit", "verify")
    until(lambda: audited(stack, report["events"]), stack.metrics)
    until(lambda: stack.metrics()["chargeline_audit_views_total"] >= 2 * PARTITIONS, stack.metrics)
    outcomes = ("charged", "duplicate", "review", "rejected", "dead_letter")
    until(
        lambda: stack.metrics().get('chargeline_audit_records{outcome="dead_letter"}') == report["dead_letters"],
        stack.metrics,
    )
    metrics = stack.metrics()
    assert metrics["chargeline_audit_breach"] == 0
    assert metrics["chargeline_audit_lag_seconds"] == 0
    assert metrics["chargeline_audit_repriced_total"] >= report["charged"] > 100
    for figure in ("charged", "opening", "topped_up", "adjusted", "balance"):
        for currency, micros in report[f"{figure}_micros"].items():
            name = f'chargeline_audit_books_micros{{currency="{currency}",figure="{figure}"}}'
            assert metrics.get(name, 0) == micros or micros == 0, name
    received = metrics['chargeline_audit_records{outcome="received"}']
    assert received == sum(metrics[f'chargeline_audit_records{{outcome="{name}"}}'] for name in outcomes) > 100
    assert stack.page("/readyz?verbose") == (200, "[+]ledger ok\n[+]redis ok\n[+]books ok\nok\n")


@pytest.mark.faults
def test_it_goes_on_after_a_kill(stack):
    """kill -9: what was audited is not audited again, and nothing between is missed."""
    before = stack.chargeline.one("audit", "verify")["events"]
    until(lambda: audited(stack, before), stack.metrics)
    pid = stack.process().pid
    os.kill(pid, signal.SIGKILL)

    name = next(iter_accounts(stack.settings))
    stack.chargeline("account", "top-up", name, "1.00", "--reference", "after-the-kill")
    until(lambda: stack.process().pid not in {pid, None} and audited(stack, before + 1), stack.metrics)
    assert stack.metrics()["chargeline_audit_events_total"] == 1
    assert stack.page("/readyz")[0] == 200


def iter_accounts(settings: Settings) -> Iterator[str]:
    client = connect(settings)
    yield from (key.partition("}:")[2] for key in client.scan_iter(match="account:*"))
    client.close()


def follower(stack: Stack, folder: Path) -> tuple[AuditStore, Follower]:
    store = AuditStore(folder)
    return store, Follower(stack.settings, store, SealKey.of_file(folder / "key.pem"))


@pytest.fixture
def remembered(stack, tmp_path) -> Iterator[Path]:
    """The folder of another auditor of the same ledger that read it whole."""
    store, reader = follower(stack, tmp_path)
    while reader.round() or reader._anchors:
        assert reader.breaches == []
    assert sum(audit.chain.seq for audit in reader.audits.values()) > 100
    reader.close()
    store.close()
    return tmp_path


@pytest.mark.parametrize(
    ("change", "invariant", "said"),
    [
        ("UPDATE stands SET last_offset = last_offset + 5", "I1", "cut off"),
        ("UPDATE stands SET hash = zeroblob(32)", "I2", "written anew"),
        ("UPDATE stands SET last_offset = last_offset - 2", "I2", "written anew"),
        ("UPDATE stands SET genesis = zeroblob(32)", "I2", "made anew"),
    ],
)
def test_a_ledger_that_is_not_what_was_audited(stack, remembered, change, invariant, said):
    """Cut, written anew or replaced while nobody looked: the event remembered is not there."""
    store = AuditStore(remembered)
    store.database.execute(f"{change} WHERE partition = 1")
    store.close()
    store, reader = follower(stack, remembered)
    deadline = time.monotonic() + 20
    while not reader.breaches and time.monotonic() < deadline:
        reader.round()
    (breach,) = reader.breaches
    assert (breach.partition, breach.invariant) == (1, invariant)
    assert said in breach.detail
    reader.close()
    store.close()


def test_seals_are_signed_and_a_stranger_checks_them(stack, tmp_path):
    """Seals on the chain, signed; verify believes the key and no other; the exported file is checked by itself."""
    chargeline = stack.chargeline
    until(
        lambda: stack.metrics()["chargeline_audit_seals_total"] > 0 or chargeline.json("audit", "seals"), stack.metrics
    )
    (tmp_path / "pub.pem").write_text(chargeline("audit", "key").stdout)
    (tmp_path / "seals.jsonl").write_text(chargeline("audit", "seals", "--json").stdout)
    report = chargeline.one("audit", "verify", "--seal-key", tmp_path / "pub.pem")
    assert report["ok"]
    assert report["seals"] >= len((tmp_path / "seals.jsonl").read_text().splitlines()) > 3
    assert chargeline.one("audit", "verify", "--seal-key", tmp_path / "pub.pem", "--seals", tmp_path / "seals.jsonl")[
        "ok"
    ]
    other = SealKey.of_file(tmp_path / "other.pem")
    (tmp_path / "other.pub.pem").write_bytes(other.public_pem)
    chargeline("audit", "verify", "--seal-key", tmp_path / "other.pub.pem", code=1)
    file = tmp_path / "ledger.jsonl.gz"
    assert chargeline.one("audit", "export", file)["events"] == report["events"]
    command = [sys.executable, "-I", OFFLINE, file, "--key", tmp_path / "pub.pem"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{report['events']} events: chain, balances and seals hold" in done.stdout
    totals = chargeline.json("audit", "totals")
    assert sum(total["received"] for total in totals) == sum(
        sum(total[name] for name in ("charged", "duplicate", "review", "rejected", "dead_letter")) for total in totals
    )
    assert {total["source"] for total in totals} > {"?"}


@pytest.mark.faults
def test_a_rebuild_from_snapshots_is_the_same(stack):
    """Redis emptied and made anew, from snapshots and from the first event: the same to the byte."""
    chargeline = stack.chargeline

    def dumps() -> list[Dump]:
        return [dump_partition(stack.settings, p) for p in range(PARTITIONS)]

    before = dumps()
    snapshots = chargeline.json("snapshot")
    assert {found["seq"] for found in snapshots} == {int(dump.after["seq"]) for dump in before}
    chargeline("rebuild")
    assert dumps() == before
    chargeline("rebuild", "--from-first-event")
    assert dumps() == before
    client = connect(stack.settings)
    client.flushall()
    client.close()
    until(lambda: dumps() == before, lambda: "the owners did not restore the view")
    logs = (stack.data_dir / "logs" / "charge.log").read_text()
    assert logs.count('"event":"snapshot_restored"') >= PARTITIONS
    assert chargeline.one("audit", "verify")["ok"]


def test_a_breach_is_loud_and_stays_so(stack):
    """A balance changed in Redis, and a forged event: alert, metric, /readyz; again after a restart."""
    name = next(iter_accounts(stack.settings))
    p = partition_of(name, PARTITIONS)
    client = connect(stack.settings)
    client.hincrby(f"account:{{{p}}}:{name}", "balance", 1)
    until(lambda: stack.metrics()["chargeline_audit_breach"] == 1, stack.metrics)
    until(lambda: len(stack.alerts()) >= 1, stack.alerts)
    alert = stack.alerts()[0]
    assert alert["severity"] == "critical"
    detail = json.loads(alert["detail"])
    assert (detail["partition"], detail["invariant"]) == (p, "I6")
    assert "balance" in detail["detail"]
    status, text = stack.page("/readyz")
    assert status == 503
    assert f"I6 is broken at {p}-" in text
    client.hincrby(f"account:{{{p}}}:{name}", "balance", -1)
    client.close()
    pid = stack.process().pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(stack.alerts()) >= 2, stack.alerts)
    assert {found["alert_id"] for found in stack.alerts()} == {alert["alert_id"]}, "the same again is the same alert"
    assert stack.page("/readyz")[0] == 503, "mended meanwhile, but it was broken"

    other = (p + 1) % PARTITIONS
    last = list(read_partition(stack.settings, AUDIT.name, other, 20))[-1]
    forged = bytearray(last.value)
    forged[40] ^= 1
    out = producer(stack.settings)
    out.produce(AUDIT.name, bytes(forged), last.key, other)
    assert out.flush(10) == 0
    until(lambda: len({found["alert_id"] for found in stack.alerts()}) == 2, stack.alerts)
    breaches = [json.loads(found["detail"]) for found in stack.alerts()]
    assert {(found["partition"], found["invariant"]) for found in breaches} == {(p, "I6"), (other, "I2")}
