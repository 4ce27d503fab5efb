"""The owner of a partition: what it answers, what it finds at take-over, what it refuses to go on from."""

import json

import pytest
from charging_world import NOW, OPENED, command, opening, usage
from owner_world import SETTINGS, Partition, small_day

from pipeline.adapters.memory_broker import MemoryPartition
from pipeline.adapters.partition import FencedError, Inputs, LedgerHaltedError
from pipeline.adapters.store import OutOfStepError
from pipeline.domain.usage import DAY_MS
from pipeline.settings import ChargeSettings
from pipeline.topics import SUBSCRIBER, partition_of


@pytest.fixture
def partition():
    made = Partition()
    small_day(made)
    return made


class ShiftedInputs(MemoryPartition):
    """A broker that says something else of the inputs."""

    def __init__(self, broker, partition, **shifted):
        super().__init__(broker, partition)
        self.shifted = shifted

    def inputs(self) -> Inputs:
        return super().inputs()._replace(**self.shifted)


def test_drains_every_input_into_one_event(partition):
    """Every accepted record and every command ends in exactly one event, and the view is the ledger's fold."""
    partition.drain()
    partition.check()
    kinds = [stored.event.kind for stored in partition.stored()]
    assert sorted(kinds) == sorted(
        ["ACCOUNT_CHANGED", *["CHARGED"] * 6, "DUPLICATE", *["REJECTED"] * 2, *["REVIEW"] * 2]
    )


def test_second_take_over_goes_on_where_the_first_stopped(partition):
    """A take-over begins at the ledger's own positions and raises the epoch by one; nothing is answered again."""
    partition.drain()
    before = len(partition.values())
    partition.publish(usage("more"))
    partition.drain()
    partition.check()
    events = [stored.event for stored in partition.stored()]
    assert len(events) == before + 1
    assert (events[-2].epoch, events[-1].epoch) == (1, 2)


def test_an_unread_record_keeps_its_first_bytes_and_its_hash(partition):
    """What cannot be decoded is REJECTED with its first 1 KiB and its SHA-256, and is never lost."""
    partition.publish(b"\xc3\x01" + b"x" * 5_000, as_command=True)
    partition.drain()
    event = next(s.event for s in partition.stored() if s.event.event_id == "command-0-1")
    assert (event.kind, event.reason, event.account) == ("REJECTED", "undecodable", "")
    assert json.loads(event.detail or "")["first_bytes"] == (b"\xc3\x01" + b"x" * 1_022).hex()
    assert event.digest is not None


@pytest.mark.parametrize("field", ["start_time", "received_at"])
@pytest.mark.parametrize("moment", [-1, 4_102_444_800_001, 2**63 - 1])
def test_a_time_that_no_record_has_is_not_read(field, moment):
    """It would set the partition's clock for ever, or write an event that no reader takes: it is REJECTED, kept."""
    partition = Partition()
    partition.publish(opening())
    partition.publish(usage("far", **{field: moment}), usage("near"))
    partition.drain()
    partition.check()
    assert [(s.event.kind, s.event.reason) for s in partition.stored()] == [
        ("ACCOUNT_CHANGED", "opened"),
        ("REJECTED", "undecodable"),
        ("CHARGED", None),
    ]
    assert json.loads(partition.stored()[1].event.detail)["problem"] == "a time that no record has"


def test_a_command_larger_than_64_kib_is_not_read():
    """Commands are at most 64 KiB; a larger one is REJECTED undecodable."""
    partition = Partition()
    partition.publish(opening(), command("suspend", "s", reason="x" * 70_000))
    partition.drain()
    assert [(s.event.kind, s.event.reason) for s in partition.stored()] == [
        ("ACCOUNT_CHANGED", "opened"),
        ("REJECTED", "undecodable"),
    ]


def test_directory_rows_are_written_in_the_same_transaction():
    """Opening an account writes a row of the directory for each identity, with the ledger's own transaction."""
    partition = Partition()
    partition.publish(opening(identities=["msisdn-+8613900000001", "imsi-460010000000001"]))
    partition.drain()
    rows, _ = partition.broker.read(SUBSCRIBER.name, 0, 0, 10)
    keys = [(row.key or b"").decode() for _, row in rows]
    assert keys == ["msisdn-+8613900000001|a", "imsi-460010000000001|a"]


def test_a_record_of_another_partition_is_rejected():
    """The partition of an account is that of its name; a record elsewhere is REJECTED wrong_partition."""
    partition = Partition(partition=0, partitions=2)
    partition.publish(*(usage("r", account=account) for account in "abcdef"))
    partition.drain()
    partition.check()
    for event in (stored.event for stored in partition.stored()):
        own = partition_of(event.account, 2) == 0
        assert (event.kind, event.reason) == ("REJECTED", "unknown_account" if own else "wrong_partition")
    assert len({stored.event.reason for stored in partition.stored()}) == 2


