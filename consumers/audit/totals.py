"""Control totals: of each source and hour, records in = charged + duplicate + review + rejected + dead-lettered.

Counted by distinct raw offset, in three readings that share nothing: the raw topic says what came in, the ledger and
the dead letters say what became of it. Mediate may hand one raw record on twice after a crash; the first outcome of an
offset counts. An offset is judged once mediate has committed it and all that it had handed on by then is answered:
without an outcome by then, a record was lost on the way.

An offset with both readings is added to its source's hour and forgotten: what is below `settled` of its partition has
been counted. So memory on disk is that of the records under way, and a row for each source and hour.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from consumers.audit.breach import TOTALS, Breach
from pipeline.adapters.avro import USAGE_RECORD, UndecodableError, UnknownSchemaError
from pipeline.adapters.ledger_codec import accepted_usage_of
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import CHARGED, DUPLICATE, REJECTED, REVIEW
from pipeline.domain.usage import AcceptedUsage
from pipeline.topics import USAGE_RECEIVED

HOUR_MS: Final = 3_600_000
UNREAD: Final = "?"
"""The source of bytes that do not say it."""
DEAD: Final = "dead_letter"
OUTCOMES: Final = {CHARGED: "charged", DUPLICATE: "duplicate", REVIEW: "review", REJECTED: "rejected"}
_COUNTED: Final = ("received", *OUTCOMES.values(), DEAD)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS places (
    partition INTEGER PRIMARY KEY, topic BLOB NOT NULL, read_to INTEGER NOT NULL, settled INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    partition INTEGER, offset INTEGER, source TEXT, hour INTEGER, outcome TEXT, PRIMARY KEY (partition, offset))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (
    source TEXT, hour INTEGER, received INTEGER DEFAULT 0, charged INTEGER DEFAULT 0, duplicate INTEGER DEFAULT 0,
    review INTEGER DEFAULT 0, rejected INTEGER DEFAULT 0, dead_letter INTEGER DEFAULT 0, PRIMARY KEY (source, hour))
    WITHOUT ROWID;
"""


class Total(NamedTuple):
    """What came of the records of one source that the broker received within one hour (since 1970)."""

    source: str
    hour: int
    received: int
    charged: int
    duplicate: int
    review: int
    rejected: int
    dead_letter: int


