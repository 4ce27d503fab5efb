"""The encodings written out by hand are the library's, byte for byte, and as strict.

Half of a charge's time would be the library walking schemas, so two encodings are code: an accepted record read, an
event written. The published schemas and the library are what they are held against.
"""

import pytest
from audit_ledger import LedgerMaker, sample, usage_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import schemas
from pipeline.adapters import avro
from pipeline.adapters.avro import ACCEPTED_USAGE, ACCOUNT_COMMAND, AUDIT_EVENT, HEADER_BYTES, UndecodableError
from pipeline.adapters.ledger_codec import accepted_usage_of, decode_event, encode_event, expected_hash, usage_body_of
from pipeline.domain.ledger import BoughtStep, Effects, Event, Line, Position, Positions, SeenEffect, SessionEffect
from pipeline.domain.outcome import KINDS
from pipeline.domain.usage import DIRECTIONS, SERVICES, AcceptedUsage

LONGS = st.one_of(st.integers(-70, 70), st.integers(8_000, 8_400), st.integers(-(2**63), 2**63 - 1))
INTS = st.one_of(st.integers(-70, 70), st.integers(-(2**31), 2**31 - 1))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)

INT_FIELDS = ("message_count", "rating_group", "partial_number", "cause_for_closing", "source_partition")
"""What the schema calls int: the library reads 64 bits in some of them, other readers do not."""

LARGEST_INT = b"\xfe\xff\xff\xff\x0f"


def made_of(record, schema, **given_fields):
    """Return a strategy of all values of a record of the domain, from the types its schema gives its fields."""
    plain = {"string": TEXTS, "long": LONGS, "int": INTS, "boolean": st.booleans()}

    def of(kind):
        if isinstance(kind, dict) and kind["type"] in plain:
            kind = kind["type"]
        if isinstance(kind, list):
            return st.one_of(st.none(), *(plain[part] for part in kind if part != "null"))
        return plain[kind] if isinstance(kind, str) and kind in plain else st.nothing()

    types = {name.rstrip("_"): kind for name, kind in ((field["name"], field["type"]) for field in schema["fields"])}
    fields = {name: of(types[name.rstrip("_")]) for name in record._fields if name not in given_fields}
    return st.builds(record, **fields, **given_fields)


