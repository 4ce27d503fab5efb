"""Deliberate mistakes in the protocol, made in the real code: the simulation has to find each of them.

They are those that implementations of this protocol make: what each leaves out is what the design says must be there.
"""

from typing import Any

from sim_network import BrokerSilentError
from sim_world import Mutation, World

from pipeline.adapters.memory_broker import OPEN
from pipeline.adapters.store import Loaded
from pipeline.charge import worker as worker_module
from pipeline.charge.owner import Owner
from pipeline.topics import SUBSCRIBER


class _Around:
    """Does what the other does, but for what a subclass says."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class NoFence(Mutation):
    """Each owner has a transactional id of its own, so it shuts nobody out."""

    def edge(self, edge: Any, world: World) -> Any:
        edge._name += f"-{world.rng.getrandbits(32)}"
        return edge


class FenceAfterTail(Mutation):
    """The tail is read first and the fence set after it."""

    class _Edge(_Around):
        def fence(self) -> None:
            self.inner._epoch = 0

        def last(self) -> Any:
            found = self.inner.last()
            self.inner.fence()
            return found

    def edge(self, edge: Any, world: World) -> Any:
        return self._Edge(edge)


class AbortAndReuse(Mutation):
    """An error of a commit is answered with an abort, and the producer used again for the same events."""

    class _Edge(_Around):
        def commit(self, events: Any, bindings: Any) -> None:
            edge = self.inner
            for _ in range(3):
                try:
                    edge.commit(events, bindings)
                except BrokerSilentError:
                    newest = edge._broker._broker.transactions().get(edge._name)
                    if newest is not None and newest.state == OPEN:
                        edge._broker.end(edge._name, edge._epoch, commit=False)
                else:
                    return
            edge.commit(events, bindings)

    def edge(self, edge: Any, world: World) -> Any:
        return self._Edge(edge)


class BlindRetry(Mutation):
    """A commit without an answer is made again."""

    class _Edge(_Around):
        def commit(self, events: Any, bindings: Any) -> None:
            try:
                self.inner.commit(events, bindings)
            except BrokerSilentError:
                self.inner.fence()
                self.inner.commit(events, bindings)

    def edge(self, edge: Any, world: World) -> Any:
        return self._Edge(edge)


class NoLoadGate(Mutation):
    """What a batch needs is loaded from the view wherever it stands."""

    class _Store(_Around):
        def load(self, partition: int, seq: int, need: Any) -> Loaded:
            at = self.inner._store.head(partition).get("seq", "0")
            found: Loaded = self.inner.load(partition, int(at), need)
            return found

    def store(self, store: Any, world: World) -> Any:
        return self._Store(store)


class NoApplyGate(Mutation):
    """Events are written into the view wherever it stands."""

    class _Store(_Around):
        def apply(self, partition: int, previous_hash: str, writes: Any) -> None:
            store = self.inner._store

            def act() -> None:
                store.write(partition, writes)
                store.hashes.setdefault(f"ledger:{{{partition}}}", {}).update(writes.head)

            self.inner.call("apply", act, BrokerSilentError)

    def store(self, store: Any, world: World) -> Any:
        return self._Store(store)


class NoDuplicates(Mutation):
    """Nobody asks whether a record was charged before."""

    class _Store(_Around):
        def load(self, partition: int, seq: int, need: Any) -> Loaded:
            found: Loaded = self.inner.load(partition, seq, need)
            return found._replace(seen=dict.fromkeys(found.seen, (False, False)))

    def store(self, store: Any, world: World) -> Any:
        return self._Store(store)


class GroupOffsets(Mutation):
    """Where to go on is what the group committed after the batch, not what the ledger says."""

    def __init__(self) -> None:
        self.committed: dict[int, tuple[int, int]] = {}

    def patches(self, world: World) -> list[tuple[Any, str, Any]]:
        committed = self.committed

        class GroupOwner(Owner):
            def take_over(self) -> None:
                super().take_over()
                self._edge.open_inputs(*committed.get(self.partition, (0, 0)))

            def step(self) -> int:
                done = super().step()
                if done and self.head is not None:
                    at = self.head.positions
                    committed[self.partition] = at.usage.offset, at.command.offset
                return done

        return [(worker_module, "Owner", GroupOwner)]


class ViewFirst(Mutation):
    """The view is written before the ledger."""

    def patches(self, world: World) -> list[tuple[Any, str, Any]]:
        class ViewFirstOwner(Owner):
            def _write(self, decided: Any) -> None:
                edge, store = self._edge, self._store
                held: list[Any] = []

                class _Edge(_Around):
                    def commit(self, *arguments: Any) -> None:
                        held.append(arguments)

                class _Store(_Around):
                    def apply(self, *arguments: Any) -> None:
                        store.apply(*arguments)
                        edge.commit(*held.pop())

                self._edge, self._store = _Edge(edge), _Store(store)  # type: ignore[assignment]
                try:
                    super()._write(decided)
                finally:
                    self._edge, self._store = edge, store

        return [(worker_module, "Owner", ViewFirstOwner)]


class CommitBeforeFlush(Mutation):
    """Mediate commits its offsets and delivers afterwards."""

    class _Intake(_Around):
        def flush(self) -> None:
            pass

        def commit(self, positions: Any) -> None:
            self.inner.commit(positions)
            self.inner.flush()

    def intake(self, intake: Any) -> Any:
        return self._Intake(intake)


class CommittedEnd(Mutation):
    """Mediate takes the end of what is committed for the directory's end: a row about to be committed is missed."""

    class _Directory(_Around):
        def read_to_end(self) -> None:
            directory = self.inner
            end = directory._broker.ends(SUBSCRIBER.name, 0)[1]
            rows, directory._position = directory._broker.read(SUBSCRIBER.name, 0, directory._position, end)
            for _, row in rows:
                directory._directory.apply(row.key, row.value)

        def __len__(self) -> int:
            return len(self.inner)

    def directory(self, directory: Any) -> Any:
        return self._Directory(directory)


MISTAKES: dict[str, type[Mutation]] = {
    "no fence": NoFence,
    "fence after tail": FenceAfterTail,
    "abort and reuse": AbortAndReuse,
    "blind retry": BlindRetry,
    "no load gate": NoLoadGate,
    "no apply gate": NoApplyGate,
    "no duplicates": NoDuplicates,
    "group offsets": GroupOffsets,
    "view first": ViewFirst,
    # and two of mediate
    "commit before flush": CommitBeforeFlush,
    "committed end": CommittedEnd,
}
