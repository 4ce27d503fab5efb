"""Proves the invariants on a real ledger and a real view: reads all of both, and stops at the first breach.

One partition after the other. The view of a partition is read first and the ledger to its end behind it, so a view
that is merely behind is met on the way, and one that is ahead has lost its ledger. Memory is that of one partition's
state and its view; the ids of all charged records are in a temporary file.

Prices are worked out a second time, by an implementation of their own and the catalogue versions of their time.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from consumers.audit.breach import VIEW, Breach
from consumers.audit.inputs import inputs_breach
from consumers.audit.partition import PartitionAudit
from consumers.audit.raw import RawReader
from consumers.audit.reading import PublishedVersions, bounds, count_dead_letters, read_partition
from consumers.audit.register import Register
from consumers.audit.report import Report, Tally
from consumers.audit.repricing import Repricing
from consumers.audit.seals import Seals
from consumers.audit.view import moved_back
from pipeline.adapters.kafka.client import end_offsets, first_offsets
from pipeline.adapters.kafka.topics import TopicFacts, describe_topics
from pipeline.adapters.store.dump import Dump, dump_partition
from pipeline.domain.ledger import Positions, genesis_hash
from pipeline.settings import Settings
from pipeline.topics import AUDIT, USAGE_DEAD_LETTER

Progress = Callable[[int, int], None]

_DAY_S: Final = 86_400
_VIEW_ATTEMPTS: Final = 5
_VIEW_PAUSE_S: Final = 1
_PROGRESS_RECORDS: Final = 1_000


def verify(
    settings: Settings, progress: Progress | None = None, signed: Mapping[int, Mapping[int, bytes]] | None = None
) -> Report:
    """Read the whole ledger and the whole view, and report; `progress` is told (offsets read, offsets in all).

    `signed` are the hashes that somebody signed, by partition and seq: they must be on the chain.

    May run beside working owners, and changes nothing. Raises BrokerError, or the clients' own errors, when broker or
    Redis do not answer: what could not be read is never called right.
    """
    facts = describe_topics(settings)
    partitions = facts[AUDIT.name].partitions
    tally = Tally(partitions)
    database = sqlite3.connect("", isolation_level=None)  # a temporary file
    register = Register(database)
    steps = _Steps.begin(settings, partitions, progress)
    breach = None
    raw = RawReader(settings, database, facts)
    raw.cut()
    ledger = _Ledger(settings, facts, PublishedVersions(settings), raw, signed or {})
    positions: dict[int, Positions | None] = {}
    database.execute("BEGIN")
    for partition in range(partitions):
        audit, breach = _verify_partition(ledger, partition, register, steps)
        tally.add(audit)
        positions[partition] = audit.coverage.positions
        if breach is not None:
            break
    else:
        breach = raw.read_to_cut(positions)
    raw.close()
    database.close()
    dead_letters = count_dead_letters(settings, facts[USAGE_DEAD_LETTER.name].partitions)
    return tally.report(breach, dead_letters)


class _Ledger(NamedTuple):
    settings: Settings
    facts: dict[str, TopicFacts]
    versions: PublishedVersions
    raw: RawReader
    signed: Mapping[int, Mapping[int, bytes]]


class _Steps:
    """Tells the caller how far the reading is; what was written since it began is not counted."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._read = 0
        self._progress = progress

    @classmethod
    def begin(cls, settings: Settings, partitions: int, progress: Progress | None) -> "_Steps":
        places = [(AUDIT.name, partition) for partition in range(partitions)]
        first = first_offsets(settings, places)
        end = end_offsets(settings, places, committed_only=True)
        return cls(sum(end[place] - first[place] for place in places), progress)

    def add(self, offsets: int) -> None:
        self._read = min(self._read + offsets, self._total)
        if self._progress is not None:
            self._progress(self._read, self._total)


def _verify_partition(
    ledger: _Ledger, partition: int, register: Register, steps: _Steps
) -> tuple[PartitionAudit, Breach | None]:
    settings, facts, versions, raw, signed = ledger
    view = _read_view(settings, partition)
    audit = PartitionAudit(
        partition,
        facts[AUDIT.name].partitions,
        genesis_hash(facts[AUDIT.name].topic_id.hex(), partition),
        register,
        today=int(time.time()) // _DAY_S,
        view=view,
        repricing=Repricing(versions.below),
        seals=Seals(partition, signed.get(partition)),
    )
    if moved_back(view):
        return audit, Breach(partition, 0, VIEW, "the view was wiped again and again while it was read")
    first, end = bounds(settings, AUDIT.name, partition)
    told = first
    for record in read_partition(settings, AUDIT.name, partition, first, end):
        breach = audit.take(record.value, record.offset)
        if breach is not None:
            return audit, breach
        if audit.last is not None:
            raw.answered(audit.last)
        if record.offset - told >= _PROGRESS_RECORDS:
            steps.add(record.offset - told)
            told = record.offset
    steps.add(end - told)
    return audit, audit.close() or inputs_breach(settings, facts, audit)


def _read_view(settings: Settings, partition: int) -> Dump:
    for _ in range(_VIEW_ATTEMPTS - 1):
        view = dump_partition(settings, partition)
        if not moved_back(view):
            return view
        time.sleep(_VIEW_PAUSE_S)  # a rebuild begins with a wipe, and there is one of it
    return dump_partition(settings, partition)