def test_a_settled_review_holds_the_record_and_the_command(partition):
    """A settled review's event is CHARGED under the record's id and holds the whole record and the whole command."""
    old = usage("old", start_time=NOW - 40 * DAY_MS)
    partition.publish(old)
    partition.drain()
    review = partition.stored()[-1].event
    assert (review.kind, review.reason) == ("REVIEW", "late")
    partition.publish(command("settle_review", "settle", review=f"0-{review.seq}", decision="charge", reason="seen"))
    partition.drain()
    partition.check()
    settled = partition.stored()[-1].event
    assert (settled.kind, settled.event_id) == ("CHARGED", "old")
    assert settled.usage == old
    assert settled.command is not None
    assert settled.command["command_id"] == "settle"
    assert settled.digest == review.digest


def test_an_adjustment_finds_its_charge_in_the_ledger(partition):
    """An adjust names a charge by `<partition>-<seq>`; it is read from the ledger, wherever it stands there."""
    partition.drain()
    charge = next(s.event for s in partition.stored() if s.event.kind == "CHARGED")
    partition.publish(command("adjust", "back", amount="0.15", charge_id=f"0-{charge.seq}", reason="bad line"))
    partition.publish(command("adjust", "beyond", amount="0.15", charge_id="0-900", reason="no such event"))
    partition.publish(command("adjust", "zero", amount="0.15", charge_id="0-0", reason="no such event"))
    partition.publish(command("adjust", "other", amount="0.15", charge_id="1-1", reason="another partition"))
    partition.drain()
    partition.check()
    assert [(s.event.kind, s.event.reason) for s in partition.stored()[-4:]] == [
        ("ADJUSTED", "adjusted"),
        *[("REJECTED", "unknown_charge")] * 3,
    ]


# --- the view lost something ---


def test_a_wiped_view_is_rebuilt_to_the_same_bytes(partition):
    """The view is fold(ledger): wiped, it is the same again after the next take-over."""
    partition.drain()
    before = (dict(partition.store.hashes), dict(partition.store.sets))
    partition.store.wipe(0)
    owner = partition.drain()
    partition.check()
    assert (partition.store.hashes, partition.store.sets) == before
    assert owner.replayed == len(partition.values())


def test_a_view_of_another_ledger_is_wiped(partition):
    """A view whose hash is not the ledger's at its seq is of another ledger: it is wiped and rebuilt."""
    partition.drain()
    partition.store.hashes["ledger:{0}"]["seq"] = "3"
    partition.store.hashes["ledger:{0}"]["hash"] = "ab" * 32
    partition.store.hashes["account:{0}:ghost"] = {"balance": "1", "seq": "1"}
    partition.drain()
    partition.check()


def test_a_view_of_another_layout_is_rebuilt(partition):
    """Another layout of the keys means rebuild."""
    partition.drain()
    partition.store.hashes["ledger:{0}"]["layout"] = "0"
    partition.drain()
    partition.check()


def test_a_view_wiped_under_a_working_owner_stops_it(partition):
    """The view's gate is its seq: an owner whose view went away loads nothing and takes over again."""
    owner = partition.take_over()
    owner.step()
    partition.store.wipe(0)
    with pytest.raises(OutOfStepError):
        owner.step()
    partition.drain()
    partition.check()


def test_an_idle_owner_notices_that_its_view_went(partition):
    """A view that was wiped while nothing comes is rebuilt all the same: the owner looks at it now and then."""
    owner = partition.drain()
    for _ in range(30):
        assert owner.step() == 0
    partition.store.wipe(0)
    with pytest.raises(OutOfStepError):
        all(owner.step() == 0 for _ in range(30))


# --- halts ---


def test_a_ledger_behind_its_view_halts(partition):
    """A ledger that lost its tail is never continued: the partition halts and names the events."""
    partition.drain()
    del partition.ledger.entries[-4:]
    with pytest.raises(LedgerHaltedError, match=r"events 11 to 12 are gone"):
        partition.take_over()


@pytest.mark.parametrize("layout", ["0", "1"])
def test_an_empty_ledger_behind_its_view_halts(partition, layout):
    """A ledger made anew is no empty ledger while the view remembers events, whatever the view's layout."""
    partition.drain()
    partition.ledger.entries.clear()
    partition.store.hashes["ledger:{0}"]["layout"] = layout
    with pytest.raises(LedgerHaltedError, match=r"events 1 to 12 are gone"):
        partition.take_over()


@pytest.mark.parametrize("name", ["usage_topic_id", "command_topic_id", "catalogue_topic_id"])
def test_an_input_made_anew_halts(partition, name):
    """Offsets of a topic that was deleted and made again mean something else: the partition halts."""
    partition.drain()
    edge = ShiftedInputs(partition.broker, 0, **{name: b"z" * 16})
    with pytest.raises(LedgerHaltedError, match="re-created"):
        partition.owner(edge=edge).take_over()


