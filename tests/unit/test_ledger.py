"""The fold stores what events say, and the codec writes them so that each vouches for all before it."""

import hashlib

import pytest
from audit_ledger import START, LedgerMaker, command_of, line_of, sample, usage_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.avro import ACCEPTED_USAGE, AUDIT_EVENT, HEADER_BYTES, UndecodableError, UnknownSchemaError
from pipeline.adapters.ledger_codec import (
    accepted_usage_of,
    decode_event,
    encode_event,
    event_to_json,
    expected_hash,
    usage_body_of,
)
from pipeline.adapters.store import OutOfStepError
from pipeline.adapters.store.dump import dump_memory
from pipeline.adapters.store.memory import MemoryStore
from pipeline.domain.ledger import BoughtStep, Effects, SeenEffect, SessionEffect, fold, genesis_hash

FIELDS = st.sampled_from(["p", "q", "r"])
CHANGES = st.dictionaries(FIELDS, st.one_of(st.none(), st.text(max_size=3)), max_size=3)


@st.composite
def ledgers(draw):
    """Ledgers whose effects change, overwrite and remove fields of a few accounts and sessions."""
    made = LedgerMaker()
    made.opened("a")
    made.opened("b")
    for n in range(draw(st.integers(0, 12))):
        key = draw(st.sampled_from(["a:s", "a:t", "b:s"]))
        session = draw(
            st.one_of(st.none(), st.builds(SessionEffect, st.just(key), st.integers(1, 9), CHANGES, st.booleans()))
        )
        made.charged(f"r{n}", draw(st.integers(-5, 5)), draw(st.sampled_from("ab")), session=session)
        effects = made.events[-1].effects
        made.change(len(made.events), effects=effects._replace(
            account=draw(CHANGES),
            kept=draw(st.dictionaries(FIELDS, st.text(max_size=2), max_size=2)),
            seen=draw(st.one_of(st.none(), st.builds(
                SeenEffect, st.integers(1, 2), st.integers(0, 1), st.integers(-3, 3), st.integers(-3, 3),
                st.integers(1, 9)))),
        ))  # fmt: skip
    return made


def folded(made: LedgerMaker) -> list:
    return [(event, event_hash) for event, (_, event_hash) in zip(made.events, made.encoded(), strict=True)]


def view_of(events, cuts) -> object:
    """The view after folding the events in runs that end at these places."""
    store, previous = MemoryStore(), ""
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        if begin < end:
            store.apply(0, previous, fold(events[begin:end]))
            previous = events[end - 1][1].hex()
    return dump_memory(store, 0)


@pytest.mark.parametrize("cuts", [[], [3]], ids=["in one run", "in two"])
def test_a_session_that_begins_anew_keeps_nothing(cuts):
    """What a session id meant before is gone when it begins again, whether both lie in one run of events or not."""
    made = LedgerMaker()
    made.opened("a")
    made.charged("r1", 1, "a", session=SessionEffect("a:s", 5, {"p": "1", "q": "2"}, begins=True))
    made.charged("r2", 1, "a", session=SessionEffect("a:s", 5, {"q": "3"}, begins=False))
    made.charged("r3", 1, "a", session=SessionEffect("a:s", 9, {"r": "4"}, begins=True))
    assert view_of(folded(made), cuts).hashes["session:{0}:a:s"] == {"r": "4"}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ledgers(), st.data())
def test_any_split_into_batches_gives_the_same_state(made, data):
    """Live path, replay and rebuild cut the ledger in other places, and come to the same view."""
    events = folded(made)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(events)), max_size=4)))
    assert view_of(events, cuts) == view_of(events, [])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ledgers(), st.data())
def test_writing_a_fold_again_changes_nothing(made, data):
    """All values are absolute: what a broken run left is right after the repeat, gated by seq or not."""
    events = folded(made)
    at = data.draw(st.integers(1, len(events)))
    store = MemoryStore()
    store.apply(0, "", fold(events[:at]))
    once = dump_memory(store, 0)
    store.apply(0, "", fold(events[:at]))
    assert dump_memory(store, 0) == once
    store.hashes["ledger:{0}"]["seq"] = "0"  # as if it had broken before its last write
    store.apply(0, "", fold(events[:at]))
    assert dump_memory(store, 0) == once


def test_a_fold_of_the_wrong_place_is_refused():
    """A run that does not continue the view, or continues another history, is not written."""
    events = folded(sample())
    store = MemoryStore()
    with pytest.raises(OutOfStepError):
        store.apply(0, "", fold(events[1:]))
    store.apply(0, "", fold(events[:3]))
    with pytest.raises(OutOfStepError):
        store.apply(0, "00", fold(events[3:]))
    with pytest.raises(OutOfStepError):
        store.apply(0, events[4][1].hex(), fold(events[5:]))