AUDIT_EVENT_SCHEMA = avro.without_logical_types(schemas.read("audit_event.v1"))
LINE_SCHEMA = next(f["type"]["items"] for f in AUDIT_EVENT_SCHEMA["fields"] if f["name"] == "lines")
STEP_SCHEMA = next(f["type"]["items"] for f in LINE_SCHEMA["fields"] if f["name"] == "steps")
USAGES = made_of(
    AcceptedUsage,
    avro.without_logical_types(schemas.read("accepted_usage.v1")),
    service=st.sampled_from(SERVICES),
    direction=st.sampled_from(DIRECTIONS),
)
CHANGES = st.dictionaries(TEXTS, st.one_of(st.none(), TEXTS), max_size=3)
HASHES = st.binary(min_size=32, max_size=32)
POSITIONS = st.builds(Position, st.binary(min_size=16, max_size=16), LONGS)
SEEN = st.builds(SeenEffect, INTS, INTS, LONGS, LONGS, INTS)
EVENTS = made_of(
    Event,
    AUDIT_EVENT_SCHEMA,
    kind=st.sampled_from(KINDS),
    usage=st.one_of(st.none(), USAGES),
    command=st.one_of(st.none(), st.just(sample().events[0].command)),
    digest=st.one_of(st.none(), HASHES),
    lines=st.lists(
        made_of(Line, LINE_SCHEMA, steps=st.lists(made_of(BoughtStep, STEP_SCHEMA), max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    effects=st.builds(
        Effects,
        CHANGES,
        st.dictionaries(TEXTS, TEXTS, max_size=3),
        st.one_of(st.none(), st.builds(SessionEffect, TEXTS, INTS, CHANGES, st.booleans())),
        st.one_of(st.none(), SEEN),
    ),
    late_window_days=INTS,
    positions=st.builds(Positions, POSITIONS, POSITIONS, POSITIONS),
)


def as_the_library_writes(event: Event, previous_hash: bytes, event_hash: bytes) -> bytes:
    """Encode an event by the schema alone."""
    lines = [
        {**line._asdict(), "steps": [{"from": step.from_, **step._asdict()} for step in line.steps]}
        for line in event.lines
    ]
    effects = event.effects
    record = {
        **event._asdict(),
        "usage": None if event.usage is None else event.usage._asdict(),
        "lines": lines,
        "effects": {
            **effects._asdict(),
            "session": None if effects.session is None else effects.session._asdict(),
            "seen": None if effects.seen is None else effects.seen._asdict(),
        },
        "positions": {name: position._asdict() for name, position in event.positions._asdict().items()},
        "previous_hash": previous_hash,
        "hash": event_hash,
    }
    return AUDIT_EVENT.encode(record)


@SLOW
@given(EVENTS, HASHES)
def test_an_event_is_written_as_the_library_would(event, previous_hash):
    """Whatever an event holds, its bytes are those of the schema, and it is read again the same."""
    body = None if event.usage is None else usage_body_of(event.usage)
    value, event_hash = encode_event(event, body, previous_hash)
    assert value == as_the_library_writes(event, previous_hash, event_hash)
    stored = decode_event(value)
    assert (stored.event, stored.previous_hash, stored.hash) == (event, previous_hash, event_hash)
    assert expected_hash(value) == event_hash


@SLOW
@given(USAGES)
def test_an_accepted_record_is_read_as_the_library_would(usage):
    """Whatever a record holds, it is read the same, types included, and its body is kept."""
    data = ACCEPTED_USAGE.encode(usage._asdict())
    read, body = accepted_usage_of(data)
    assert read == usage
    assert [type(value) for value in read] == [type(value) for value in usage]
    assert body == data[HEADER_BYTES:]


def agree(data: bytes) -> None:
    """Read bytes both ways: the same record, or no record by either, but for ints of more than 32 bits."""
    try:
        theirs = ACCEPTED_USAGE.decode(data)
    except UndecodableError:
        theirs = None
    try:
        ours, _ = accepted_usage_of(data)
    except UndecodableError:
        too_great = theirs and any(not -(2**31) <= (theirs[name] or 0) < 2**31 for name in INT_FIELDS)
        assert theirs is None or too_great
    else:
        assert theirs == ours._asdict()


@SLOW
@given(USAGES, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4), st.integers(0, 3))
def test_altered_bytes_are_judged_as_the_library_judges(usage, changes, cut):
    """A reader that takes what another refuses would charge what nobody can check."""
    data = bytearray(ACCEPTED_USAGE.encode(usage._asdict()))
    for at, byte in changes:
        data[HEADER_BYTES + at % (len(data) - HEADER_BYTES)] = byte
    agree(bytes(data[: len(data) - cut]))
    agree(bytes(data) + b"\x00" * cut)


@SLOW
@given(st.binary(max_size=120))
@example(b"\xff" * 40)
@example(b"\x00" * 28)
@example(b"\x80" * 9 + b"\x02")
@example(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_hostile_bytes_are_judged_as_the_library_judges(body):
    """The same for bytes that never were a record: one error, whatever they are."""
    agree(ACCEPTED_USAGE.header + body)


def test_every_byte_altered_in_every_way():
    """No byte of a record has a second value that means the same, or that only one reader takes."""
    for usage in (usage_of("r", imsi="460", sequence=300, session_id="s"), usage_of("r", msisdn=None, answered=False)):
        data = bytearray(ACCEPTED_USAGE.encode(usage._asdict()))
        for at in range(HEADER_BYTES, len(data)):
            was = data[at]
            for byte in range(256):
                data[at] = byte
                agree(bytes(data))
            data[at] = was


def test_a_text_of_negative_length():
    """A length below zero would have its own byte read a second time, as the next field."""
    data = ACCEPTED_USAGE.encode(usage_of("r", source_topic="topic", source_partition=-1)._asdict())
    assert data.count(b"\x0atopic\x01") == 1
    with pytest.raises(UndecodableError):
        accepted_usage_of(data.replace(b"\x0atopic\x01", b"\x01"))


@pytest.mark.parametrize("length", range(1, 14))
def test_numbers_of_too_many_bytes(length):
    """A number is of ten bytes at most, and of no more than it needs."""
    data = ACCEPTED_USAGE.encode(usage_of("r", duration_ms=2**62)._asdict())
    number = b"\x80" * 9 + b"\x01"
    assert data.count(number) == 1
    for last in (b"\x00", b"\x01", b"\x02", b"\x7f"):
        agree(data.replace(number, b"\x80" * (length - 1) + last))
        agree(data.replace(number, b"\xff" * (length - 1) + last))


@pytest.mark.parametrize("bits", range(64))
def test_numbers_of_every_length(bits):
    """Numbers at each power of two, where the length of their encoding changes."""
    for value in (2**bits - 1, -(2**bits), min(2**bits, 2**63 - 1), -(2**bits) + 1):
        data = ACCEPTED_USAGE.encode(usage_of("r", sequence=value, duration_ms=value)._asdict())
        read, _ = accepted_usage_of(data)
        assert (read.sequence, read.duration_ms) == (value, value)
        made = LedgerMaker()
        made.opened()
        event = made.events[0]._replace(balance_after_micros=value)
        assert decode_event(encode_event(event, None, bytes(32))[0]).event == event


@pytest.mark.parametrize("name", INT_FIELDS)
def test_an_int_has_32_bits(name):
    """What readers in other languages cannot hold is refused, though the library would take it."""
    fits = usage_of("r", **{name: 2**31 - 1})
    data = ACCEPTED_USAGE.encode(fits._asdict())
    assert accepted_usage_of(data)[0] == fits
    assert data.count(LARGEST_INT) == 1
    with pytest.raises(UndecodableError):
        accepted_usage_of(data.replace(LARGEST_INT, b"\x80\x80\x80\x80\x10"))


def test_the_command_is_written_by_its_own_schema():
    """The command's bytes in an event are those of its topic."""
    event = sample().events[0]
    value, _ = encode_event(event, None, bytes(32))
    assert ACCOUNT_COMMAND.encode(event.command)[HEADER_BYTES:] in value
