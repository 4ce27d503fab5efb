"""Snapshots: the state of one partition at one event, in a file, so that a rebuild reads only the rest of the ledger.

A file is gzipped JSON lines: what it is (partition, first hash of its ledger, seq, hash), one line a key, and the
SHA-256 of all before it. It is written aside and renamed, so there is a whole one or none. It is believed only where
ledger and checksum agree with it: otherwise it is passed over, with a warning, and the ledger is read instead.
"""

import base64
import gzip
import hashlib
import json
import os
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from pipeline.adapters.logs import logger
from pipeline.domain.ledger import LAYOUT, Writes
from pipeline.domain.usage import DAY_MS
from pipeline.settings import Settings

FORMAT: Final = 1
KEPT: Final = 2
"""Newest files of a partition that stay: the one before the last is there if the last is found bad."""
PART_VALUES: Final = 20_000
"""Values written into the view by one call."""
_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
_log = logger("snapshots")


class BadSnapshotError(ValueError):
    """The file is not what was written; the message says how that shows."""


class Snapshot(NamedTuple):
    """A file, and what its first line says."""

    path: Path
    partition: int
    genesis: bytes
    seq: int
    hash: bytes


def folder_of(settings: Settings) -> Path:
    """Return where the snapshots of this deployment are."""
    return settings.charge.snapshot_folder or settings.data_dir / "snapshots"


class Folded:
    """The state of a partition in memory, brought on by the writes of the fold. What is over by its clock goes."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.accounts: dict[str, dict[str, str]] = {}
        self.kept: dict[str, dict[str, str]] = {}
        self.sessions: dict[str, tuple[int, dict[str, str]]] = {}
        self.seen: dict[tuple[int, int], tuple[int, array[int]]] = {}

    @property
    def seq(self) -> int:
        """The last event folded in; 0 for none."""
        return int(self.head.get("seq", "0"))

    def take(self, writes: Writes) -> None:
        """Bring the state on by a run of events, or by a part of a snapshot."""
        for name, changes in writes.accounts.items():
            _put(self.accounts.setdefault(name, {}), changes)
        for name, added in writes.kept.items():
            self.kept.setdefault(name, {}).update(added)
        for key, (day, changes, emptied) in writes.sessions.items():
            fields = {} if emptied else self.sessions.get(key, (0, {}))[1]
            _put(fields, changes)
            self.sessions[key] = (day, fields)
        for bucket, (day, numbers) in writes.seen.items():
            held = self.seen[bucket][1] if bucket in self.seen else array("q")
            held.extend(numbers)
            self.seen[bucket] = (day, held)
        self.head.update(writes.head)

    def parts(self) -> Iterator[Writes]:
        """Yield the state as writes into an empty view, some thousands of values each; the last one has the head."""
        self._forget()
        part = _Part(self.seq)
        for name, fields in self.accounts.items():
            part.writes.accounts[name] = dict(fields)
            yield from part.grown(len(fields))
        for name, fields in self.kept.items():
            part.writes.kept[name] = dict(fields)
            yield from part.grown(len(fields))
        for key, (day, fields) in self.sessions.items():
            part.writes.sessions[key] = (day, dict(fields), False)
            yield from part.grown(len(fields))
        for bucket, (day, numbers) in self.seen.items():
            part.writes.seen[bucket] = (day, list(numbers))
            yield from part.grown(len(numbers))
        part.writes.head.update(self.head)
        yield part.writes

    def _forget(self) -> None:
        """Drop what the view has dropped by now: a day more than due, for the server's clock is not the ledger's."""
        today = int(self.head.get("clock", "0")) // DAY_MS - 1
        self.sessions = {key: held for key, held in self.sessions.items() if held[0] >= today}
        self.seen = {bucket: held for bucket, held in self.seen.items() if held[0] >= today}


class _Part:
    def __init__(self, seq: int) -> None:
        self._seq = seq
        self._values = 0
        self.writes = Writes(1, seq, {}, {}, {}, {}, {})

    def grown(self, values: int) -> Iterator[Writes]:
        self._values += values
        if self._values >= PART_VALUES:
            full, self.writes = self.writes, Writes(1, self._seq, {}, {}, {}, {}, {})
            self._values = 0
            yield full


def save(folder: Path, partition: int, genesis: bytes, state: Folded) -> Snapshot:
    """Write the state aside, then in one step into its place; older files than the newest ones go."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seq, event_hash = state.seq, bytes.fromhex(state.head["hash"])
    path = folder / f"{partition}-{seq:020d}.snapshot"
    beside = path.with_suffix(".writing")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:
            summed = hashlib.sha256()
            for line in _lines(partition, genesis, state):
                summed.update(line)
                packed.write(line)
            packed.write(_line(["sum", summed.hexdigest()]))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    _sync_folder(folder)
    for old in found(folder, partition)[KEPT:]:
        old.path.unlink(missing_ok=True)
    return Snapshot(path, partition, genesis, seq, event_hash)


