"""Seals: written when they are due, true whoever writes them, and no more often than there is something to seal."""

import json
from typing import TYPE_CHECKING

import pytest
from charging_world import usage
from owner_world import CrashError, Fuse, Partition, small_day

from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from pipeline.adapters.ledger_codec import encode_event, usage_body_of
from pipeline.adapters.memory_broker import AUDIT_ID
from pipeline.adapters.store.dump import dump_memory
from pipeline.charge.sealing import Sealing
from pipeline.domain.ledger import genesis_hash
from pipeline.domain.seal import Totals, is_seal
from pipeline.domain.usage import AcceptedUsage
from pipeline.settings import ChargeSettings
from pipeline.topics import AUDIT, USAGE_ACCEPTED

if TYPE_CHECKING:
    from pipeline.charge.owner import Owner

SOON = ChargeSettings(batch_records=3, seal_events=4)


class Sourced(Partition):
    """Whose records come from raw offsets of their own, as the auditor asks."""

    def publish(self, *things, as_command=False):
        for thing in things:
            offset = len(self.broker.logs[USAGE_ACCEPTED.name, self.partition].entries)
            sourced = thing._replace(source_offset=offset) if isinstance(thing, AcceptedUsage) else thing
            super().publish(sourced, as_command=as_command)


def seals_of(partition: Partition) -> list[int]:
    return [stored.event.seq for stored in partition.stored() if is_seal(stored.event)]


def audited(partition: Partition, values: list[bytes] | None = None):
    genesis = genesis_hash(AUDIT_ID.hex(), partition.partition)
    audit = PartitionAudit(partition.partition, 1, genesis, Register(), today=None)
    for offset, value in enumerate(partition.values() if values is None else values):
        breach = audit.take(value, offset)
        if breach is not None:
            return breach
    return audit.close() or audit.compare(dump_memory(partition.store, partition.partition))


def test_every_so_many_events_there_is_a_seal():
    """The batch that passes a multiple is sealed in its own transaction; the auditor finds each seal right."""
    partition = Sourced()
    small_day(partition)
    partition.drain(SOON)
    partition.check()
    seals = seals_of(partition)
    assert len(seals) >= 3
    assert audited(partition) is None
    log = partition.broker.logs[AUDIT.name, 0].entries
    behind = next(at + 1 for at, entry in enumerate(log) if entry.value == partition.values()[seals[0] - 1])
    assert log[behind].marker, "the seal ends the transaction of its batch"


def test_a_seal_says_what_the_ledger_came_to():
    """Counts by kind and sums by currency of all events before it, recomputed here by hand."""
    partition = Sourced()
    small_day(partition)
    partition.drain(SOON)
    events = [stored.event for stored in partition.stored()]
    last = seals_of(partition)[-1]
    found = json.loads(events[last - 1].detail)
    before = events[: last - 1]
    assert found["events"] == last - 1
    assert found["kinds"] == {kind: sum(e.kind == kind for e in before) for kind in {e.kind for e in before}}
    charged = sum(e.amount_micros for e in before if e.kind == "CHARGED")
    opened = sum(e.amount_micros for e in before if e.kind == "ACCOUNT_CHANGED")
    assert charged > 0
    assert found["charged_micros"] == {"CNY": str(charged)}
    assert found["opening_micros"] == {"CNY": str(opened)}
    assert (events[last - 1].amount_micros, events[last - 1].account_seq) == (0, 0)


@pytest.mark.parametrize("acts", [False, True])
def test_seals_are_true_whoever_takes_over(acts):
    """Killed at every call once: each next owner derives the figures from the seal before and the events since."""
    partition = Sourced()
    small_day(partition)
    calls = 4
    while partition.run_until_crash_with(Fuse(calls, acts=acts), SOON):
        calls += 1
        if calls % 3 == 0:
            partition.publish(usage(f"more-{calls}"))
    partition.check()
    assert len(seals_of(partition)) >= 3
    assert audited(partition) is None


