"""One run: a world of processes, faults by a seed, then calm, and the check of everything that is left.

`simulate(seed)` is all that others need. Faults come in classes, and each seed draws how much of each it has, many
none at all: so that rare meetings of two faults are not drowned by a third.
"""

import random
from collections import Counter
from typing import Any, NamedTuple

from sim_chaos import Chaos
from sim_checker import check
from sim_halts import halts, of_another_ledger
from sim_network import Life
from sim_patches import EXPECTED_ERRORS, patched
from sim_processes import ChargeProcess, MediateProcess, Process
from sim_scheduler import Scheduler
from sim_story import Story
from sim_tariff import NOW, catalogue

from pipeline.adapters import memory_broker
from pipeline.adapters.memory_broker import OPEN, MemoryBroker
from pipeline.adapters.memory_intake import MemoryTopics
from pipeline.adapters.store.memory import MemoryStore
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, USAGE_ACCEPTED

PARTITIONS = 2
RAW_PARTITIONS = 2
DRAIN_ROUNDS_MAX = 600
EXPIRE_ROUNDS = 20
"""A transaction that is open at two such rounds has timed out."""


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
        self.letters_knew: dict[int, tuple[int, int]] = {}
        """by dead letter: the directory's end when its record was polled, and when the letter was written"""
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
        self.chaos = Chaos(self)

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

    def name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def start(self) -> None:
        self.start_charge()
        self.assigned = dict.fromkeys(range(PARTITIONS), self.charges[0])
        if self.rng.random() < 0.6:
            self.start_charge()
            self.assigned[self.rng.randrange(PARTITIONS)] = self.charges[1]
        for process in self.charges:
            process.poll()
        if self.rng.random() < 0.5:
            self.mediates.append(MediateProcess(self, self.name("mediate"), (0, 1)))
        else:
            self.mediates += [MediateProcess(self, self.name("mediate"), (p,)) for p in (0, 1)]

    def start_charge(self) -> ChargeProcess:
        process = ChargeProcess(self, self.name("charge"))
        self.charges.append(process)
        return process

    def processes(self) -> list[Process]:
        return [*self.charges, *self.mediates]

    def run_one(self) -> None:
        choice = [
            (process, actor)
            for process in self.processes()
            if process.alive and not process.frozen
            for actor in process.actors()
            if not actor.finished
        ]
        if choice:
            self.let_run(*self.rng.choice(choice))

    def let_run(self, process: Process, actor: Any) -> None:
        self.clock += self.rng.randrange(2_000)
        actor.run()
        if actor.error is not None:
            self.violations.append(f"{actor.name} ended by {actor.error!r}")
            actor.error = None
        if process.crashed and process.alive:
            self.end_of(process)

    def end_of(self, process: Process) -> None:
        """End a process, and let another take its place."""
        self.say("%s ends (%s)", process.name, ", ".join(f"{a.name} {a.where}" for a in process.actors()))
        process.kill()
        if isinstance(process, MediateProcess):
            self.mediates.remove(process)
            self.mediates.append(MediateProcess(self, self.name("mediate"), process.partitions))
            return
        assert isinstance(process, ChargeProcess)
        self.charges.remove(process)
        awake = [other for other in self.charges if not other.frozen]
        if not awake or len(self.charges) < 2:
            awake.append(self.start_charge())
        for partition, owner in self.assigned.items():
            if owner is process:
                self.assigned[partition] = self.rng.choice(awake)

    # --- the run ---

    def run(self) -> Result:
        with patched(self):
            self.start()
            if self.rng.random() < 0.8:
                self.story.open_some()
                for process in self.charges:
                    for _ in range(6):
                        for actor in process.actors():
                            self.let_run(process, actor)
            self.chaos.go_on(self.rng.randrange(80, 200))
            drained = self._drain()
            for process in self.processes():
                for actor in process.actors():
                    if not actor.finished:
                        actor.kill()
        if drained:
            try:
                with patched(self):
                    self._check()
            except Exception as error:  # noqa: BLE001 - what cannot be read breaks every invariant
                self.violations.append(f"the check cannot be made: {error!r}")
        else:
            self.violations.append(f"I11 it does not drain: {self._behind()}")
        return Result(self.seed, tuple(self.violations), self.rows, tuple(self.trace), self.story.published)

    def _check(self) -> None:
        self.violations += check(self)
        if not self.violations and self.rng.random() < 0.1:
            of_another_ledger(self)
            self.violations += check(self)
        if not self.violations and self.rng.random() < 0.15:
            self.violations += halts(self)

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
                        self.let_run(process, actor)
        return False

    def _behind(self) -> str:
        for name, found in self.broker.transactions().items():
            if found.state == OPEN:
                return f"{name} has a transaction open"
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


def simulate(seed: int, mutation: Mutation | None = None, *, traced: bool = False) -> Result:
    """Run one seed; the same seed is the same run, on any machine."""
    return World(seed, mutation or Mutation(), traced=traced).run()
