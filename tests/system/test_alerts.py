"""The alerts process on a real broker: each alert remembered once, and delivered by webhook, Alertmanager and stream."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import standardwebhooks
from command_line import clean_environment
from real_servers import own_servers

from pipeline.adapters.avro import ALERT
from pipeline.adapters.kafka.client import producer
from pipeline.adapters.kafka.topics import create_topics
from pipeline.domain.detectors.finding import alert_id
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

START = 1_793_500_000_000
GUIDE = Path(__file__).parents[2] / "docs" / "guide-alerts.md"
BALANCES = {"balance_after_micros": 7_000_000, "threshold_micros": 10_000_000}


def until(true: Callable[[], object], told: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[Settings]:
    planned = Settings(data_dir=tmp_path_factory.mktemp("broker"), redis={"url": "redis://127.0.0.1:1"})
    with own_servers(planned) as made:
        create_topics(made)
        yield made


class Alerts:
    """The process with a folder of its own, what it is sent, and the command line beside it."""

    def __init__(self, broker: Settings, folder: Path, **options: str) -> None:
        self.broker = broker
        self.port = free_port()
        self.folder = folder
        self.environment = {
            **clean_environment(),
            "CHARGELINE_DATA_DIR": str(folder),
            "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": str(broker.kafka.bootstrap_servers),
            "CHARGELINE_REDIS__URL": "redis://127.0.0.1:1",
            "CHARGELINE_HTTP__ALERTS_PORT": str(self.port),
            "CHARGELINE_ALERTS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            "CHARGELINE_ALERTS__RETRY_SCHEDULE_S": "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
            "CHARGELINE_ALERTS__POLL_MS": "100",
            "CHARGELINE_ALERTS__DELIVERY_POLL_MS": "50",
            **{f"CHARGELINE_ALERTS__{name}": value for name, value in options.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "alerts.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "run", "alerts"], env=self.environment, stdout=log, stderr=log
            )
        until(lambda: self.ready() and self.caught_up(), self.log)

    def caught_up(self) -> bool:
        """Whether what other tests raised is taken in: it is not to be delivered to this one's subscribers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=1) as answer:
            return b"chargeline_alerts_lag_records 0.0" in answer.read()

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(20)
        self.process = None
        return code

    def log(self) -> str:
        return (self.folder / "alerts.log").read_text()[-3_000:]

    def cli(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "alerts", *words],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *words: str) -> list[dict]:
        return [json.loads(line) for line in self.cli(*words, "--json").splitlines()]

    def raise_(self, *accounts: str, state: str = "open", order: int = 1, severity: str = "warning") -> list[str]:
        """Raise a low_balance of each account as detect does; returns the alerts' ids."""
        out = producer(self.broker)
        names = []
        for account in accounts:
            object_ = f"account-{account}"
            name = alert_id("low_balance", object_, "below@10000000")
            charge = f"0-{order}"
            value = ALERT.encode(
                {
                    "alert_id": name, "state": state, "detector": "low_balance", "severity": severity,
                    "object": object_, "account": account, "opened_at": START + order, "window": "below@10000000",
                    "score": "3", "record_ids": [f"r-{account}"], "charge_ids": [charge],
                    "detail": json.dumps({"account_seq": order, "currency": "CNY", **BALANCES}),
                    "action": "Ask the customer to top up.",
                }
            )  # fmt: skip
            headers = [("ce_id", f"{name}/{state}/{charge}".encode())]
            out.produce(ALERT_RAISED.name, value, object_.encode(), headers=headers)
            names.append(name)
        assert out.flush(10) == 0
        return names


@pytest.fixture
def alerts(broker, tmp_path) -> Iterator[Callable[..., Alerts]]:
    made: list[Alerts] = []

    def make(**options: str) -> Alerts:
        process = Alerts(broker, tmp_path, **options)
        made.append(process)
        process.start()
        return process

    yield make
    for process in made:
        if process.process is not None:
            process.end(signal.SIGKILL)