@pytest.mark.parametrize(
    ("shifted", "says"),
    [
        ({"usage_first": 40, "usage_end": 50}, "offsets 11 to 39 were never charged and are gone"),
        ({"command_first": 4, "command_end": 4}, "offsets 1 to 3 were never charged and are gone"),
        ({"usage_end": 7}, "it ends at 7, but 10 was charged"),
    ],
)
def test_positions_out_of_the_inputs_range_halt(partition, shifted, says):
    """Records that the broker dropped before they were charged are named, never skipped."""
    partition.drain()
    with pytest.raises(LedgerHaltedError, match=says):
        partition.owner(edge=ShiftedInputs(partition.broker, 0, **shifted)).take_over()


def test_inputs_that_expired_before_the_first_event_halt(partition):
    """An empty ledger begins at offset 0 of its inputs: what expired before is a loss, and named."""
    with pytest.raises(LedgerHaltedError, match="offsets 0 to 2 were never charged and are gone"):
        partition.owner(edge=ShiftedInputs(partition.broker, 0, usage_first=3)).take_over()


def test_a_broken_chain_halts(partition):
    """Events that do not follow one another are never folded."""
    partition.drain()
    del partition.ledger.entries[3]
    partition.store.wipe(0)
    with pytest.raises(LedgerHaltedError):
        partition.take_over()


# --- zombies ---


def test_a_zombie_is_fenced_and_changes_nothing(partition):
    """An owner that wakes after another took over commits nothing and writes nothing into the view."""
    zombie = partition.take_over()
    zombie.step()
    heir = partition.take_over()
    ledger, view = list(partition.ledger.entries), str(partition.store.hashes)
    with pytest.raises(FencedError):
        zombie.step()
    assert (partition.ledger.entries, str(partition.store.hashes)) == (ledger, view)
    while heir.step():
        pass
    partition.check()


def test_a_zombie_behind_the_view_does_not_even_rate(partition):
    """The view's gate stops an owner whose ledger moved on without it."""
    zombie = partition.take_over()
    partition.drain()
    with pytest.raises(OutOfStepError):
        zombie.step()
    partition.check()


def test_a_zombies_write_of_the_view_is_no_step_back(partition):
    """An owner that slept between its commit and its write finds the view beyond it, and leaves it alone."""
    zombie = partition.take_over()
    slept = []
    zombie._store.apply = lambda *arguments: slept.append(arguments)  # type: ignore[method-assign]
    zombie.step()
    partition.drain()
    before = str(partition.store.hashes)
    partition.store.apply(*slept[0])
    assert str(partition.store.hashes) == before
    partition.check()


# --- settings ---


def test_a_changed_late_window_is_written_into_the_ledger(partition):
    """A change of the late window is a SEAL; it holds from there on, and a replay decides the same."""
    partition.drain()
    partition.publish(usage("old", start_time=NOW - 40 * DAY_MS))
    partition.drain(SETTINGS.model_copy(update={"late_window_days": 50}))
    partition.check()
    seal, charged = (s.event for s in partition.stored()[-2:])
    assert (seal.kind, seal.reason, seal.account_seq, seal.amount_micros) == ("SEAL", "settings_changed", 0, 0)
    assert seal.detail == '{"late_window_days":{"after":50,"before":35}}'
    assert (charged.kind, charged.late_window_days) == ("CHARGED", 50)
    partition.drain(SETTINGS.model_copy(update={"late_window_days": 50}))
    assert len(partition.stored()) == charged.seq, "the same setting again is no change"


def test_a_new_ledger_begins_with_the_setting_and_no_seal():
    """The first late window needs no SEAL: the first event says it."""
    partition = Partition()
    partition.publish(opening(at=OPENED))
    partition.drain(ChargeSettings(late_window_days=7))
    assert [s.event.kind for s in partition.stored()] == ["ACCOUNT_CHANGED"]
    assert partition.stored()[0].event.late_window_days == 7


def test_no_more_accounts_are_remembered_than_the_setting_says():
    """Those remembered longest are forgotten, and loaded again when they come again: nothing else is seen of it."""
    phones = [f"+861390000100{n}" for n in range(6)]
    partition = Partition()
    partition.publish(*(opening(f"a{n}", phone) for n, phone in enumerate(phones)))
    partition.publish(*(usage(f"r{n}", account=f"a{n % 6}", msisdn=phones[n % 6]) for n in range(30)))
    settings = ChargeSettings(batch_records=2, remembered_accounts=3)
    owner = partition.take_over(settings=settings)
    while owner.step():
        assert len(owner._accounts) <= 3 + settings.batch_records
    partition.check()
    assert [stored.event.kind for stored in partition.stored()] == ["ACCOUNT_CHANGED"] * 6 + ["CHARGED"] * 30
