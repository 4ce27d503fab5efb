"""The command line against real servers and processes, as somebody types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.sample import story

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ACCOUNTS = 4


class Chargeline:
    """Runs command lines in one data directory."""

    def __init__(self, data_dir):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CHARGELINE_")}
        self.environment = {**clean, "CHARGELINE_DATA_DIR": str(data_dir), "CHARGELINE_KAFKA__LEDGER_PARTITIONS": "2"}
        jars = os.environ.get("CHARGELINE_LOCAL__KAFKA_JARS")
        if jars:
            self.environment["CHARGELINE_LOCAL__KAFKA_JARS"] = jars

    def __call__(self, *arguments, code=0):
        command = [sys.executable, "-m", "deploy.cli", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments, code=0):
        return [json.loads(line) for line in self(*arguments, "--json", code=code).stdout.splitlines()]

    def process(self, name):
        (status,) = self.json("status")
        return next(process for process in status["processes"] if process["name"] == name)


@pytest.fixture(scope="module")
def chargeline(tmp_path_factory):
    run = Chargeline(tmp_path_factory.mktemp("cli") / "data")
    run("up", "--sample")
    yield run
    run("down")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return story.write(tmp_path_factory.mktemp("sample"), time.time_ns() // 1_000_000)


def test_a_second_up_changes_nothing(chargeline):
    """`up` where everything is up prints the same addresses and starts nothing."""
    before = chargeline.process("charge")["pid"]
    (status,) = chargeline.json("status")
    again = chargeline("up", "--sample")
    assert status["bootstrap_servers"] in again.stdout
    assert "the sample is there already" in again.stderr
    assert chargeline.process("charge")["pid"] == before


def test_status_says_where_everything_is(chargeline):
    """One object: addresses, whether all is drained, and each process with its pid, state and lag."""
    (status,) = chargeline.json("status")
    assert set(status) == {"bootstrap_servers", "redis_url", "data_dir", "drained", "processes"}
    assert status["drained"] is True
    for name in ("mediate", "charge"):
        process = chargeline.process(name)
        assert set(process) == {"name", "pid", "state", "lag", "records_per_s", "last_error"}
        assert (process["state"], process["lag"]) == ("ready", 0)
        os.kill(process["pid"], 0)


def test_top_shows_one_screen(chargeline):
    """`top --once` shows each process with its state, the ledger's length, dead letters by reason and alerts."""
    text = chargeline("top", "--once", "--interval", "0.2").stdout
    assert "everything sent is charged" in text
    for name in ("mediate", "charge", "detect"):
        assert re.search(rf"^{name} .* ready *$", text, re.MULTILINE), text
    assert re.search(r"ledger +[0-9,]+ events", text)
    assert "1 unknown_subscriber" in " ".join(text.split())  # lines break at the width of the terminal
    assert re.search(r"(account|msisdn|source|range)-", text), text


def test_doctor_finds_nothing_wrong(chargeline):
    """A deployment that `up` made is in order."""
    assert {verdict["result"] for verdict in chargeline.json("doctor")} == {"passed"}


def test_the_books_balance(chargeline):
    """The audit of the sample's ledger finds nothing, and its figures add up."""
    (report,) = chargeline.json("audit", "verify")
    assert report["ok"] is True
    assert report["breach"] is None
    came_in = sum(report[name]["CNY"] for name in ("opening_micros", "topped_up_micros", "adjusted_micros"))
    assert came_in - report["charged_micros"]["CNY"] == report["balance_micros"]["CNY"]
    assert any(line.startswith("books balance") for line in chargeline("audit", "verify").stdout.splitlines())


def test_a_bill_is_the_accounts_charges(chargeline):
    """A bill's lines add up to its total; each charge explains itself; the balance is that of the view."""
    (bill,) = chargeline.json("bill", story.BILL_ACCOUNT)
    assert bill["lines"]
    assert sum(line["amount_micros"] for line in bill["lines"]) == bill["total_micros"] > 0
    (shown,) = chargeline.json("account", "show", story.BILL_ACCOUNT)
    assert shown["balance_micros"] == bill["balance_micros"]
    dearest = max(bill["lines"], key=lambda line: line["amount_micros"])
    text = chargeline("explain", dearest["charge_id"]).stdout
    assert text.startswith(f"charge {dearest['charge_id']}: ")
    assert "rounded to 2 decimals" in text
    (event,) = chargeline.json("explain", dearest["charge_id"])
    assert event["event_id"] == dearest["record_id"]
    assert chargeline("bill", "nobody", code=1).stdout == ""
    assert "no event" in chargeline("explain", "0-99999999", code=1).stderr


