"""Reading an event for a replay: what it left behind, without the record it answers and how that was priced.

Three quarters of an event are its record and its lines, which the fold does not ask for. They are stepped over here,
field by field, by what the schema says of each. Whoever reads so has checked the event's hash before: these are the
bytes that charge wrote, so no second check is made of each of them; only the ends must meet.

Source: Apache Avro 1.12 specification, "Binary Encoding". Tests hold the steps against the published schema.
"""

from typing import TYPE_CHECKING, Final

from pipeline.domain.ledger import Effects, Event, Line, Position, Positions, SeenEffect, SessionEffect
from pipeline.domain.outcome import KINDS
from pipeline.domain.wire_usage import WireError, accepted_part

if TYPE_CHECKING:
    from pipeline.domain.usage import AcceptedUsage

STRING: Final = 0
LONG: Final = 1
OPTIONAL_STRING: Final = 2
OPTIONAL_LONG: Final = 3
BYTE: Final = 4
"""A boolean, or a choice of a few: one byte."""
STEPS: Final = 5
"""An array of bought steps."""

USAGE: Final = bytes((0, 0, 3, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1, 1, 4, 2, 2, 3, 2, 3, 3, 4, 0, 1, 0, 1, 1, 4))
"""An accepted record's fields in their order."""
LINE: Final = bytes((0, 0, 0, 2, 2, 1, 1, 0, 2, 1, 2, 5, 1, 2, 1, 1, 0, 0, 1, 3, 3, 2, 2, 2))
STEP: Final = bytes((0, 0, 0, 0, 1, 0))

_QUANTITY: Final = 5
_ALLOWANCE: Final = 8
"""Where these fields stand in a line; what an allowance gave and the price of a unit stand behind the second."""
_NO_LINE: Final = Line(
    "", "", "", None, None, 0, 0, "", None, 0, None, (), 0, None, 0, 0, "", "", 0, None, None, None, None, None
)

_HASHES_BYTES: Final = 64
_DIGEST_BYTES: Final = 32
_TOPIC_ID_BYTES: Final = 16


def read_bare_event(data: bytes, start: int) -> Event | None:
    """Read an event's body that begins at `start`: all but usage, command and lines, which are left out.

    None where it holds a command: those are few, and read in full. Raises WireError where the ends do not meet.
    """
    try:
        return _read(data, start, False)
    except (IndexError, UnicodeDecodeError):
        raise WireError("the bytes are no event") from None


def read_used_event(data: bytes, start: int) -> Event | None:
    """Read an event's body that begins at `start` with its record, and of its lines what each gave and took.

    A line's rule, rates, steps and meter are left empty. None where it holds a command. Raises WireError where the ends
    do not meet.
    """
    try:
        return _read(data, start, True)
    except (IndexError, UnicodeDecodeError):
        raise WireError("the bytes are no event") from None


def _read(data: bytes, start: int, used: bool) -> Event | None:
    seq, at = _long(data, start)
    kind = KINDS[data[at] >> 1]
    event_id, at = _string(data, at + 1)
    account, at = _string(data, at)
    account_seq, at = _long(data, at)
    record: AcceptedUsage | None = None
    has_usage = data[at]
    at += 1
    if has_usage != 0:
        if used:
            record, at = accepted_part(data, at)
        else:
            at = _skip(data, at, USAGE)
    if data[at] != 0:
        return None
    digest: bytes | None = None
    at += 1
    if data[at] != 0:
        digest = data[at + 1 : at + 1 + _DIGEST_BYTES]
        at += _DIGEST_BYTES
    reason, at = _optional_string(data, at + 1)
    detail, at = _optional_string(data, at)
    lines: tuple[Line, ...] = ()
    if used:
        lines, at = _lines(data, at)
    else:
        at = _skip_array(data, at, LINE)
    amount, at = _long(data, at)
    currency, at = _optional_string(data, at)
    before, at = _long(data, at)
    after, at = _long(data, at)
    effects, at = _effects(data, at)
    clock, at = _long(data, at)
    late_window_days, at = _long(data, at)
    usage, at = _position(data, at)
    command, at = _position(data, at)
    catalogue, at = _position(data, at)
    epoch, at = _long(data, at)
    if at + _HASHES_BYTES != len(data):
        raise WireError("the event does not end where its hashes begin")
    return Event(
        seq=seq,
        kind=kind,
        event_id=event_id,
        account=account,
        account_seq=account_seq,
        usage=record,
        command=None,
        digest=digest,
        reason=reason,
        detail=detail,
        lines=lines,
        amount_micros=amount,
        currency=currency,
        balance_before_micros=before,
        balance_after_micros=after,
        effects=effects,
        clock=clock,
        late_window_days=late_window_days,
        positions=Positions(usage, command, catalogue),
        epoch=epoch,
    )


