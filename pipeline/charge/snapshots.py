"""Snapshots of a partition: taken from the ledger by the fold, and put into a wiped view.

| what happens | what is done |
|---|---|
| no snapshot, or none of this ledger, or only bad ones | the view is made from the first event on |
| the newest is bad, or its event is not in the ledger | it is passed over with a warning; the one before is asked |
| another wipes or fills the view meanwhile | OutOfStepError: take over again |
| it ends half way | the view has no seq, and is wiped by the next take-over |
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.partition import KafkaPartition
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import StoredEvent
from pipeline.adapters.logs import logger
from pipeline.adapters.partition import LedgerHaltedError, PartitionEdge
from pipeline.adapters.snapshots import Folded, Snapshot, folder_of, found, is_whole, load, save
from pipeline.adapters.store import Store
from pipeline.domain.ledger import fold
from pipeline.settings import Settings
from pipeline.topics import AUDIT

FOLD_EVENTS: Final = 2_000
Progress = Callable[[int, int], None]
_log = logger("snapshots")


def newest(folder: Path | None, partition: int, edge: PartitionEdge) -> Snapshot | None:
    """Return the newest whole snapshot whose event is in the ledger with that very hash; None where there is none."""
    if folder is None:
        return None
    genesis = edge.genesis()
    for snapshot in found(folder, partition):
        stored = edge.event(snapshot.seq) if snapshot.genesis == genesis else None
        if stored is None or stored.hash != snapshot.hash:
            _log.warning("snapshot_passed_over", file=snapshot.path.name, why="its event is not in this ledger")
        elif is_whole(snapshot):
            return snapshot
    return None


def restore_newest(folder: Path | None, partition: int, edge: PartitionEdge, store: Store) -> tuple[int, bytes]:
    """Fill a wiped view from the newest snapshot; returns (seq, hash) where it stands then: (0, genesis) if empty."""
    snapshot = newest(folder, partition, edge)
    if snapshot is None:
        return 0, edge.genesis()
    store.restore(partition, load(snapshot).parts())
    _log.info("snapshot_restored", partition=partition, seq=snapshot.seq)
    return snapshot.seq, snapshot.hash


def take(folder: Path, partition: int, edge: PartitionEdge, progress: Progress | None = None) -> Snapshot | None:
    """Fold the ledger from the newest snapshot on, and save where it ends; None for an empty ledger.

    Neither stops nor asks anybody: what is written meanwhile is in the next one. Raises LedgerHaltedError where the
    chain is broken.
    """
    before = newest(folder, partition, edge)
    state = Folded() if before is None else load(before)
    previous = edge.genesis() if before is None else before.hash
    chunk: list[StoredEvent] = []
    for stored in edge.events_after(state.seq):
        if stored.previous_hash != previous:
            raise LedgerHaltedError(f"ledger partition {partition}: the chain is broken at event {stored.event.seq}")
        previous = stored.hash
        chunk.append(stored)
        if len(chunk) == FOLD_EVENTS:
            _fold_into(state, chunk)
            chunk = []
            if progress is not None:
                progress(partition, state.seq)
    if chunk:
        _fold_into(state, chunk)
    if before is not None and state.seq == before.seq:
        return before
    return save(folder, partition, edge.genesis(), state) if state.seq else None


def snapshot(settings: Settings, partitions: Iterable[int], progress: Progress | None = None) -> list[Snapshot]:
    """Take a snapshot of each of these partitions; those whose ledger is empty are left out."""
    facts = describe_topics(settings)
    taken = []
    with closing(CatalogueFeed(settings)) as feed:
        for partition in partitions:
            if not 0 <= partition < facts[AUDIT.name].partitions:
                raise ValueError(f"no ledger partition {partition}: there are {facts[AUDIT.name].partitions}")
            with closing(KafkaPartition(settings, facts, partition, feed)) as edge:
                made = take(folder_of(settings), partition, edge, progress)
                if made is not None:
                    taken.append(made)
    return taken


def _fold_into(state: Folded, chunk: Iterable[StoredEvent]) -> None:
    state.take(fold((stored.event, stored.hash) for stored in chunk))
