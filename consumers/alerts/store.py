"""What is remembered of alerts: one SQLite file, in which position, alerts and queue change together.

| table | holds |
|---|---|
| `positions` | of each partition of the alert topic: the next offset to take in |
| `alerts` | each alert as it is now: its last change, status, whether it was acknowledged |
| `changes` | each change once, in the order taken in: what is streamed, replayed and known by id |
| `silences` | rules, each with its end |
| `subscriptions` | who is told by webhook of what; of a secret only the file that holds it |
| `deliveries` | the queue: one row for each change and subscription |
| `corrections` | adjustments that were prepared from an alert, and who approved them |
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.settings import Settings

FILE: Final = "alerts.sqlite"
_LAYOUT: Final = 1
_BUSY_S: Final = 30.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS positions (topic_id TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (alert_id TEXT PRIMARY KEY, status TEXT NOT NULL, detector TEXT NOT NULL,
    severity TEXT NOT NULL, grouped TEXT NOT NULL, opened_at INTEGER NOT NULL, ordered INTEGER,
    changes INTEGER NOT NULL, changed_ms INTEGER NOT NULL, body TEXT NOT NULL, acked_by TEXT,
    acked_ms INTEGER, acked_note TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alerts_by_status ON alerts (status, changed_ms);
CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, change_id TEXT NOT NULL UNIQUE,
    alert_id TEXT NOT NULL, state TEXT NOT NULL, taken_ms INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS changes_by_alert ON changes (alert_id);
CREATE TABLE IF NOT EXISTS silences (id INTEGER PRIMARY KEY AUTOINCREMENT, rule TEXT NOT NULL, until_ms INTEGER
    NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL, made_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (name TEXT PRIMARY KEY, url TEXT NOT NULL, secret_file TEXT NOT NULL,
    rule TEXT NOT NULL, status TEXT NOT NULL, failures INTEGER NOT NULL DEFAULT 0, paused_ms INTEGER NOT NULL DEFAULT 0,
    last_error TEXT, language TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL,
    change_id TEXT NOT NULL, alert_id TEXT NOT NULL, state TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER
    NOT NULL DEFAULT 0, due_ms INTEGER NOT NULL, settled_ms INTEGER, last_error TEXT, UNIQUE (subscription, change_id));
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (status, due_ms);
CREATE INDEX IF NOT EXISTS deliveries_of_alert ON deliveries (alert_id, subscription);
CREATE TABLE IF NOT EXISTS corrections (alert_id TEXT PRIMARY KEY, commands TEXT NOT NULL, prepared_by TEXT NOT NULL,
    prepared_ms INTEGER NOT NULL, approved_by TEXT, approved_ms INTEGER) WITHOUT ROWID;
"""


class StoreError(RuntimeError):
    """The file of alerts cannot be used; the message says why."""


def folder_of(settings: Settings) -> Path:
    """Return where alerts are remembered."""
    return settings.alerts.folder or settings.data_dir / "alerts"


class AlertStore:
    """The file of alerts. One thread uses an instance; others, and other processes, open their own."""

    def __init__(self, folder: Path, *, must_exist: bool = False) -> None:
        self.path = folder / FILE
        if must_exist and not self.path.exists():
            raise StoreError(f"no alerts are kept here: there is no {self.path}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database = sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S)
        self.path.chmod(0o600)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")  # an acknowledgement is nowhere else
        with self.transaction():
            for statement in _TABLES.split(";\n"):
                self.database.execute(statement)
            if self._layout() == 0:
                self.database.execute(f"PRAGMA user_version = {_LAYOUT}")
        if self._layout() != _LAYOUT:
            raise StoreError(f"{self.path} is of another release; put it aside, and the topic is read anew")

    def _layout(self) -> int:
        return int(self.database.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change things together: all of the block is there, or nothing of it."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield self.database
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file; again: nothing."""
        self.database.close()

    def positions(self, topic_id: str) -> dict[int, int]:
        """Return the next offset of each partition of the topic with this id."""
        rows = self.database.execute("SELECT partition, next_offset FROM positions WHERE topic_id = ?", (topic_id,))
        return dict(rows.fetchall())

    def keep_positions(self, topic_id: str, positions: dict[int, int]) -> None:
        """Write how far the topic was taken in; within the transaction that took it in."""
        self.database.executemany(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
            [(topic_id, partition, offset) for partition, offset in positions.items()],
        )
