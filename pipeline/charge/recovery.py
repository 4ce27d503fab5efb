"""What an operator asks of a ledger partition: rebuild its view, or accept a loss and go on."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from typing import Final

from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.client import BrokerError, KafkaException
from pipeline.adapters.kafka.partition import KafkaPartition
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import StoredEvent, encode_event
from pipeline.adapters.snapshots import folder_of
from pipeline.adapters.store import OutOfStepError, Store
from pipeline.adapters.store.redis import RedisStore
from pipeline.charge.owner import APPLY_EVENTS_MAX, first_positions, replay_chunk
from pipeline.charge.snapshots import restore_newest
from pipeline.domain.batch import Head, State
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Position
from pipeline.settings import Settings
from pipeline.topics import AUDIT

TRIES_MAX: Final = 50
Progress = Callable[[int, int], None]


def rebuild(
    settings: Settings,
    partitions: Iterable[int] | None = None,
    progress: Progress | None = None,
    *,
    from_snapshots: bool = True,
) -> int:
    """Wipe the view of these partitions (all: None) and make it anew from the ledger; returns the events it stands at.

    It begins with the newest snapshot that the ledger bears out, if there is one and `from_snapshots`. Several
    partitions are made at a time, as many as there are processors. Safe beside running workers: each write is gated by
    `seq`, and whoever is ahead is followed. `progress` is told (partition, events so far).
    """
    count = describe_topics(settings)[AUDIT.name].partitions
    chosen = list(range(count) if partitions is None else partitions)
    for partition in chosen:
        if not 0 <= partition < count:
            raise ValueError(f"no ledger partition {partition}: there are {count}")
    processes = min(len(chosen), os.cpu_count() or 1)
    if processes < 2:
        return sum(rebuild_one(settings, partition, progress, from_snapshots=from_snapshots) for partition in chosen)
    one = partial(_rebuild_elsewhere, settings, from_snapshots=from_snapshots)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        folded = 0
        for partition, seq in zip(chosen, pool.map(one, chosen), strict=True):
            folded += seq
            if progress is not None:
                progress(partition, folded)
        return folded


def _rebuild_elsewhere(settings: Settings, partition: int, *, from_snapshots: bool) -> int:
    try:
        return rebuild_one(settings, partition, from_snapshots=from_snapshots)
    except KafkaException as error:  # which no other process can read
        raise BrokerError(f"ledger partition {partition}: {error.args[0].str()}") from None


def rebuild_one(
    settings: Settings, partition: int, progress: Progress | None = None, *, from_snapshots: bool = True
) -> int:
    """Make the view of one partition anew; see `rebuild`."""
    store = RedisStore(settings)
    with (
        closing(store),
        closing(CatalogueFeed(settings)) as feed,
        closing(KafkaPartition(settings, describe_topics(settings), partition, feed)) as edge,
    ):
        store.wipe(partition)
        try:
            restore_newest(folder_of(settings) if from_snapshots else None, partition, edge, store)
        except OutOfStepError:  # a worker has begun: follow it
            time.sleep(0.05)
        return _replay_all(store, edge, partition, progress)


def _replay_all(store: Store, edge: KafkaPartition, partition: int, progress: Progress | None) -> int:
    for _ in range(TRIES_MAX):
        head = store.head(partition)
        seq = int(head.get("seq", "0"))
        previous = bytes.fromhex(head["hash"]) if seq else edge.genesis()
        chunk: list[StoredEvent] = []
        try:
            for stored in edge.events_after(seq):
                chunk.append(stored)
                if len(chunk) == APPLY_EVENTS_MAX:
                    previous, seq = replay_chunk(store, partition, previous, chunk), stored.event.seq
                    chunk = []
                    if progress is not None:
                        progress(partition, seq)
            if chunk:
                replay_chunk(store, partition, previous, chunk)
                seq = chunk[-1].event.seq
        except OutOfStepError:  # a worker replays it too: go on from where it stands
            time.sleep(0.05)
            continue
        if progress is not None:
            progress(partition, seq)
        return seq
    raise OutOfStepError(f"partition {partition}: others kept writing; stop charge, or let it rebuild by itself")


def accept_loss(settings: Settings, partition: int, actor: str, reason: str) -> dict[str, object]:
    """Write into the ledger that what is missing stays missing, and where the partition goes on.

    For a halted partition only: afterwards its owner takes over from the positions written here. Returns what was
    accepted. Raises ValueError where nothing is missing.
    """
    facts = describe_topics(settings)
    store = RedisStore(settings)
    with (
        closing(store),
        closing(CatalogueFeed(settings)) as feed,
        closing(KafkaPartition(settings, facts, partition, feed)) as edge,
    ):
        edge.fence()
        last = edge.last()
        found = edge.inputs()
        view_seq = int(store.head(partition).get("seq", "0"))
        ledger_seq = 0 if last is None else last.event.seq
        lost: dict[str, object] = {"actor": actor, "reason": reason}
        if view_seq > ledger_seq:
            lost["events"] = {"from": ledger_seq + 1, "to": view_seq}
        positions = first_positions(found) if last is None else last.event.positions
        for name, topic_id, first, end in (
            ("usage", found.usage_topic_id, found.usage_first, found.usage_end),
            ("command", found.command_topic_id, found.command_first, found.command_end),
            ("catalogue", found.catalogue_topic_id, 0, positions.catalogue.offset),
        ):
            before: Position = getattr(positions, name)
            after = before
            if before.topic_id != topic_id:
                lost[name] = {"topic": "re-created", "before": before.offset, "after": first}
                after = Position(topic_id, first)
            elif not first <= before.offset <= end:
                after = Position(topic_id, min(max(before.offset, first), end))
                lost[name] = {"before": before.offset, "after": after.offset}
            positions = positions._replace(**{name: after})
        if len(lost) == 2:
            raise ValueError(f"partition {partition} misses nothing: there is no loss to accept")
        head = Head(
            partition,
            ledger_seq,
            0 if last is None else last.event.clock,
            settings.charge.late_window_days if last is None else last.event.late_window_days,
            1 if last is None else last.event.epoch + 1,
            positions,
        )
        batch = Batch(head, State({}, {}, {}, set(), set()), Catalogues(()), {}, late=True)
        decided = batch.seal("accepted_loss", lost)
        value, _ = encode_event(decided.event, None, edge.genesis() if last is None else last.hash)
        edge.commit([("", value)], [])
        store.wipe(partition)  # whoever owns it next folds the ledger as it stands
        return lost
