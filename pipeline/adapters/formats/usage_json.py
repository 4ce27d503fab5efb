"""Usage records as JSON: one object a line, the names of the Avro fields, read strictly.

Reading checks the form alone: which keys there are, and that each value is of its field's type and fits it. Whether a
number is a number and a quantity within bounds is asked of every record alike, wherever it came from, by mediate.
"""

import json
from typing import Any, Final, NamedTuple

from pipeline.adapters.command_json import parse_time, shown_name
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import (
    DIRECTIONS,
    EVENT,
    INT_MAX,
    LONG_MAX,
    MMS,
    RECORD_FIELDS,
    SERVICES,
    SMS,
    AcceptedUsage,
    UsageRecord,
)

_TEXT: Final = "text"
_INT: Final = "a whole number of 32 bits"
_LONG: Final = "a whole number of 64 bits"
_FLAG: Final = "true or false"
_TIME: Final = "a time like 2026-10-01T08:00:00+08:00 (with its offset, or Z)"


class _Field(NamedTuple):
    """What a field takes: its type in words, whether null is a value, the closed list it must be of."""

    takes: str
    nullable: bool = False
    one_of: tuple[str, ...] = ()


_REQUIRED: Final = ("record_id", "source", "service", "direction", "start_time")
_FIELDS: Final[dict[str, _Field]] = {
    "record_id": _Field(_TEXT),
    "source": _Field(_TEXT),
    "sequence": _Field(_LONG, nullable=True),
    "service": _Field(_TEXT, one_of=SERVICES),
    "direction": _Field(_TEXT, one_of=DIRECTIONS),
    "msisdn": _Field(_TEXT, nullable=True),
    "imsi": _Field(_TEXT, nullable=True),
    "imei": _Field(_TEXT, nullable=True),
    "other_party": _Field(_TEXT, nullable=True),
    "start_time": _Field(_TIME),
    "duration_ms": _Field(_LONG),
    "uplink_octets": _Field(_LONG),
    "downlink_octets": _Field(_LONG),
    "message_count": _Field(_INT),
    "answered": _Field(_FLAG),
    "visited_plmn": _Field(_TEXT, nullable=True),
    "cell": _Field(_TEXT, nullable=True),
    "rating_group": _Field(_INT, nullable=True),
    "session_id": _Field(_TEXT, nullable=True),
    "partial_number": _Field(_INT, nullable=True),
    "cause_for_closing": _Field(_INT, nullable=True),
    "retransmission": _Field(_FLAG),
}
assert tuple(_FIELDS) == RECORD_FIELDS, "fields in the order of the schema"
_ABSENT: Final[dict[str, object]] = {
    **{name: None for name, field in _FIELDS.items() if field.nullable},
    **{name: 0 for name, field in _FIELDS.items() if field.takes in (_INT, _LONG) and not field.nullable},
    "answered": True,
    "retransmission": False,
}
_PLAIN_TEXT: Final = frozenset(name for name, field in _FIELDS.items() if field.takes == _TEXT and not field.one_of)
_PLAIN_NUMBER: Final = frozenset(name for name, field in _FIELDS.items() if field.takes in (_INT, _LONG))
"""Fields of which any ASCII text, or any whole number from 0 that fits 32 bits, is a value."""
_TIMES: Final = ("start_time", "received_at")


def usage_from_line(line: bytes) -> UsageRecord | Refusal:
    """Read one line: a JSON object in UTF-8. Anything else is `undecodable`, with what is wrong in its detail."""
    try:
        document = _DECODER.decode(line.decode())
    except UnicodeDecodeError:
        return _undecodable(json="not UTF-8")
    except json.JSONDecodeError as error:
        return _undecodable(json=f"{error.msg} at character {error.pos}")
    except ValueError as error:
        return _undecodable(json=str(error))
    except RecursionError:
        return _undecodable(json="nested too deep")
    return usage_from_json(document)


def usage_from_json(document: Any) -> UsageRecord | Refusal:
    """Return the record that a JSON object says, or `undecodable` with everything that is wrong, by field.

    `record_id`, `source`, `service`, `direction` and `start_time` must be there; other absent fields take null, 0 or
    false, `answered` takes true and `message_count` of SMS, MMS and EVENT 1. A key that no record has is refused, null
    is a value only where the schema has it, true is no number, and 1.0 is no whole number. Of `start_time` what is
    finer than a ms is cut.
    """
    if not isinstance(document, dict):
        return _undecodable(json="not one object a line")
    wrong: dict[str, object] = {}
    if unknown := sorted(shown_name(name) for name in document if name not in _FIELDS):
        wrong["unknown"] = unknown
    if missing := [name for name in _REQUIRED if name not in document]:
        wrong["missing"] = missing
    values: dict[str, Any] = dict(_ABSENT)
    for name, given in document.items():
        field = _FIELDS.get(name)
        if field is None:
            continue
        value: Any = _start_time(given) if name == "start_time" else given
        if (type(value) is str and name in _PLAIN_TEXT and value.isascii()) or (
            type(value) is int and name in _PLAIN_NUMBER and 0 <= value <= INT_MAX
        ):
            pass  # nearly every value of nearly every record
        elif hint := _mismatch(field, value):
            wrong[name] = hint
        values[name] = value
    if wrong:
        return _undecodable(**wrong)
    if "message_count" not in document and values["service"] in (SMS, MMS, EVENT):
        values["message_count"] = 1
    return UsageRecord(**values)


def usage_to_json(usage: UsageRecord | AcceptedUsage) -> dict[str, object]:
    """Return every field by its name, times as ISO 8601 in UTC with milliseconds.

    Of a UsageRecord, `usage_from_json` reads it back to an equal record. Times are of the years 1000 to 9999.
    """
    shown: dict[str, object] = usage._asdict()
    for name in _TIMES:
        if name in shown:
            moment = shown[name]
            assert isinstance(moment, int)
            shown[name] = iso_time(moment)
    return shown


def _start_time(given: Any) -> int | None:
    return parse_time(given) if isinstance(given, str) else None


def _mismatch(field: _Field, value: Any) -> str | None:
    """Return what the field takes, if this value is none of it."""
    if value is None:
        fits = field.nullable
    elif field.one_of:
        fits = value in field.one_of
    elif field.takes == _TEXT:
        fits = isinstance(value, str) and _encodable(value)
    elif field.takes == _FLAG:
        fits = isinstance(value, bool)
    else:
        # the type itself, since to Python True is an int
        bound = INT_MAX if field.takes == _INT else LONG_MAX
        fits = type(value) is int and -bound - 1 <= value <= bound
    if fits:
        return None
    if field.one_of:
        return "one of " + ", ".join(field.one_of)
    return field.takes + (" or null" if field.nullable else "")


def _encodable(text: str) -> bool:
    """Tell whether the text has UTF-8: JSON can spell half a surrogate pair, which no topic can carry."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _undecodable(**detail: object) -> Refusal:
    return Refusal("undecodable", detail)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
"""Made once: making one takes as long as reading a record."""
