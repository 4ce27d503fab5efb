"""The auditor finds every promise of the ledger broken, and calls a right ledger right."""

import pytest
from audit_ledger import START, LedgerMaker, audited, found, moved, sample
from hypothesis import given
from hypothesis import strategies as st

from consumers.audit.coverage import Coverage, Gap, first_unanswered
from consumers.audit.register import Register
from pipeline.domain.ledger import Position
from pipeline.domain.usage import DAY_MS, digest, seen_of
from pipeline.topics import partition_of


def test_a_right_ledger_has_no_breach():
    """A ledger with every kind of event, and its view, break nothing."""
    made = sample()
    assert audited(made, view=made.view()) is None


# --- I1, I2: nothing is removed, moved, added or altered ---


@given(st.data())
def test_any_flipped_bit_breaks_the_chain(data):
    """One flipped bit anywhere in any event is found at that event."""
    values = sample().values()
    at = data.draw(st.integers(0, len(values) - 1))
    bit = data.draw(st.integers(0, 8 * len(values[at]) - 1))
    altered = bytearray(values[at])
    altered[bit // 8] ^= 1 << bit % 8
    values[at] = bytes(altered)
    assert found(audited(sample(), values)) == (at + 1, "I2")


@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01", b"\x00" * 50])
def test_a_value_that_is_no_event(value):
    """A tombstone, or bytes too short for an event, break the chain."""
    values = sample().values()
    values[3] = value
    assert found(audited(sample(), values)) == (4, "I2")


def test_bytes_that_hash_right_but_are_no_event():
    """Bytes that end in their own hash are still no event when they cannot be read."""
    import hashlib

    head = sample().values()[0][:10]
    body = b"\x02\x00junk"
    forged = head + body + hashlib.sha256(head[2:] + body).digest()
    assert found(audited(sample(), [forged])) == (1, "I2")


def test_a_removed_event():
    """A missing event leaves a gap in seq."""
    values = sample().values()
    del values[4]
    assert found(audited(sample(), values)) == (6, "I1")


def test_a_missing_first_event():
    """A ledger that lost its beginning does not begin with 1."""
    assert found(audited(sample(), sample().values()[1:])) == (2, "I1")


def test_a_swapped_pair():
    """Two events that changed places are found at the first."""
    values = sample().values()
    values[2], values[3] = values[3], values[2]
    assert found(audited(sample(), values)) == (4, "I1")


def test_an_event_twice():
    """The same event a second time is found there."""
    values = sample().values()
    assert found(audited(sample(), [*values[:3], *values[2:]])) == (3, "I1")


def test_a_chain_tied_anew_from_the_middle():
    """Events written anew with right seq and right hashes do not follow the hash before them."""
    values, other = sample().values(), sample()
    other.change(2, event_id="forged")
    assert found(audited(sample(), [*values[:2], *other.values()[2:]])) == (3, "I2")


def test_a_chain_of_another_topic():
    """A ledger copied to another topic or partition does not begin with that one's first hash."""
    made = sample()
    values = made.values()
    made.partition = 1
    assert found(audited(made, values)) == (1, "I2")


# --- I7 ---


@pytest.mark.parametrize("epoch", [0, 1, 4])
def test_epochs_rise_by_one(epoch):
    """An epoch below the one before, or more than one above it, is no take-over."""
    made = sample()
    made.change(10, epoch=epoch)
    assert found(audited(made)) == (10, "I7")


def test_the_clock_never_falls():
    """A clock behind the one before, or behind the record in hand, is found."""
    made = sample()
    made.change(9, clock=5)
    assert found(audited(made)) == (9, "I7")
    made = sample()
    made.change(2, clock=START)
    assert found(audited(made)) == (2, "I7")


# --- I3, I9 ---


def test_a_record_charged_in_two_partitions():
    """The same record_id charged under accounts of two partitions is found at the later one."""
    register = Register()
    made = [LedgerMaker(p) for p in range(2)]
    names = [next(f"a{n}" for n in range(99) if partition_of(f"a{n}", 2) == p) for p in range(2)]
    for ledger, name in zip(made, names, strict=True):
        ledger.opened(name)
        ledger.charged("first" if ledger.partition else "own", account=name)
        ledger.charged("twice", account=name)
    assert audited(made[0], partitions=2, register=register) is None
    breach = audited(made[1], partitions=2, register=register)
    assert (breach.partition, breach.seq, breach.invariant) == (1, 3, "I3")
    assert "0-3" in breach.detail


@pytest.mark.parametrize(
    ("kind", "reason", "invariant"), [("DUPLICATE", "duplicate", "I3"), ("REVIEW", "conflicting_copy", "I9")]
)
def test_a_repeat_of_another_partitions_charge(kind, reason, invariant):
    """What is called a repeat here was charged here: charge asks no other partition."""
    register = Register()
    made = [LedgerMaker(p) for p in range(2)]
    names = [next(f"a{n}" for n in range(99) if partition_of(f"a{n}", 2) == p) for p in range(2)]
    made[0].opened(names[0])
    made[0].charged("r1", account=names[0])
    made[1].opened(names[1])
    made[1].answered(kind, reason, "r1", account=names[1])
    assert audited(made[0], partitions=2, register=register) is None
    assert found(audited(made[1], partitions=2, register=register)) == (2, invariant)


def test_a_copy_with_another_start_day():
    """A copy whose start was moved to another day escapes charge's numbers, not the auditor."""
    made = sample()
    made.charged("r1", start=START + 3 * DAY_MS)
    assert found(audited(made)) == (12, "I3")


def test_one_raw_record_charged_under_two_ids():
    """One raw offset is charged once, whatever ids are made of it; a topic made anew counts from 0 again."""
    made = LedgerMaker()
    made.opened()
    made.charged("r1", source_offset=5)
    made.charged("r2", source_offset=5, received_at=START + DAY_MS)
    assert audited(made) is None
    made.charged("r3", source_offset=5)
    assert found(audited(made)) == (4, "I3")


def test_a_command_carried_out_twice():
    """A command id, and a top-up's reference, work once for an account."""
    made = LedgerMaker()
    made.opened()
    made.topped_up(1_000_000, "a1")
    made.topped_up(1_000_000, "a2")
    assert audited(made) is None
    made.topped_up(1_000_000, "a1")
    assert found(audited(made)) == (4, "I3")
    made.change(4, command={**made.events[3].command, "command_id": "another"})
    assert found(audited(made)) == (4, "I3")
    made.change(4, command={**made.events[3].command, "reference": "another"})
    assert audited(made) is None


def test_another_accounts_command_id():
    """Command ids are unique for an account, not for all."""
    made = LedgerMaker()
    for name in ("a", "b"):
        made.opened(name)
        made.topped_up(1_000_000, "same", name)
    assert audited(made) is None


@pytest.mark.parametrize(
    ("kind", "reason", "invariant"), [("DUPLICATE", "duplicate", "I3"), ("REVIEW", "conflicting_copy", "I9")]
)
def test_a_repeat_of_nothing(kind, reason, invariant):
    """What is called a repeat or a conflicting copy refers to a charge before it: else use was lost."""
    made = LedgerMaker()
    made.opened()
    made.answered(kind, reason, "r1")
    made.charged("r1")
    assert found(audited(made)) == (2, invariant)


def test_the_digest_is_the_records():
    """A digest of other content would let a copy pass as new, or as the same."""
    made = sample()
    made.change(4, digest=bytes(32))
    assert found(audited(made)) == (4, "I9")


def test_the_numbers_seen_are_the_records():
    """A charge leaves its own two numbers, and nothing else leaves any."""
    made = sample()
    event = made.events[1]
    made.change(2, effects=event.effects._replace(seen=event.effects.seen._replace(record=1)))
    assert found(audited(made)) == (2, "I3")
    made.change(2, effects=event.effects._replace(seen=None))
    assert found(audited(made)) == (2, "I3")
    made = sample()
    made.change(9, effects=made.events[8].effects._replace(seen=event.effects.seen))
    assert found(audited(made)) == (9, "I3")


def test_a_settled_review_is_charged_under_its_own_id():
    """A review settled by a command is CHARGED with record and command, and moves the command's position."""
    made = sample()
    made.answered("REVIEW", "late", "r9")
    made.adjusted(1)  # its place is that of a command; it becomes the settlement
    held, last = made.events[-2], made.events[-1]
    usage = held.usage
    settled = made.charged("r9")._replace(
        seq=last.seq, usage=usage, command=last.command, positions=last.positions, clock=last.clock
    )
    seen = settled.effects.seen._replace(
        **dict(zip(("day", "bucket", "record", "content"), seen_of(usage, digest(usage)), strict=True))
    )
    before = last.balance_before_micros
    made.events[-2:] = [
        settled._replace(
            account_seq=last.account_seq,
            balance_before_micros=before,
            balance_after_micros=before - settled.amount_micros,
            effects=settled.effects._replace(seen=seen),
        )
    ]
    assert audited(made, view=made.view()) is None
    made.change(
        13, positions=moved(last, usage=last.positions.usage.offset + 1, command=last.positions.command.offset - 1)
    )
    assert found(audited(made)) == (13, "I4")


# --- I4 ---


def test_an_event_answers_one_offset():
    """An event that moves neither position, or both, answers no one offset."""
    for offsets in ({"usage": 0}, {"usage": 1, "command": 2}):
        made = sample()
        made.change(2, positions=moved(made.events[1], **offsets))
        assert found(audited(made)) == (2, "I4")


def test_a_position_that_falls():
    """A position below the one before would charge inputs again."""
    made = sample()
    made.change(8, positions=moved(made.events[7], usage=1))
    assert found(audited(made)) == (8, "I4")


def test_an_event_of_the_wrong_input():
    """A record moves the position of usage, a command that of commands."""
    made = sample()
    made.change(2, positions=moved(made.events[1], usage=0, command=2))
    assert found(audited(made)) == (2, "I4")


def test_a_seal_answers_nothing():
    """A SEAL moves no position, unless an accepted loss says so."""
    made = sample()
    event = made.events[6]
    last = {"usage": event.positions.usage.offset + 5}
    made.change(7, positions=moved(event, **last))
    assert found(audited(made)) == (7, "I4")
    made.change(7, reason="accepted_loss")
    del made.events[7:]
    assert audited(made) is None


def test_an_input_made_anew():
    """Another topic id counts other offsets: only an accepted loss may change it."""
    made = sample()
    positions = made.events[7].positions
    made.change(8, positions=positions._replace(usage=Position(b"x" * 16, positions.usage.offset)))
    assert found(audited(made)) == (8, "I4")


def test_skipped_offsets_are_kept_as_gaps():
    """Offsets that no event answers are named, to be looked up in the topic."""
    made = LedgerMaker()
    made.opened()
    made.charged("r1")
    made.charged("r2")
    made.change(2, positions=moved(made.events[1], usage=3))
    made.change(3, positions=moved(made.events[2], usage=7))
    coverage = Coverage()
    assert [coverage.follow(event) for event in made.events] == [None] * 3
    assert coverage.gaps == [Gap("usage", 0, 2, 2), Gap("usage", 3, 6, 3)]


def test_records_in_gaps():
    """Markers leave offsets without records; a record in a gap is one that no event answers."""
    gaps = [Gap("usage", 2, 4, 9), Gap("usage", 6, 7, 10)]
    assert first_unanswered(gaps, [0, 1, 4, 5, 7, 8]) is None
    assert first_unanswered(gaps, [1, 3, 6]) == (gaps[0], 3)
    assert first_unanswered(gaps, [1, 4, 6]) == (gaps[1], 6)
    assert first_unanswered([], [1]) is None
