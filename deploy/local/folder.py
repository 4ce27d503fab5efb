"""The data directory of embedded servers: what lies where, who holds it, and how it is removed again.

DIR/kafka and DIR/redis hold the servers' data, DIR/audit what the auditor remembers, DIR/snapshots what rebuilds begin
with, DIR/logs what processes wrote, DIR/run the ports, the state and the settings of what runs. Each of them carries a
marker: what has none was there before us and is never touched.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from deploy.local.process import LocalServerError

MARKER: Final = ".chargeline"
PARTS: Final = ("kafka", "redis", "detect", "audit", "alerts", "snapshots", "logs", "run")


class Folder(NamedTuple):
    """The parts of one data directory."""

    root: Path

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def ports(self) -> Path:
        return self.run / "ports.json"

    @property
    def settings(self) -> Path:
        return self.run / "settings.toml"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create what is missing, readable by this user alone; again: nothing.

        Raises LocalServerError where a folder of such a name is another's, or cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for name in PARTS:
                _claim(self.root / name)
        except OSError as error:
            raise LocalServerError(f"the data directory {self.root} cannot be used: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the parts that carry our marker, then the directory itself if nothing else is in it."""
        for name in PARTS:
            part = self.root / name
            if (part / MARKER).exists():
                shutil.rmtree(part)
        if self.root.exists() and not any(self.root.iterdir()):
            self.root.rmdir()


def _claim(part: Path) -> None:
    part.mkdir(mode=0o700, exist_ok=True)
    marker = part / MARKER
    if marker.exists():
        return
    if any(part.iterdir()):
        raise LocalServerError(
            f"{part} was not made by chargeline and is not empty; choose another data directory "
            "(--data-dir or CHARGELINE_DATA_DIR)"
        )
    marker.write_text("made by chargeline, and removed by it\n")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold an exclusive lock on a file while in the block; yields False, at once, where another holds it and not wait.

    The lock goes with the process, however it ends. The file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield _lock(file, wait=wait)


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    if sys.platform == "win32":
        raise LocalServerError("embedded servers run on Linux and macOS; on Windows use WSL, or servers of your own")
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
