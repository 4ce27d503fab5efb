"""Child processes: started with a log, dying with this process, stopped politely and then not; found again by id."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

CREATED_TOLERANCE_S: Final = 2.0
"""How far two readings of a process's start may differ: the clock it is computed from may be set in between."""

POLL_S: Final = 0.02
TAIL_BYTES: Final = 16_384
_LAUNCH: Final = Path(__file__).with_name("launch.py")


class LocalServerError(RuntimeError):
    """A server or process on this machine cannot be had; the message says what was tried and what helps."""


class Identity(NamedTuple):
    """A process for ever: ids are used again, an id and the time of its start (seconds since 1970) are not."""

    pid: int
    created: float

    def find(self) -> psutil.Process | None:
        """Return the process where it still runs, else None."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < CREATED_TOLERANCE_S
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same and alive else None


def identity(pid: int) -> Identity:
    """Return the identity of a running process; raises psutil.Error where there is none."""
    return Identity(pid, psutil.Process(pid).create_time())


class Child:
    """A process that was started here. It dies with this process, even with a killed one (Linux).

    Start it from a thread that lives as long as the process: on Linux the end of that thread counts as the parent's.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str], log_bytes_max: int
    ) -> None:
        self.name = name
        self.log = log
        rotate(log, log_bytes_max)
        launcher = (sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *command)
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._popen = subprocess.Popen(
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                start_new_session=True,  # Ctrl-C is for the supervisor, which then stops its children in order
            )
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -N where signal N ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def output(self) -> str:
        """Return the end of what it has written since it was started."""
        return tail(self.log, self._log_start)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM); gone already: nothing."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it at once and wait for that; gone already: nothing."""
        self._popen.kill()
        self._popen.wait()


def stop(children: Iterable[Child], timeout_s: float) -> None:
    """Ask all of them to stop, wait for all, kill those that have not gone in time. Returns when none runs."""
    asked = [child for child in children if child.running]
    for child in asked:
        child.terminate()
    deadline = time.monotonic() + timeout_s
    while any(child.running for child in asked) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for child in asked:
        child.kill()


def end_strays(strays: Iterable[Identity], timeout_s: float) -> int:
    """End processes of an earlier start that outlived their supervisor; returns how many there were."""
    found = [process for stray in strays if (process := stray.find()) is not None]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(found, timeout=timeout_s)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=timeout_s)
    return len(found)


def listens(pid: int, port: int) -> bool:
    """Return whether this very process listens on the port: an answer there could be a stranger's."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port for c in connections)


def rotate(log: Path, bytes_max: int) -> None:
    """Put a log that has grown past the limit aside as NAME.1, in place of the one before."""
    if log.exists() and log.stat().st_size > bytes_max:
        log.replace(log.with_name(f"{log.name}.1"))


def tail(log: Path, start: int = 0) -> str:
    """Return the last few KiB of a log, from `start` on at most; no log: an empty text."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def last_lines(text: str, count: int = 5) -> str:
    """Return the last lines of a text that say something."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])
