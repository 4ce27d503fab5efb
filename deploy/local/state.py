"""What the supervisor of a data directory says of itself and its processes: one JSON file, replaced as a whole."""

import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.local.process import Identity

STARTING: Final = "starting"
READY: Final = "ready"
NOT_READY: Final = "not_ready"
RESTARTING: Final = "restarting"
STOPPED: Final = "stopped"


class ProcessState(NamedTuple):
    """One process. `state` is starting, ready, not_ready, restarting or stopped; `created` is its start (s since 1970).

    `pid` is None while it does not run; `last_error` is what ended it last, or what it says it is not ready for.
    """

    name: str
    pid: int | None
    created: float | None
    state: str
    port: int
    restarts: int
    last_error: str | None

    @property
    def identity(self) -> Identity | None:
        return None if self.pid is None or self.created is None else Identity(self.pid, self.created)


class State(NamedTuple):
    """A supervisor and its processes. `begun`: servers and topics are there; `failed`: why it gave up, else None."""

    supervisor: Identity
    bootstrap_servers: str
    redis_url: str
    data_dir: str
    processes: tuple[ProcessState, ...]
    begun: bool
    failed: str | None = None

    @property
    def ready(self) -> bool:
        """Whether every process is."""
        return self.begun and all(process.state == READY for process in self.processes)


def write_state(path: Path, state: State) -> None:
    """Replace the file; a reader sees the old one or the new one, whatever happens to this process."""
    document = state._asdict()
    document["supervisor"] = state.supervisor._asdict()
    document["processes"] = [process._asdict() for process in state.processes]
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def last_state(path: Path) -> State | None:
    """Return what was written last, its writer alive or not; None where there is nothing, or nothing that is ours."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return State(
            **{
                **document,
                "supervisor": Identity(**document["supervisor"]),
                "processes": tuple(ProcessState(**process) for process in document["processes"]),
            }
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None


def live_state(path: Path) -> State | None:
    """Return what the supervisor says, None where none runs."""
    state = last_state(path)
    return state if state is not None and state.supervisor.find() is not None else None
