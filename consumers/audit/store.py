"""What the auditor remembers between two starts: one SQLite file, written in one transaction with its position.

| table | holds |
|---|---|
| `stands` | of each ledger partition: the last event audited, its hash and offset, and where every check stands |
| `rows` | the state that the view must be in, key by key, and the sessions that pricing asks for |
| `ids` | every id charged or carried out, for ever (`register`) |
| `seals` | right seals with the auditor's signatures |
| `breaches` | what was found wrong; it stays until the file is put aside |
| `places`, `pending`, `totals` | control totals (`totals`) |
"""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumers.audit.breach import Breach

FILE: Final = "audit.sqlite"
_LAYOUT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS stands (
    partition INTEGER PRIMARY KEY, genesis BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    last_offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, checks TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (partition INTEGER, name TEXT, text TEXT NOT NULL, PRIMARY KEY (partition, name))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seals (partition INTEGER, seq INTEGER, hash BLOB NOT NULL, signature BLOB NOT NULL,
    PRIMARY KEY (partition, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS breaches (partition INTEGER, seq INTEGER, invariant TEXT, detail TEXT NOT NULL,
    clock INTEGER NOT NULL, PRIMARY KEY (partition, invariant)) WITHOUT ROWID;
"""


class StoreError(RuntimeError):
    """The auditor's file cannot be used; the message says why."""


class Stand(NamedTuple):
    """Where one partition was left. `last_offset` is that of the last event audited."""

    genesis: bytes
    seq: int
    hash: bytes
    last_offset: int
    timestamp_ms: int
    checks: dict[str, Any]


class Seal(NamedTuple):
    """A seal of the ledger and the auditor's signature of it."""

    partition: int
    seq: int
    hash: bytes
    signature: bytes


class AuditStore:
    """The file of one auditor. Writers call `begin`, then `commit`: all of a round is there, or nothing of it."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        if read_only:
            if not self.path.exists():
                raise StoreError(f"no auditor has run here: there is no {self.path}")
            self.database = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.database = sqlite3.connect(self.path, isolation_level=None)
            self.path.chmod(0o600)
            self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = NORMAL")  # a lost tail is audited again
            self.database.executescript(_TABLES)
            if not self._layout():
                self.database.execute(f"PRAGMA user_version = {_LAYOUT}")
        if self._layout() != _LAYOUT:
            raise StoreError(f"{self.path} is of another release; put it aside, and the audit begins anew")

    def _layout(self) -> int:
        return int(self.database.execute("PRAGMA user_version").fetchone()[0])

    def begin(self) -> None:
        """Begin a round."""
        self.database.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the round true."""
        self.database.execute("COMMIT")

    def rollback(self) -> None:
        """Undo a round, if one was begun."""
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file; a round that was not committed never happened."""
        self.database.close()

    def stand(self, partition: int) -> Stand | None:
        """Return where the partition was left, None where it was never begun."""
        found = self.database.execute(
            "SELECT genesis, seq, hash, last_offset, timestamp_ms, checks FROM stands WHERE partition = ?", (partition,)
        ).fetchone()
        if found is None:
            return None
        genesis, seq, event_hash, last_offset, timestamp_ms, checks = found
        return Stand(genesis, seq, event_hash, last_offset, timestamp_ms, json.loads(checks))

    def keep(self, partition: int, stand: Stand, rows: dict[str, str | None]) -> None:
        """Write where the partition stands, and the rows that changed."""
        self.database.execute(
            "INSERT OR REPLACE INTO stands VALUES (?, ?, ?, ?, ?, ?, ?)",
            (partition, *stand[:5], json.dumps(stand.checks)),
        )
        written = [(partition, name, text) for name, text in rows.items() if text is not None]
        gone = [(partition, name) for name, text in rows.items() if text is None]
        self.database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", written)
        self.database.executemany("DELETE FROM rows WHERE partition = ? AND name = ?", gone)

    def rows(self, partition: int) -> Iterable[tuple[str, str]]:
        """Yield the partition's rows."""
        yield from self.database.execute("SELECT name, text FROM rows WHERE partition = ?", (partition,))

    def add_seal(self, seal: Seal) -> None:
        """Keep a signed seal; again: the same."""
        self.database.execute("INSERT OR REPLACE INTO seals VALUES (?, ?, ?, ?)", seal)

    def seals(self) -> list[Seal]:
        """Return every signed seal in order."""
        return [Seal(*row) for row in self.database.execute("SELECT * FROM seals ORDER BY partition, seq")]

    def add_breach(self, breach: Breach, clock: int) -> None:
        """Keep a breach, with the partition's clock in ms; the first of its kind in a partition stays."""
        self.database.execute("INSERT OR IGNORE INTO breaches VALUES (?, ?, ?, ?, ?)", (*breach, clock))

    def breaches(self) -> list[tuple[Breach, int]]:
        """Return what was found wrong, each with its clock."""
        rows = self.database.execute("SELECT partition, seq, invariant, detail, clock FROM breaches ORDER BY 1, 2")
        return [(Breach(*row[:4]), row[4]) for row in rows]
