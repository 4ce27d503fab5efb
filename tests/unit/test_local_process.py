"""Child processes, ports and the data directory of embedded servers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.local.folder import MARKER, Folder, locked
from deploy.local.ports import HOST, LAST, Ports, is_free
from deploy.local.process import Child, Identity, LocalServerError, end_strays, identity, listens, stop, tail

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def child(tmp_path: Path, code: str, log_bytes_max: int = 1_000_000) -> Child:
    return Child("probe", [sys.executable, "-c", code], tmp_path / "probe.log", os.environ, log_bytes_max)


def until(condition, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_child_writes_to_its_log_and_only_its_own_words_are_its_output(tmp_path: Path) -> None:
    """The log goes on from start to start; what a process said is what it wrote since it was started."""
    for word in ("first", "second"):
        started = child(tmp_path, f"print('{word}')")
        until(lambda one=started: not one.running)
        assert (started.exit_code, started.output()) == (0, f"{word}\n")
    assert (tmp_path / "probe.log").read_text() == "first\nsecond\n"


def test_a_log_past_its_limit_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    """At most one old log is kept."""
    log = tmp_path / "probe.log"
    log.write_text("x" * 11)
    stop([child(tmp_path, "pass", log_bytes_max=10)], 5)
    assert (log.read_text(), (tmp_path / "probe.log.1").read_text()) == ("", "x" * 11)


def test_what_cannot_be_run_says_so_in_its_log(tmp_path: Path) -> None:
    """A missing program is an end with a sentence, not an exception in whoever supervises it."""
    started = Child("probe", ["/nowhere/java"], tmp_path / "probe.log", os.environ, 1_000)
    until(lambda: not started.running)
    assert started.exit_code == 1
    assert "java cannot be run: No such file or directory" in started.output()


def test_stop_kills_what_does_not_go_by_itself(tmp_path: Path) -> None:
    """SIGTERM first, for the time given; nothing runs when stop returns."""
    started = child(tmp_path, STUBBORN)
    until(lambda: "up" in started.output())
    stop([started], 0.2)
    assert started.exit_code == -signal.SIGKILL
    stop([started], 0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of whoever started a process leaves nothing behind, not even what ignores SIGTERM."""
    code = (
        "import os, sys, time; from pathlib import Path; from deploy.local.process import Child\n"
        f"started = Child('probe', [sys.executable, '-c', {STUBBORN!r}], Path({str(tmp_path / 'probe.log')!r}), {{}}, 1000)\n"
        "while 'up' not in started.output(): time.sleep(0.02)\n"
        "print(started.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        grandchild = identity(int(parent.stdout.readline()))
        assert grandchild.find() is not None
        parent.kill()
    until(lambda: grandchild.find() is None)


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    """A process file of an earlier run never points at a stranger."""
    me = identity(os.getpid())
    assert me.find() == psutil.Process()
    assert Identity(me.pid, me.created - 60).find() is None


def test_strays_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    """What an earlier supervisor left behind is ended by id and time of start."""
    stray = child(tmp_path, STUBBORN)
    until(lambda: "up" in stray.output())
    known = identity(stray.pid)
    assert end_strays([Identity(known.pid, known.created - 60)], 0.2) == 0
    assert stray.running
    assert end_strays([known], 0.2) == 1
    until(lambda: not stray.running)
    assert end_strays([known], 0.2) == 0


def test_ports_are_kept_and_one_that_is_taken_is_replaced(tmp_path: Path) -> None:
    """A restart comes back on its port, unless a stranger has it; ports stay clear of outgoing connections."""
    ports = Ports(tmp_path / "ports.json")
    first, other = ports.port("kafka"), ports.port("redis")
    assert first != other
    assert max(first, other) <= LAST
    assert Ports(tmp_path / "ports.json").port("kafka") == first
    with socket.create_server((HOST, first)):
        assert not is_free(first)
        assert listens(os.getpid(), first)
        assert not listens(os.getpid(), other)
        assert not listens(os.getppid(), first)
        moved = Ports(tmp_path / "ports.json").port("kafka")
    assert moved not in (first, other)
    assert Ports(tmp_path / "ports.json").port("kafka") == moved


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kafka": "x"}'])
def test_a_damaged_ports_file_is_started_over(tmp_path: Path, content: str) -> None:
    """Ports are a convenience: nothing fails for them."""
    (tmp_path / "ports.json").write_text(content)
    assert Ports(tmp_path / "ports.json").port("kafka") > 0


def test_wiping_removes_what_we_made_and_nothing_else(tmp_path: Path) -> None:
    """A file that was there before stays; so does a folder of ours that another made."""
    folder = Folder(tmp_path / "data")
    folder.make()
    folder.make()
    (folder.kafka / "log").mkdir()
    (folder.root / "notes.txt").write_text("mine")
    folder.remove()
    assert [path.name for path in folder.root.iterdir()] == ["notes.txt"]

    folder.logs.mkdir()
    (folder.logs / "other.log").write_text("another's")
    with pytest.raises(LocalServerError, match="not made by chargeline"):
        folder.make()
    folder.remove()
    assert (folder.logs / "other.log").exists()
    assert not (folder.logs / MARKER).exists()


def test_an_empty_data_directory_goes_as_well(tmp_path: Path) -> None:
    """What was made whole is removed whole."""
    folder = Folder(tmp_path / "a" / "data")
    folder.make()
    folder.remove()
    folder.remove()
    assert not folder.root.exists()


def test_a_lock_is_held_by_one_and_goes_with_the_block(tmp_path: Path) -> None:
    """The second one is told at once, and gets it afterwards."""
    with (
        locked(tmp_path / "run" / "lock", wait=False) as first,
        locked(tmp_path / "run" / "lock", wait=False) as second,
    ):
        assert (first, second) == (True, False)
    with locked(tmp_path / "run" / "lock", wait=False) as third:
        assert third


def test_the_tail_of_a_log_is_short(tmp_path: Path) -> None:
    """A log of any size is quoted by its end."""
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert tail(log).endswith("line 9999\n")
    assert len(tail(log)) < 20_000
