"""A charge process: an owner's thread for each partition that the group gives it."""

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from pipeline.adapters.crash_points import reached
from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.membership import Membership
from pipeline.adapters.kafka.partition import KafkaPartition
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.partition import FencedError, LedgerHaltedError, PartitionEdge
from pipeline.adapters.snapshots import folder_of
from pipeline.adapters.store import Store
from pipeline.adapters.store.redis import RedisStore
from pipeline.charge.owner import Owner
from pipeline.settings import Settings
from pipeline.topics import AUDIT

WORKING: Final = "working"
TAKING_OVER: Final = "taking over"
HALTED_RETRY_S: Final = 5
PROGRESS_EVERY_S: Final = 1.0
BROKER_ASKED_EVERY_S: Final = 5.0
BROKER_ANSWER_S: Final = 1.0

_log = logger("charge")


class Edges(NamedTuple):
    """How an owner reaches the world; made anew for each take-over."""

    partitions: int
    edge: Callable[[int], PartitionEdge]
    store: Callable[[], Store]


class OwnerThread(threading.Thread):
    """Owns one partition until told to stop; every error is a take-over again, while the group says it is ours."""

    def __init__(
        self,
        partition: int,
        edges: Edges,
        settings: Settings,
        gate: threading.Semaphore,
        metrics: Metrics,
        asked: Callable[[], int],
    ) -> None:
        super().__init__(name=f"owner-{partition}", daemon=True)
        self.partition = partition
        self.state = TAKING_OVER
        self.usage_offset: int | None = None
        self._edges = edges
        self._settings = settings
        self._snapshots = folder_of(settings)
        self._gate = gate
        self._stopping = threading.Event()
        self._asked = asked
        self._records = metrics.counter("chargeline_charge_records_total")
        self._batches = metrics.histogram("chargeline_charge_batch_seconds")
        self._take_overs = metrics.counter("chargeline_charge_take_overs_total")
        self._replayed = metrics.counter("chargeline_charge_replayed_events_total")

    def stop(self) -> None:
        """Ask the owner to end after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Take over and work, again and again."""
        failures = 0
        store: Store | None = None
        while not self._stopping.is_set():
            edge: PartitionEdge | None = None
            owner: Owner | None = None
            try:
                store = store or self._edges.store()
                edge = self._edges.edge(self.partition)
                owner = Owner(
                    self.partition, self._edges.partitions, edge, store, self._settings.charge, self._snapshots
                )
                with self._gate:
                    if self._stopping.is_set():
                        return
                    owner.take_over()
                self._took_over(owner)
                failures = 0
                self._work(owner)
            except LedgerHaltedError as error:
                self.state = f"halted: {error}"
                _log.error("partition_halted", partition=self.partition, why=str(error))
                self._stopping.wait(HALTED_RETRY_S)
            except Exception as error:  # noqa: BLE001 - crash-only: whatever it was, the take-over sorts it out
                failures += 1
                self.state = f"taking over again after {type(error).__name__}"
                _log.warning(
                    "take_over_again",
                    partition=self.partition,
                    error=type(error).__name__,
                    why=str(error)[:300],
                    fenced=isinstance(error, FencedError),
                    failures=failures,
                )
                self._forget_attempt(owner)
                self._back_off(failures)
            finally:
                if edge is not None:
                    edge.close()

    def _took_over(self, owner: Owner) -> None:
        head = owner.head
        assert head is not None
        self._take_overs.inc()
        self._replayed.inc(owner.replayed)
        self.state = WORKING
        _log.info("took_over", partition=self.partition, seq=head.seq, epoch=head.epoch, replayed=owner.replayed)

    def _work(self, owner: Owner) -> None:
        while not self._stopping.is_set():
            begun = time.perf_counter()
            records = owner.step()
            if records:
                self._records.inc(records)
                self._batches.observe(time.perf_counter() - begun)
                assert owner.head is not None
                self.usage_offset = owner.head.positions.usage.offset

    def _forget_attempt(self, owner: Owner | None) -> None:
        """An error is no death: take the attempt back, unless the view cannot be reached, which then counts as one."""
        if owner is None:
            return
        try:
            owner.failed()
        except Exception as error:  # noqa: BLE001 - the take-over that follows meets the same trouble and says so
            _log.warning("attempt_kept", partition=self.partition, error=type(error).__name__)

    def _back_off(self, failures: int) -> None:
        """Wait a little longer after each failure, with jitter, and until the group was asked again."""
        charge = self._settings.charge
        polls = self._asked()
        wait_ms = min(charge.backoff_min_ms * 2 ** min(failures - 1, 10), charge.backoff_max_ms)
        self._stopping.wait(wait_ms * random.uniform(0.5, 1.0) / 1000)  # noqa: S311 - jitter
        while self._asked() == polls and not self._stopping.is_set():
            self._stopping.wait(0.05)


class Worker:
    """The process: keeps its membership alive and one owner's thread for each partition it is given."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        facts = describe_topics(settings)
        RedisStore(settings).check()
        self._settings = settings
        self._metrics = metrics
        self._feed = CatalogueFeed(settings)
        self._edges = Edges(
            facts[AUDIT.name].partitions,
            lambda partition: KafkaPartition(settings, facts, partition, self._feed),
            lambda: RedisStore(settings),
        )
        self._gate = threading.Semaphore(settings.charge.take_overs_at_once)
        self._owners: dict[int, OwnerThread] = {}
        self._broker: str | None = None
        """what is wrong with it, as far as it was asked"""
        self._owned = metrics.gauge("chargeline_charge_partitions")
        self._membership = Membership(settings, self._given, self._taken)

    def run(self, stop: threading.Event, draining: Callable[[], None]) -> None:
        """Work until `stop`; then say so, finish the batches in hand and leave the group."""
        shown = asked = time.monotonic()
        while not stop.is_set():
            self._membership.poll(0.1)
            if time.monotonic() - shown > PROGRESS_EVERY_S:
                shown = time.monotonic()
                owners = self._owners.values()
                self._membership.show_progress({o.partition: o.usage_offset for o in owners if o.usage_offset})
            if time.monotonic() - asked > BROKER_ASKED_EVERY_S:
                self._broker = self._membership.broker_trouble(BROKER_ANSWER_S)
                asked = time.monotonic()
        draining()
        self._taken(tuple(self._owners), lost=False)
        self._membership.close()
        self._feed.close()

    def checks(self) -> dict[str, str | None]:
        """Return what readiness depends on: that every partition given is worked on."""
        owners = list(self._owners.values())
        found: dict[str, str | None] = {
            "group": None if self._membership.polls else "not asked yet",
            "broker": self._broker,
        }
        for owner in owners:
            found[f"partition-{owner.partition}"] = None if owner.state == WORKING else owner.state
        return found

    def _given(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            owner = OwnerThread(
                partition,
                self._edges,
                self._settings,
                self._gate,
                self._metrics,
                lambda: self._membership.polls,
            )
            self._owners[partition] = owner
            owner.start()
        self._owned.set(len(self._owners))

    def _taken(self, partitions: Iterable[int], lost: bool) -> None:
        reached("charge.on_revoke")
        leaving = [self._owners.pop(partition) for partition in tuple(partitions) if partition in self._owners]
        for owner in leaving:
            owner.stop()
        if not lost:  # what was lost belongs to another already: the fence stops us there, no need to wait
            deadline = time.monotonic() + self._settings.charge.revoke_grace_ms / 1000
            for owner in leaving:
                owner.join(max(deadline - time.monotonic(), 0))
        self._owned.set(len(self._owners))
