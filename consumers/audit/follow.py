"""Follows a real ledger, round after round: each round is audited, then remembered in one transaction.

| what happens | what is done |
|---|---|
| it ends anywhere within a round | the round never happened; the next start audits it again |
| the ledger ends before the event audited last, or holds another one there | breach: cut off, or written anew |
| the topic is another one | breach: it begins with another first hash |
| Redis is behind, is being rebuilt or does not answer | its comparison waits; the ledger is followed on |
| a view looks wrong | it is read once more: only what is wrong twice is a breach |
| a breach | that partition is followed no further, the others are; the breach stays |
"""

import time
from typing import Final, NamedTuple

from consumers.audit.breach import CHAIN, SEQUENCE, TOTALS, VIEW, Breach
from consumers.audit.inputs import inputs_breach
from consumers.audit.partition import PartitionAudit
from consumers.audit.raw import RawReader
from consumers.audit.reading import PublishedVersions
from consumers.audit.register import Register
from consumers.audit.repricing import Repricing
from consumers.audit.signing import SealKey
from consumers.audit.store import AuditStore, Seal, Stand
from consumers.audit.view import moved_back
from pipeline.adapters.avro import HASH_BYTES
from pipeline.adapters.kafka.client import Fetched, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.store import ViewUnavailableError
from pipeline.adapters.store.dump import Dump, dump_partition
from pipeline.adapters.store.redis import RedisError, RedisStore
from pipeline.domain.ledger import genesis_hash
from pipeline.settings import Settings
from pipeline.topics import AUDIT

_DAY_S: Final = 86_400
_WAIT_S: Final = 0.05
_BOUNDS_S: Final = 1.0


class _Place(NamedTuple):
    offset: int
    timestamp_ms: int


