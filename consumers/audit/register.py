"""I3, I9: over all partitions, a record is charged once and a command carried out once.

The numbers by which charge knows a repeat expire, and are of one event day; the auditor's register is of the ids
themselves, for ever, so a copy whose start was moved to another day is found here. Ids are kept as 96-bit hashes (a
false alarm is as likely as 10^-11 in a billion records) with their places in SQLite: on disk, not in memory.
"""

import hashlib
import sqlite3
from typing import Final

from consumers.audit.breach import COPIES, ONCE, Finding
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, DUPLICATE, REVIEW, TOPPED_UP
from pipeline.domain.usage import AcceptedUsage, digest, seen_of

_HASH_BYTES: Final = 12
_SEQ_BITS: Final = 48
_DOING: Final = frozenset({CHARGED, TOPPED_UP, ADJUSTED, ACCOUNT_CHANGED})
_TABLE: Final = "CREATE TABLE IF NOT EXISTS ids (hash BLOB PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID"


class Register:
    """All ids of one ledger; one instance for all its partitions, each fed in the order of its events.

    Kept in the caller's database, in whatever transaction the caller has begun; without one, in a temporary file that
    goes with this instance.
    """

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._database = sqlite3.connect("", isolation_level=None) if database is None else database
        self._owned = database is None
        self._database.execute(_TABLE)

    def close(self) -> None:
        """Remove the temporary file, if there is one."""
        if self._owned:
            self._database.close()

    def follow(self, partition: int, event: Event) -> Finding | None:
        """Enter one event; checks that nothing is done twice, that what is called a repeat is one, and its marks."""
        usage = event.usage
        if usage is not None:
            finding = _marked(event, usage) or self._enter_usage(partition, event, usage)
            if finding is not None:
                return finding
        elif event.effects.seen is not None:
            return Finding(ONCE, "an event without a record marks one as seen")
        if event.command is not None and event.kind in _DOING:
            command_id = str(event.command["command_id"])
            finding = self._done(b"command", f"{event.account} {command_id}", partition, event.seq)
            if finding is None and event.kind == TOPPED_UP:
                reference = str(event.command["reference"])
                finding = self._done(b"reference", f"{event.account} {reference}", partition, event.seq)
            return finding
        return None

    def _enter_usage(self, partition: int, event: Event, usage: AcceptedUsage) -> Finding | None:
        if event.kind == CHARGED:
            # a topic made anew counts from 0 again, but not at the same time
            raw = f"{usage.source_topic} {usage.source_partition} {usage.source_offset} {usage.received_at}"
            return self._done(b"record", usage.record_id, partition, event.seq) or self._done(
                b"raw", raw, partition, event.seq
            )
        if event.kind == DUPLICATE and not self._charged_here(usage.record_id, partition):
            return Finding(ONCE, "a DUPLICATE of a record that was never charged")
        copy = event.kind == REVIEW and event.reason == "conflicting_copy"
        if copy and not self._charged_here(usage.record_id, partition):
            return Finding(COPIES, "a conflicting_copy of a record that was never charged")
        return None

    def _done(self, kind: bytes, identity: str, partition: int, seq: int) -> Finding | None:
        hashed = _hash(kind, identity)
        assert seq < 2**_SEQ_BITS, "a place that does not fit its bits"
        place = partition << _SEQ_BITS | seq
        if self._database.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (hashed, place)).rowcount:
            return None
        known = self._place(hashed)
        assert known is not None
        before = f"{known >> _SEQ_BITS}-{known & (2**_SEQ_BITS - 1)}"
        return Finding(ONCE, f"what it answers was charged or carried out before, by {before}")

    def _charged_here(self, record_id: str, partition: int) -> bool:
        """Tell whether an earlier event of the partition charged the record."""
        place = self._place(_hash(b"record", record_id))
        return place is not None and place >> _SEQ_BITS == partition

    def _place(self, hashed: bytes) -> int | None:
        found = self._database.execute("SELECT place FROM ids WHERE hash = ?", (hashed,)).fetchone()
        return None if found is None else int(found[0])


def _hash(kind: bytes, identity: str) -> bytes:
    return hashlib.blake2b(identity.encode(), digest_size=_HASH_BYTES, person=kind).digest()


def _marked(event: Event, usage: AcceptedUsage) -> Finding | None:
    """Check the digest of the record, and the numbers left by a charge (and by nothing else)."""
    of_record = event.command is None or event.kind == CHARGED  # a refused settlement's digest is its command's
    if of_record and event.digest != digest(usage):
        return Finding(COPIES, "the digest is not that of the record")
    seen = event.effects.seen
    if (seen is None) == (event.kind == CHARGED):
        return Finding(ONCE, "a charge marks its record as seen, and nothing else does")
    if seen is not None and event.digest is not None and seen[:4] != seen_of(usage, event.digest):
        return Finding(ONCE, "the numbers marked as seen are not the record's")
    return None
