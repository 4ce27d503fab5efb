"""Everything of one data directory, up and down: one supervisor in the background, which starts and restarts the rest.

The embedded servers start first (a configured broker or Redis always wins), then topics are made, then the workers
start. Stopping goes the other way: the workers drain on SIGTERM, then the servers stop. Whatever the supervisor
started dies with it, even where it is killed (Linux), or is ended by the next start.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from deploy.local.configuration import as_document, without_settings
from deploy.local.folder import Folder, locked
from deploy.local.jars import find_jars
from deploy.local.java import find_java
from deploy.local.process import Identity, LocalServerError, end_strays, identity, last_lines, rotate, tail
from deploy.local.redis_server import find_redis_server
from deploy.local.servers import Addresses
from deploy.local.state import READY, RESTARTING, ProcessState, State, last_state, live_state
from deploy.local.supervision import WORKERS, AlreadyUpError, Workers, supervise
from pipeline.settings import Settings

__all__ = ["WORKERS", "Addresses", "LocalServerError", "ProcessState", "State", "down", "read_state", "up", "wipe"]

ENDS_MAX: Final = 4
"""A process that has ended so often while `up` waits for it will not get ready by waiting."""

WAIT_S: Final = 0.1
MARGIN_S: Final = 10.0


def up(
    settings: Settings,
    foreground: bool = False,
    progress: Callable[[str], None] = lambda _line: None,
    workers: Workers = WORKERS,
) -> Addresses:
    """Have everything running, and return where the servers are once every process is ready.

    Where it runs already nothing is changed (its settings are those of the first call). In the foreground it returns
    when it was stopped (SIGTERM, SIGINT), with the addresses it had. Raises LocalServerError, naming the process that
    is not ready and the end of its log: what ended again and again is stopped, what is only slow goes on.
    """
    folder = _folder(settings)
    if foreground:
        _prepare(settings, folder, progress)
        try:
            return supervise(settings, workers, progress)
        except AlreadyUpError as error:
            raise LocalServerError(f"{error}; `chargeline down` stops it") from None
    ours = None
    if read_state(settings.data_dir) is None:
        _prepare(settings, folder, progress)
        ours = _start(settings, folder, workers)
    return _await(settings, folder, ours, progress)


def down(settings: Settings) -> bool:
    """Stop the workers, then the servers; returns when nothing runs. False if nothing did."""
    folder = _folder(settings)
    state = last_state(folder.state)
    if state is None:
        return False
    supervisor = state.supervisor.find()
    if supervisor is not None:
        try:
            supervisor.terminate()
            supervisor.wait(2 * settings.local.stop_timeout_s + MARGIN_S)
        except psutil.TimeoutExpired:
            supervisor.kill()
        except psutil.NoSuchProcess:
            pass
    # as written last: while it stopped, it may have started one more
    processes = (last_state(folder.state) or state).processes
    strays = [process.identity for process in processes if process.identity is not None]
    return end_strays(strays, settings.local.stop_timeout_s) > 0 or supervisor is not None


def read_state(data_dir: Path) -> State | None:
    """Return what the supervisor of this directory says, None where none runs."""
    return live_state(Folder(data_dir.absolute()).state)


def wipe(settings: Settings) -> None:
    """Remove what was made in the data directory: the servers' data, logs, settings. Nothing there: nothing.

    Raises LocalServerError while anything runs there.
    """
    folder = _folder(settings)
    if not folder.run.exists():
        folder.remove()
        return
    with locked(folder.lock, wait=False) as ours:
        if not ours:
            raise LocalServerError(f"the data directory {folder.root} is in use; `chargeline down` comes first")
        folder.remove()


def _folder(settings: Settings) -> Folder:
    return Folder(settings.data_dir.absolute())


def _prepare(settings: Settings, folder: Folder, progress: Callable[[str], None]) -> None:
    """Find what the embedded servers need here, where the user sees what is fetched and what is missing."""
    folder.make()
    if not settings.kafka.bootstrap_servers:
        find_java(settings)
        find_jars(settings, progress)
    if not settings.redis.url:
        find_redis_server(settings)


def _start(settings: Settings, folder: Folder, workers: Workers) -> Identity | None:
    """Start a supervisor in the background; returns it, or None where it has gone already."""
    log = folder.log("supervisor")
    rotate(log, settings.local.log_bytes)
    told = json.dumps({"settings": as_document(settings), "workers": workers})
    with log.open("ab") as output:
        started = subprocess.run(
            [sys.executable, "-P", "-m", "deploy.local.supervision"],
            input=told.encode(),
            stdout=subprocess.PIPE,
            stderr=output,
            env=without_settings(os.environ),
            cwd=folder.root,
            start_new_session=True,
            check=False,
        )
    if started.returncode != 0:
        raise LocalServerError(f"the supervisor could not be started; the end of its log:\n{last_lines(tail(log))}")
    try:
        return identity(int(started.stdout))
    except psutil.NoSuchProcess:
        return None


def _await(settings: Settings, folder: Folder, ours: Identity | None, progress: Callable[[str], None]) -> Addresses:
    """Wait until every process is ready. `ours` is the supervisor that this call started, if it did."""
    deadline = time.monotonic() + settings.local.ready_timeout_s
    told: set[str] = set()
    while True:
        state = live_state(folder.state)
        if state is None and (ours is None or ours.find() is None):
            raise LocalServerError(_why_gone(folder, ours))
        for process in state.processes if state else ():
            if process.state == READY and process.name not in told:
                told.add(process.name)
                progress(f"{process.name} is ready")
        if state is not None and state.ready:
            return Addresses(state.bootstrap_servers, state.redis_url)
        hopeless = [p for p in state.processes if p.state == RESTARTING and p.restarts >= ENDS_MAX] if state else []
        if hopeless:
            stopped = ours is not None and down(settings)
            raise LocalServerError(_trouble(folder, hopeless, "ended again and again", stopped=stopped))
        if time.monotonic() > deadline:
            late = [p for p in state.processes if p.state != READY] if state else []
            raise LocalServerError(
                _trouble(folder, late, f"is not ready after {settings.local.ready_timeout_s} s", stopped=False)
            )
        time.sleep(WAIT_S)


def _why_gone(folder: Folder, ours: Identity | None) -> str:
    state = last_state(folder.state)
    if state is not None and state.failed and (ours is None or state.supervisor.pid == ours.pid):
        return state.failed
    said = last_lines(tail(folder.log("supervisor")))
    return f"the supervisor ended while `up` waited for it; the end of its log:\n{said}"


def _trouble(folder: Folder, processes: list[ProcessState], how: str, *, stopped: bool) -> str:
    parts = [f"{' and '.join(process.name for process in processes) or 'the supervisor'} {how}"]
    for process in processes:
        said = process.last_error or "it says nothing"
        parts.append(f"{process.name}: {said}\nthe end of {folder.log(process.name)}:")
        parts.append(last_lines(tail(folder.log(process.name))) or "(empty)")
    parts.append("everything was stopped again" if stopped else "what runs goes on; `chargeline down` stops it")
    return "\n".join(parts)
