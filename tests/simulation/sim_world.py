"""One run: a world of processes, faults by a seed, then calm, and the check of everything that is left.

`simulate(seed)` is all that others need. Faults come in classes, and each seed draws how much of each it has, many
none at all: so that rare meetings of two faults are not drowned by a third.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from sim_checker import check
from sim_halts import halts, of_another_ledger
from sim_network import Life
from sim_processes import ChargeProcess, MediateProcess, Process
from sim_scheduler import Killed, Scheduler
from sim_story import Story
from sim_tariff import DAY_MS, NOW, catalogue

from pipeline.adapters import directory as directory_module
from pipeline.adapters import memory_broker
from pipeline.adapters.memory_broker import OPEN, PREPARED, MemoryBroker
from pipeline.adapters.memory_intake import MemoryTopics
from pipeline.adapters.partition import LedgerHaltedError
from pipeline.adapters.store.memory import MemoryStore
from pipeline.charge import owner as owner_module
from pipeline.charge import worker as worker_module
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, USAGE_ACCEPTED

PARTITIONS = 2
RAW_PARTITIONS = 2
DRAIN_ROUNDS_MAX = 600
EXPIRE_ROUNDS = 20
"""A transaction that is open at two such rounds has timed out."""
REPLAY_CHUNK = 4
"""Events a replay applies at once here, so that it is more than one request."""
EXPECTED_ERRORS = frozenset(
    {"BrokerSilentError", "ViewUnavailableError", "OutOfStepError", "FencedError", "InvalidTransactionError",
     "EndNotReachedError", "NotDeliveredError", "NotMemberError"}
)  # fmt: skip


class Result(NamedTuple):
    """What one run found. `rows`: how often each row of the crash tables, and each answer, was met."""

    seed: int
    violations: tuple[str, ...]
    rows: Counter[str]
    trace: tuple[str, ...]
    published: int


class Mutation:
    """What a deliberate mistake replaces; this one makes none."""

    def edge(self, edge: Any, world: "World") -> Any:
        return edge

    def store(self, store: Any, world: "World") -> Any:
        return store

    def intake(self, intake: Any) -> Any:
        return intake

    def directory(self, directory: Any) -> Any:
        return directory

    def patches(self, world: "World") -> list[tuple[Any, str, Any]]:
        """Return (module or class, name, replacement) of what is patched while the run lasts."""
        return []


class World:
    """Broker, view, clock, processes, and what was published."""

    def __init__(self, seed: int, mutation: Mutation, *, traced: bool = False) -> None:
        self.rng = rng = random.Random(seed)
        self.seed = seed
        self.mutation = mutation
        self.traced = traced
        self.trace: list[str] = []
        self.rows: Counter[str] = Counter()
        self.violations: list[str] = []
        self.scheduler = Scheduler()
        self.broker = MemoryBroker()
        self.topics = MemoryTopics(RAW_PARTITIONS, PARTITIONS, self.broker)
        self.store = MemoryStore()
        self.partitions = PARTITIONS
        self.clock = NOW
        self.versions_at: dict[tuple[str, int, int], int] = {}
        self.letters_knew: dict[int, int] = {}
        self.late_ends: list[tuple[str, int, bool]] = []
        self.copies: list[tuple[Any, Any]] = []
        self.assigned: dict[int, ChargeProcess] = {}
        self.charges: list[ChargeProcess] = []
        self.mediates: list[MediateProcess] = []
        self._names = 0
        self._two_windows = rng.random() < 0.1
        self.broker.versions.append(catalogue(0, 0))
        self.story = Story(self)
        # how much of each fault this seed has
        self.pause = rng.choice((0.04, 0.1, 0.25))
        self.lose = rng.choice((0.0, 0.0, 0.01, 0.04))
        self.late = rng.choice((0.0, 0.2, 0.5))
        self.half = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.broker.markers_wait = rng.random() < 0.4
        self._chaos = {
            self._run_one: 60,
            self._publish: 14,
            self._poll: 10,
            self._expire: 1,
            self._complete: 4,
            self._rebalance: rng.choice((0, 1, 4)),
            self._freeze: rng.choice((0, 1, 4)),
            self._thaw: 3,
            self._kill: rng.choice((0, 1, 3, 6)),
            self._keep_copy: 3,
            self._lose_view: rng.choice((0, 0, 1, 3)),
            self._late_end: 3,
            self._step_clock: rng.choice((0, 1, 2)),
            self._publish_version: 1,
        }

    def window_days(self, rng: random.Random) -> int:
        return rng.choice((35, 40)) if self._two_windows else 35

    def ledger_values(self, partition: int) -> list[bytes]:
        """Return the events that a reader of committed records sees now."""
        records, _ = self.broker.read(AUDIT.name, partition, 0, 10_000)
        return [entry.value or b"" for _, entry in records]

    # --- what happened ---

    def say(self, text: str, *values: Any) -> None:
        if self.traced:
            actor = self.scheduler.running
            who = "world" if actor is None else actor.name
            self.trace.append(f"{who}: " + (text % values if values else text))

    def met(self, row: str) -> None:
        self.rows[row] += 1
        self.say("%s", row)

    def failed(self, error: BaseException) -> None:
        """Note an error that ended work: some are what faults look like, others are bugs."""
        if type(error).__name__ not in EXPECTED_ERRORS:
            self.violations.append(f"unexpected {error!r}")

    def broke(self, life: Life, *, mediate: bool = False) -> None:
        """Note which row of the crash table it is when work ends here."""
        stage, acted = life.stage, life.acted
        life.at("idle")
        row = (_MEDIATE_ROWS if mediate else _CHARGE_ROWS).get(stage)
        if row is not None:
            self.met(row[acted])

    # --- processes ---

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def start(self) -> None:
        self._start_charge()
        self.assigned = dict.fromkeys(range(PARTITIONS), self.charges[0])
        if self.rng.random() < 0.6:
            self._start_charge()
            self.assigned[self.rng.randrange(PARTITIONS)] = self.charges[1]
        for process in self.charges:
            process.poll()
        if self.rng.random() < 0.5:
            self.mediates.append(MediateProcess(self, self._name("mediate"), (0, 1)))
        else:
            self.mediates += [MediateProcess(self, self._name("mediate"), (p,)) for p in (0, 1)]

    def _start_charge(self) -> ChargeProcess:
        process = ChargeProcess(self, self._name("charge"))
        self.charges.append(process)
        return process

    def processes(self) -> list[Process]:
        return [*self.charges, *self.mediates]

    def _run_one(self) -> None:
        choice = [
            (process, actor)
            for process in self.processes()
            if process.alive and not process.frozen
            for actor in process.actors()
            if not actor.finished
        ]
        if choice:
            self._let_run(*self.rng.choice(choice))

    def _let_run(self, process: Process, actor: Any) -> None:
        self.clock += self.rng.randrange(2_000)
        actor.run()
        if actor.error is not None:
            self.violations.append(f"{actor.name} ended by {actor.error!r}")
            actor.error = None
        if process.crashed and process.alive:
            self._end_of(process)

    def _end_of(self, process: Process) -> None:
        """End a process, and let another take its place."""
        self.say("%s ends (%s)", process.name, ", ".join(f"{a.name} {a.where}" for a in process.actors()))
        process.kill()
        if isinstance(process, MediateProcess):
            self.mediates.remove(process)
            self.mediates.append(MediateProcess(self, self._name("mediate"), process.partitions))
            return
        assert isinstance(process, ChargeProcess)
        self.charges.remove(process)
        awake = [other for other in self.charges if not other.frozen]
        if not awake or len(self.charges) < 2:
            awake.append(self._start_charge())
        for partition, owner in self.assigned.items():
            if owner is process:
                self.assigned[partition] = self.rng.choice(awake)

    # --- what may happen at any moment ---

    def _publish(self) -> None:
        self.story.publish()

    def _poll(self) -> None:
        for process in self.charges:
            if not process.frozen:
                process.poll()

    def _expire(self) -> None:
        """Abort the transactions of producers that were not heard of for too long."""
        names = [name for name, found in self.broker.transactions().items() if found.state == OPEN]
        if names:
            self.met("an open transaction times out")
            self.broker.expire(self.rng.choice(names))

    def _complete(self) -> None:
        names = [name for name, found in self.broker.transactions().items() if found.state == PREPARED]
        if names:
            self.met("a decided transaction waits for its markers")
            self.broker.complete(self.rng.choice(names))

    def _rebalance(self) -> None:
        if self.rng.random() < 0.3:
            self._rebalance_mediate()
            return
        others = [process for process in self.charges if not process.frozen]
        if len(self.charges) < 3:
            others.append(self._start_charge())
        if not others:
            return
        partition = self.rng.randrange(PARTITIONS)
        self.assigned[partition] = self.rng.choice(others)
        self.say("partition %d goes to %s", partition, self.assigned[partition].name)

    def _rebalance_mediate(self) -> None:
        """Another member takes over some raw partitions; the one before does not know yet."""
        if len(self.mediates) > 3:
            return
        partitions = self.rng.choice(((0,), (1,), (0, 1)))
        self.mediates.append(MediateProcess(self, self._name("mediate"), partitions))

    def _freeze(self) -> None:
        process = self.rng.choice(self.processes())
        if process.frozen:
            return
        process.frozen = True
        self.say("%s sleeps (%s)", process.name, ", ".join(f"{a.name} {a.where}" for a in process.actors()))
        self.met("a process sleeps")
        if isinstance(process, ChargeProcess) and self.rng.random() < 0.8:  # its session ends
            awake = [other for other in self.charges if not other.frozen] or [self._start_charge()]
            for partition, owner in self.assigned.items():
                if owner is process:
                    self.assigned[partition] = self.rng.choice(awake)

    def _thaw(self) -> None:
        asleep = [process for process in self.processes() if process.frozen]
        if asleep:
            process = self.rng.choice(asleep)
            process.frozen = False
            self.say("%s wakes", process.name)
            for actor in process.actors():  # it goes on at once, before it hears of anything
                if not actor.finished and self.rng.random() < 0.7:
                    self._let_run(process, actor)

    def _kill(self) -> None:
        process = self.rng.choice(self.processes())
        self.met("a process is killed")
        self._end_of(process)

    def _keep_copy(self) -> None:
        store = self.store
        hashes = {name: dict(fields) for name, fields in store.hashes.items()}
        self.copies.append((hashes, {name: set(held) for name, held in store.sets.items()}))

    def _lose_view(self) -> None:
        kind = self.rng.random()
        if kind < 0.3:
            self.store.hashes, self.store.sets, self.store._attempts = {}, {}, {}
            self.met("the view was wiped by its server")
        elif self.copies:
            at = len(self.copies) - 1 if kind < 0.6 else self.rng.randrange(len(self.copies))
            hashes, sets = self.copies[at]
            self.store.hashes = {name: dict(fields) for name, fields in hashes.items()}
            self.store.sets = {name: set(held) for name, held in sets.items()}
            self.met("the view lost its tail" if kind < 0.6 else "an old copy of the view was promoted")

    def _late_end(self) -> None:
        if not self.late_ends:
            return
        name, epoch, commit = self.late_ends.pop(self.rng.randrange(len(self.late_ends)))
        open_before = self.broker.transactions()[name].state == OPEN
        try:
            self.broker.end(name, epoch, commit=commit)
        except RuntimeError:
            self.met("a late end of a transaction is refused")
            return
        self.met("a late end tears another transaction" if open_before else "a late end meets its own transaction")

    def _step_clock(self) -> None:
        step = self.rng.choice((-3_600_000, -60_000, 60_000, 3_600_000, DAY_MS, 3 * DAY_MS, 20 * DAY_MS))
        self.clock = max(self.clock + step, NOW - DAY_MS)
        self.met("the clock is set back" if step < 0 else "the clock leaps ahead")

    def _publish_version(self) -> None:
        if len(self.broker.versions) < 5:
            after = max(self.clock + 60_000, self.broker.versions[-1].effective_from + 1)
            self.broker.versions.append(catalogue(len(self.broker.versions), after))
            self.met("a catalogue is published")

    # --- the run ---

    def run(self) -> Result:
        with _patched(self):
            self.start()
            if self.rng.random() < 0.8:
                self.story.open_some()
                for process in self.charges:
                    for _ in range(6):
                        for actor in process.actors():
                            self._let_run(process, actor)
            acts = list(self._chaos)
            weights = list(self._chaos.values())
            for act in self.rng.choices(acts, weights, k=self.rng.randrange(80, 200)):
                act()
            drained = self._drain()
            for process in self.processes():
                for actor in process.actors():
                    if not actor.finished:
                        actor.kill()
        if not drained:
            self.violations.append(f"I11 it does not drain: {self._behind()}")
        else:
            self.violations += check(self)
            if not self.violations and self.rng.random() < 0.1:
                of_another_ledger(self)
                self.violations += check(self)
            if not self.violations and self.rng.random() < 0.15:
                self.violations += halts(self)
        return Result(self.seed, tuple(self.violations), self.rows, tuple(self.trace), self.story.published)

    def _drain(self) -> bool:
        """Let faults stop, and everything be answered."""
        self.say("calm")
        self.pause, self.lose, self.late, self.half = 0.02, 0.0, 0.0, 0.0
        self.late_ends = []
        self.broker.markers_wait = False
        for process in self.processes():
            process.frozen = False
        old: dict[str, Any] = {}
        for round_ in range(DRAIN_ROUNDS_MAX):
            if not self._behind():
                return True
            for name, found in self.broker.transactions().items():
                self.broker.complete(name)
                if round_ % EXPIRE_ROUNDS == 0 and found.state == OPEN:
                    if name in old and old[name] is found:
                        self.broker.expire(name)
                    old[name] = found
            for process in list(self.charges):
                process.poll()
            for process in self.processes():
                for actor in process.actors():
                    if process.alive and not actor.finished:
                        self._let_run(process, actor)
        return False

    def _behind(self) -> str:
        for topic, partition in self.topics.received:
            end = self.broker.ends(topic, partition)[2]
            if self.topics.committed.get((topic, partition), 0) < end:
                return f"mediate has committed {self.topics.committed.get((topic, partition), 0)} of {end}"
        for partition in range(PARTITIONS):
            last = self.broker.last(AUDIT.name, partition)
            ends = [self.broker.ends(topic.name, partition)[2] for topic in (USAGE_ACCEPTED, ACCOUNT_COMMAND)]
            if last is None:
                if ends != [0, 0]:
                    return f"partition {partition} has no event"
                continue
            event = memory_broker.decode_event(last.value or b"").event
            stands = [event.positions.usage.offset, event.positions.command.offset]
            if stands != ends:
                return f"partition {partition} stands at {stands} of {ends}"
            if self.store.head(partition).get("seq", "0") != str(event.seq):
                return f"the view of {partition} stands at {self.store.head(partition).get('seq')} of {event.seq}"
        return ""


_CHARGE_ROWS = {
    "fetched": ("before the ledger transaction commits",) * 2,
    "writing": ("before the ledger transaction commits",) * 2,
    "ending": ("commit outcome unknown: it did not happen", "commit outcome unknown: it happened"),
    "committed": ("after the commit, before the view",) * 2,
    "applying": ("after the commit, before the view", "the view's reply is lost"),
    "taking over": ("a take-over breaks off",) * 2,
}
_MEDIATE_ROWS = {
    "polled": ("mediate: before flush returns",) * 2,
    "sending": ("mediate: before flush returns",) * 2,
    "sent": ("mediate: after flush, before commit",) * 2,
    "committing": ("mediate: after flush, before commit", "mediate: the commit's reply is lost"),
}
_decode_event = lru_cache(20_000)(memory_broker.decode_event)
_read_accepted = lru_cache(20_000)(owner_module.accepted_usage_of)
_decode_row = lru_cache(20_000)(directory_module.SUBSCRIBER_BINDING.decode)


class _Log:
    """The owner's log: every take-over says why."""

    def __init__(self, world: World) -> None:
        self._world = world

    def warning(self, event: str, **said: Any) -> None:
        self._world.say("%s %s", event, said)
        error = said.get("error")
        if error not in EXPECTED_ERRORS:
            self._world.violations.append(f"{event}: {error} {said.get('why')}")

    def error(self, event: str, **said: Any) -> None:
        self._world.violations.append(f"{event}: {said.get('why')}")

    def info(self, event: str, **said: Any) -> None:
        self._world.say("%s %s", event, said)
        if said.get("replayed"):
            self._world.met("a take-over replays the ledger's tail into the view")


@contextmanager
def _patched(world: World) -> Iterator[None]:
    """Put in what makes a run fast, small and noisy to us alone, for as long as it lasts."""

    def read(value: bytes) -> Any:
        found = _read_accepted(value)
        if found[0].cell == "deadly":
            world.met("a record ends the process")
            running = world.scheduler.running
            for process in world.charges:
                process.crashed = process.crashed or running in process.actors()
            raise Killed
        return found

    patches = [
        (memory_broker, "decode_event", _decode_event),
        (owner_module, "accepted_usage_of", read),
        (owner_module, "APPLY_EVENTS_MAX", REPLAY_CHUNK),
        (owner_module, "IDLE_STEPS_A_LOOK", 2),
        (worker_module, "_log", _Log(world)),
        *world.mutation.patches(world),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in patches]
    for place, name, value in patches:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in reversed(before):
            setattr(place, name, value)


def simulate(seed: int, mutation: Mutation | None = None, *, traced: bool = False) -> Result:
    """Run one seed; the same seed is the same run, on any machine."""
    return World(seed, mutation or Mutation(), traced=traced).run()


__all__ = ["LedgerHaltedError", "Mutation", "Result", "World", "simulate"]
