"""Files of probes: what is read becomes one record a row, what is not is named, and nothing stops the file."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.formats import (
    FORMATS,
    LINE_BYTES_MAX,
    FormatError,
    Unreadable,
    detect_format,
    read,
    usage_from_json,
    usage_to_json,
)
from pipeline.adapters.formats.usage_json import usage_from_line
from pipeline.domain.outcome import DEAD_LETTER_REASONS, Refusal
from pipeline.domain.usage import DIRECTIONS, INT_MAX, LONG_MAX, SERVICES, UsageRecord

SMALL = Path(__file__).parent / "data" / "asterisk_small.csv"
FOUND_FILE = Path(__file__).parents[3] / "shared" / "data" / "asterisk_cdr_pseudonymised.csv"

CALL = {
    "record_id": "r-1",
    "source": "MSC-1",
    "service": "VOICE",
    "direction": "MO",
    "msisdn": "+8613900000001",
    "start_time": "2026-03-02T09:00:06+08:00",
    "duration_ms": 65_000,
}


def refused(document: object) -> dict[str, object]:
    found = usage_from_json(document)
    assert isinstance(found, Refusal), f"read as {found}"
    assert found.reason == "undecodable"
    return found.detail


def accepted(document: object) -> UsageRecord:
    found = usage_from_json(document)
    assert isinstance(found, UsageRecord), f"refused: {found}"
    return found


# --- JSON lines


def test_absent_fields_take_their_defaults() -> None:
    """Absent fields take null, 0 or false; `answered` true; the time is UTC ms whatever its offset."""
    record = accepted(CALL)
    assert record == UsageRecord(
        "r-1",
        "MSC-1",
        None,
        "VOICE",
        "MO",
        "+8613900000001",
        None,
        None,
        None,
        1_772_413_206_000,
        65_000,
        0,
        0,
        0,
        True,
        None,
        None,
        None,
        None,
        None,
        None,
        False,
    )


@pytest.mark.parametrize(("service", "count"), [("SMS", 1), ("MMS", 1), ("EVENT", 1), ("VOICE", 0), ("DATA", 0)])
def test_a_message_without_a_count_is_one_message(service: str, count: int) -> None:
    """`message_count` is 1 where absent for SMS, MMS, EVENT and 0 otherwise; what is written stands, 0 too."""
    assert accepted(CALL | {"service": service}).message_count == count
    assert accepted(CALL | {"service": service, "message_count": 0}).message_count == 0


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-02T01:00:06.5Z", 1_772_413_206_500),
        ("2026-03-02T01:00:06.123999Z", 1_772_413_206_123),
        ("2026-03-02T09:00:06.001+08:00", 1_772_413_206_001),
        ("1969-12-31T23:59:59.9999Z", -1),
    ],
)
def test_start_time_is_cut_to_the_millisecond(text: str, ms: int) -> None:
    """ISO 8601 with an offset or Z; finer than a ms is cut towards the past."""
    assert accepted(CALL | {"start_time": text}).start_time == ms


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_time", "2026-03-02T09:00:06"),  # whose local time?
        ("start_time", 1_772_413_206_000),
        ("start_time", "2026-02-30T00:00:00Z"),
        ("start_time", None),
        ("duration_ms", True),
        ("duration_ms", 1.0),
        ("duration_ms", "65000"),
        ("duration_ms", None),
        ("duration_ms", LONG_MAX + 1),
        ("message_count", INT_MAX + 1),
        ("rating_group", False),
        ("sequence", "7"),
        ("answered", 1),
        ("answered", None),
        ("retransmission", "true"),
        ("service", "voice"),
        ("service", ["VOICE"]),
        ("direction", None),
        ("msisdn", 8_613_900_000_001),
        ("record_id", None),
        ("cell", {}),
        ("other_party", "\ud800"),  # has no UTF-8
    ],
)
def test_a_value_of_another_type_is_refused_by_name(field: str, value: object) -> None:
    """No value is bent into its field's type: one that does not fit is named, and the others are not."""
    assert list(refused(CALL | {field: value})) == [field]


