"""The encodings on the path of every charge, written out: usage records read, ledger events written.

Everything else goes through a library. These are half of a charge's time there, because it walks a schema for each
field; here the schema is the code. Tests hold both against the library, byte for byte, and against the published
schemas, field by field. Reading is strict: what is not the one canonical encoding of a record is refused.

Source: Apache Avro 1.12 specification, "Binary Encoding".
"""

from typing import Final

from pipeline.domain.ledger import Effects, Event, Line
from pipeline.domain.outcome import KINDS
from pipeline.domain.usage import DIRECTIONS, INT_MAX, LONG_MAX, SERVICES, AcceptedUsage, UsageRecord


class WireError(ValueError):
    """The bytes are not the one encoding of a usage record."""


# --- writing ---


_SMALL: Final = 1 << 14
_LARGE: Final = 1 << 60
_ENDS: Final = [bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(_SMALL)]
"""The last two bytes, or the only one, of a number; before them stand pairs that say that more follows."""
_PAIRS: Final = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_SMALL)]
_KIND_BYTES: Final = {kind: _ENDS[2 * index] for index, kind in enumerate(KINDS)}
_NULL: Final = b"\x00"
_PRESENT: Final = b"\x02"
_END: Final = b"\x00"


def _unsigned(value: int) -> bytes:
    if value < _SMALL:
        return _ENDS[value]
    return _PAIRS[value & (_SMALL - 1)] + _unsigned(value >> 14)


def _long(value: int) -> bytes:
    zigzag = 2 * value if value >= 0 else -2 * value - 1
    if zigzag < _SMALL:
        return _ENDS[zigzag]
    assert zigzag < _LARGE or zigzag >> 64 == 0, "a number that no reader could read again"
    return _unsigned(zigzag)


def _sha256(digest: bytes) -> bytes:
    assert len(digest) == 32, "a fixed field of another size"
    return digest


def _string(text: str) -> bytes:
    body = text.encode()
    return _long(len(body)) + body


def _optional_string(text: str | None) -> bytes:
    return _NULL if text is None else _PRESENT + _string(text)


def _optional_long(value: int | None) -> bytes:
    return _NULL if value is None else _PRESENT + _long(value)


def event_body(event: Event, usage_body: bytes | None, command_body: bytes | None, previous_hash: bytes) -> bytes:
    """Return the Avro body of an event up to, and without, its `hash`.

    `usage_body` and `command_body` are the bodies of the inputs it answers, copied as they are.
    """
    positions = event.positions
    out = [
        _long(event.seq),
        _KIND_BYTES[event.kind],
        _string(event.event_id),
        _string(event.account),
        _long(event.account_seq),
        _NULL if usage_body is None else _PRESENT + usage_body,
        _NULL if command_body is None else _PRESENT + command_body,
        _NULL if event.digest is None else _PRESENT + _sha256(event.digest),
        _optional_string(event.reason),
        _optional_string(event.detail),
    ]
    if event.lines:
        out.append(_long(len(event.lines)))
        for line in event.lines:
            _put_line(out, line)
    out += (
        _END,
        _long(event.amount_micros),
        _optional_string(event.currency),
        _long(event.balance_before_micros),
        _long(event.balance_after_micros),
    )
    _put_effects(out, event.effects)
    out += (
        _long(event.clock),
        _long(event.late_window_days),
        positions.usage.topic_id,
        _long(positions.usage.offset),
        positions.command.topic_id,
        _long(positions.command.offset),
        positions.catalogue.topic_id,
        _long(positions.catalogue.offset),
        _long(event.epoch),
        _sha256(previous_hash),
    )
    return b"".join(out)


def _put_line(out: list[bytes], line: Line) -> None:
    out += (
        _string(line.rule),
        _string(line.catalogue),
        _string(line.plan),
        _optional_string(line.band),
        _optional_string(line.prefix),
        _long(line.quantity),
        _long(line.quantity_rounded),
        _string(line.unit),
        _optional_string(line.allowance),
        _long(line.allowance_used),
        _optional_string(line.unit_price),
    )
    if line.steps:
        out.append(_long(len(line.steps)))
        for step in line.steps:
            out += (
                _string(step.from_),
                _string(step.price),
                _string(step.per),
                _string(step.increment),
                _long(step.increments),
                _string(step.amount),
            )
    out += (
        _END,
        _long(line.amount_micros),
        _optional_string(line.meter),
        _long(line.meter_quantity_before),
        _long(line.meter_quantity_after),
        _string(line.meter_sum_before),
        _string(line.meter_sum_after),
        _long(line.connect_fee_micros),
        _optional_long(line.minimum_micros),
        _optional_long(line.maximum_micros),
        _optional_string(line.discount),
        _optional_string(line.tax),
        _optional_string(line.rounding),
    )


def _put_effects(out: list[bytes], effects: Effects) -> None:
    _put_map(out, effects.account)
    if effects.kept:
        out.append(_long(len(effects.kept)))
        for name, value in effects.kept.items():
            out += (_string(name), _string(value))
    out.append(_END)
    session = effects.session
    if session is None:
        out.append(_NULL)
    else:
        out += (_PRESENT, _string(session.key), _long(session.expires_day))
        _put_map(out, session.fields)
        out.append(b"\x01" if session.begins else b"\x00")
    seen = effects.seen
    if seen is None:
        out.append(_NULL)
    else:
        out += (
            _PRESENT,
            _long(seen.day),
            _long(seen.bucket),
            _long(seen.record),
            _long(seen.content),
            _long(seen.expires_day),
        )


