"""The simulated processes: charge with the real retry loop over the real owner, mediate with the real loop of batches."""

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sim_network import FaultyBroker, FaultyIntake, FaultyStore, Life
from sim_scheduler import Actor

from pipeline.adapters.memory_broker import MemoryPartition
from pipeline.adapters.memory_intake import MemoryDirectory
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.partition import Raw
from pipeline.adapters.registry import RegistryUnreachableError
from pipeline.adapters.usage_codec import UsageDecoder
from pipeline.charge.worker import Edges, OwnerThread
from pipeline.mediate import Mediator
from pipeline.settings import ChargeSettings, MediateSettings, Settings

if TYPE_CHECKING:
    from sim_world import World

_metrics = Metrics("charge")


@lru_cache(256)
def _settings(batch_records: int, late_window_days: int, remembered: int) -> Settings:
    charge = ChargeSettings(
        batch_records=batch_records, late_window_days=late_window_days, remembered_accounts=remembered
    )
    return Settings(charge=charge)


@lru_cache(64)
def _mediate_settings(batch_records: int) -> MediateSettings:
    return MediateSettings(batch_records=batch_records, trust_replayed_received_at=False)


class _Stopping:
    """The owner's event, on simulated time: a wait is a pause."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float | None = None) -> bool:
        running = self._world.scheduler.running
        assert running is not None
        running.pause("waiting")
        return self._set


class _Edge(MemoryPartition):
    """An owner's edge; an owner that finds nothing to do lets others move."""

    def __init__(self, broker: FaultyBroker, partition: int) -> None:
        super().__init__(broker, partition)  # type: ignore[arg-type]
        self._line = broker

    def fetch(self, records_max: int) -> Any:
        found = super().fetch(records_max)
        if not found:
            self._line.pause("idle")
        return self._mixed(found)

    def _commands_of(self, records_max: int) -> int:
        return self._line.world.rng.randrange(records_max + 1)

    def _mixed(self, records: list[Raw]) -> list[Raw]:
        """Mix the two inputs at random; each keeps its own order, and that is all that a broker promises."""
        commands = [record for record in records if record.is_command]
        usage = [record for record in records if not record.is_command]
        mixed = []
        while commands and usage:
            mixed.append((commands if self._line.world.rng.random() < 0.5 else usage).pop(0))
        return mixed + commands + usage


class Process:
    """What dies, sleeps and wakes as a whole."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.frozen = False
        self.crashed = False

    def actors(self) -> list[Actor]:
        raise NotImplementedError

    def breaks(self) -> None:
        """Note what the end of the work in hand means."""

    def kill(self) -> None:
        self.alive = False
        for actor in self.actors():
            actor.kill()
        self.breaks()


class ChargeProcess(Process):
    """A member of charge's group with a real owner's thread for each partition it believes to have."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, name)
        rng = world.rng
        self.polls = 0
        self._window = world.window_days(rng)
        self._batch = rng.choice((1, 2, 3, 5, 8, 13))
        self._remembered = rng.choice((0, 2, 100))
        self.owners: dict[int, tuple[OwnerThread, Actor, Life]] = {}
        self.leaving: list[tuple[OwnerThread, Actor, Life]] = []

    def poll(self) -> None:
        """Hear from the group what is ours, and so start and stop owners."""
        self.polls += 1
        world = self.world
        for partition in list(self.owners):
            if world.assigned[partition] is not self:
                gone = self.owners.pop(partition)
                gone[0].stop()
                self.leaving.append(gone)
        self.leaving = [kept for kept in self.leaving if not kept[1].finished]
        for partition, process in world.assigned.items():
            if process is self and partition not in self.owners:
                self.owners[partition] = self._start(partition)

    def _start(self, partition: int) -> tuple[OwnerThread, Actor, Life]:
        world, life = self.world, Life()

        def edge(number: int) -> Any:
            world.broke(life)  # a take-over after an error: what was in hand is over
            life.at("taking over")
            return world.mutation.edge(_Edge(FaultyBroker(world, life), number), world)

        edges = Edges(world.partitions, edge, lambda: world.mutation.store(FaultyStore(world, life), world))
        settings = _settings(self._batch, self._window, self._remembered)
        gate: Any = contextlib.nullcontext()
        owner = OwnerThread(partition, edges, settings, gate, _metrics, lambda: self.polls)
        owner._stopping = _Stopping(world)  # type: ignore[assignment]
        return owner, Actor(world.scheduler, f"{self.name}/{partition}", owner.run), life

    def actors(self) -> list[Actor]:
        return [actor for _, actor, _ in (*self.owners.values(), *self.leaving)]

    def breaks(self) -> None:
        for _, _, life in (*self.owners.values(), *self.leaving):
            self.world.broke(life)


class _Decoder(UsageDecoder):
    """The real decoder, with a registry that is silent at times."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world

    def prepare(self, values: Any) -> None:
        if self._world.rng.random() < self._world.lose:
            self._world.met("mediate: the registry is silent")
            raise RegistryUnreachableError("silence")
        super().prepare(values)


class MediateProcess(Process):
    """A member of mediate's group: it ends at the first error, and the supervisor starts another."""

    def __init__(self, world: "World", name: str, partitions: tuple[int, ...]) -> None:
        super().__init__(world, name)
        self.partitions = partitions
        self._life = Life()
        self._batch = world.rng.choice((1, 2, 4, 8))
        self._actor = Actor(world.scheduler, name, self._run)

    def _run(self) -> None:
        world = self.world
        broker: Any = FaultyBroker(world, self._life)
        try:
            directory = MemoryDirectory(broker)
            directory.read_to_end()
            intake = FaultyIntake(world, self.partitions, broker)
            settings = _mediate_settings(self._batch)
            mediator = Mediator(
                world.mutation.intake(intake), world.mutation.directory(directory), _Decoder(world), settings,
                world.partitions,
            )  # fmt: skip
            while True:
                if not mediator.step().records:
                    self._life.at("idle")
                    broker.pause("idle")
        except Exception as error:  # noqa: BLE001 - as pipeline.mediate.run does: the process ends
            world.say("%s ends: %r", self.name, error)
            world.failed(error)
            self.crashed = True

    def actors(self) -> list[Actor]:
        return [self._actor]

    def breaks(self) -> None:
        self.world.broke(self._life, mediate=True)
