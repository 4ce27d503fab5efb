# ruff: noqa: F811 - fixtures are imported
"""detect on a real broker: what is raised, what is not, and what a fault costs."""

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from detect_world import HANG, PARTITIONS, YUAN, account_in, alerts, ledger, settings, start, wait_until  # noqa: F401

from pipeline.detect import STALLED_EXIT_CODE
from pipeline.domain.detectors.finding import alert_id

pytestmark = pytest.mark.system


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


@pytest.mark.faults
def test_no_alert_is_lost_when_workers_are_killed(start, ledger, alerts):
    """kill -9 in mid-stream, three times: every account's alert is there, under the one id it can have."""
    accounts = [account_in(number % PARTITIONS) for number in range(1_500)]
    for part in range(0, len(accounts), 100):
        ledger.commit(*((account, 15 * YUAN) for account in accounts[part : part + 100]))
    seen: set[str] = set()
    for _ in range(3):
        enough = len(seen) + 100
        worker = start(batch_records=1)
        wait_until(lambda enough=enough: len({a["account"] for a in alerts.of(*accounts)}) > enough)
        worker.kill()
        seen = {alert["account"] for alert in alerts.of(*accounts)}
    assert seen < set(accounts), "killed too late to prove anything"
    worker = start()
    wait_until(lambda: {alert["account"] for alert in alerts.of(*accounts)} == set(accounts), 60)
    for alert in alerts.of(*accounts):
        assert alert["alert_id"] == alert_id("low_balance", f"account-{alert['account']}", f"below@{10 * YUAN}")
    assert worker.stop() == 0


@pytest.mark.faults
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


@pytest.mark.faults
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


@pytest.mark.faults
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


@pytest.mark.faults
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
