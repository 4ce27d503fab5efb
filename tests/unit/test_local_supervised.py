"""One supervised process, seen by a clock that the test turns; the processes are real."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.local.configuration import as_document, as_toml, of_document
from deploy.local.process import Child, Identity
from deploy.local.state import ProcessState, State, last_state, live_state, write_state
from deploy.local.supervised import Supervised, ask_ready, end_of, error_of
from pipeline.settings import KafkaSettings, LocalSettings, MediateSettings, Settings

LOCAL = LocalSettings(backoff_min_ms=500, backoff_max_ms=2_000, poll_ms=100)


class Script:
    """A program of the test: a Python script, ready while its file `ready` is there."""

    name = "script"
    port = 1

    def __init__(self, folder: Path, code: str) -> None:
        self.folder, self.code = folder, code

    def launch(self) -> Child:
        return Child(self.name, [sys.executable, "-c", self.code], self.folder / "log", os.environ, 1_000_000)

    def wrong(self, child: Child) -> str | None:
        return None if (self.folder / "ready").exists() else "not yet"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def supervised(folder: Path, code: str, **kwargs: float) -> Iterator[tuple[Supervised, Clock]]:
    clock = Clock()
    one = Supervised(Script(folder, code), LOCAL, clock=clock, **kwargs)
    try:
        yield one, clock
    finally:
        if one.child is not None:
            one.child.kill()


def wait_for_end(one: Supervised) -> None:
    deadline = time.monotonic() + 20
    while one.child.running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_ends_is_started_again_after_a_pause_that_doubles_up_to_its_limit(tmp_path: Path) -> None:
    """0.5 s, 1 s, 2 s, 2 s…; until then nothing runs, and the state says what it ended with."""
    with supervised(tmp_path, "import sys; sys.exit('no good')") as (one, clock):
        for ends, pause_s in enumerate((0.5, 1.0, 2.0, 2.0), 1):
            one.tick()
            assert one.state.state == "starting"
            wait_for_end(one)
            one.tick()
            state = one.state
            assert (state.state, state.pid, state.restarts) == ("restarting", None, ends)
            assert state.last_error == "ended with exit code 1: no good"
            clock.now += pause_s - 0.01
            one.tick()
            assert one.child is None
            clock.now += 0.02


def test_a_process_that_was_ready_for_long_is_started_again_soon(tmp_path: Path) -> None:
    """Old ends are forgotten: an end now and then is not a crash loop. They stay counted."""
    (tmp_path / "ready").touch()
    with supervised(tmp_path, "import time; time.sleep(60)") as (one, clock):
        for _ in range(3):
            one.tick()
            one.child.kill()
            one.tick()
            clock.now += 2.1
        one.tick()
        for _ in range(4):
            clock.now += 1
            one.tick()
        assert one.state.state == "ready"
        one.child.kill()
        one.tick()
        clock.now += 0.51
        one.tick()
        assert (one.state.state, one.state.restarts) == ("starting", 4)


def test_a_process_that_is_not_ready_any_more_is_left_to_itself(tmp_path: Path) -> None:
    """It says what it waits for, which is its last error; once ready again that is gone."""
    with supervised(tmp_path, "import time; time.sleep(60)", starting_max_s=5) as (one, clock):
        seen = []
        one.tick()
        for there in (False, True, False, True):
            (tmp_path / "ready").touch() if there else (tmp_path / "ready").unlink(missing_ok=True)
            clock.now += 4
            one.tick()
            seen.append((one.state.state, one.state.last_error, one.state.restarts))
        assert seen == [("starting", "not yet", 0), ("ready", None, 0), ("not_ready", "not yet", 0), ("ready", None, 0)]


def test_a_process_that_never_gets_ready_is_ended_where_a_limit_is_given(tmp_path: Path) -> None:
    """A server that hangs while it starts is started again; a worker may replay for as long as it takes."""
    for limit_s, expected in ((5.0, "restarting"), (float("inf"), "starting")):
        with supervised(tmp_path, "import time; time.sleep(60)", starting_max_s=limit_s) as (one, clock):
            one.tick()
            clock.now += 6
            one.tick()
            one.tick()
            assert one.state.state == expected


def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    """A full disk, say, ends no supervisor."""
    (tmp_path / "log").mkdir()
    with supervised(tmp_path, "") as (one, clock):
        one.tick()
        assert one.state.state == "restarting"
        assert "could not be started" in one.state.last_error
        (tmp_path / "log").rmdir()
        clock.now += 1
        one.tick()
        assert one.state.state == "starting"


def test_a_worker_says_itself_whether_it_is_ready() -> None:
    """200 is ready; anything else is not, in the worker's words; no answer is no answer, through no proxy."""
    answers = [(200, b"ok\n"), (503, b"[-]ledger failed: partition 3 halted\nnot ready\n"), (500, b"")]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        heard = [ask_ready("127.0.0.1", server.server_port) for _ in range(3)]
        server.shutdown()
    assert heard == [None, "[-]ledger failed: partition 3 halted\nnot ready", "answers 500"]
    assert ask_ready("127.0.0.1", server.server_port) == "does not answer"


def test_the_last_error_is_the_last_logged_error_else_the_last_lines() -> None:
    """What a person is shown of an end: no time stamps, no chatter; of a kill, nothing that was said before."""
    logged = '{"level":"error","event":"halted","partition":3,"timestamp":"x","logger":"charge"}\n{"level":"info","event":"bye"}'
    assert error_of(logged) == '{"event": "halted", "partition": 3}'
    assert error_of("a\n\nb\n{broken\n") == "a\nb\n{broken"
    assert end_of(1, logged).startswith("ended with exit code 1: {")
    assert end_of(-signal.SIGKILL, logged) == "ended by signal 9"
    assert end_of(-signal.SIGABRT, "# JVM crashed") == "ended by signal 6: # JVM crashed"


def test_the_state_is_read_as_written_and_only_while_its_writer_lives(tmp_path: Path) -> None:
    """Nothing, or half a file, is no state; the state of a dead supervisor is not the state."""
    path = tmp_path / "state.json"
    assert last_state(path) is None
    process = ProcessState("charge", 7, 1.5, "ready", 20_000, 2, "ended")
    state = State(Identity(os.getpid(), 0.0), "127.0.0.1:1", "redis://127.0.0.1:2/0", "/data", (process,), begun=True)
    write_state(path, state)
    assert last_state(path) == state
    assert live_state(path) is None
    path.write_text(path.read_text()[:40])
    assert last_state(path) is None


def test_processes_get_the_very_settings_of_the_one_that_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a document or by a file: relative paths, empty texts and odd characters included."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(
        data_dir=Path("data dir"),
        kafka=KafkaSettings(
            bootstrap_servers="h:1,h:2", sasl_password_file=Path("secret"), sasl_username='o"d\\d\x7f 名'
        ),
        mediate=MediateSettings(national_prefix="", trust_replayed_received_at=True),
    )
    document = as_document(settings)
    assert document["kafka"]["sasl_password_file"] == str(tmp_path / "secret")
    expected = settings.model_copy(
        update={
            "data_dir": tmp_path / "data dir",
            "kafka": settings.kafka.model_copy(update={"sasl_password_file": tmp_path / "secret"}),
        }
    )
    assert of_document(document) == expected
    (tmp_path / "settings.toml").write_text(as_toml(document))
    monkeypatch.setenv("CHARGELINE_CONFIG", str(tmp_path / "settings.toml"))
    assert Settings() == expected