class Follower:
    """All partitions of one ledger, from where the store left them. One thread; close it, and make another to go on."""

    def __init__(self, settings: Settings, store: AuditStore, key: SealKey) -> None:
        self._settings = settings
        self._store = store
        self._key = key
        self._facts = describe_topics(settings)
        self._topic_id = self._facts[AUDIT.name].topic_id.hex()
        partitions = self._facts[AUDIT.name].partitions
        self._register = Register(store.database)
        self._versions = PublishedVersions(settings)
        self.audits: dict[int, PartitionAudit] = {}
        self.breaches = [breach for breach, _ in store.breaches()]
        self._stopped = {breach.partition for breach in self.breaches if breach.invariant != TOTALS}
        self.view_wrong: str | None = None
        self._places: dict[int, _Place] = {}
        self._anchors: dict[int, tuple[int, bytes]] = {}
        """the event audited last, by partition: the first one read must be it"""
        self._touched: set[int] = set()
        self._first: dict[int, int] = {}
        self._bounds_at = 0.0
        self.ends: dict[int, int] = {}
        self._view_due: dict[int, float] = {}
        self._comparing: set[int] = set()
        self._suspected: set[int] = set()
        self.views = 0
        self.seals = 0
        self.events = 0
        self._view = RedisStore(settings)
        self._raw = RawReader(settings, store.database, self._facts)
        places = [(AUDIT.name, partition) for partition in range(partitions)]
        firsts, ends = first_offsets(settings, places), end_offsets(settings, places, committed_only=False)
        start = {place: self._begin(place[1], firsts[place], ends[place]) for place in places}
        self._reader = FollowingReader(settings, start)

    def close(self) -> None:
        """Let go of broker and Redis; a round that was not ended never happened."""
        self._store.rollback()
        self._reader.close()
        self._raw.close()
        self._view.close()

    def round(self) -> bool:
        """Audit what has come, and remember it; tells whether anything had.

        Raises the errors of broker and store: close this one, and make another.
        """
        self._store.begin()
        self._check_bounds()
        self._raw.cut()
        records = self._reader.poll(self._settings.audit.batch_events, self._settings.audit.poll_ms / 1000)
        for record in records:
            if record.partition not in self._stopped:
                self._take(record)
        positions = {p: audit.coverage.positions for p, audit in self.audits.items()}
        self._found(self._raw.read_on(positions))
        self._look_at_views()
        for partition in self._touched:
            self._remember(partition)
        self._touched.clear()
        self._store.commit()
        return bool(records)

    @property
    def positions(self) -> dict[int, int]:
        """The next offset of each partition of the ledger."""
        return {partition: at for (_, partition), at in self._reader.positions.items()}

    def outcomes(self) -> dict[str, int]:
        """Return how many raw records were counted, by what became of them."""
        return self._raw.totals.outcomes()

    def last_ms(self, partition: int) -> int | None:
        """Return the broker's time of the event audited last."""
        place = self._places.get(partition)
        return None if place is None else place.timestamp_ms

    # --- one partition ---

    def _begin(self, partition: int, first: int, end: int) -> int:
        """Take the partition up where it was left; returns the offset to read from."""
        genesis = genesis_hash(self._topic_id, partition)
        audit = PartitionAudit(
            partition,
            self._facts[AUDIT.name].partitions,
            genesis,
            self._register,
            today=int(time.time()) // _DAY_S,
            repricing=Repricing(self._versions.below, keeping=True),
            keeping=True,
        )
        self.audits[partition] = audit
        self._view_due[partition] = time.monotonic()
        stand = self._store.stand(partition)
        if stand is None:
            return first
        if stand.genesis != genesis:
            detail = f"the ledger's topic was made anew: event {stand.seq} of the one before was the last"
            self._found(Breach(partition, stand.seq, CHAIN, detail))
            return first
        audit.recall(stand.checks, self._store.rows(partition))
        self._places[partition] = _Place(stand.last_offset, stand.timestamp_ms)
        if stand.last_offset >= end:
            self._found(_cut_off(partition, stand.seq, stand.last_offset, end))
            return end
        if stand.last_offset < first:
            detail = f"the ledger begins at offset {first}, but event {stand.seq} lay at {stand.last_offset}"
            self._found(Breach(partition, stand.seq, SEQUENCE, detail))
            return first
        self._anchors[partition] = (stand.last_offset, stand.hash)
        return stand.last_offset

    def _take(self, record: Fetched) -> None:
        partition, audit = record.partition, self.audits[record.partition]
        anchor = self._anchors.pop(partition, None)
        if anchor is not None:
            offset, event_hash = anchor
            if record.offset != offset or (record.value or b"")[-HASH_BYTES:] != event_hash:
                detail = f"event {audit.chain.seq} is another one since it was audited: the ledger was written anew"
                self._found(Breach(partition, audit.chain.seq, CHAIN, detail))
            return
        breach = audit.take(record.value, record.offset)
        if breach is not None and breach.invariant == VIEW:  # the event itself is right
            self._suspect(breach)
        elif breach is not None:
            self._found(breach)
            return
        self._touched.add(partition)
        self.events += 1
        self._places[partition] = _Place(record.offset, record.timestamp_ms)
        assert audit.last is not None
        self._raw.answered(audit.last)

    def _remember(self, partition: int) -> None:
        audit, place = self.audits[partition], self._places[partition]
        genesis = genesis_hash(self._topic_id, partition)
        for seq, event_hash in audit.sealed:
            signature = self._key.sign(genesis, partition, seq, event_hash)
            self._store.add_seal(Seal(partition, seq, event_hash, signature))
            self.seals += 1
        checks, rows = audit.changes()
        self._store.keep(
            partition, Stand(genesis, audit.chain.seq, audit.chain.hash, place.offset, place.timestamp_ms, checks), rows
        )

    def _found(self, breach: Breach | None) -> None:
        """Keep a breach: the first of its partition, which is then followed no further, or of the control totals."""
        if breach is None:
            return
        of_totals = breach.invariant == TOTALS
        known = any(b.invariant == TOTALS for b in self.breaches) if of_totals else breach.partition in self._stopped
        if known:
            return
        self.breaches.append(breach)
        if not of_totals:
            self._stopped.add(breach.partition)
        audit = self.audits.get(breach.partition)
        self._store.add_breach(breach, 0 if audit is None else audit.chain.clock)

    # --- beside the events ---

    def _check_bounds(self) -> None:
        """See whether the ledger still holds what was audited: its end, and the events before."""
        now = time.monotonic()
        if now - self._bounds_at < _BOUNDS_S:
            return
        self._bounds_at = now
        for (_, partition), (first, end) in self._reader.bounds().items():
            self.ends[partition] = end
            seq, place = self.audits[partition].chain.seq, self._places.get(partition)
            if place is not None and end <= place.offset:
                self._found(_cut_off(partition, seq, place.offset, end))
            elif first > self._first.setdefault(partition, first):
                detail = f"events before offset {first} were there, and are gone"
                self._found(Breach(partition, seq, SEQUENCE, detail))

    def _look_at_views(self) -> None:
        """Hold Redis and the inputs against each partition whose turn it is."""
        for partition, due in self._view_due.items():
            audit = self.audits[partition]
            if partition in self._stopped or partition in self._anchors or not audit.chain.seq:
                continue
            if partition in self._comparing:
                if not audit.awaits_view:
                    self._view_is_right(partition)
            elif time.monotonic() >= due:
                try:
                    self._look_at_view(partition, audit)
                    self.view_wrong = None
                except (ViewUnavailableError, RedisError) as error:
                    self.view_wrong = f"{type(error).__name__}: {str(error)[:200]}"
                    self._view_due[partition] = time.monotonic() + self._settings.audit.backoff_ms / 1000

    def _look_at_view(self, partition: int, audit: PartitionAudit) -> None:
        breach = inputs_breach(self._settings, self._facts, audit)
        audit.coverage.gaps.clear()  # what lies in them was read now
        self._touched.add(partition)
        if breach is not None:
            self._found(breach)
            return
        view = self._awaited_view(partition, audit.chain.seq)
        if view is None:
            return
        self._comparing.add(partition)
        breach = audit.await_view(view, int(time.time()) // _DAY_S)
        if breach is not None:
            self._suspect(breach)

    def _view_is_right(self, partition: int) -> None:
        self.views += 1
        self._comparing.discard(partition)
        self._suspected.discard(partition)
        self._view_due[partition] = time.monotonic() + self._settings.audit.view_interval_s

    def _suspect(self, breach: Breach) -> None:
        """Take a view that looks wrong for wrong only when it does so again."""
        partition = breach.partition
        self._comparing.discard(partition)
        self.audits[partition].forget_view()
        if partition in self._suspected:
            self._found(breach)
        self._suspected.add(partition)

    def _awaited_view(self, partition: int, seq: int) -> Dump | None:
        """Return the view once it has what was audited; None where it has not soon: it is behind, or being rebuilt."""
        deadline = time.monotonic() + self._settings.audit.view_wait_s
        while int(self._view.head(partition).get("seq", "0")) < seq:
            if time.monotonic() > deadline:
                return None
            time.sleep(_WAIT_S)
        view = dump_partition(self._settings, partition)
        return None if moved_back(view) else view


def _cut_off(partition: int, seq: int, offset: int, end: int) -> Breach:
    detail = f"the ledger ends at offset {end}, but event {seq} lay at {offset}: its tail is cut off"
    return Breach(partition, seq, SEQUENCE, detail)