def test_every_event_is_found_by_its_number(chargeline):
    """An event is found by its number wherever it lies among the markers of transactions: first, middle, last."""
    (report,) = chargeline.json("audit", "verify")
    for seq in (1, 2, report["events"] // 4, report["events"] // 3):
        (event,) = chargeline.json("explain", f"0-{seq}")
        assert event["seq"] == seq


def test_a_command_is_answered_and_shown(chargeline):
    """Each command waits for its event and for the view; a repeat is no second payment; a rejection is exit code 1."""
    run = chargeline
    run("account", "open", "alice", "--plan", "basic", "--identity", "msisdn-+8613811112222", "--balance", "10")
    assert "account_exists" in run("account", "open", "alice", "--plan", "basic", "--balance", "10", code=1).stdout
    (first,) = run.json("account", "top-up", "alice", "20", "--id", "pay-1")
    assert (first["kind"], first["balance_after_micros"]) == ("TOPPED_UP", 30_000_000)
    (again,) = run.json("account", "top-up", "alice", "20", "--id", "pay-1")
    assert (again["kind"], again["balance_after_micros"]) == ("DUPLICATE", 30_000_000)
    (shown,) = run.json("account", "show", "alice")
    assert (shown["balance_micros"], shown["currency"]) == (30_000_000, "CNY")
    run("account", "adjust", "alice", "--reason", "booked twice", "--", "-5.00")
    run("account", "set-budget", "alice", "100", "--threshold", "50")
    run("account", "change-plan", "alice", "payg")
    run("account", "add-identity", "alice", "imsi-460981234567890")
    run("account", "remove-identity", "alice", "imsi-460981234567890")
    run("account", "suspend", "alice", "--reason", "stolen")
    run("account", "resume", "alice", "--reason", "found")
    run("account", "close", "alice", "--reason", "moved")
    (shown,) = run.json("account", "show", "alice")
    assert (shown["status"], shown["balance_micros"]) == ("closed", 25_000_000)
    assert [plan["plan"] for plan in shown["plans"]] == ["basic", "payg"]
    assert run("account", "show", "nobody", code=1).stdout == ""


def test_many_commands_are_answered_in_their_order(chargeline, tmp_path):
    """A file of commands has one answer a line, in order; applied again, each is a duplicate."""
    path = tmp_path / "commands.jsonl"
    at = "2026-01-01T00:00:00Z"
    opened = [
        {
            "type": "open_account",
            "command_id": f"o-{number}",
            "account": f"many-{number}",
            "at": at,
            "actor": "staff-x",
            "currency": "CNY",
            "plan": "basic",
            "identities": [],
            "opening_balance": "1",
        }
        for number in range(ACCOUNTS)
    ]
    path.write_text("\n".join(map(json.dumps, opened)))
    answers = chargeline.json("account", "apply", path)
    assert [answer["command_id"] for answer in answers] == [command["command_id"] for command in opened]
    assert {answer["kind"] for answer in answers} == {"ACCOUNT_CHANGED"}
    assert {answer["kind"] for answer in chargeline.json("account", "apply", path)} == {"DUPLICATE"}


def test_publish_waits_for_each_answer(chargeline, files):
    """The sample sent once more is answered record by record: nothing is charged twice."""
    before = chargeline.json("audit", "verify")[0]["charged"]
    (sent,) = chargeline.json("publish", files.usage, "--wait")
    records = len(files.usage.read_text().splitlines())
    assert (sent["sent"], sent["refused"]) == (records, 0)
    assert sum(sent["answers"].values()) == records
    assert "CHARGED" in sent["answers"] or sent["answers"]["DUPLICATE"] > records * 0.9
    (status,) = chargeline.json("status")
    assert status["drained"] is True
    after = chargeline.json("audit", "verify")[0]
    assert after["ok"]
    assert after["charged"] - before == sent["answers"].get("CHARGED", 0)


def test_publish_names_the_lines_it_refuses(chargeline, files, tmp_path):
    """A line that is no record, and a record too large, are named with their lines; the others are sent."""
    whole = files.usage.read_text().splitlines()[0]
    large = json.dumps({**json.loads(whole), "cell": "x" * 17_000})
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{whole}\n\ngarbage\n{large}\n")
    done = chargeline("publish", path, "--wait", code=1)
    assert f"{path}:3: undecodable" in done.stderr
    assert f"{path}:4: the record is" in done.stderr
    assert done.stdout.startswith("1 records sent")


def test_dead_letters_are_replayed_once_each(chargeline):
    """A replay sends the original bytes of each record once, and a replay that fails again is still one record."""
    before = chargeline.json("dlq", "list")
    (shown,) = chargeline.json("dlq", "show", before[0]["id"])
    assert shown["bytes"] == len(shown["value"]) // 2
    count = len(chargeline.json("dlq", "replay", "--reason", "undecodable"))
    assert count > 0
    deadline = time.monotonic() + 30
    while len(chargeline.json("dlq", "list")) < len(before) + count and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(chargeline.json("dlq", "list")) == len(before) + count
    dry = chargeline.json("dlq", "replay", "--reason", "undecodable", "--dry-run")
    assert len(dry) == count
    assert {letter["replayed"] for letter in dry} == {False}
    assert chargeline.json("audit", "verify")[0]["ok"]


def test_the_same_tariffs_are_not_published_twice(chargeline, files):
    """Identical tariffs change nothing; others take effect with notice, and not before the newest."""
    (first,) = chargeline.json("catalogue", "publish", files.catalogue)
    assert first["published"] is False
    text = (files.catalogue / "plan-basic.yaml").read_text().replace('connect_fee: "0.50"', 'connect_fee: "0.60"')
    (files.catalogue / "plan-basic.yaml").write_text(text)
    soon = chargeline("catalogue", "publish", files.catalogue, "--from", "2026-01-01T00:00:00Z", code=1)
    assert "too_soon" in soon.stderr
    (second,) = chargeline.json("catalogue", "publish", files.catalogue)
    assert second["published"] is True
    assert second["hash"] != first["hash"]
    assert second["effective_from"] > first["effective_from"]


def test_a_timeout_says_so_and_how_to_repeat(chargeline):
    """With charge stopped, a command's fate is unknown: exit code 1 and its id; repeated later it is done once."""
    chargeline("account", "open", "carol", "--plan", "basic", "--balance", "0")
    pid = chargeline.process("charge")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = chargeline("account", "top-up", "carol", "5", "--id", "t-1", "--timeout", "1", code=1)
        assert "no event within 1 s" in done.stderr
        assert "--id t-1" in done.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    chargeline("account", "top-up", "carol", "5", "--id", "t-1")
    (shown,) = chargeline.json("account", "show", "carol")
    assert shown["balance_micros"] == 5_000_000


def test_the_view_is_made_anew_from_the_ledger(chargeline):
    """After a rebuild the view is the ledger's again, and a partition that does not exist is refused."""
    (rebuilt,) = chargeline.json("rebuild")
    (report,) = chargeline.json("audit", "verify")
    assert report["ok"]
    assert rebuilt == {"partitions": [0, 1], "events": report["events"]}
    assert "no ledger partition 9" in chargeline("rebuild", "--partition", "9", code=1).stderr
    refused = chargeline("ledger", "accept-loss", "0", "--reason", "none", "--yes", code=1)
    assert "no loss to accept" in refused.stderr


def _heed_ctrl_c():
    """A shell that runs the tests in the background has them ignore Ctrl-C, and what they start as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.faults
def test_demo_cleans_up_after_ctrl_c(tmp_path):
    """Ctrl-C in the middle of the demo stops its servers and removes its directory."""
    run = Chargeline(tmp_path)
    environment = {**run.environment, "TMPDIR": str(tmp_path)}
    del environment["CHARGELINE_DATA_DIR"]
    started = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "demo"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - one system call
    )
    assert started.stderr is not None
    for line in started.stderr:
        if "kafka is ready" in line:
            break
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 130
    started.stderr.close()
    assert not list(Path(tmp_path).glob("chargeline-demo-*"))


@pytest.mark.faults
def test_demo_balances_the_books(tmp_path):
    """The demo ends with balanced books, leaves nothing behind and says what to type next."""
    run = Chargeline(tmp_path)
    run.environment["TMPDIR"] = str(tmp_path)
    done = run("demo")
    assert [line for line in done.stdout.splitlines() if line.startswith("books balance: opening ")]
    assert "NOT SEEN" not in done.stdout
    assert "next: chargeline up --sample" in done.stderr
    assert not list(Path(tmp_path).glob("chargeline-demo-*"))


def test_an_alert_is_corrected_once_and_by_approval(chargeline):
    """Shown, prepared, approved: the charge is returned then and not before, once, with the alert as its reason."""
    listed = []
    deadline = time.monotonic() + 60
    while not listed and time.monotonic() < deadline:
        listed = [alert for alert in chargeline.json("alerts", "list", "--all") if alert["record_ids"]]
    alert = next(alert for alert in listed if chargeline.json("explain", alert["charge_ids"][0])[0]["amount_micros"])
    (charge,) = chargeline.json("explain", alert["charge_ids"][0])

    def balance() -> int:
        return chargeline.json("account", "show", alert["account"])[0]["balance_micros"]

    before = balance()
    words = ("alerts", "correct", alert["alert_id"])
    assert "nothing was prepared" in chargeline(*words, "--approve", code=1).stderr
    chargeline(*words, "--waive", "--dry-run")
    assert "nothing was prepared" in chargeline(*words, "--approve", code=1).stderr
    assert chargeline.json(*words) == [], "the newest catalogue says what was charged"
    (command,) = chargeline.json(*words, "--waive", "--actor", "staff-one")
    assert command["charge_id"] == alert["charge_ids"][0]
    assert balance() == before
    (answer,) = chargeline.json(*words, "--approve", "--actor", "staff-two")
    assert (answer["kind"], answer["amount_micros"]) == ("ADJUSTED", charge["amount_micros"])
    assert balance() == before + charge["amount_micros"]
    (event,) = chargeline.json("explain", answer["event"])
    assert alert["alert_id"][:16] in event["command"]["reason"]
    assert event["command"]["actor"] == "staff-two"
    (again,) = chargeline.json(*words, "--approve", "--actor", "staff-two")
    assert again["kind"] == "DUPLICATE"
    assert chargeline.json(*words, "--waive") == [], "nothing is left to return"
    assert balance() == before + charge["amount_micros"]
    assert chargeline.json("audit", "verify")[0]["ok"]
