"""I3, I9: over all partitions, a record is charged once and a command carried out once.

The numbers by which charge knows a repeat expire, and are of one event day; the auditor's register is of the ids
themselves, for ever, so a copy whose start was moved to another day is found here. Ids are kept as 96-bit hashes in
flat bytes, 20 bytes each (a false alarm is as likely as 10^-11 in a billion records), and searched once at the end.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from consumers.audit.breach import COPIES, ONCE, Breach, Finding
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, DUPLICATE, REVIEW, TOPPED_UP
from pipeline.domain.usage import AcceptedUsage, digest, seen_of

_BUCKETS: Final = 4096
_HASH_BYTES: Final = 12
_ENTRY_BYTES: Final = _HASH_BYTES + 8  # and a place: 16 bits of partition, 48 of seq
_DOING: Final = frozenset({CHARGED, TOPPED_UP, ADJUSTED, ACCOUNT_CHANGED})


class _Ledge:
    """Hashes of ids, each with its place, spread over buckets by their first bits."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(_BUCKETS)]

    def add(self, kind: bytes, identity: str, partition: int, seq: int) -> None:
        hashed = hashlib.blake2b(identity.encode(), digest_size=_HASH_BYTES, person=kind).digest()
        assert partition < 2**16 and seq < 2**48, "a place that does not fit its bytes"  # noqa: PT018 - one fact
        place = partition << 48 | seq
        self._buckets[(hashed[0] << 4) | (hashed[1] >> 4)] += hashed + place.to_bytes(8, "big")

    def bucket(self, number: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Yield (hash, (partition, seq)) in the order in which they were added."""
        held = self._buckets[number]
        for at in range(0, len(held), _ENTRY_BYTES):
            place = int.from_bytes(held[at + _HASH_BYTES : at + _ENTRY_BYTES], "big")
            yield bytes(held[at : at + _HASH_BYTES]), (place >> 48, place & (2**48 - 1))


class Register:
    """All ids of one ledger; one instance for all its partitions, fed in any order of partitions."""

    def __init__(self) -> None:
        self._done = _Ledge()
        self._repeats = _Ledge()
        self._copies = _Ledge()

    def follow(self, partition: int, event: Event) -> Finding | None:
        """Enter one event; checks that what it leaves behind will make its repeats known."""
        usage = event.usage
        if usage is not None:
            finding = _marked(event, usage)
            if finding is not None:
                return finding
            self._enter_usage(partition, event, usage)
        elif event.effects.seen is not None:
            return Finding(ONCE, "an event without a record marks one as seen")
        if event.command is not None and event.kind in _DOING:
            command_id = str(event.command["command_id"])
            self._done.add(b"command", f"{event.account} {command_id}", partition, event.seq)
            if event.kind == TOPPED_UP:
                reference = str(event.command["reference"])
                self._done.add(b"reference", f"{event.account} {reference}", partition, event.seq)
        return None

    def _enter_usage(self, partition: int, event: Event, usage: AcceptedUsage) -> None:
        if event.kind == CHARGED:
            self._done.add(b"record", usage.record_id, partition, event.seq)
            # a topic made anew counts from 0 again, but not at the same time
            raw = f"{usage.source_topic} {usage.source_partition} {usage.source_offset} {usage.received_at}"
            self._done.add(b"raw", raw, partition, event.seq)
        elif event.kind == DUPLICATE:
            self._repeats.add(b"record", usage.record_id, partition, event.seq)
        elif event.kind == REVIEW and event.reason == "conflicting_copy":
            self._copies.add(b"record", usage.record_id, partition, event.seq)

    def close(self) -> Breach | None:
        """Return the first breach by place, if any; to be asked once every partition was entered whole."""
        found: Breach | None = None
        for number in range(_BUCKETS):
            for breach in self._search(number):
                if found is None or breach[:2] < found[:2]:
                    found = breach
        return found

    def _search(self, number: int) -> Iterator[Breach]:
        first: dict[bytes, tuple[int, int]] = {}
        for hashed, place in self._done.bucket(number):
            known = first.setdefault(hashed, place)
            if known != place:
                yield Breach(*place, ONCE, f"what it answers was charged or carried out before, by {_named(known)}")
        for ledge, invariant, what in (
            (self._repeats, ONCE, "a DUPLICATE of a record that was never charged"),
            (self._copies, COPIES, "a conflicting_copy of a record that was never charged"),
        ):
            for hashed, place in ledge.bucket(number):
                known = first.get(hashed, (-1, 0))
                if known[0] != place[0] or known[1] >= place[1]:
                    yield Breach(*place, invariant, what)


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


def _named(place: tuple[int, int]) -> str:
    return f"{place[0]}-{place[1]}"
