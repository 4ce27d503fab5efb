"""Values are decoded strictly: exactly one record of a published schema, written in the one way there is, or refused."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from pipeline.adapters import avro
from pipeline.adapters.avro import (
    ACCEPTED_USAGE,
    CONTRACTS,
    HEADER_BYTES,
    MARKER,
    USAGE_RECORD,
    Contract,
    UndecodableError,
    UnknownSchemaError,
)

LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


def values_of(schema, known=None):
    """Return a strategy of all values of a schema."""
    known = {} if known is None else known
    if isinstance(schema, list):
        return st.one_of([values_of(branch, known) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in known:
        return known[kind]
    simple = {
        "null": st.none(), "boolean": st.booleans(), "int": st.integers(-(2**31), 2**31 - 1), "long": LONGS,
        "string": TEXTS,
    }  # fmt: skip
    if kind in simple:
        return simple[kind]
    if kind == "array":
        return st.lists(values_of(schema["items"], known), max_size=3)
    if kind == "map":
        return st.dictionaries(TEXTS, values_of(schema["values"], known), max_size=3)
    if kind == "enum":
        made = st.sampled_from(schema["symbols"])
    elif kind == "fixed":
        made = st.binary(min_size=schema["size"], max_size=schema["size"])
    else:
        made = st.fixed_dictionaries({f["name"]: values_of(f["type"], known) for f in schema["fields"]})
    known[schema["name"]] = made
    return made


STRATEGIES = {name: values_of(avro.without_logical_types(schemas.read(f"{name}.v1"))) for name in CONTRACTS}


def usage(**fields) -> dict:
    names = [field["name"] for field in USAGE_RECORD.schema["fields"]]
    values = {
        "record_id": "r1", "source": "m", "service": "VOICE", "direction": "MO", "start_time": 5, "duration_ms": 60,
        "uplink_octets": 0, "downlink_octets": 0, "message_count": 0, "answered": True, "retransmission": False,
    }  # fmt: skip
    return {name: {**values, **fields}.get(name) for name in names}


DATA = USAGE_RECORD.encode(usage())
BODY = DATA[HEADER_BYTES:]
"""02 r1, 02 m, null, VOICE, MO, five nulls, start 5 ..."""


@pytest.mark.parametrize("name", CONTRACTS)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(name, data):
    """Every value of a contract survives, and there is one way to write it."""
    contract = CONTRACTS[name]
    record = data.draw(STRATEGIES[name])
    encoded = contract.encode(record)
    assert encoded[:HEADER_BYTES] == MARKER + contract.fingerprint
    assert contract.decode(encoded) == record


@pytest.mark.parametrize("name", CONTRACTS)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=100, deadline=None)
@given(data=st.data())
def test_hostile_bytes_raise_nothing_else(name, data):
    """Whatever the bytes are, decoding gives a record that encodes to them, or one of two errors."""
    contract = CONTRACTS[name]
    body = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.builds(lambda r, cut, junk: contract.encode(r)[HEADER_BYTES:][:cut] + junk,
                      STRATEGIES[name], st.integers(0, 200), st.binary(max_size=8)),
        )
    )  # fmt: skip
    header = data.draw(st.sampled_from([contract.header, contract.header, contract.header, b"", MARKER]))
    try:
        record = contract.decode(header + body)
    except (UndecodableError, UnknownSchemaError):
        return
    assert contract.encode(record) == header + body


@pytest.mark.parametrize("length", range(len(DATA)))
def test_a_truncated_value(length):
    """A value cut anywhere is no record."""
    with pytest.raises(UndecodableError):
        USAGE_RECORD.decode(DATA[:length])


def test_a_trailing_byte():
    """A byte behind the record is refused: it may be the sign of another schema."""
    with pytest.raises(UndecodableError, match="1 bytes behind"):
        USAGE_RECORD.decode(DATA + b"\x00")


@pytest.mark.parametrize("marker", [b"\xc3\x02", b"\x01\xc3", b"\x00\x00"])
def test_another_framing(marker):
    """Only C3 01 begins a value."""
    with pytest.raises(UndecodableError):
        USAGE_RECORD.decode(marker + DATA[2:])


def test_an_unknown_fingerprint():
    """A schema that was never published is its own error: it may be published later, the bytes are not wrong."""
    with pytest.raises(UnknownSchemaError, match="ffffffffffffffff"):
        USAGE_RECORD.decode(MARKER + b"\xff" * 8 + BODY)


def test_another_contract():
    """A value of one contract is not read as another's, however alike they are."""
    with pytest.raises(UnknownSchemaError):
        ACCEPTED_USAGE.decode(DATA)


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [
        ("an over-long number", b"\x04r1", b"\x84\x00r1"),
        ("a union index below zero", b"\x02m\x00", b"\x02m\x03"),
        ("a union index too great", b"\x02m\x00", b"\x02m\x04"),
        ("text that is no UTF-8", b"\x04r1", b"\x04\xff\xfe"),
        ("a surrogate", b"\x04r1", b"\x06\xed\xa0\x80"),
        ("text of negative length", b"\x04r1", b"\x03r1"),
        ("text longer than all memory", b"\x04r1", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01r1"),
        ("a number of eleven bytes", b"\x04r1", b"\x84\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00r1"),
    ],
)
def test_another_way_to_write_it(what, before, after):
    """What other readers would read otherwise, or not at all, is refused."""
    assert BODY.startswith(b"\x04r1\x02m\x00\x00\x00"), "the record begins with its two ids, a null and two enums"
    altered = BODY.replace(before, after, 1)
    assert altered != BODY
    with pytest.raises(UndecodableError):
        USAGE_RECORD.decode(DATA[:HEADER_BYTES] + altered)