class Receiver:
    """Somebody's webhook receiver: it checks signatures by the reference library, and can be made to fail or dawdle."""

    def __init__(self) -> None:
        self.secret = ""
        self.answer = 200
        self.pause_s = 0.0
        self.refused = 0
        self.got: list[tuple[str, dict]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                document = standardwebhooks.Webhook(receiver.secret).verify(body, dict(self.headers))
                time.sleep(receiver.pause_s)
                if receiver.answer == 200:
                    receiver.got.append((self.headers["webhook-id"], document))
                else:
                    receiver.refused += 1
                with contextlib.suppress(ConnectionError):
                    self.send_response(receiver.answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def subscribe(self, alerts: Alerts, *options: str) -> None:
        alerts.cli("subscribe", "desk", self.url, *options)
        self.secret = (alerts.folder / "alerts" / "desk.secret").read_text().strip()

    def ids(self) -> Counter[str]:
        return Counter(webhook_id for webhook_id, _ in self.got)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.mark.faults
def test_a_receiver_that_fails_for_a_while_gets_each_once(alerts, receiver):
    """Signed, retried while it answers 503, then each change exactly once by id; what was raised again is no news."""
    process = alerts()
    receiver.subscribe(process, "--severity", "warning")
    receiver.answer = 503
    names = [f"fails-{n}" for n in range(8)]
    ids = process.raise_(*names)
    process.raise_(*names)
    process.raise_("fails-quiet", severity="info")
    until(lambda: receiver.refused >= 2, process.log)
    assert receiver.refused < 8, "a receiver that fails is asked with one webhook at a time"
    receiver.answer = 200
    process.raise_(*names, state="close", order=2)
    until(lambda: len(receiver.got) >= 16, process.log)
    time.sleep(1)
    assert set(receiver.ids().values()) == {1}
    told: dict[str, list[str]] = {}
    for _, document in receiver.got:
        told.setdefault(document["data"]["alert_id"], []).append(document["type"])
    assert told == {name: ["alert.open", "alert.close"] for name in ids}, "each alert's changes in their order"
    (subscription,) = process.json("subscriptions")
    assert (subscription["delivered"], subscription["waiting"], subscription["failed"]) == (16, 0, 0)
    secret = receiver.secret.removeprefix("whsec_")
    assert secret not in (process.folder / "alerts.log").read_text()
    assert process.end() == 0

    receiver.got.clear()
    process.start()
    process.cli("replay", "desk", "--since", "1h")
    until(lambda: len(receiver.ids()) == 16, process.log)


@pytest.mark.faults
def test_a_kill_while_delivering_loses_nothing(alerts, receiver):
    """kill -9 again and again with webhooks under way: every change arrives, a repeat under the same id."""
    process = alerts()
    receiver.subscribe(process)
    receiver.pause_s = 0.1
    names = [f"killed-{n}" for n in range(60)]
    process.raise_(*names)
    for step in range(1, 4):
        until(lambda least=10 * step: len(receiver.got) >= least, process.log)
        process.end(signal.SIGKILL)
        process.start()
    receiver.pause_s = 0
    until(lambda: process.json("subscriptions")[0]["waiting"] == 0, process.log)
    accounts = Counter(document["data"]["account"] for _, document in receiver.got)
    assert {name for name in accounts if name.startswith("killed-")} == set(names)
    repeats = sum(receiver.ids().values()) - len(receiver.ids())
    assert repeats <= 3 * 4, "at most what was under way at each kill"
    assert len(receiver.ids()) == len({document["data"]["alert_id"] for _, document in receiver.got})


def alertmanager_program() -> str:
    found = shutil.which("prometheus-alertmanager")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no prometheus-alertmanager: .ci/packages names it")
        pytest.skip("no prometheus-alertmanager here")
    return found


def test_alertmanager_shows_ours(alerts, tmp_path):
    """Debian's own Alertmanager takes what is open, with labels to route by, and no longer shows what has closed."""
    port = free_port()
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    command = [
        alertmanager_program(), f"--config.file={config}", f"--storage.path={tmp_path / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip

    def shown() -> dict[str, dict]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/alerts", timeout=2) as answer:
                return {alert["labels"]["alert_id"]: alert for alert in json.load(answer)}
        except OSError:
            return {}

    log = (tmp_path / "am.log").open("wb")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as alertmanager:
        try:
            process = alerts(ALERTMANAGER_URLS=f'["http://127.0.0.1:{port}"]', ALERTMANAGER_INTERVAL_S="2")
            (name,) = process.raise_("routed")
            until(lambda: name in shown(), lambda: process.log() + (tmp_path / "am.log").read_text())
            found = shown()[name]
            assert found["labels"] == {
                "alertname": "low_balance", "severity": "warning", "object_kind": "account", "alert_id": name
            }  # fmt: skip
            assert found["annotations"]["description"] == "Ask the customer to top up."
            assert found["startsAt"].startswith("2026-11-01T")
            ends = found["endsAt"]
            until(lambda: shown()[name]["endsAt"] > ends, shown)
            process.raise_("routed", state="close", order=2)
            until(lambda: name not in shown(), shown)
        finally:
            alertmanager.terminate()


def events(process: Alerts, count: int, path: str = "/alerts/stream", **headers: str) -> list[dict[str, str]]:
    """Read so many events of the stream, as a client of server-sent events does."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        name, _, value = line.partition(": ")
        if name:
            event[name] = value
        elif not line and "id" in event:
            found.append(event)
            event = {}
        elif not line:
            event = {}
    connection.close()
    return found


def test_the_stream_resumes_behind_the_last_event(alerts):
    """Last-Event-ID: nothing is missed and nothing comes twice; a web page of another origin gets nothing."""
    process = alerts()
    process.raise_(*(f"streamed-{n}" for n in range(5)))
    everything = process.json("tail", "--from-first", "--no-follow")
    until(lambda: len(process.json("list", "--account", "streamed-4")) == 1, process.log)
    everything = process.json("tail", "--from-first", "--no-follow")
    first = events(process, len(everything), "/alerts/stream?from=0")
    assert [int(event["id"]) for event in first] == [change["number"] for change in everything]
    middle = first[len(first) // 2]
    rest = events(process, len(first) - len(first) // 2 - 1, **{"Last-Event-ID": middle["id"]})
    assert rest == first[len(first) // 2 + 1 :]
    assert json.loads(rest[-1]["data"])["object"] == "account-streamed-4"
    assert rest[-1]["event"] == "open"
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example:80"}):
        connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=5)
        connection.request("GET", "/alerts/stream", headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


def test_a_silence_holds_and_then_lets_go(alerts, receiver):
    """Silenced: listed, not delivered. When it ends, what is still open is delivered, what has closed is not."""
    process = alerts()
    receiver.subscribe(process, "--account", "loud", "--account", "closes", "--account", "stays")
    process.cli("silence", "--for", "1h", "--account", "closes", "--account", "stays", "--reason", "a test")
    process.raise_("closes", "stays", "loud")
    process.raise_("closes", state="close", order=2)
    until(lambda: len(receiver.got) == 1, process.log)
    assert receiver.got[0][1]["data"]["account"] == "loud"
    (stays,) = process.json("list", "--account", "stays")
    assert stays["silenced_until"] is not None
    (silence,) = process.json("silence")
    process.cli("silence", "--end", str(silence["silence"]))
    until(lambda: len(receiver.got) == 2, process.log)
    time.sleep(1.5)
    assert [document["data"]["account"] for _, document in receiver.got] == ["loud", "stays"]
    (subscription,) = process.json("subscriptions")
    assert (subscription["dropped"], subscription["waiting"], subscription["held"]) == (2, 0, 0)


def test_no_webhook_goes_to_a_private_address(alerts, receiver):
    """Unless its network is allowed: the receiver is never asked, and the reason is told."""
    process = alerts(ALLOWED_NETWORKS="[]")
    receiver.subscribe(process)
    said = process.cli("test", "desk", code=1)
    assert "private address" in said
    process.raise_("private")
    until(lambda: "private" in str(process.json("subscriptions")[0]["last_error"]), process.log)
    assert (receiver.got, receiver.refused) == ([], 0)


def test_a_customer_is_told_in_his_own_words(alerts, receiver):
    """On his own channel, of his own account, in his language, of what opens; nothing of what closes."""
    process = alerts()
    receiver.subscribe(process, "--account", "phoned", "--words", "zh")
    process.raise_("other", "phoned")
    process.raise_("phoned", state="close", order=2)
    process.raise_("phoned", order=3)
    until(lambda: len(receiver.got) == 2, process.log)
    kinds = {(document["type"], document["data"]["text"]) for _, document in receiver.got}
    assert kinds == {("reminder", "您的余额为7.00元，已低于10.00元，请及时充值。")}  # noqa: RUF001


def blocks(language: str) -> list[str]:
    return [part.partition("```")[0] for part in GUIDE.read_text("utf-8").split(f"```{language}\n")[1:]]


def test_the_examples_of_the_guide_run(alerts, tmp_path):
    """Its commands, word for word and in order, against its own receiver, word for word: alerts arrive there."""
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("no curl: .ci/packages names it")
        pytest.skip("no curl here")
    process = alerts()
    process.raise_("alice", severity="critical")
    until(lambda: process.json("list", "--account", "alice"), process.log)
    (receiver,) = [block for block in blocks("python") if "HTTPServer" in block]
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "chargeline").write_text(f'#!/bin/sh\nexec {sys.executable} -m deploy.cli "$@"\n')
    (tools / "chargeline").chmod(0o755)
    folder = process.folder / "alerts"
    (tmp_path / "receiver.py").write_text(receiver)
    environment = {**process.environment, "PATH": f"{tools}:{os.environ['PATH']}", "ALERTS": str(folder)}
    environment["CHARGELINE_HTTP__ALERTS_PORT"] = str(process.port)
    script = "set -eux\n" + "\n".join(blocks("sh"))
    environment["SECRET_FILE"] = str(folder / "desk.secret")
    with (tmp_path / "said").open("w+") as said:
        started = subprocess.Popen(
            [sys.executable, "-u", str(tmp_path / "receiver.py")], env=environment, stdout=said, stderr=said
        )
        try:
            done = subprocess.run(
                ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=90, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            process.raise_("alice", state="close", order=2)
            told = tmp_path / "said"
            until(lambda: "alert.close low_balance account-alice" in told.read_text(), told.read_text)
            assert "alert.test" in told.read_text()
        finally:
            started.terminate()
            started.wait(5)