def test_the_clock_decides_when_and_a_quiet_partition_is_sealed_once():
    """So long after the last seal, if anything happened since: idle steps seal once, then never again."""
    partition = Sourced()
    partition.publish(*(usage(f"c{n}") for n in range(3)))
    settings = ChargeSettings(seal_interval_s=60)
    owner = partition.take_over(settings=settings)
    now = [1_000.0]
    owner._sealing = Sealing(owner._edge, settings, lambda: now[0])
    assert owner.step() == 3
    assert owner.step() == 0
    assert seals_of(partition) == []
    now[0] += 60
    assert owner.step() == 0
    assert seals_of(partition) == [4]
    now[0] += 600
    for _ in range(3):
        owner.step()
    assert seals_of(partition) == [4], "nothing happened since"
    partition.publish(usage("one more"))
    assert owner.step() == 1
    assert seals_of(partition) == [4, 6], "long due: with the batch"
    partition.check()
    assert audited(partition) is None
    again = partition.take_over(settings=settings)
    again._sealing = Sealing(again._edge, settings, lambda: now[0])
    again._sealing.begin(again._edge.last())
    now[0] += 600
    again.step()
    assert seals_of(partition) == [4, 6], "nor does a new owner seal what is sealed"


def test_an_empty_partition_is_not_sealed():
    """There is nothing to vouch for."""
    settings = ChargeSettings(seal_interval_s=1)
    partition = Sourced()
    owner = partition.take_over(settings=settings)
    owner._sealing = Sealing(owner._edge, settings, lambda: 1e9)
    owner._sealing._sealed_at_s = 0
    assert owner.step() == 0
    assert partition.values() == []


def test_a_ledger_without_seals_is_counted_from_its_beginning():
    """An older release wrote none: the first seal reads back as far as it must."""
    partition = Sourced()
    small_day(partition)
    partition.publish(*(usage(f"old-{n}") for n in range(40)))
    partition.drain()
    assert seals_of(partition) == []
    partition.publish(usage("new"), usage("newer"), usage("newest"), usage("last"))
    partition.drain(SOON)
    assert seals_of(partition)
    assert audited(partition) is None


@pytest.mark.parametrize(
    "change", [{"events": 3}, {"kinds": {}}, {"charged_micros": {"CNY": "1"}}, {"opening_micros": {}}]
)
def test_a_seal_that_lies_is_found(change):
    """Whoever ties the chain anew over other figures is found by the auditor's own books."""
    partition = Sourced()
    small_day(partition)
    partition.drain(SOON)
    seq = seals_of(partition)[1]
    previous, values = genesis_hash(AUDIT_ID.hex(), 0), []
    for stored in partition.stored():
        event = stored.event
        if event.seq == seq:
            event = event._replace(detail=json.dumps({**json.loads(event.detail), **change}))
        body = None if event.usage is None else usage_body_of(event.usage)
        value, previous = encode_event(event, body, previous)
        values.append(value)
    breach = audited(partition, values)
    assert (breach.seq, breach.invariant) == (seq, "I5")
    assert next(iter(change)) in breach.detail


def test_totals_add_up_in_any_cut():
    """What is counted in two parts is what is counted in one."""
    partition = Sourced()
    small_day(partition)
    partition.drain()
    events = [stored.event for stored in partition.stored()]
    whole = Totals()
    for event in events:
        whole.add(event)
    for cut in range(len(events)):
        first, second = Totals(), Totals()
        for event in events[:cut]:
            first.add(event)
        for event in events[cut:]:
            second.add(event)
        first.add_all(second)
        assert first.detail() == whole.detail()


def test_an_owner_that_is_gone_seals_nothing():
    """A crash between batch and seal leaves neither: they are one transaction."""
    partition = Sourced()
    small_day(partition)
    fuse = Fuse(10_000)
    owner: Owner = partition.take_over(fuse, SOON)
    owner.step()
    count = len(partition.values())

    def broken(*_):
        raise CrashError

    owner._edge.commit = broken
    with pytest.raises(CrashError):
        owner.step()
    assert len(partition.values()) == count