def test_an_enum_out_of_range():
    """A symbol that is not there, or counted from the end, is refused."""
    at = len(b"\x04r1\x02m\x00")
    for index in (b"\x01", b"\x09", b"\x0a", b"\x0c"):
        with pytest.raises(UndecodableError):
            USAGE_RECORD.decode(DATA[:HEADER_BYTES] + BODY[:at] + index + BODY[at + 1 :])


def test_a_boolean_is_0_or_1():
    """Two means true to some readers and nothing to others."""
    with pytest.raises(UndecodableError):
        USAGE_RECORD.decode(DATA[:-1] + b"\x02")


def test_an_error_names_no_content():
    """What the bytes hold (a subscriber's number) is in no error."""
    data = USAGE_RECORD.encode(usage(msisdn="+8613800000001"))
    with pytest.raises(UndecodableError) as caught:
        USAGE_RECORD.decode(data[:-3])
    assert "138" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_older_version_is_read_as_the_newest(monkeypatch):
    """What an old writer did not know takes the newest schema's default; new values are written in the newest."""
    fields = [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}]
    added = {"name": "c", "type": ["null", "string"], "default": None}
    published = {
        "thing.v1": {"type": "record", "name": "Thing", "fields": fields},
        "thing.v2": {"type": "record", "name": "Thing", "fields": [*fields, added]},
    }
    with monkeypatch.context() as only_old:
        only_old.setattr(schemas, "names", lambda: ("thing.v1",))
        only_old.setattr(schemas, "read", published.__getitem__)
        old = Contract("thing")
    monkeypatch.setattr(schemas, "names", lambda: tuple(published))
    monkeypatch.setattr(schemas, "read", published.__getitem__)
    new = Contract("thing")
    written = old.encode({"a": 1, "b": "x"})
    assert new.decode(written) == {"a": 1, "b": "x", "c": None}
    assert new.fingerprints == {old.fingerprint, new.fingerprint}
    assert new.encode({"a": 1, "b": "x", "c": None})[:HEADER_BYTES] == MARKER + new.fingerprint
    with pytest.raises(UndecodableError):
        new.decode(written + b"\x00")
    with pytest.raises(UnknownSchemaError):
        old.decode(new.encode({"a": 1, "b": "x", "c": None}))


def test_a_contract_never_published():
    """A contract without a schema is a mistake of the program."""
    with pytest.raises(LookupError):
        Contract("nothing")


def test_nothing_is_written_that_cannot_be_read():
    """A value of the wrong type is refused when it is written."""
    for fields in ({"cell": 5}, {"service": "FAX"}, {"source": None}, {"duration_ms": 2**63}):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            USAGE_RECORD.encode(usage(**fields))
