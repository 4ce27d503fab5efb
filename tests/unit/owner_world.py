"""A partition on the in-memory broker and view, owners that crash at any call, and a check that shares no code."""

import hashlib
from collections.abc import Callable
from typing import Any

from charging_world import CATALOGUE, NOW, opening, usage

from pipeline.adapters.avro import ACCEPTED_USAGE
from pipeline.adapters.avro import ACCOUNT_COMMAND as COMMANDS
from pipeline.adapters.ledger_codec import StoredEvent, decode_event, expected_hash
from pipeline.adapters.memory_broker import AUDIT_ID, Log, MemoryBroker, MemoryPartition
from pipeline.adapters.store.memory import MemoryStore
from pipeline.charge.owner import Owner
from pipeline.domain.usage import AcceptedUsage
from pipeline.settings import ChargeSettings
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, USAGE_ACCEPTED

SETTINGS = ChargeSettings(batch_records=5)
EDGE_CALLS = ("fence", "last", "inputs", "open_inputs", "fetch", "catalogues", "commit", "event", "events_after")
STORE_CALLS = ("head", "load", "apply", "wipe", "attempt", "attempts_ended")


class CrashError(Exception):
    """The owner ends here, as by a kill: nothing of it runs on."""


class Fuse:
    """Burns down by one at each call it guards; at the last one the call raises, before or after it acted."""

    def __init__(self, calls: int | None = None, *, acts: bool = False) -> None:
        self.calls = calls
        self.acts = acts

    def guard(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            if self.calls is None:
                return call(*arguments)
            self.calls -= 1
            if self.calls >= 0:
                return call(*arguments)
            if self.acts:
                call(*arguments)
            raise CrashError(call.__name__)

        return guarded


class Guarded:
    """An edge or a store whose every call burns the fuse."""

    def __init__(self, guarded: Any, fuse: Fuse, calls: tuple[str, ...]) -> None:
        self._guarded = guarded
        for name in calls:
            setattr(self, name, fuse.guard(getattr(guarded, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guarded, name)


class Partition:
    """One ledger partition and what the world outside holds of it."""

    def __init__(self, partition: int = 0, partitions: int = 1) -> None:
        self.partition = partition
        self.partitions = partitions
        self.broker = MemoryBroker()
        self.broker.versions.append(CATALOGUE)
        self.store = MemoryStore()

    def publish(self, *things: AcceptedUsage | dict[str, object] | bytes, as_command: bool = False) -> None:
        for thing in things:
            if isinstance(thing, AcceptedUsage):
                value = ACCEPTED_USAGE.encode(thing._asdict())
                self.broker.append(USAGE_ACCEPTED.name, self.partition, None, value)
            elif isinstance(thing, dict):
                value = COMMANDS.encode(thing)
                self.broker.append(ACCOUNT_COMMAND.name, self.partition, None, value, time_ms=NOW)
            elif as_command:
                self.broker.append(ACCOUNT_COMMAND.name, self.partition, None, thing, time_ms=NOW)
            else:
                self.broker.append(USAGE_ACCEPTED.name, self.partition, None, thing)

    def edge(self) -> MemoryPartition:
        return MemoryPartition(self.broker, self.partition)

    def owner(self, fuse: Fuse | None = None, settings: ChargeSettings = SETTINGS, edge: Any = None) -> Owner:
        fuse = fuse or Fuse()
        guarded = Guarded(edge or self.edge(), fuse, EDGE_CALLS)
        store = Guarded(self.store, fuse, STORE_CALLS)
        return Owner(self.partition, self.partitions, guarded, store, settings)  # type: ignore[arg-type]

    def take_over(self, fuse: Fuse | None = None, settings: ChargeSettings = SETTINGS) -> Owner:
        owner = self.owner(fuse, settings)
        owner.take_over()
        return owner

    def drain(self, settings: ChargeSettings = SETTINGS) -> Owner:
        owner = self.take_over(settings=settings)
        while owner.step():
            pass
        return owner

    def run_until_crash(self, fuse: Fuse) -> bool:
        """Take over and work; True if it crashed, False if all was drained before the fuse had burnt down."""
        return self.run_until_crash_with(fuse, SETTINGS)

    def run_until_crash_with(self, fuse: Fuse, settings: ChargeSettings) -> bool:
        """The same with other settings."""
        try:
            owner = self.take_over(fuse, settings)
            while owner.step():
                pass
        except CrashError:
            return True
        return False

    @property
    def ledger(self) -> Log:
        return self.broker.logs[AUDIT.name, self.partition]

    def values(self) -> list[bytes]:
        records, _ = self.ledger.read(0, len(self.ledger.entries))
        return [entry.value or b"" for _, entry in records]

    def stored(self) -> list[StoredEvent]:
        return [decode_event(value) for value in self.values()]

    def check(self) -> None:
        """Hold ledger, inputs and view against one another, with no code of the fold or of the owner."""
        values = self.values()
        stored = self.stored()
        previous = hashlib.sha256(f"{AUDIT_ID.hex()}:{self.partition}".encode()).digest()
        usage_at = command_at = 0
        epoch = 0
        hashes: dict[str, dict[str, str]] = {}
        numbers: dict[str, set[int]] = {}
        charged: set[tuple[str, str]] = set()
        tag = f"{{{self.partition}}}"
        for seq, (value, kept) in enumerate(zip(values, stored, strict=True), 1):
            event = kept.event
            assert event.seq == seq
            assert kept.previous_hash == previous, f"the chain breaks at {seq}"
            assert kept.hash == expected_hash(value)
            previous = kept.hash
            assert event.epoch >= epoch
            epoch = event.epoch
            moved = (event.positions.usage.offset - usage_at, event.positions.command.offset - command_at)
            assert moved == (0, 0) if event.kind == "SEAL" else sorted(moved) == [0, 1], f"event {seq} moves {moved}"
            usage_at, command_at = event.positions.usage.offset, event.positions.command.offset
            if event.kind == "CHARGED":
                assert (event.account, event.event_id) not in charged, f"{event.event_id} is charged twice"
                charged.add((event.account, event.event_id))
            self._follow(event, hashes, numbers, tag)
        assert usage_at == self.broker.ends(USAGE_ACCEPTED.name, self.partition)[2], "records without an event"
        assert command_at == self.broker.ends(ACCOUNT_COMMAND.name, self.partition)[2], "commands without an event"
        head = self.store.head(self.partition)
        assert (head.get("seq", "0"), head.get("hash")) == (str(len(values)), previous.hex() if values else None)
        view = {name: fields for name, fields in self.store.hashes.items() if not name.startswith("ledger:")}
        assert view == {name: fields for name, fields in hashes.items() if fields}
        assert self.store.sets == numbers

    def _follow(self, event: Any, hashes: dict[str, dict[str, str]], numbers: dict[str, set[int]], tag: str) -> None:
        effects = event.effects
        writes: list[tuple[str, dict[str, str | None]]] = []
        if event.account_seq:
            standing = {"balance": str(event.balance_after_micros), "seq": str(event.account_seq)}
            writes.append((f"account:{tag}:{event.account}", {**effects.account, **standing}))
        writes.append((f"kept:{tag}:{event.account}", effects.kept))
        if effects.session is not None:
            key = f"session:{tag}:{effects.session.key}"
            if effects.session.begins:
                hashes.pop(key, None)
            writes.append((key, effects.session.fields))
        for key, changes in writes:
            for name, value in changes.items():
                if value is None:
                    hashes.setdefault(key, {}).pop(name, None)
                else:
                    hashes.setdefault(key, {})[name] = value
        if effects.seen is not None:
            seen = effects.seen
            numbers.setdefault(f"seen:{tag}:{seen.day}:{seen.bucket}", set()).update((seen.record, seen.content))


def small_day(partition: Partition) -> None:
    """Some of everything: an account opened, calls, a session out of order, repeats, a top-up, rubbish."""
    partition.publish(opening(), usage("c1"), usage("c2", duration_ms=120_000), usage("c1"))
    partition.publish(usage("g2", service="EVENT", session_id="s", start_time=NOW - 1_000, message_count=9))
    partition.publish(usage("d1", service="DATA"), b"rubbish", usage("c2"), usage("unknown", account="b"))
    partition.publish(usage("g1", service="EVENT", session_id="s", start_time=NOW - 2_000, message_count=9))
    partition.publish(usage("d2", service="DATA"), usage("g2", service="EVENT", session_id="s", message_count=1))