def _put_map(out: list[bytes], changes: dict[str, str | None]) -> None:
    if changes:
        out.append(_long(len(changes)))
        for name, value in changes.items():
            out += (_string(name), _optional_string(value))
    out.append(_END)


def accepted_body(record_body: bytes, usage: AcceptedUsage) -> bytes:
    """Return an accepted record's body, given that of the usage record in it: it is followed by six fields more."""
    return b"".join(
        (
            record_body,
            _string(usage.account),
            _long(usage.received_at),
            _string(usage.source_topic),
            _long(usage.source_partition),
            _long(usage.source_offset),
            b"\x01" if usage.on_net else b"\x00",
        )
    )


# --- reading ---


def read_usage_record(data: bytes, at: int) -> UsageRecord:
    """Read the usage record whose body begins at `at` and ends with the data; raises WireError."""
    try:
        record, at = _read_record(data, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"not a usage_record: {type(error).__name__}") from None
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes behind the usage_record")
    return record


def read_accepted_usage(data: bytes, at: int) -> AcceptedUsage:
    """Read the accepted record whose body begins at `at` and ends with the data; raises WireError."""
    try:
        usage, at = accepted_part(data, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"not an accepted_usage: {type(error).__name__}") from None
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes behind the accepted_usage")
    return usage


def accepted_part(data: bytes, at: int) -> tuple[AcceptedUsage, int]:
    """Read the accepted record whose body begins at `at`, and return where it ends.

    Raises WireError, or IndexError and UnicodeDecodeError where the data are not long enough or no text.
    """
    record, at = _read_record(data, at)
    account, at = _read_string(data, at)
    received_at, at = _read_long(data, at)
    source_topic, at = _read_string(data, at)
    source_partition, at = _read_int(data, at)
    source_offset, at = _read_long(data, at)
    on_net, at = _read_boolean(data, at)
    return AcceptedUsage(*record, account, received_at, source_topic, source_partition, source_offset, on_net), at


def _read_record(data: bytes, at: int) -> tuple[UsageRecord, int]:
    record_id, at = _read_string(data, at)
    source, at = _read_string(data, at)
    sequence, at = _read_optional_long(data, at, LONG_MAX)
    service, at = _read_index(data, at, len(SERVICES))
    direction, at = _read_index(data, at, len(DIRECTIONS))
    msisdn, at = _read_optional_string(data, at)
    imsi, at = _read_optional_string(data, at)
    imei, at = _read_optional_string(data, at)
    other_party, at = _read_optional_string(data, at)
    start_time, at = _read_long(data, at)
    duration_ms, at = _read_long(data, at)
    uplink_octets, at = _read_long(data, at)
    downlink_octets, at = _read_long(data, at)
    message_count, at = _read_int(data, at)
    answered, at = _read_boolean(data, at)
    visited_plmn, at = _read_optional_string(data, at)
    cell, at = _read_optional_string(data, at)
    rating_group, at = _read_optional_long(data, at, INT_MAX)
    session_id, at = _read_optional_string(data, at)
    partial_number, at = _read_optional_long(data, at, INT_MAX)
    cause_for_closing, at = _read_optional_long(data, at, INT_MAX)
    retransmission, at = _read_boolean(data, at)
    record = UsageRecord(
        record_id,
        source,
        sequence,
        SERVICES[service],
        DIRECTIONS[direction],
        msisdn,
        imsi,
        imei,
        other_party,
        start_time,
        duration_ms,
        uplink_octets,
        downlink_octets,
        message_count,
        answered,
        visited_plmn,
        cell,
        rating_group,
        session_id,
        partial_number,
        cause_for_closing,
        retransmission,
    )
    return record, at


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise WireError("a number of more than 64 bits")
    if byte == 0 or (shift == 63 and byte > 1):
        raise WireError("not the one way to write this number")
    return (value >> 1) ^ -(value & 1), at


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_long(data, at)
    if not -INT_MAX - 1 <= value <= INT_MAX:
        raise WireError("a number of more than 32 bits")
    return value, at


def _read_optional_long(data: bytes, at: int, largest: int) -> tuple[int | None, int]:
    present, at = _read_index(data, at, 2)
    if not present:
        return None, at
    value, at = _read_long(data, at)
    if not -largest - 1 <= value <= largest:
        raise WireError("a number out of range")
    return value, at


def _read_index(data: bytes, at: int, size: int) -> tuple[int, int]:
    byte = data[at]
    if byte & 1 or byte >= 2 * size:  # an index of a few is one byte, and never negative
        raise WireError("no such choice")
    return byte >> 1, at + 1


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise WireError("neither true nor false")
    return byte == 1, at + 1


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise WireError("a string longer than the record")
    return data[at:end].decode(), end


def _read_optional_string(data: bytes, at: int) -> tuple[str | None, int]:
    present, at = _read_index(data, at, 2)
    if not present:
        return None, at
    return _read_string(data, at)
