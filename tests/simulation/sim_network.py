"""What lies between a process and the outside: requests and replies get lost, delayed, or meet a process that sleeps.

Every request is a point where its process may pause (and then be stopped, killed, overtaken), before and after it
acted. Faults are injected here, around the twins, which keep their promises.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sim_scheduler import Killed

from pipeline.adapters.intake import NO_NOTES, NotDeliveredError, Notes
from pipeline.adapters.memory_broker import EndNotReachedError, MemoryBroker, Where
from pipeline.adapters.memory_intake import MemoryIntake, NotMemberError
from pipeline.adapters.partition import FencedError
from pipeline.adapters.store import Loaded, Need, OutOfStepError, ViewUnavailableError
from pipeline.domain.catalogue import Catalogue
from pipeline.domain.ledger import Writes
from pipeline.topics import AUDIT, SUBSCRIBER, USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED

if TYPE_CHECKING:
    from sim_world import World

    from pipeline.adapters.store.memory import MemoryStore

WAITS_MAX = 12


class BrokerSilentError(RuntimeError):
    """No answer: what became of the request is unknown."""


class Life:
    """How far an owner, or a mediate, has come with the batch in hand: what a death here means."""

    def __init__(self) -> None:
        self.stage = "idle"
        self.acted = False
        """whether the request that the stage is about took effect"""

    def at(self, stage: str, *, acted: bool = False) -> None:
        self.stage = stage
        self.acted = acted


class Line:
    """The way of one actor to the outside."""

    def __init__(self, world: "World", life: Life) -> None:
        self.world = world
        self.life = life

    def pause(self, where: str) -> None:
        actor = self.world.scheduler.running
        assert actor is not None
        if actor.dead:
            raise Killed
        actor.pause(where)

    def call(self, name: str, act: Callable[[], Any], lost: type[Exception], weight: int = 1) -> Any:
        """Make a request: it may be lost, or its reply; the process may sleep before and after it."""
        world = self.world
        chance = world.rng.random
        actor = world.scheduler.running
        assert actor is not None
        if actor.dead:
            raise Killed
        if chance() < world.pause:
            actor.pause(f"before {name}")
        if chance() < world.lose * weight:
            world.say("request lost: %s", name)
            raise lost(f"{name}: the request was lost")
        if world.traced:
            world.say("%s", name)
        found = act()
        if chance() < world.pause:
            actor.pause(f"after {name}")
        if chance() < world.lose * weight:
            world.say("reply lost: %s", name)
            raise lost(f"{name}: the reply was lost")
        return found


class FaultyBroker(Line):
    """The broker, as a process reaches it."""

    def __init__(self, world: "World", life: Life) -> None:
        super().__init__(world, life)
        self._broker: MemoryBroker = world.broker
        self.topic_ids = self._broker.topic_ids
        self._waits = 0
        self._directory_ends: dict[tuple[int, int], int] = {}

    def ends(self, topic: str, partition: int) -> Any:
        return self.call("ends", lambda: self._broker.ends(topic, partition), BrokerSilentError)

    def read(self, topic: str, partition: int, offset: int, records_max: int) -> Any:
        found = self.call("read", lambda: self._read(topic, partition, offset, records_max), BrokerSilentError)
        if found[0] and topic == USAGE_RECEIVED.name:
            self.life.at("polled")
        elif found[0] and topic != AUDIT.name:
            self.life.at("fetched")
        return found

    def _read(self, topic: str, partition: int, offset: int, records_max: int) -> Any:
        if topic == USAGE_RECEIVED.name:
            end = self._broker.ends(SUBSCRIBER.name, 0)[2]
            self._directory_ends.update(((partition, at), end) for at in range(offset, offset + records_max))
        return self._broker.read(topic, partition, offset, records_max)

    def last(self, topic: str, partition: int) -> Any:
        return self.call("last", lambda: self._broker.last(topic, partition), BrokerSilentError)

    def published(self) -> list[Catalogue]:
        found: list[Catalogue] = self.call("published", lambda: list(self._broker.versions), BrokerSilentError)
        return found

    def wait(self, topic: str, partition: int) -> None:
        self._waits += 1
        if self._waits % WAITS_MAX == 0:
            self.world.met(
                "mediate: the directory's end is not reached"
                if topic == SUBSCRIBER.name
                else "the tail's end is not reached"
            )
            raise EndNotReachedError(topic)
        self.world.met("a read waits for an open transaction")
        self.pause("waiting for a transaction to end")

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = (), time_ms: int = 0
    ) -> int:
        self.life.at("sending")
        try:
            offset: int = self.call(
                "append",
                lambda: self._append(topic, partition, key, value, headers),
                NotDeliveredError,
            )
        except NotDeliveredError:
            self.world.met("mediate: a delivery fails")
            raise
        self.life.at("sent")
        return offset

    def _append(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any) -> int:
        offset = self._broker.append(topic, partition, key, value, headers)
        if topic == USAGE_ACCEPTED.name:
            self.world.versions_at[topic, partition, offset] = len(self._broker.versions)
        if topic == USAGE_DEAD_LETTER.name:
            said = dict(headers)
            source = int(said["source_partition"]), int(said["source_offset"])
            self.world.letters_knew[offset] = self._directory_ends[source], self._broker.ends(SUBSCRIBER.name, 0)[2]
        return offset

    # --- transactions ---

    def init_producer(self, name: str) -> int:
        epoch: int = self.call("init", lambda: self._broker.init_producer(name), BrokerSilentError)
        return epoch

    def begin(self, name: str, epoch: int, places: Sequence[Where]) -> None:
        self.life.at("writing")
        self._fenced("begin", lambda: self._broker.begin(name, epoch, places))

    def send(self, name: str, epoch: int, where: Where, key: bytes | None, value: bytes) -> None:
        self._fenced("send", lambda: self._broker.send(name, epoch, where, key, value))

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        self.life.at("ending")
        try:
            self._fenced("end", lambda: self._end(name, epoch, commit=commit))
        except BrokerSilentError:
            if not self.life.acted and self.world.rng.random() < 0.5:
                self.world.late_ends.append((name, epoch, commit))
            raise
        self.life.at("committed")

    def _end(self, name: str, epoch: int, *, commit: bool) -> None:
        self._broker.end(name, epoch, commit=commit)
        self.life.acted = True
        if self.world.rng.random() < self.world.late:
            self.world.late_ends.append((name, epoch, commit))

    def _fenced(self, what: str, act: Callable[[], None]) -> None:
        try:
            self.call(what, act, BrokerSilentError, 8 if what == "end" else 1)
        except FencedError:
            self.world.met("a zombie is fenced by the broker")
            raise


class FaultyStore(Line):
    """The view, as a process reaches it."""

    def __init__(self, world: "World", life: Life) -> None:
        super().__init__(world, life)
        self._store: MemoryStore = world.store

    def head(self, partition: int) -> dict[str, str]:
        found: dict[str, str] = self.call("head", lambda: self._store.head(partition), ViewUnavailableError)
        return found

    def load(self, partition: int, seq: int, need: Need) -> Loaded:
        found: Loaded = self._stepped("load", lambda: self._store.load(partition, seq, need))
        return found

    def apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        self.life.at("applying")
        self._stepped("apply", lambda: self._apply(partition, previous_hash, writes))
        self.life.at("applied")

    def _apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        world = self.world
        at = int(self._store.head(partition).get("seq", "0"))
        if at == writes.first_seq - 1 and world.rng.random() < world.half:
            self._store.write(partition, _part_of(writes, world))
            world.met("the view's script stops half way")
            raise ViewUnavailableError("the script stopped half way")
        self._store.apply(partition, previous_hash, writes)
        self.life.acted = True

    def wipe(self, partition: int) -> None:
        self.call("close gate", lambda: self._store.close_gate(partition), ViewUnavailableError)
        self.call("remove", lambda: self._store.remove(partition), ViewUnavailableError)
        self.world.met("the view is wiped and rebuilt")

    def attempt(self, partition: int, at: str) -> int:
        count: int = self.call("attempt", lambda: self._store.attempt(partition, at), ViewUnavailableError)
        if count > 2:
            self.world.met("one record at a time after two deaths")
        return count

    def attempts_ended(self, partition: int) -> None:
        self.call("attempts ended", lambda: self._store.attempts_ended(partition), ViewUnavailableError)
        self.life.at("idle")

    def account(self, partition: int, account: str) -> dict[str, str]:
        return self._store.account(partition, account)

    def _stepped(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return self.call(what, act, ViewUnavailableError, 8 if what == "apply" else 1)
        except OutOfStepError:
            self.world.met("a writer meets the view's gate at another seq")
            raise


def _part_of(writes: Writes, world: "World") -> Writes:
    """Return as much of the writes as a script had done that ended somewhere: some of each, and no head."""

    def some(whole: dict[Any, Any]) -> dict[Any, Any]:
        return dict(list(whole.items())[: world.rng.randrange(len(whole) + 1)])

    accounts = some(writes.accounts)
    kept = some(writes.kept) if len(accounts) == len(writes.accounts) else {}
    return writes._replace(
        head={}, accounts=accounts, kept=kept, sessions=some(writes.sessions), seen=some(writes.seen)
    )


class FaultyIntake(MemoryIntake):
    """Mediate's intake with a commit that may be lost; all its other requests go through a faulty broker."""

    def __init__(self, world: "World", partitions: Sequence[int], broker: FaultyBroker) -> None:
        super().__init__(world.topics, partitions, broker)  # type: ignore[arg-type]
        self._line = broker

    def commit(self, positions: Any, notes: Notes = NO_NOTES) -> None:
        self._line.life.at("committing")
        try:
            self._line.call("commit", lambda: self._commit(positions, notes), BrokerSilentError)
        except NotMemberError:
            self._line.world.met("mediate: commit refused")
            raise
        self._line.life.at("idle")

    def _commit(self, positions: Any, notes: Notes) -> None:
        super().commit(positions, notes)
        self._line.life.acted = True