def test_everything_wrong_is_said_at_once() -> None:
    """Unknown keys, missing keys and wrong values come in one answer."""
    detail = refused({"record_id": 7, "source": "MSC-1", "service": "VOICE", "Duration": 1, "account": "a"})
    assert detail["unknown"] == ["Duration", "account"]
    assert detail["missing"] == ["direction", "start_time"]
    assert "record_id" in detail


def test_a_refusal_holds_no_subscriber_number() -> None:
    """What is wrong is said by field and type, so a number in the wrong place does not end up in a message."""
    detail = refused(CALL | {"msisdn": 8_613_900_000_001, "start_time": "+8613900000001"})
    assert "8613900000001" not in json.dumps(detail)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'{"record_id": "a", "record_id": "b"}',
        b'{"duration_ms": NaN}',
        b'{"duration_ms": -Infinity}',
        b"\xff\xfe{\x00}\x00",
        b'{"record_id": "\xff"}',
        b'{"duration_ms": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        json.dumps(CALL).encode() + b" {}",
    ],
)
def test_a_line_that_is_no_json_object_is_a_value(line: bytes) -> None:
    """Broken lines are answers, not exceptions: cut off, two values, a key twice, no UTF-8, NaN, endless nesting."""
    found = usage_from_line(line)
    assert isinstance(found, Refusal)
    assert found.reason == "undecodable"
    assert found.detail


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INT = st.integers(-INT_MAX - 1, INT_MAX)
LONG = st.integers(-LONG_MAX - 1, LONG_MAX)
YEARS_1000_TO_9999 = st.integers(-30_610_224_000_000, 253_402_300_799_999)
RECORDS = st.builds(
    UsageRecord,
    record_id=TEXT,
    source=TEXT,
    sequence=st.none() | LONG,
    service=st.sampled_from(SERVICES),
    direction=st.sampled_from(DIRECTIONS),
    msisdn=st.none() | TEXT,
    imsi=st.none() | TEXT,
    imei=st.none() | TEXT,
    other_party=st.none() | TEXT,
    start_time=YEARS_1000_TO_9999,
    duration_ms=LONG,
    uplink_octets=LONG,
    downlink_octets=LONG,
    message_count=INT,
    answered=st.booleans(),
    visited_plmn=st.none() | TEXT,
    cell=st.none() | TEXT,
    rating_group=st.none() | INT,
    session_id=st.none() | TEXT,
    partial_number=st.none() | INT,
    cause_for_closing=st.none() | INT,
    retransmission=st.booleans(),
)


@given(RECORDS)
def test_a_record_written_and_read_is_the_same_record(record: UsageRecord) -> None:
    """Record to JSON text and back is the identity, and what was read can always be encoded for the topic."""
    line = json.dumps(usage_to_json(record)).encode()
    assert usage_from_line(line) == record
    assert UsageRecord(**USAGE_RECORD.decode(USAGE_RECORD.encode(record._asdict()))) == record


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3))
def test_any_value_in_any_field_is_read_or_refused(value: object) -> None:
    """Whatever JSON holds, the answer is a record of the right types or a refusal; nothing is raised."""
    for field in UsageRecord._fields:
        found = usage_from_json(CALL | {field: value})
        if isinstance(found, UsageRecord):
            USAGE_RECORD.encode(found._asdict())


# --- reading a file


def test_an_unreadable_line_never_stops_the_file() -> None:
    """Each line is answered in its place, with its number and bytes; blank lines and line endings are no content."""
    good = json.dumps(CALL).encode()
    lines = [b"\xef\xbb\xbf" + good + b"\r\n", b"\n", b"{garbage\n", b" \t\n", good]
    first, broken, last = read("json", lines)
    assert first == last == accepted(CALL)
    assert isinstance(broken, Unreadable)
    assert (broken.line_number, broken.reason, broken.raw) == (3, "undecodable", b"{garbage")
    assert broken.reason in DEAD_LETTER_REASONS


def test_a_line_beyond_any_record_is_not_parsed() -> None:
    """Longer than a record can be spelled: named as such, and reading goes on."""
    endless = b'{"record_id": "' + b"a" * LINE_BYTES_MAX + b'"}'
    broken, good = read("json", [endless + b"\n", json.dumps(CALL).encode()])
    assert isinstance(broken, Unreadable)
    assert broken.reason == "out_of_bounds"
    assert isinstance(good, UsageRecord)