def _lines(data: bytes, at: int) -> tuple[tuple[Line, ...], int]:
    found: list[Line] = []
    count, at = _long(data, at)
    while count != 0:
        for _ in range(count):
            at = _skip(data, at, LINE[:_QUANTITY])
            quantity, at = _long(data, at)
            at = _skip(data, at, LINE[_QUANTITY + 1 : _ALLOWANCE])
            allowance, at = _optional_string(data, at)
            allowance_used, at = _long(data, at)
            unit_price, at = _optional_string(data, at)
            at = _skip(data, at, LINE[_ALLOWANCE + 3 :])
            found.append(
                _NO_LINE._replace(
                    quantity=quantity, allowance=allowance, allowance_used=allowance_used, unit_price=unit_price
                )
            )
        count, at = _long(data, at)
    return tuple(found), at


def _effects(data: bytes, at: int) -> tuple[Effects, int]:
    account, at = _changes(data, at)
    kept: dict[str, str] = {}
    count, at = _long(data, at)
    while count != 0:
        for _ in range(count):
            name, at = _string(data, at)
            kept[name], at = _string(data, at)
        count, at = _long(data, at)
    session: SessionEffect | None = None
    present = data[at]
    at += 1
    if present != 0:
        key, at = _string(data, at)
        expires_day, at = _long(data, at)
        fields, at = _changes(data, at)
        session = SessionEffect(key, expires_day, fields, data[at] == 1)
        at += 1
    seen: SeenEffect | None = None
    present = data[at]
    at += 1
    if present != 0:
        day, at = _long(data, at)
        bucket, at = _long(data, at)
        record, at = _long(data, at)
        content, at = _long(data, at)
        expires_day, at = _long(data, at)
        seen = SeenEffect(day, bucket, record, content, expires_day)
    return Effects(account, kept, session, seen), at


def _changes(data: bytes, at: int) -> tuple[dict[str, str | None], int]:
    changes: dict[str, str | None] = {}
    count, at = _long(data, at)
    while count != 0:
        for _ in range(count):
            name, at = _string(data, at)
            changes[name], at = _optional_string(data, at)
        count, at = _long(data, at)
    return changes, at


def _position(data: bytes, at: int) -> tuple[Position, int]:
    offset, end = _long(data, at + _TOPIC_ID_BYTES)
    return Position(data[at : at + _TOPIC_ID_BYTES], offset), end


def _skip_array(data: bytes, at: int, fields: bytes) -> int:
    count, at = _long(data, at)
    while count != 0:
        for _ in range(count):
            at = _skip(data, at, fields)
        count, at = _long(data, at)
    return at


def _skip(data: bytes, at: int, fields: bytes) -> int:
    """Step over a record's fields."""
    for field in fields:
        if field == BYTE:
            at += 1
            continue
        if field == STEPS:
            at = _skip_array(data, at, STEP)
            continue
        if field in (OPTIONAL_STRING, OPTIONAL_LONG):
            at += 1
            if data[at - 1] == 0:
                continue
        size = data[at]
        at += 1
        if field in (STRING, OPTIONAL_STRING):
            if size < 0x80:
                at += size >> 1
            else:
                length, at = _long(data, at - 1)
                at += length
        else:
            while size >= 0x80:
                size = data[at]
                at += 1
    return at


def _long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), at


def _string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise WireError("a string longer than the event")
    return data[at:end].decode(), end


def _optional_string(data: bytes, at: int) -> tuple[str | None, int]:
    if data[at] == 0:
        return None, at + 1
    return _string(data, at + 1)