def test_the_last_value_counts():
    """A field set twice has its last value; one set and removed is not there; one removed and set is."""
    made = LedgerMaker()
    made.opened("a")
    for changes in ({"x": "1", "y": "1", "z": None}, {"x": "2", "y": None, "z": "3"}):
        made.charged(f"r{len(made.events)}", account="a", changes=changes)
    writes = fold(folded(made))
    fields = writes.accounts["a"]
    assert (fields["x"], fields["y"], fields["z"]) == ("2", None, "3")
    assert (fields["balance"], fields["seq"]) == ("9800000", "3")
    assert (writes.first_seq, writes.last_seq, writes.head["seq"]) == (1, 3, "3")


def test_an_event_of_no_account_touches_none():
    """What names no account of this partition makes none."""
    made = LedgerMaker()
    made.unread()
    made.sealed()
    writes = fold(folded(made))
    assert (writes.accounts, writes.kept, writes.sessions, writes.seen) == ({}, {}, {}, {})
    assert writes.head["usage"].endswith("@1")


def test_a_fold_of_nothing_is_a_bug():
    """There is no seq that nothing leads to."""
    with pytest.raises(AssertionError):
        fold([])


# --- the codec and the chain ---


def full_event():
    made = sample()
    line = line_of(5)._replace(steps=(BoughtStep("0", "0.10", "1", "1", 2, "200000"),), prefix="+86", tax="6 exclusive")
    made.charged("r7", 5, lines=(line,), imsi="460001234567890", session_id="s", partial_number=2, rating_group=7)
    made.change(12, effects=Effects({"a": "1", "b": None}, {"k": "v"}, SessionEffect("a:s", 5, {"x": None, "y": "2"}),
                                    made.events[11].effects.seen), detail='{"tried":["+86"]}')  # fmt: skip
    return made


def test_events_are_read_as_they_were_written():
    """Every event of every kind comes back the same, with its place in the chain."""
    made = full_event()
    previous = made.genesis
    for event, (value, event_hash) in zip(made.events, made.encoded(), strict=True):
        stored = decode_event(value)
        assert stored.event == event
        assert (stored.previous_hash, stored.hash) == (previous, event_hash)
        assert expected_hash(value) == event_hash == value[-32:]
        previous = event_hash


def test_the_hash_is_that_of_the_documented_bytes():
    """SHA-256 of fingerprint and body before the last field; the first previous_hash that of topic id and partition."""
    value, event_hash = sample().encoded()[0]
    assert event_hash == hashlib.sha256(value[2:-32]).digest()
    assert value[-64:-32] == hashlib.sha256(b"00112233445566778899aabbccddeeff:0").digest()
    assert genesis_hash("x", 1) != genesis_hash("x", 11)


def test_splicing_writes_what_the_library_would():
    """An event put together from parts is byte for byte that of the whole schema."""
    for value in full_event().values():
        record = AUDIT_EVENT.decode(value)
        assert AUDIT_EVENT.encode(record) == value


def test_the_accepted_body_is_copied_as_it_came():
    """The ledger holds what was received to the byte."""
    usage = usage_of("r1", cell="460-00", sequence=2**63 - 1)
    data = ACCEPTED_USAGE.encode(usage._asdict())
    read, body = accepted_usage_of(data)
    assert (read, body) == (usage, data[HEADER_BYTES:])
    assert usage_body_of(usage) == body
    event = sample().events[1]._replace(usage=usage)
    value, _ = encode_event(event, body, bytes(32))
    assert body in value


def test_an_accepted_record_that_cannot_be_read():
    """The two errors of the codec, and no other, come through."""
    data = ACCEPTED_USAGE.encode(usage_of("r1")._asdict())
    with pytest.raises(UndecodableError):
        accepted_usage_of(data[:-1])
    with pytest.raises(UnknownSchemaError):
        accepted_usage_of(data[:2] + bytes(8) + data[10:])
    with pytest.raises(UndecodableError):
        decode_event(sample().values()[0] + b"\x00")


def test_a_command_is_in_its_event_whole():
    """All fields of the command, lists included, come back."""
    made = sample()
    command = command_of("open_account", "c1", identities=["imsi-460001", "msisdn-+861"], thresholds=[50, 80])
    made.change(1, command=command)
    assert decode_event(made.values()[0]).event.command == command


def test_events_as_json():
    """Bytes are hex, times ISO 8601 with milliseconds, detail an object, and every field has its name."""
    shown = event_to_json(decode_event(full_event().values()[11]))
    assert list(shown) == [field["name"] for field in AUDIT_EVENT.schema["fields"]]
    assert shown["usage"]["start_time"] == "2024-10-04T00:00:00.000Z"
    assert shown["usage"]["received_at"] == shown["clock"] == "2024-10-04T00:00:01.000Z"
    assert shown["detail"] == {"tried": ["+86"]}
    assert shown["hash"] == full_event().values()[11][-32:].hex()
    assert shown["positions"]["usage"]["topic_id"] == (b"u" * 16).hex()
    assert shown["lines"][0]["steps"][0]["from"] == "0"
    opened = event_to_json(decode_event(full_event().values()[0]))
    assert opened["command"]["at"] == "2024-10-04T00:00:00.000Z"
    assert opened["usage"] is None
    assert START == 1_728_000_000_000