class ControlTotals:
    """The totals in the caller's database, in whatever transaction the caller has begun."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        for statement in filter(str.strip, _TABLES.split(";")):  # executescript would end the caller's transaction
            database.execute(statement)

    def begin(self, topic_id: bytes, firsts: Mapping[int, int]) -> dict[int, int]:
        """Return where to read each raw partition on; `firsts` are the oldest offsets kept.

        A topic made anew, and a partition never read, begin at its first offset. What expired unread cannot be
        counted any more, and is passed over.
        """
        places = {}
        for partition, first in firsts.items():
            row = self._database.execute("SELECT topic, read_to FROM places WHERE partition = ?", (partition,))
            known = row.fetchone()
            if known is None or known[0] != topic_id:
                self._database.execute("DELETE FROM pending WHERE partition = ?", (partition,))
                self._database.execute(
                    "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", (partition, topic_id, first, first)
                )
            places[partition] = first if known is None or known[0] != topic_id else max(known[1], first)
        return places

    def received(self, partition: int, offset: int, timestamp_ms: int, value: bytes | None) -> None:
        """Count a raw record."""
        try:
            source = str(USAGE_RECORD.decode(value or b"")["source"])
        except (UndecodableError, UnknownSchemaError):
            source = UNREAD
        self._database.execute(
            "INSERT INTO pending VALUES (?, ?, ?, ?, NULL) "
            "ON CONFLICT DO UPDATE SET source = excluded.source, hour = excluded.hour",
            (partition, offset, source, timestamp_ms // HOUR_MS),
        )

    def read_to(self, partition: int, offset: int) -> None:
        """Say that the raw partition was read up to this offset."""
        self._database.execute("UPDATE places SET read_to = ? WHERE partition = ?", (offset, partition))

    def answered(self, event: Event) -> None:
        """Count what an event of the ledger says of its raw record; a settled review was counted when it was held."""
        usage = event.usage or _set_aside(event)
        if usage is not None and event.command is None and usage.source_topic == USAGE_RECEIVED.name:
            self._outcome(usage.source_partition, usage.source_offset, OUTCOMES[event.kind])

    def dead(self, headers: Iterable[tuple[str, bytes | None]]) -> None:
        """Count a dead letter; one that does not say where it comes from counts for nothing."""
        named = dict(headers)
        if named.get("source_topic") != USAGE_RECEIVED.name.encode():
            return
        place = (named.get("source_partition") or b"", named.get("source_offset") or b"")
        if all(text.isdigit() for text in place):
            self._outcome(int(place[0]), int(place[1]), DEAD)

    def _outcome(self, partition: int, offset: int, outcome: str) -> None:
        # below `settled` it was counted, or was there before the counting began
        self._database.execute(
            "INSERT INTO pending SELECT ?1, ?2, NULL, NULL, ?3 WHERE ?2 >= "
            "coalesce((SELECT settled FROM places WHERE partition = ?1), 0) "
            "ON CONFLICT DO UPDATE SET outcome = coalesce(outcome, excluded.outcome)",
            (partition, offset, outcome),
        )

    def settle(self, judged: Mapping[int, int]) -> Breach | None:
        """Add up what has both readings below these offsets of the raw partitions, and find what has only one.

        `judged` are offsets that mediate had committed when everything read since was written; and the raw topic was
        read that far. Returns the first record without an outcome.
        """
        for partition, end in sorted(judged.items()):
            lost = self._database.execute(
                "SELECT offset, source, hour FROM pending WHERE partition = ? AND offset < ? "
                "AND source IS NOT NULL AND outcome IS NULL ORDER BY offset LIMIT 1",
                (partition, end),
            ).fetchone()
            if lost is not None:
                what = f"record {lost[0]} of {USAGE_RECEIVED.name}[{partition}], hour {lost[2]} since 1970"
                return Breach(partition, 0, TOTALS, f"{what}: it is neither in the ledger nor a dead letter")
            for name in (*OUTCOMES.values(), DEAD):
                self._database.execute(
                    f"INSERT INTO totals (source, hour, received, {name}) "  # noqa: S608 - names of our own
                    "SELECT source, hour, count(*), count(*) FROM pending "
                    "WHERE partition = ? AND offset < ? AND source IS NOT NULL AND outcome = ? GROUP BY 1, 2 "
                    "ON CONFLICT DO UPDATE SET received = received + excluded.received, "
                    f"{name} = {name} + excluded.{name}",
                    (partition, end, name),
                )
            # an outcome without a raw record answers one that expired before it was read
            self._database.execute("DELETE FROM pending WHERE partition = ? AND offset < ?", (partition, end))
            self._database.execute("UPDATE places SET settled = max(settled, ?) WHERE partition = ?", (end, partition))
        return None

    def outcomes(self) -> dict[str, int]:
        """Return the sums over all sources and hours, `received` among them."""
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in _COUNTED)
        row = self._database.execute(f"SELECT {sums} FROM totals").fetchone()  # noqa: S608 - names of our own
        return dict(zip(_COUNTED, row, strict=True))

    def totals(self) -> list[Total]:
        """Return every source and hour in order."""
        return totals_of(self._database)


def totals_of(database: sqlite3.Connection) -> list[Total]:
    """Return every source and hour in order, from a database that may be read only."""
    return [Total(*row) for row in database.execute("SELECT * FROM totals ORDER BY source, hour")]


def _set_aside(event: Event) -> AcceptedUsage | None:
    """Return the record that charge set aside unread, where the event holds it whole and it can be read after all."""
    if not event.event_id.startswith("usage-") or event.account_seq or event.detail is None:
        return None
    try:
        return accepted_usage_of(bytes.fromhex(json.loads(event.detail)["first_bytes"]))[0]
    except (UndecodableError, UnknownSchemaError, LookupError, ValueError):
        return None  # it never came from mediate, or is longer than what is kept of it
