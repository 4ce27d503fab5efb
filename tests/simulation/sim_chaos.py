"""What may happen at any moment of a run, beside the work itself: each act is one draw of the seed."""

from typing import TYPE_CHECKING

from sim_processes import ChargeProcess, MediateProcess
from sim_tariff import DAY_MS, NOW, catalogue

from pipeline.adapters.memory_broker import OPEN, PREPARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim_world import World

PARTITIONS = 2
VERSIONS_MAX = 5


class Chaos:
    """The acts, and how often this seed has each: some faults it does not have at all."""

    def __init__(self, world: "World") -> None:
        self.world = world
        rng = world.rng
        self.weights: dict[Callable[[], None], int] = {
            world.run_one: 60,
            self.publish: 14,
            self.poll: 10,
            self.expire: 1,
            self.complete: 4,
            self.rebalance: rng.choice((0, 1, 4)),
            self.freeze: rng.choice((0, 1, 4)),
            self.thaw: 3,
            self.kill: rng.choice((0, 1, 3, 6)),
            self.keep_copy: 3,
            self.lose_view: rng.choice((0, 0, 1, 3)),
            self.late_end: 3,
            self.step_clock: rng.choice((0, 1, 2)),
            self.publish_version: 1,
        }

    def go_on(self, acts: int) -> None:
        """Do so many of them."""
        for act in self.world.rng.choices(list(self.weights), list(self.weights.values()), k=acts):
            act()

    def publish(self) -> None:
        self.world.story.publish()

    def poll(self) -> None:
        for process in self.world.charges:
            if not process.frozen:
                process.poll()

    def expire(self) -> None:
        """Abort the transactions of producers that were not heard of for too long."""
        names = [name for name, found in self.world.broker.transactions().items() if found.state == OPEN]
        if names:
            self.world.met("an open transaction times out")
            self.world.broker.expire(self.world.rng.choice(names))

    def complete(self) -> None:
        names = [name for name, found in self.world.broker.transactions().items() if found.state == PREPARED]
        if names:
            self.world.met("a decided transaction waits for its markers")
            self.world.broker.complete(self.world.rng.choice(names))

    def rebalance(self) -> None:
        if self.world.rng.random() < 0.3:
            self.rebalance_mediate()
            return
        others = [process for process in self.world.charges if not process.frozen]
        if len(self.world.charges) < 3:
            others.append(self.world.start_charge())
        if not others:
            return
        partition = self.world.rng.randrange(PARTITIONS)
        self.world.assigned[partition] = self.world.rng.choice(others)
        self.world.say("partition %d goes to %s", partition, self.world.assigned[partition].name)

    def rebalance_mediate(self) -> None:
        """Another member takes over some raw partitions; the one before does not know yet."""
        if len(self.world.mediates) > 3:
            return
        partitions = self.world.rng.choice(((0,), (1,), (0, 1)))
        self.world.mediates.append(MediateProcess(self.world, self.world.name("mediate"), partitions))

    def freeze(self) -> None:
        process = self.world.rng.choice(self.world.processes())
        if process.frozen:
            return
        process.frozen = True
        self.world.say("%s sleeps (%s)", process.name, ", ".join(f"{a.name} {a.where}" for a in process.actors()))
        self.world.met("a process sleeps")
        if isinstance(process, ChargeProcess) and self.world.rng.random() < 0.8:  # its session ends
            awake = [other for other in self.world.charges if not other.frozen] or [self.world.start_charge()]
            for partition, owner in self.world.assigned.items():
                if owner is process:
                    self.world.assigned[partition] = self.world.rng.choice(awake)

    def thaw(self) -> None:
        asleep = [process for process in self.world.processes() if process.frozen]
        if asleep:
            process = self.world.rng.choice(asleep)
            process.frozen = False
            self.world.say("%s wakes", process.name)
            for actor in process.actors():  # it goes on at once, before it hears of anything
                if not actor.finished and self.world.rng.random() < 0.7:
                    self.world.let_run(process, actor)

    def kill(self) -> None:
        process = self.world.rng.choice(self.world.processes())
        self.world.met("a process is killed")
        self.world.end_of(process)

    def keep_copy(self) -> None:
        store = self.world.store
        hashes = {name: dict(fields) for name, fields in store.hashes.items()}
        self.world.copies.append((hashes, {name: set(held) for name, held in store.sets.items()}))

    def lose_view(self) -> None:
        kind = self.world.rng.random()
        if kind < 0.3:
            self.world.store.hashes, self.world.store.sets, self.world.store._attempts = {}, {}, {}
            self.world.met("the view was wiped by its server")
        elif self.world.copies:
            at = len(self.world.copies) - 1 if kind < 0.6 else self.world.rng.randrange(len(self.world.copies))
            hashes, sets = self.world.copies[at]
            self.world.store.hashes = {name: dict(fields) for name, fields in hashes.items()}
            self.world.store.sets = {name: set(held) for name, held in sets.items()}
            self.world.met("the view lost its tail" if kind < 0.6 else "an old copy of the view was promoted")

    def late_end(self) -> None:
        if not self.world.late_ends:
            return
        name, epoch, commit = self.world.late_ends.pop(self.world.rng.randrange(len(self.world.late_ends)))
        open_before = self.world.broker.transactions()[name].state == OPEN
        try:
            self.world.broker.end(name, epoch, commit=commit)
        except RuntimeError:
            self.world.met("a late end of a transaction is refused")
            return
        self.world.met(
            "a late end tears another transaction" if open_before else "a late end meets its own transaction"
        )

    def step_clock(self) -> None:
        step = self.world.rng.choice((-3_600_000, -60_000, 60_000, 3_600_000, DAY_MS, 3 * DAY_MS, 20 * DAY_MS))
        self.world.clock = max(self.world.clock + step, NOW - DAY_MS)
        self.world.met("the clock is set back" if step < 0 else "the clock leaps ahead")

    def publish_version(self) -> None:
        if len(self.world.broker.versions) < VERSIONS_MAX:
            soonest = max(self.world.clock + 60_000, self.world.broker.versions[-1].effective_from)
            after = (soonest // 60_000 + 1) * 60_000  # of whole minutes: most are compiled already
            self.world.broker.versions.append(catalogue(len(self.world.broker.versions), after))
            self.world.met("a catalogue is published")
