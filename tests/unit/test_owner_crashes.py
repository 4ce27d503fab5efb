"""Owners that die at any call, wake after another took over, or meet a view that lost something: the ledger holds."""

import copy
from typing import Any

import pytest
from charging_world import NOW, command, opening, usage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from owner_world import CrashError, Fuse, Partition, small_day

from pipeline.adapters.ledger_codec import decode_event
from pipeline.adapters.partition import FencedError
from pipeline.adapters.store import OutOfStepError
from pipeline.charge import owner as owner_module
from pipeline.domain.usage import DAY_MS


def whole_day(partition: Partition) -> None:
    """The small day, a second one, and commands that name events."""
    small_day(partition)
    partition.publish(usage("old", start_time=NOW - 36 * DAY_MS))
    partition.publish(
        command("top_up", "t", amount="5", reference="r"), command("adjust", "x", amount="-1", reason="y")
    )
    partition.publish(command("adjust", "z", amount="0.10", charge_id="0-3", reason="y"), opening("b"))
    partition.publish(*(usage(f"e{n}", duration_ms=n * 7_000) for n in range(6)))
    partition.publish(command("settle_review", "s", review="0-17", decision="charge", reason="ok"))


def calls_of_a_run() -> int:
    partition = Partition()
    whole_day(partition)
    fuse = Fuse(10_000)
    assert not partition.run_until_crash(fuse)
    return 10_000 - (fuse.calls or 0)


CALLS = calls_of_a_run()


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_costs_and_doubles_nothing(acts):
    """Whichever call is the last one of an owner, done or not done: the next owner ends where none had crashed."""
    whole = Partition()
    whole_day(whole)
    whole.drain()
    whole.check()
    wanted = _content(whole)
    for at in range(CALLS):
        partition = Partition()
        whole_day(partition)
        assert partition.run_until_crash(Fuse(at, acts=acts)), f"no call number {at}"
        partition.drain()
        partition.check()
        assert _content(partition) == wanted, f"a crash at call {at} changed what was decided"


def _content(partition: Partition) -> list[object]:
    """What was decided, without the epochs that tell take-overs."""
    return [stored.event._replace(epoch=0) for stored in partition.stored()]


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
def test_a_crash_at_any_call_of_a_rebuild(acts):
    """The same while a wiped view is being folded anew."""
    for at in range(14):
        partition = Partition()
        whole_day(partition)
        partition.drain()
        before = (copy.deepcopy(partition.store.hashes), copy.deepcopy(partition.store.sets))
        partition.store.wipe(0)
        partition.run_until_crash(Fuse(at, acts=acts))
        partition.drain()
        partition.check()
        assert (partition.store.hashes, partition.store.sets) == before


class Life:
    """A partition, the owners that ever had it, and copies of its view to roll back to."""

    def __init__(self) -> None:
        self.partition = Partition()
        self.sleepers: list[Any] = []
        self.copies: list[tuple[Any, Any]] = []
        self.published = 0

    def publish(self, count: int) -> None:
        if not self.published:
            self.partition.publish(opening())
        for _ in range(count):
            number = self.published % 40  # after forty, all of them come again
            self.published += 1
            kind = number % 4
            if kind == 0:
                self.partition.publish(usage(f"r{number}", service="EVENT", session_id="s", start_time=NOW - number))
            elif kind == 1:
                self.partition.publish(usage(f"r{number}", duration_ms=number * 1_000))
            elif kind == 2:
                self.partition.publish(usage(f"r{number}", start_time=NOW - 36 * DAY_MS))
            else:
                self.partition.publish(command("top_up", f"t{number}", amount="1", reference=f"f{number}"))

    def crash(self, at: int, acts: bool) -> None:
        self.partition.run_until_crash(Fuse(at, acts=acts))

    def fall_asleep(self, steps: int) -> None:
        owner = self.partition.take_over()
        for _ in range(steps):
            owner.step()
        self.sleepers.append(owner)

    def fall_asleep_before(self, call: int) -> None:
        """An owner stops between two calls of a step: its write of ledger or view is yet to come."""
        pending: list[Any] = []

        class Asleep(Fuse):
            def guard(self, guarded_call: Any) -> Any:
                def guarded(*arguments: Any) -> Any:
                    self.calls = (self.calls or 0) - 1
                    if self.calls >= 0:
                        return guarded_call(*arguments)
                    pending.append((guarded_call, arguments))
                    raise CrashError

                return guarded

        self.partition.run_until_crash(Asleep(call))
        self.sleepers += pending

    def wake(self, which: int) -> None:
        """A sleeper goes on as if nothing had happened; others may have owned the partition since."""
        if not self.sleepers:
            return
        sleeper = self.sleepers.pop(which % len(self.sleepers))
        try:
            if isinstance(sleeper, tuple):
                call, arguments = sleeper
                call(*arguments)
            else:
                sleeper.step()
        except (FencedError, OutOfStepError):
            pass

    def keep_copy(self) -> None:
        self.copies.append(copy.deepcopy((self.partition.store.hashes, self.partition.store.sets)))

    def roll_back(self, which: int) -> None:
        """The view's server lost its tail, or an old replica was promoted."""
        if self.copies:
            hashes, sets = copy.deepcopy(self.copies[which % len(self.copies)])
            self.partition.store.hashes, self.partition.store.sets = hashes, sets

    def wipe(self) -> None:
        self.partition.store.wipe(0)


