"""Embedded servers and their supervisor, run for real."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from deploy.local.folder import Folder
from deploy.local.ports import Ports
from deploy.local.process import LocalServerError
from deploy.local.redis_server import RedisServer
from deploy.local.servers import embedded, start
from deploy.local.supervision import with_addresses
from deploy.local.supervisor import State, Workers, down, read_state, up, wipe
from pipeline.adapters.kafka.client import TopicPartition, assigned_consumer, end_offsets, producer
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.settings import LocalSettings, Settings
from pipeline.topics import USAGE_RECEIVED

pytestmark = pytest.mark.system

WORKER = """
import os, signal, socket
from urllib.parse import urlsplit
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists('broken') else 200)
        self.end_headers()
        self.wfile.write(b'ok')
    def log_message(self, *args):
        pass
def drain(*_):
    for address in ('//' + os.environ['CHARGELINE_KAFKA__BOOTSTRAP_SERVERS'], os.environ['CHARGELINE_REDIS__URL']):
        socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), 5).close()
    print('drained', flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, drain)
print(os.environ['CHARGELINE_KAFKA__BOOTSTRAP_SERVERS'], os.environ['CHARGELINE_REDIS__URL'], flush=True)
HTTPServer(('127.0.0.1', int(os.environ['CHARGELINE_HTTP__CHARGE_PORT'])), Handler).serve_forever()
"""
WORKERS: Workers = (("charge", (sys.executable, "-c", WORKER)),)
LOCAL = LocalSettings(backoff_min_ms=100, poll_ms=100)


def until(condition, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def write(settings: Settings, text: str) -> None:
    """Leave a trace in both servers that both have acknowledged."""
    sender = producer(settings)
    failed = []
    sender.produce(USAGE_RECEIVED.name, text.encode(), partition=0, on_delivery=lambda e, _: failed.append(e))
    assert sender.flush(30) == 0
    assert failed == [None]
    with redis.Redis.from_url(settings.redis.url) as client:
        client.rpush("written", text)


def written(settings: Settings) -> tuple[list[str], list[str]]:
    """Return what both servers kept."""
    end = end_offsets(settings, [(USAGE_RECEIVED.name, 0)], committed_only=True)[USAGE_RECEIVED.name, 0]
    with redis.Redis.from_url(settings.redis.url) as client:
        in_view = [value.decode() for value in client.lrange("written", 0, -1)]
    found: list[str] = []
    consumer = assigned_consumer(settings)
    try:
        consumer.assign([TopicPartition(USAGE_RECEIVED.name, 0, 0)])
        deadline = time.monotonic() + 30
        while len(found) < end:
            assert time.monotonic() < deadline, "the broker has lost what it acknowledged"
            found += [m.value().decode() for m in consumer.consume(100, 0.2) if m.error() is None]
    finally:
        consumer.close()
    return found, in_view


def processes_of(data_dir: Path) -> list[str]:
    """Return every process of this machine that speaks of the directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "pid"]):
        words = " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""])
        if str(data_dir) in words and process.info["pid"] != os.getpid():
            found.append(words)
    return found