def test_lines_are_read_as_they_are_asked_for() -> None:
    """Reading streams: after one record, one line was taken."""
    lines = iter([json.dumps(CALL).encode()] * 3)
    records = read("json", lines)
    next(records)
    assert len(list(lines)) == 2


@pytest.mark.parametrize(
    ("name", "zone"), [("tap3", "UTC"), ("json", "Mars/Olympus"), ("asterisk", "../../etc/passwd")]
)
def test_an_unknown_format_or_zone_raises_before_the_first_line(name: str, zone: str) -> None:
    """A wrong option is told at the call, not when the first record is asked for."""
    with pytest.raises(FormatError):
        read(name, [], zone)


@pytest.mark.parametrize(
    ("suffix", "first_line", "name"),
    [
        (".jsonl", b'{"record_id": "a"}\n', "json"),
        (".csv", b'\xef\xbb\xbf{"record_id": "a"}\n', "json"),
        (".csv", b",".join([b'"x"'] * 18) + b"\n", "asterisk"),
        ("", b",".join([b'"x"'] * 18), "asterisk"),
        (".JSON", b"garbage\n", "json"),
        (".ndjson", b"", "json"),
    ],
)
def test_a_file_tells_its_format(suffix: str, first_line: bytes, name: str) -> None:
    """The first line decides, and the suffix where it says nothing."""
    assert detect_format(suffix, first_line) == name
    assert name in FORMATS


def test_a_file_of_no_known_format_says_what_there_is() -> None:
    """Guessing would charge wrongly: the answer names the formats."""
    with pytest.raises(FormatError, match="json, asterisk"):
        detect_format(".csv", b"date,number,seconds\n")


# --- Asterisk


def test_asterisk_rows_become_calls() -> None:
    """An answered leg starts at its answer and is billsec long, others start at their start, priced at nothing."""
    rows = SMALL.read_bytes().splitlines()
    records = [record for record in read("asterisk", rows, "Asia/Shanghai") if isinstance(record, UsageRecord)]
    assert len(records) == 5
    first, unanswered, late, copy, anonymous = records
    assert first.record_id == "asterisk:" + hashlib.sha256(rows[0]).hexdigest()
    assert (first.service, first.direction, first.source) == ("VOICE", "MO", "asterisk")
    assert (first.msisdn, first.other_party) == ("020-5550-1001", "13900000002")
    assert usage_to_json(first)["start_time"] == "2026-03-02T01:00:06.000Z"
    assert (first.duration_ms, first.answered, first.session_id) == (65_000, True, None)
    assert usage_to_json(unanswered)["start_time"] == "2026-03-02T01:05:00.000Z"
    assert (unanswered.answered, unanswered.duration_ms) == (False, 0)
    assert copy == late
    assert (anonymous.msisdn, anonymous.other_party, anonymous.answered) == (None, "s", False)


def test_a_row_is_its_bytes_whatever_the_line_ending() -> None:
    """The id is over the row without its line ending, so a file that went through another system is no new use."""
    rows = SMALL.read_bytes().splitlines()
    assert list(read("asterisk", (row + b"\r\n" for row in rows))) == list(read("asterisk", rows))