_small = st.integers(0, 40)
_acts = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 12)),
    st.tuples(st.just("crash"), _small, st.booleans()),
    st.tuples(st.just("fall_asleep"), st.integers(0, 3)),
    st.tuples(st.just("fall_asleep_before"), _small),
    st.tuples(st.just("wake"), _small),
    st.tuples(st.just("keep_copy")),
    st.tuples(st.just("roll_back"), _small),
    st.tuples(st.just("wipe")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_acts, max_size=25))
def test_any_life_of_a_partition_ends_in_one_right_ledger(acts):
    """Crashes, sleepers that wake, rolled back and wiped views in any order: at the end each input has one event."""
    life = Life()
    life.publish(3)
    for name, *arguments in acts:
        getattr(life, name)(*arguments)
    life.partition.drain()
    life.partition.check()
    for sleeper in range(len(life.sleepers)):
        life.wake(sleeper)
    life.partition.drain()
    life.partition.check()


# --- records that kill ---


class Poisoned:
    """A process that ends when it reads a certain record; it counts how often it had to be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, partition: Partition, poison: str) -> None:
        self.partition = partition
        self.deaths = 0
        self.batches: list[int] = []
        real_read, real_prepare = owner_module.accepted_usage_of, owner_module.prepare
        real_decode = owner_module.ACCOUNT_COMMAND.decode

        def read(value: bytes) -> Any:
            found = real_read(value)
            if found[0].record_id == poison:
                raise SystemExit("killed")
            return found

        def decode(value: bytes) -> Any:
            found = real_decode(value)
            if found["command_id"] == poison:
                raise SystemExit("killed")
            return found

        def prepare(inputs: Any, named: Any) -> Any:
            self.batches.append(len(inputs))
            return real_prepare(inputs, named)

        monkeypatch.setattr(owner_module, "accepted_usage_of", read)
        monkeypatch.setattr(owner_module.ACCOUNT_COMMAND, "decode", decode)
        monkeypatch.setattr(owner_module, "prepare", prepare)

    def run(self, deaths_max: int) -> None:
        """Start the process again and again until it drained its partition."""
        while True:
            try:
                self.partition.drain()
            except SystemExit:
                self.deaths += 1
                assert self.deaths <= deaths_max, "it dies again and again"
            else:
                return


def test_a_deadly_record_is_quarantined(monkeypatch):
    """After two deaths at one place the batch is one record; after a third that record is REVIEW `quarantined`."""
    partition = Partition()
    partition.publish(opening(), usage("deadly"), usage("next"))
    process = Poisoned(monkeypatch, partition, "deadly")
    owner = partition.take_over()
    owner._carried = owner._edge.fetch(1)  # the account is opened in a batch of its own
    owner.step()
    process.run(3)
    partition.check()
    monkeypatch.undo()
    event = next(s.event for s in partition.stored() if s.event.reason == "quarantined")
    assert (event.kind, event.event_id, event.account, event.amount_micros) == ("REVIEW", "usage-0-0", "", 0)
    assert process.deaths == 3
    assert process.batches == [1, 1, 1], "the opening, the quarantined one, what came with it"
    assert partition.stored()[-1].event.event_id == "next"


def test_a_deadly_command_is_quarantined(monkeypatch):
    """A command that kills is set aside in the same way as a record."""
    partition = Partition()
    partition.publish(opening(), command("suspend", "deadly"), command("suspend", "next"))
    Poisoned(monkeypatch, partition, "deadly").run(6)
    monkeypatch.undo()
    partition.check()
    assert [(s.event.kind, s.event.reason) for s in partition.stored()] == [
        ("ACCOUNT_CHANGED", "opened"),
        ("REVIEW", "quarantined"),
        ("ACCOUNT_CHANGED", "suspended"),
    ]


def test_a_deadly_record_amid_a_batch_takes_few_deaths(monkeypatch):
    """The harmless records before it are answered one at a time: the deaths do not grow with their number."""
    partition = Partition()
    partition.publish(opening(), *(usage(f"r{n}") for n in range(40)), usage("deadly"), usage("next"))
    process = Poisoned(monkeypatch, partition, "deadly")
    big = owner_module.ChargeSettings(batch_records=100)
    monkeypatch.setattr(partition, "drain", lambda: Partition.drain(partition, big))
    process.run(5)
    monkeypatch.undo()
    partition.check()
    assert sum(s.event.reason == "quarantined" for s in partition.stored()) == 1
    assert partition.stored()[-1].event.event_id == "next"


def test_an_error_is_no_death():
    """An owner that failed and lives takes its attempt back; a take-over that failed leaves the count alone."""
    partition = Partition()
    partition.publish(opening())
    for _ in range(5):
        owner = partition.take_over(Fuse(8))
        with pytest.raises(CrashError):
            owner.step()
        partition.owner().failed()  # never began: says nothing
        assert partition.store._attempts[0][1] == 1
        owner._store = partition.store
        owner.failed()
        assert 0 not in partition.store._attempts
    partition.drain()
    assert decode_event(partition.values()[0]).event.reason == "opened"