@pytest.fixture
def workers_only(servers: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings where broker and Redis are configured: a supervisor then starts workers alone."""
    settings = servers.model_copy(update={"data_dir": tmp_path / "data", "local": LOCAL})
    yield settings
    down(settings)


@pytest.mark.faults
def test_servers_come_back_where_they_were_with_what_they_had(servers: Settings, tmp_path: Path) -> None:
    """Same ports, same data after a stop, beside other instances; the data directory is one instance's at a time."""
    settings = Settings(data_dir=tmp_path / "dätä dir")
    with embedded(settings) as first:
        assert first.bootstrap_servers != servers.kafka.bootstrap_servers
        assert first.redis_url != servers.redis.url
        here = with_addresses(settings, first)
        create_topics(here)
        write(here, "one")
        with pytest.raises(LocalServerError, match="in use"), embedded(settings):
            pass
        with pytest.raises(LocalServerError, match="in use"):
            wipe(settings)
    with embedded(settings) as second:
        assert second == first
        write(here, "two")
        assert written(here) == (["one", "two"], ["one", "two"])
        with redis.Redis.from_url(second.redis_url) as client:
            said = client.config_get(
                "append*", "maxmemory-policy", "save", "set-max-intset-entries", "hash-max-*", "bind"
            )
            assert said["appendfsync"] == "always"
            assert said["appendonly"] == "yes"
            assert said["save"] == ""
            assert said["maxmemory-policy"] == "noeviction"
            assert said["set-max-intset-entries"] == "4096"
            assert said["hash-max-listpack-value"] == "512"
            assert said["bind"] == "127.0.0.1"
    assert processes_of(tmp_path) == []
    wipe(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_redis_of_the_system_serves_as_well(tmp_path: Path) -> None:
    """Whoever has redis-server and no wheel gets the same: kept data, a kept port, ready when it answers."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on PATH")
    folder = Folder(tmp_path)
    folder.make()
    local = LocalSettings(redis_server=Path(found))
    for already in (0, 1):
        server = RedisServer(Settings(data_dir=tmp_path, local=local), folder, Ports(folder.ports))
        child = start(server, 30)
        try:
            with redis.Redis.from_url(server.url) as client:
                assert client.lrange("written", 0, -1) == [b"one"] * already
                client.rpush("written", "one")
                child.kill()
        finally:
            child.kill()


@pytest.mark.faults
def test_killed_servers_come_back_under_the_supervisor_with_what_they_acknowledged(tmp_path: Path) -> None:
    """kill -9 of broker, Redis and worker: all start again on their ports, with all that was acknowledged.

    Down stops the worker first, with SIGTERM, while the servers still are there for what it has in hand.
    """
    settings = Settings(data_dir=tmp_path, local=LOCAL)
    said: list[str] = []
    try:
        addresses = up(settings, progress=said.append, workers=WORKERS)
        assert {"kafka is ready", "redis is ready", "charge is ready"} <= set(said)
        here = with_addresses(settings, addresses)
        assert set(describe_topics(here)) >= {USAGE_RECEIVED.name}
        write(here, "before")
        before = read_state(tmp_path)
        for process in before.processes:
            os.kill(process.pid, signal.SIGKILL)
        until(lambda: all(p.restarts == 1 for p in read_state(tmp_path).processes))
        until(lambda: read_state(tmp_path).ready)
        after = read_state(tmp_path)
        assert [(p.name, p.port) for p in after.processes] == [(p.name, p.port) for p in before.processes]
        assert {p.last_error for p in after.processes} == {"ended by signal 9"}
        assert written(here) == (["before"], ["before"])
    finally:
        assert down(settings)
    told = f"{addresses[0]} {addresses[1]}\n"
    assert (tmp_path / "logs" / "charge.log").read_text() == f"{told}{told}drained\n"
    assert read_state(tmp_path) is None
    until(lambda: processes_of(tmp_path) == [], 5)


def test_a_second_up_changes_nothing_and_down_leaves_nothing(workers_only: Settings) -> None:
    """Up again: the same processes, the same answer. Down again: nothing to stop. Wiping waits for down."""
    first = up(workers_only, workers=WORKERS)
    assert first == (workers_only.kafka.bootstrap_servers, workers_only.redis.url)
    before = read_state(workers_only.data_dir)
    assert [process.name for process in before.processes] == ["charge"]
    assert up(workers_only, workers=WORKERS) == first
    assert read_state(workers_only.data_dir) == before
    with pytest.raises(LocalServerError, match="down"):
        up(workers_only, foreground=True, workers=WORKERS)
    with pytest.raises(LocalServerError, match="comes first"):
        wipe(workers_only)
    assert down(workers_only)
    assert not down(workers_only)
    assert read_state(workers_only.data_dir) is None
    assert processes_of(workers_only.data_dir) == []
    wipe(workers_only)
    assert not workers_only.data_dir.exists()


def test_a_worker_that_is_not_ready_is_named_and_left_to_go_on(workers_only: Settings) -> None:
    """`up` says which process is late and why, within its time; what is only slow is not stopped."""
    settings = workers_only.model_copy(update={"local": LOCAL.model_copy(update={"ready_timeout_s": 1})})
    (settings.data_dir / "logs").mkdir(parents=True)
    (settings.data_dir / "logs" / ".chargeline").touch()
    (settings.data_dir / "logs" / "broken").touch()
    with pytest.raises(LocalServerError) as refused:
        up(settings, workers=WORKERS)
    assert "charge is not ready after 1 s" in str(refused.value)
    assert "chargeline down" in str(refused.value)
    (settings.data_dir / "logs" / "broken").unlink()
    until(lambda: _state(settings).ready)


def test_a_worker_that_ends_again_and_again_is_named_and_everything_stopped(workers_only: Settings) -> None:
    """The end of its log is in the message, and nothing is left running."""
    failing: Workers = (("charge", (sys.executable, "-c", "import sys; sys.exit('no such setting')")),)
    with pytest.raises(LocalServerError, match=r"(?s)charge ended again and again.*no such setting.*stopped again"):
        up(workers_only, workers=failing)
    assert read_state(workers_only.data_dir) is None
    assert processes_of(workers_only.data_dir) == []


def test_topics_that_cannot_be_made_end_the_start_with_the_reason(workers_only: Settings) -> None:
    """A broker that is not there is found out at once, by `up` itself."""
    kafka = workers_only.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1", "request_timeout_ms": 500})
    with pytest.raises(LocalServerError, match="topics could not be made"):
        up(workers_only.model_copy(update={"kafka": kafka}), workers=WORKERS)
    assert read_state(workers_only.data_dir) is None


def test_a_killed_supervisor_leaves_nothing_that_the_next_start_trips_over(workers_only: Settings) -> None:
    """kill -9 of the supervisor: no state, its processes end (by the system, or by the next start), `up` works again."""
    up(workers_only, workers=WORKERS)
    before = read_state(workers_only.data_dir)
    os.kill(before.supervisor.pid, signal.SIGKILL)
    until(lambda: read_state(workers_only.data_dir) is None)
    up(workers_only, workers=WORKERS)
    after = read_state(workers_only.data_dir)
    assert before.processes[0].identity.find() is None
    assert (after.ready, after.processes[0].port) == (True, before.processes[0].port)


def test_in_the_foreground_it_runs_until_it_is_told_to_stop(workers_only: Settings) -> None:
    """As a service manager starts it: SIGTERM is down, and the process itself is the supervisor."""
    code = (
        "from deploy.local.supervisor import up; from pipeline.settings import Settings; "
        f"print(up(Settings(), foreground=True, progress=print, workers={WORKERS!r})[0])"
    )
    configured = {
        "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": workers_only.kafka.bootstrap_servers,
        "CHARGELINE_REDIS__URL": workers_only.redis.url,
        "CHARGELINE_DATA_DIR": str(workers_only.data_dir),
    }
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | configured, stdout=subprocess.PIPE) as service:
        until(lambda: (state := read_state(workers_only.data_dir)) is not None and state.ready)
        assert _state(workers_only).supervisor.pid == service.pid
        service.terminate()
        said = service.communicate(timeout=30)[0].decode()
    assert (service.returncode, said) == (0, f"charge is ready\n{workers_only.kafka.bootstrap_servers}\n")
    assert processes_of(workers_only.data_dir) == []


def _state(settings: Settings) -> State:
    state = read_state(settings.data_dir)
    assert state is not None
    return state