def test_local_times_are_those_of_the_zone() -> None:
    """The same row is another moment elsewhere; an hour that comes twice is the first one."""
    row = SMALL.read_bytes().splitlines()[0]
    (shanghai,) = read("asterisk", [row], "Asia/Shanghai")
    (utc,) = read("asterisk", [row])
    assert isinstance(shanghai, UsageRecord)
    assert isinstance(utc, UsageRecord)
    assert utc.start_time - shanghai.start_time == 8 * 3_600_000
    (twice,) = read("asterisk", [row.replace(b"2026-03-02 09:00:06", b"2026-10-25 02:30:00")], "Europe/Berlin")
    assert isinstance(twice, UsageRecord)
    assert usage_to_json(twice)["start_time"] == "2026-10-25T00:30:00.000Z"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b',"1772442000.10",""', b"", "csv"),  # 16 columns: an Asterisk that leaves out uniqueid and userfield
        (b'"Dial"', b'"Di"al"', "csv"),
        (b'"ANSWERED"', b'"ANSWERED', "csv"),
        (b"71,65,", b"71,65.5,", "billsec"),
        (b"71,65,", b"71,-5,", "billsec"),
        (b"71,65,", b"71,,", "billsec"),
        (b"71,65,", b"71," + b"9" * 13 + b",", "billsec"),
        (b'"2026-03-02 09:00:06"', b'""', "answer"),
        (b'"2026-03-02 09:00:06"', b'"02.03.2026 09:00"', "answer"),
        (b"71,65," + b'"ANSWERED"', b"71,65," + b'"FAILED"', None),
    ],
)
def test_a_row_of_another_shape_is_named(old: bytes, new: bytes, named: str | None) -> None:
    """Columns, quotes, times and seconds that are not as Asterisk writes them are refused by name; not guessed at."""
    row = SMALL.read_bytes().splitlines()[0]
    assert old in row
    (found,) = read("asterisk", [row.replace(old, new)])
    if named is None:
        assert isinstance(found, UsageRecord)
        assert not found.answered
    else:
        assert isinstance(found, Unreadable)
        assert found.reason == "undecodable"
        assert named in found.detail


def test_a_caller_name_in_any_encoding_is_no_obstacle() -> None:
    """A column that no charge is made of may hold any bytes."""
    row = SMALL.read_bytes().splitlines()[0].replace(b"Front desk", "前台".encode("gb18030"))
    (found,) = read("asterisk", [row])
    assert isinstance(found, UsageRecord)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(row: bytes) -> None:
    """Whatever a file holds, each format gives a record, an unreadable line, or nothing for a blank one."""
    for name in FORMATS:
        assert len(list(read(name, [row]))) <= 1


@pytest.mark.skipif(not FOUND_FILE.exists(), reason="a real switch's file, kept outside of the project")
def test_a_real_file_adds_up() -> None:
    """A switch's own file: every row a record, the sums those of its columns, exact copies the only equal ids."""
    with FOUND_FILE.open("rb") as lines:
        records = [record for record in read("asterisk", lines) if isinstance(record, UsageRecord)]
    answered = [record for record in records if record.answered]
    ids = Counter(record.record_id for record in records)
    assert (len(records), len(answered)) == (218, 133)
    assert sum(record.duration_ms for record in answered) == 38_839_000
    assert sum(record.duration_ms for record in records) == 38_947_000
    assert len(records) - len(ids) == 8


# --- the guide for probes


GUIDE = Path(__file__).parents[2] / "docs" / "guide-probe.md"


def example(heading: str) -> dict[str, Any]:
    """The names that the Python example under this heading defines, up to where it would connect."""
    section = GUIDE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    code = section.split("```python\n")[1].split("```")[0].split("\nproducer = ")[0]
    names: dict[str, Any] = {}
    exec(compile(code, f"guide-probe.md, {heading}", "exec"), names)
    return names


@given(record=RECORDS)
def test_the_guides_bytes_by_hand_are_those_of_the_contract(record: UsageRecord) -> None:
    """An encoder written from the guide, with no library, writes what this project reads."""
    assert BY_HAND["encode"](record._asdict()) == USAGE_RECORD.encode(record._asdict())


BY_HAND = example("Python, with none")


def test_the_guides_example_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example with libraries runs from the checkout's root, and both examples give the same bytes."""
    monkeypatch.chdir(GUIDE.parents[1])
    shown = example("Python, with two libraries")
    value = shown["encode"](shown["record"])
    assert value == BY_HAND["encode"](shown["record"])
    decoded = UsageRecord(**USAGE_RECORD.decode(value))
    assert usage_to_json(decoded)["start_time"] == "2026-10-01T00:00:00.000Z"


def test_the_guide_names_every_field_and_reason() -> None:
    """What the contract has, the guide explains: each field of a record, each reason of a dead letter."""
    text = GUIDE.read_text(encoding="utf-8")
    missing = [name for name in (*UsageRecord._fields, *DEAD_LETTER_REASONS) if f"`{name}`" not in text]
    assert not missing
