"""One supervised process: started, asked whether it is ready, started again when it ends, with a growing pause.

| what happens | state | what is done |
|---|---|---|
| started | starting | asked every `poll_ms` until it is ready |
| ready | ready | asked on; having been ready for `backoff_max_ms` forgets earlier ends |
| says it is not ready, or does not answer | not_ready | asked on: it knows what it waits for |
| ended, whatever its exit code | restarting | started again after the pause, which doubles each time |
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple, Protocol

import psutil

from deploy.local.configuration import without_settings
from deploy.local.folder import Folder
from deploy.local.ports import HOST, Ports
from deploy.local.process import Child, LocalServerError, identity, last_lines
from deploy.local.servers import Server
from deploy.local.state import NOT_READY, READY, RESTARTING, STARTING, STOPPED, ProcessState
from pipeline.adapters.logs import logger
from pipeline.settings import LocalSettings, Settings

ANSWER_TIMEOUT_S: Final = 1.0
EVERY_ADDRESS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not bound
READYZ_BYTES_MAX: Final = 4_096
ERROR_CHARS_MAX: Final = 2_000
_log = logger("supervisor")


class Program(Protocol):
    """What can be supervised: `launch` starts it, `wrong` says what keeps that process from being ready, else None."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    def launch(self) -> Child: ...

    def wrong(self, child: Child) -> str | None: ...


class Embedded(NamedTuple):
    """An embedded server as a program."""

    server: Server

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def port(self) -> int:
        return self.server.port

    def launch(self) -> Child:
        return self.server.launch()

    def wrong(self, child: Child) -> str | None:
        return None if self.server.ready(child) else "does not answer"


class Worker:
    """A worker process: it listens on `port`, which it is told by a setting, and answers /readyz there."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], settings: Settings, ports: Ports
    ) -> None:
        self.name = name
        self._command = tuple(command)
        self._environment = dict(environment)
        self._settings = settings
        self._ports = ports
        self._configured: int = getattr(settings.http, f"{name}_port", 0)
        self.port = self._configured or ports.port(name)

    def launch(self) -> Child:
        """Start it, on the same port if that is still free: nothing but whoever looks at it depends on the port."""
        self.port = self._configured or self._ports.port(self.name)
        told = {**self._environment, f"CHARGELINE_HTTP__{self.name.upper()}_PORT": str(self.port)}
        log = Folder(self._settings.data_dir).log(self.name)
        return Child(self.name, self._command, log, without_settings(os.environ) | told, self._settings.local.log_bytes)

    def wrong(self, child: Child) -> str | None:  # noqa: ARG002 - whoever answers on its port says it
        host = self._settings.http.host
        return ask_ready(HOST if host in EVERY_ADDRESS else host, self.port)


class Supervised:
    """A program and its process. `tick` does what is due and returns at once, but for one request to the process.

    A process that never gets ready is ended after `starting_max_s` where that is given: one that was ready is not.
    """

    def __init__(
        self,
        program: Program,
        settings: LocalSettings,
        *,
        starting_max_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.program = program
        self.child: Child | None = None
        self._starting_max_s = starting_max_s
        self._clock = clock
        self._poll_s = settings.poll_ms / 1000
        self._backoff_min_s = settings.backoff_min_ms / 1000
        self._backoff_max_s = settings.backoff_max_ms / 1000
        self._created: float | None = None
        self._state = STOPPED
        self._restarts = 0
        self._end: str | None = None
        self._wrong: str | None = None
        self._pause_s = self._backoff_min_s
        self._due = self._since = clock()

    @property
    def state(self) -> ProcessState:
        pid = None if self.child is None else self.child.pid
        error = self._wrong if self._state == NOT_READY else self._end or self._wrong
        program = self.program
        return ProcessState(program.name, pid, self._created, self._state, program.port, self._restarts, error)

    def adopt(self, child: Child) -> None:
        """Take over a process that was started, and found ready, elsewhere."""
        self._started(child)
        self._asked(None)

    def tick(self) -> None:
        """Do what is due: notice the end, start, ask."""
        if self.child is not None and not self.child.running:
            self._ended(self.child)
        if self._clock() < self._due:
            return
        if self.child is not None:
            self._asked(self.program.wrong(self.child))
            return
        try:
            child = self.program.launch()
        except (OSError, LocalServerError) as error:
            self._retry(f"could not be started: {error}")
        else:
            self._started(child)

    def stopped(self) -> None:
        """Say that its process was stopped on purpose."""
        self.child, self._created, self._wrong = None, None, None
        self._state = STOPPED

    def _started(self, child: Child) -> None:
        try:
            self._created = identity(child.pid).created
        except psutil.NoSuchProcess:  # ended already: the next tick sees it
            self._created = None
        self.child, self._wrong = child, None
        self._enter(STARTING)
        self._due = self._clock() + self._poll_s

    def _asked(self, wrong: str | None) -> None:
        now = self._clock()
        self._due = now + self._poll_s
        self._wrong = wrong
        if wrong is None:
            self._enter(READY)
            if now - self._since >= self._backoff_max_s:
                self._pause_s = self._backoff_min_s
        elif self._state != STARTING:
            self._enter(NOT_READY)
        elif now - self._since >= self._starting_max_s and self.child is not None:
            _log.warning("process_never_ready", process=self.program.name, after_s=self._starting_max_s)
            self.child.kill()

    def _ended(self, child: Child) -> None:
        self._retry(end_of(child.exit_code or 0, child.output()))

    def _retry(self, why: str) -> None:
        self.child, self._created = None, None
        self._end, self._wrong = why, None
        self._restarts += 1
        self._enter(RESTARTING)
        self._due = self._clock() + self._pause_s
        _log.warning("process_ended", process=self.program.name, restarts=self._restarts, restart_in_s=self._pause_s)
        self._pause_s = min(self._pause_s * 2, self._backoff_max_s)

    def _enter(self, state: str) -> None:
        if self._state != state:
            self._state, self._since = state, self._clock()


def ask_ready(host: str, port: int) -> str | None:
    """Ask a worker's /readyz: None where it is ready, else what it says, or that it says nothing."""
    asked = HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)  # by no proxy, whatever the environment says
    try:
        asked.request("GET", "/readyz")
        answer = asked.getresponse()
        body = answer.read(READYZ_BYTES_MAX).decode(errors="replace")
    except (OSError, HTTPException):
        return "does not answer"
    finally:
        asked.close()
    if answer.status == HTTPStatus.OK:
        return None
    return last_lines(body) or f"answers {answer.status}"


def end_of(exit_code: int, output: str) -> str:
    """Return how a process ended, and what it said of it where it could say anything."""
    if exit_code in (-signal.SIGKILL, -signal.SIGTERM):
        return f"ended by signal {-exit_code}"
    how = f"ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    said = error_of(output)
    return f"{how}: {said}" if said else how


def error_of(output: str) -> str:
    """Return what a process said of its end: its last logged error where it logs JSON, else its last lines."""
    for line in reversed(output.splitlines()):
        entry = _json(line)
        if entry.get("level") in ("error", "critical"):
            said = {key: value for key, value in entry.items() if key not in ("timestamp", "level", "logger")}
            return json.dumps(said, ensure_ascii=False)[:ERROR_CHARS_MAX]
    return last_lines(output)[-ERROR_CHARS_MAX:]


def _json(line: str) -> dict[str, object]:
    if not line.startswith("{"):
        return {}
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
