"""Ports of a data directory: chosen once, kept in a file, so that a restart comes back where it was."""

import json
import secrets
import socket
from pathlib import Path
from typing import Final

from deploy.local.process import LocalServerError

HOST: Final = "127.0.0.1"
FIRST: Final = 20_000
LAST: Final = 31_999
"""Below the ports that systems give to outgoing connections (32768 and up, 49152 on macOS): a client that keeps trying
to reach a server which is down could otherwise be given that server's port, meet itself and keep the server out."""

ATTEMPTS: Final = 200


class Ports:
    """The remembered ports, by name. One process at a time may use a file: the one that holds the directory's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = _read(path)

    def port(self, name: str) -> int:
        """Return the port of this name: the remembered one where it is free, else a new one, remembered."""
        known = self._ports.get(name)
        return known if known is not None and is_free(known) else self.another(name)

    def another(self, name: str) -> int:
        """Return a new free port for this name and remember it; raises LocalServerError where none is free."""
        taken = set(self._ports.values())
        for _ in range(ATTEMPTS):
            candidate = FIRST + secrets.randbelow(LAST - FIRST + 1)
            if candidate not in taken and is_free(candidate):
                self._ports[name] = candidate
                temporary = self._path.with_suffix(".tmp")
                temporary.write_text(json.dumps(self._ports))
                temporary.replace(self._path)
                return candidate
        raise LocalServerError(f"no free port on {HOST} between {FIRST} and {LAST} ({ATTEMPTS} tried)")


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port now; another may take it a moment later."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: closed connections linger
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {name: port for name, port in found.items() if isinstance(port, int)} if isinstance(found, dict) else {}
