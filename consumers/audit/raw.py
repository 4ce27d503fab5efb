"""Reads the raw topic and the dead letters for the control totals, and says when what was read can be judged."""

import sqlite3
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from consumers.audit.breach import Breach
from consumers.audit.totals import ControlTotals
from pipeline.adapters.kafka.client import BrokerError, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import TopicFacts
from pipeline.adapters.progress import MEDIATE_GROUP, GroupOffsets
from pipeline.domain.ledger import Event, Positions
from pipeline.settings import Settings
from pipeline.topics import USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED

_CUT_EVERY_S: Final = 2.0
_RECORDS: Final = 5_000
_POLL_S: Final = 0.05
_STALL_S: Final = 30


class Cut(NamedTuple):
    """A moment: what mediate had committed of the raw topic, and where what it had made of that ended then."""

    committed: dict[int, int]
    accepted_ends: dict[int, int]
    dead_letter_ends: dict[int, int]


class RawReader:
    """The control totals of one ledger, kept in the caller's database and transaction."""

    def __init__(self, settings: Settings, database: sqlite3.Connection, facts: Mapping[str, TopicFacts]) -> None:
        self._settings = settings
        self.totals = ControlTotals(database)
        self._ledger = [(USAGE_ACCEPTED.name, p) for p in range(facts[USAGE_ACCEPTED.name].partitions)]
        self._raw = [(USAGE_RECEIVED.name, p) for p in range(facts[USAGE_RECEIVED.name].partitions)]
        self._dead = [(USAGE_DEAD_LETTER.name, p) for p in range(facts[USAGE_DEAD_LETTER.name].partitions)]
        firsts = first_offsets(settings, [*self._raw, *self._dead])
        start: dict[tuple[str, int], int] = {}
        for topic, places in ((USAGE_RECEIVED.name, self._raw), (USAGE_DEAD_LETTER.name, self._dead)):
            begun = self.totals.begin(facts[topic].topic_id, {_place(where): firsts[where] for where in places})
            start |= {where: begun[_place(where)] for where in places}
        self._reader = FollowingReader(settings, start)
        self._mediate = GroupOffsets(settings, MEDIATE_GROUP)
        self._cut: Cut | None = None
        self._cut_at = 0.0
        self._settled: dict[int, int] = {}
        self._told: dict[tuple[str, int], int] = {}

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()
        self._mediate.close()

    def answered(self, event: Event) -> None:
        """Count an event of the ledger."""
        self.totals.answered(event)

    def cut(self) -> None:
        """Take note of a moment now and then, before the ledger is read on; one is waited for until it is judged."""
        if self._cut is None and time.monotonic() - self._cut_at > _CUT_EVERY_S:
            self._cut_at = time.monotonic()
            # in this order: what mediate commits was acknowledged before
            committed = {p: at for (_, p), at in self._mediate.committed(self._raw).items()}
            if committed != self._settled:
                accepted = end_offsets(self._settings, self._ledger, committed_only=False)
                dead = end_offsets(self._settings, self._dead, committed_only=False)
                self._cut = Cut(committed, _by_partition(accepted), _by_partition(dead))

    def read_on(self, positions: Mapping[int, Positions | None]) -> Breach | None:
        """Read what came in and what died; then judge the moment taken, if everything is read and answered up to it.

        `positions` are those of the ledger as audited.
        """
        for record in self._reader.poll(_RECORDS, _POLL_S):
            if record.topic == USAGE_RECEIVED.name:
                self.totals.received(record.partition, record.offset, record.timestamp_ms, record.value)
            else:
                self.totals.dead(record.headers)
        for where, at in self._reader.positions.items():
            if at != self._told.get(where):
                self._told[where] = at
                self.totals.read_to(_place(where), at)
        cut = self._cut
        if cut is None or not self._read_to(cut) or not _answered(cut, positions):
            return None
        self._cut, self._settled = None, cut.committed
        return self.totals.settle(cut.committed)

    def read_to_cut(self, positions: Mapping[int, Positions | None]) -> Breach | None:
        """Read until the moment taken is judged, or is found to be not yet answered, which says nothing."""
        moved_at, before = time.monotonic(), dict(self._reader.positions)
        while self._cut is not None:
            breach = self.read_on(positions)
            if breach is not None or (self._cut is not None and self._read_to(self._cut)):
                return breach
            if self._reader.positions != before:
                moved_at, before = time.monotonic(), dict(self._reader.positions)
            if time.monotonic() - moved_at > _STALL_S:
                raise BrokerError("the raw topic or the dead letters could not be read to their ends")
        return None

    def _read_to(self, cut: Cut) -> bool:
        positions = self._reader.positions
        return all(positions[USAGE_RECEIVED.name, p] >= at for p, at in cut.committed.items()) and all(
            positions[USAGE_DEAD_LETTER.name, p] >= at for p, at in cut.dead_letter_ends.items()
        )


def _answered(cut: Cut, positions: Mapping[int, Positions | None]) -> bool:
    for partition, end in cut.accepted_ends.items():
        known = positions.get(partition)
        if end > (0 if known is None else known.usage.offset):
            return False
    return True


def _place(where: tuple[str, int]) -> int:
    """Return the number under which a partition's place is kept: those of the dead letters are negative."""
    topic, partition = where
    return partition if topic == USAGE_RECEIVED.name else -1 - partition


def _by_partition(offsets: Mapping[tuple[str, int], int]) -> dict[int, int]:
    return {partition: at for (_, partition), at in offsets.items()}
