"""An event read for a replay is the event itself, but for what it answers and how that was priced."""

import pytest
from audit_ledger import LedgerMaker, line_of, sample
from charging_world import opening, usage
from hypothesis import given
from hypothesis import strategies as st
from owner_world import Partition, small_day

import schemas
from pipeline.adapters.avro import UndecodableError, UnknownSchemaError
from pipeline.adapters.ledger_codec import (
    decode_bare_event,
    decode_event,
    decode_used_event,
    encode_event,
    usage_body_of,
)
from pipeline.domain import wire_replay as wire
from pipeline.domain.ledger import BoughtStep, Effects, SeenEffect, SessionEffect, fold

NAMES = {
    "string": wire.STRING, "long": wire.LONG, "int": wire.LONG, "boolean": wire.BYTE, "enum": wire.BYTE,
    "array": wire.STEPS, ("null", "string"): wire.OPTIONAL_STRING, ("null", "long"): wire.OPTIONAL_LONG,
    ("null", "int"): wire.OPTIONAL_LONG,
}  # fmt: skip


def bare(value: bytes):
    stored = decode_event(value)
    return stored._replace(event=stored.event._replace(usage=None, command=None, lines=()))


def steps_of(record) -> bytes:
    def name(kind):
        if isinstance(kind, list):
            return tuple(part if isinstance(part, str) else part["type"] for part in kind)
        return kind if isinstance(kind, str) else kind["type"] if isinstance(kind["type"], str) else name(kind["type"])

    return bytes(NAMES[name(field["type"])] for field in record["fields"])


def test_the_steps_are_those_of_the_schema():
    """Each field that is stepped over is stepped over as what the newest schema says it is."""
    fields = {field["name"]: field["type"] for field in schemas.read("audit_event.v1")["fields"]}
    assert [name for name in schemas.names() if name.startswith("audit_event")] == ["audit_event.v1"]
    assert steps_of(fields["usage"][1]) == wire.USAGE
    line = fields["lines"]["items"]
    assert steps_of(line) == wire.LINE
    (steps,) = [field["type"]["items"] for field in line["fields"] if field["name"] == "steps"]
    assert steps_of(steps) == wire.STEP


def used(value):
    """The event as the strict reader has it; of its lines what is kept of them."""
    event = decode_event(value).event
    if event.command is not None:
        return event
    return event._replace(
        lines=tuple(
            wire._NO_LINE._replace(
                quantity=line.quantity, allowance=line.allowance, allowance_used=line.allowance_used,
                unit_price=line.unit_price,
            )
            for line in event.lines
        )
    )  # fmt: skip


@pytest.mark.parametrize("made", [sample(), LedgerMaker()], ids=["every kind", "none"])
def test_every_kind_of_event(made):
    """Right events of every kind, read both ways."""
    for value in made.values():
        assert decode_bare_event(value) == bare(value)
        assert decode_used_event(value) == used(value)


def test_a_real_day():
    """Events that charge wrote, read both ways, fold to the same state."""
    partition = Partition()
    small_day(partition)
    partition.publish(*(usage(f"r{n}", duration_ms=n * 977) for n in range(200)))
    partition.drain()
    values = partition.values()
    assert [decode_bare_event(value) for value in values] == [bare(value) for value in values]
    assert [decode_used_event(value) for value in values] == [used(value) for value in values]
    both = [[(s.event, s.hash) for s in map(read, values)] for read in (decode_event, decode_bare_event)]
    assert fold(both[0]) == fold(both[1])
    assert opening()["account"] in fold(both[1]).accounts


texts = st.text(max_size=300)
longs = st.integers(-(2**63), 2**63 - 1)
maps = st.dictionaries(texts, st.none() | texts, max_size=4)
sessions = st.builds(SessionEffect, texts, st.integers(0, 2**31 - 1), maps, st.booleans())
marks = st.builds(SeenEffect, st.integers(0, 99_999), st.integers(0, 9_999), longs, longs, st.integers(0, 99_999))
effects = st.builds(Effects, maps, st.dictionaries(texts, texts, max_size=3), st.none() | sessions, st.none() | marks)
bought = st.lists(st.builds(BoughtStep, texts, texts, texts, texts, longs, texts), max_size=3).map(tuple)


@given(
    effects, longs, texts, st.none() | texts, st.lists(bought, max_size=3), st.booleans(),
    st.builds(dict, msisdn=st.none() | texts, rating_group=st.none() | st.integers(-(2**31), 2**31 - 1),
              session_id=st.none() | texts, sequence=st.none() | longs, uplink_octets=longs, cell=st.none() | texts),
)  # fmt: skip
def test_any_event(effects, number, text, optional, steps, with_usage, fields):
    """Whatever fits the schema, long and short, there or not, is stepped over to the byte."""
    made = sample()
    event = made.charged("r", **fields)
    lines = tuple(
        line_of(number)._replace(steps=part, rule=text, band=optional, minimum_micros=None if with_usage else number)
        for part in steps
    )
    event = event._replace(
        effects=effects, account=text, event_id=text, amount_micros=number, balance_after_micros=number, lines=lines,
        reason=optional, detail=optional, currency=optional, clock=max(number, 0), usage=event.usage if with_usage else None,
    )  # fmt: skip
    value, _ = encode_event(event, usage_body_of(event.usage) if event.usage else None, b"p" * 32)
    assert decode_bare_event(value) == bare(value)


def test_a_command_is_read_in_full():
    """Few events hold one; they take the strict way."""
    made = LedgerMaker()
    made.opened()
    (value,) = made.values()
    assert decode_bare_event(value) == bare(value)


def test_other_bytes_are_refused():
    """A flipped bit is seen by the hash; bytes that hash right and are no event are refused all the same."""
    import hashlib

    value = sample().values()[1]
    for at in (0, 5, 40, len(value) - 1):
        altered = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        with pytest.raises((UndecodableError, UnknownSchemaError)):
            decode_bare_event(altered)
    for body in (b"", b"\x02\x00junk" + bytes(64), value[10:-32] + bytes(1), value[10:60] + bytes(64)):
        forged = value[:10] + body + hashlib.sha256(value[2:10] + body).digest()
        with pytest.raises((UndecodableError, UnknownSchemaError)):
            decode_bare_event(forged)