def found(folder: Path, partition: int) -> list[Snapshot]:
    """Return the partition's snapshots, newest first, by their first lines; what has none is passed over."""
    snapshots = []
    for path in sorted(folder.glob(f"{partition}-*.snapshot"), reverse=True):
        try:
            with gzip.open(path, "rb") as file:
                snapshots.append(_begin(path, file.readline(_LINE_BYTES_MAX)))
        except (OSError, EOFError, zlib.error, BadSnapshotError) as error:
            _log.warning("snapshot_passed_over", file=path.name, why=f"{type(error).__name__}: {error}")
    return [snapshot for snapshot in snapshots if snapshot.partition == partition]


def is_whole(snapshot: Snapshot) -> bool:
    """Tell whether every byte of the file is as it was written; a warning says why not."""
    try:
        for _ in _read(snapshot):
            pass
    except (OSError, EOFError, zlib.error, BadSnapshotError) as error:
        _log.warning("snapshot_passed_over", file=snapshot.path.name, why=f"{type(error).__name__}: {error}")
        return False
    return True


def load(snapshot: Snapshot) -> Folded:
    """Read the state; raises BadSnapshotError, or what a broken file provokes. Ask `is_whole` before."""
    state = Folded()
    for kind, *values in _read(snapshot):
        if kind == "head":
            state.head = values[0]
        elif kind == "account":
            state.accounts[values[0]] = values[1]
        elif kind == "kept":
            state.kept[values[0]] = values[1]
        elif kind == "session":
            state.sessions[values[0]] = (values[1], values[2])
        elif kind == "seen":
            day, bucket, expires_day, numbers = values
            state.seen[day, bucket] = (expires_day, array("q", base64.b64decode(numbers)))
    return state


def _lines(partition: int, genesis: bytes, state: Folded) -> Iterator[bytes]:
    first = {"format": FORMAT, "layout": LAYOUT, "partition": partition, "genesis": genesis.hex()}
    yield _line(["snapshot", {**first, "seq": state.seq, "hash": state.head["hash"]}])
    yield _line(["head", state.head])
    for name, fields in state.accounts.items():
        yield _line(["account", name, fields])
    for name, fields in state.kept.items():
        yield _line(["kept", name, fields])
    for key, (day, fields) in state.sessions.items():
        yield _line(["session", key, day, fields])
    for (day, bucket), (expires_day, numbers) in state.seen.items():
        yield _line(["seen", day, bucket, expires_day, base64.b64encode(numbers.tobytes()).decode()])


def _line(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _begin(path: Path, line: bytes) -> Snapshot:
    try:
        word, said = json.loads(line)
        if word != "snapshot" or (said["format"], said["layout"]) != (FORMAT, LAYOUT):
            raise BadSnapshotError("it is of another release")
        return Snapshot(
            path, said["partition"], bytes.fromhex(said["genesis"]), said["seq"], bytes.fromhex(said["hash"])
        )
    except (ValueError, LookupError, TypeError) as error:
        raise BadSnapshotError(f"its first line says nothing certain: {type(error).__name__}") from None


def _read(snapshot: Snapshot) -> Iterator[list[Any]]:
    """Yield the lines between the first and the sum; raises BadSnapshotError at the end if the sum is another one."""
    summed = hashlib.sha256()
    with gzip.open(snapshot.path, "rb") as file:
        first = file.readline(_LINE_BYTES_MAX)
        if _begin(snapshot.path, first) != snapshot:
            raise BadSnapshotError("its first line is another one")
        summed.update(first)
        while line := file.readline(_LINE_BYTES_MAX):
            content = _content(line)
            if content[0] == "sum":
                if content[1:] != [summed.hexdigest()] or file.read(1):
                    raise BadSnapshotError("its sum is not that of its lines")
                return
            summed.update(line)
            yield content
    raise BadSnapshotError("it ends before its sum")


def _content(line: bytes) -> list[Any]:
    try:
        content = json.loads(line)
    except ValueError:
        raise BadSnapshotError("a line cannot be read") from None
    if not isinstance(content, list) or not content:
        raise BadSnapshotError("a line says nothing")
    return content


def _put(fields: dict[str, str], changes: "dict[str, str | None]") -> None:
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
