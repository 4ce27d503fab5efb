import json

import pytest

from pipeline.adapters.avro import ACCOUNT_COMMAND
from pipeline.adapters.command_json import (
    COMMON,
    FIELDS,
    TYPES,
    Unreadable,
    command_from_json,
    command_to_json,
    parse_time,
    read_commands,
)
from pipeline.domain.outcome import Refusal

COMMON_FIELDS = {"command_id": "c-1", "account": "alice", "at": "2026-10-01T08:00:00+08:00", "actor": "staff-x"}
OWN_FIELDS = {
    "currency": "CNY",
    "plan": "basic",
    "identities": ["msisdn-+8613800000001", "imsi-460981234567890"],
    "opening_balance": "50.00",
    "credit_limit": "10",
    "plan_from": "2026-09-01T00:00:00Z",
    "identity": "imsi-460981234567890",
    "amount": "12.345678",
    "reference": "pay-1",
    "reason": "a reason",
    "charge_id": "3-17",
    "from": "2026-11-01T00:00:00+08:00",
    "allowance": "pack",
    "thresholds": [50, 90],
    "period": "2026-10",
    "review": "3-18",
    "decision": "charge",
    "case": "case-1",
}


def whole(kind):
    takes = TYPES[kind]
    return {"type": kind, **COMMON_FIELDS, **{name: OWN_FIELDS[name] for name in (*takes.required, *takes.optional)}}


def refused(document):
    found = command_from_json(document)
    assert isinstance(found, Refusal)
    assert found.reason == "bad_command"
    return found.detail


def test_fields_are_those_of_the_contract():
    """Reading knows every field and type of the published schema, and no other."""
    schema = ACCOUNT_COMMAND.schema["fields"]
    assert set(FIELDS) == {field["name"] for field in schema}
    assert set(TYPES) == set(schema[0]["type"]["symbols"])


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_and_encoded(kind):
    """A command of each type, all its fields given, is read into a record that the schema takes and gives back."""
    record = command_from_json(whole(kind))
    assert isinstance(record, dict)
    assert tuple(record) == FIELDS or set(record) == set(FIELDS)
    assert record["at"] == 1_790_812_800_000
    assert ACCOUNT_COMMAND.decode(ACCOUNT_COMMAND.encode(record)) == record


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_written_is_read_back(kind):
    """Writing a command as JSON and reading it again gives the same command, whatever offsets its times had."""
    record = command_from_json(whole(kind))
    written = json.loads(json.dumps(command_to_json(record)))
    assert command_from_json(written) == record
    assert all(value is not None for value in written.values())


@pytest.mark.parametrize("kind", TYPES)
def test_a_missing_field_is_named(kind):
    """Each required field, left out alone, is named; the optional ones may be left out."""
    document = whole(kind)
    for name in (*COMMON, *TYPES[kind].required):
        if name == "type":
            continue
        assert refused({k: v for k, v in document.items() if k != name}) == {"missing": [name]}
    least = {k: v for k, v in document.items() if k not in TYPES[kind].optional}
    assert isinstance(command_from_json(least), dict)


def test_a_field_of_another_type_is_refused():
    """A key that the type does not take is refused, even if another type has it; null there says nothing."""
    document = whole("top_up")
    assert refused({**document, "plan": "basic"}) == {"unknown": ["plan"]}
    assert refused({**document, "colour": None}) == {"unknown": ["colour"]}
    assert isinstance(command_from_json({**document, "plan": None}), dict)


def test_everything_wrong_is_said_at_once():
    """All faults of a command are named together, each by its field."""
    detail = refused({**whole("top_up"), "amount": 12.5, "at": "2026-10-01T08:00:00", "colour": "red"})
    assert set(detail) == {"amount", "at", "unknown"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "1e3"),
        ("amount", "0.1234567"),
        ("amount", 5),
        ("at", "yesterday"),
        ("at", "2026-10-01T08:00:00"),
        ("at", 1_790_812_800_000),
        ("account", ""),
        ("account", "a" * 257),
        ("account", "a\nb"),
        ("account", "\ud800"),
        ("actor", 7),
        ("type", "mint_money"),
        ("type", None),
    ],
)
def test_forms_are_strict(field, value):
    """Amounts are decimal text of at most six places, times carry an offset, text is printable and bounded."""
    assert field in refused({**whole("top_up"), field: value})


def test_absent_times_stay_absent():
    """A time that was not given is not made up from `at`: a repeat with a later `at` is still the same command."""
    document = whole("change_plan")
    del document["from"]
    assert command_from_json(document)["from"] is None


def test_defaults_that_do_not_depend_on_time_are_filled_in():
    """An account without a credit limit has 0, a budget without thresholds 50, 80 and 100 %."""
    document = whole("open_account")
    del document["credit_limit"]
    assert command_from_json(document)["credit_limit"] == "0"
    document = whole("set_budget")
    del document["thresholds"]
    assert command_from_json(document)["thresholds"] == [50, 80, 100]


def test_lines_are_read_by_number():
    """Each line is a command or says why not, with its number in the file; empty lines are none."""
    lines = [
        json.dumps(whole("top_up")),
        "",
        "{not json",
        '{"type": "top_up", "type": "adjust"}',
        "[]",
        '{"type": "top_up", "amount": NaN}',
        "x" * 70_000,
    ]
    found = list(read_commands(lines))
    assert found[0][0] == 1
    assert [item.line for item in found[1:] if isinstance(item, Unreadable)] == [3, 4, 5, 6, 7]
    assert "twice" in str(found[2].refusal.detail)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00.001+08:00", 1),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-10-01T08:00:00.123456+08:00", 1_790_812_800_123),
        ("2026-10-01", None),
        ("2026-10-01T08:00:00", None),
        ("", None),
    ],
)
def test_times_are_whole_milliseconds(text, ms):
    """A time with an offset is exact ms since 1970 UTC, what is finer cut; without an offset it is none."""
    assert parse_time(text) == ms
