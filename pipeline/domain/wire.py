"""The encodings on the path of every charge, written out: usage records and events (`wire_usage` reads).

Everything else goes through a library. These are half of a charge's time there, because it walks a schema for each
field; here the schema is the code. Tests hold both against the library, byte for byte, and against the published
schemas, field by field.

Source: Apache Avro 1.12 specification, "Binary Encoding".
"""

from typing import Final

from pipeline.domain.ledger import Effects, Event, Line, chain_hash
from pipeline.domain.outcome import KINDS
from pipeline.domain.usage import (
    DIRECTIONS,
    RECORD_FIELDS_COUNT,
    SERVICES,
    AcceptedUsage,
    UsageRecord,
)

_SMALL: Final = 1 << 14
_LARGE: Final = 1 << 60
_ENDS: Final = [bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(_SMALL)]
"""The last two bytes, or the only one, of a number; before them stand pairs that say that more follows."""
_PAIRS: Final = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_SMALL)]
_KIND_BYTES: Final = {kind: _ENDS[2 * index] for index, kind in enumerate(KINDS)}
_SERVICE_BYTES: Final = {service: _ENDS[2 * index] for index, service in enumerate(SERVICES)}
_DIRECTION_BYTES: Final = {direction: _ENDS[2 * index] for index, direction in enumerate(DIRECTIONS)}
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


_known: Final[dict[str, bytes]] = {}
_KNOWN_MAX: Final = 10_000


def _repeated(text: str) -> bytes:
    """Encode a text that many records have, such as a rule's id: written once, then looked up."""
    found = _known.get(text)
    if found is None:
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        found = _known[text] = _string(text)
    return found


def _optional_repeated(text: str | None) -> bytes:
    return _NULL if text is None else _PRESENT + _repeated(text)


def _optional_string(text: str | None) -> bytes:
    return _NULL if text is None else _PRESENT + _string(text)


def _optional_long(value: int | None) -> bytes:
    return _NULL if value is None else _PRESENT + _long(value)


def event_value(
    header: bytes, event: Event, usage_body: bytes | None, command_body: bytes | None, previous_hash: bytes
) -> tuple[bytes, bytes]:
    """Return (the event's value on the topic, its hash); `header` is that of the schema, its last 8 bytes the print."""
    body = event_body(event, usage_body, command_body, previous_hash)
    event_hash = chain_hash(header[2:], body)
    return header + body + event_hash, event_hash


def event_body(event: Event, usage_body: bytes | None, command_body: bytes | None, previous_hash: bytes) -> bytes:
    """Return the Avro body of an event up to, and without, its `hash`.

    `usage_body` and `command_body` are the bodies of the inputs it answers, copied as they are.
    """
    # taken apart by place: a look-up by name costs as much as writing what is found
    (
        seq,
        kind,
        event_id,
        account,
        account_seq,
        _usage,
        _command,
        digest,
        reason,
        detail,
        lines,
        amount,
        currency,
        before,
        after,
        effects,
        clock,
        late_window_days,
        positions,
        epoch,
    ) = event
    usage_topic, usage_offset = positions.usage
    command_topic, command_offset = positions.command
    catalogue_topic, catalogue_offset = positions.catalogue
    out = [
        _long(seq),
        _KIND_BYTES[kind],
        _string(event_id),
        _string(account),
        _long(account_seq),
        _NULL if usage_body is None else _PRESENT + usage_body,
        _NULL if command_body is None else _PRESENT + command_body,
        _NULL if digest is None else _PRESENT + _sha256(digest),
        _optional_repeated(reason),
        _optional_string(detail),
    ]
    if lines:
        out.append(_long(len(lines)))
        for line in lines:
            _put_line(out, line)
    out += (
        _END,
        _long(amount),
        _optional_repeated(currency),
        _long(before),
        _long(after),
    )
    _put_effects(out, effects)
    out += (
        _long(clock),
        _long(late_window_days),
        usage_topic,
        _long(usage_offset),
        command_topic,
        _long(command_offset),
        catalogue_topic,
        _long(catalogue_offset),
        _long(epoch),
        _sha256(previous_hash),
    )
    return b"".join(out)


def _put_line(out: list[bytes], line: Line) -> None:
    (
        rule,
        catalogue,
        plan,
        band,
        prefix,
        quantity,
        quantity_rounded,
        unit,
        allowance,
        allowance_used,
        unit_price,
        steps,
        amount,
        meter,
        quantity_before,
        quantity_after,
        sum_before,
        sum_after,
        connect_fee,
        minimum,
        maximum,
        discount,
        tax,
        rounding,
    ) = line
    out += (
        _repeated(rule),
        _repeated(catalogue),
        _repeated(plan),
        _optional_repeated(band),
        _optional_string(prefix),
        _long(quantity),
        _long(quantity_rounded),
        _repeated(unit),
        _optional_repeated(allowance),
        _long(allowance_used),
        _optional_repeated(unit_price),
    )
    if steps:
        out.append(_long(len(steps)))
        for from_, price, per, increment, increments, cost in steps:
            out += (
                _repeated(from_),
                _repeated(price),
                _repeated(per),
                _repeated(increment),
                _long(increments),
                _string(cost),
            )
    out += (
        _END,
        _long(amount),
        _optional_repeated(meter),
        _long(quantity_before),
        _long(quantity_after),
        _string(sum_before),
        _string(sum_after),
        _long(connect_fee),
        _optional_long(minimum),
        _optional_long(maximum),
        _optional_string(discount),
        _optional_string(tax),
        _optional_repeated(rounding),
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
            out += (_repeated(name), _optional_string(value))
    out.append(_END)


def record_body(usage: UsageRecord | AcceptedUsage) -> bytes:
    """Return the Avro body of a usage record, or of the usage record in an accepted one."""
    (
        record_id,
        source,
        sequence,
        service,
        direction,
        msisdn,
        imsi,
        imei,
        other_party,
        start_time,
        duration_ms,
        uplink,
        downlink,
        messages,
        answered,
        visited_plmn,
        cell,
        rating_group,
        session_id,
        partial_number,
        cause,
        retransmission,
    ) = usage[:RECORD_FIELDS_COUNT]
    return b"".join(
        (
            _string(record_id),
            _repeated(source),
            _NULL if sequence is None else _PRESENT + _long(sequence),
            _SERVICE_BYTES[service],
            _DIRECTION_BYTES[direction],
            _optional_string(msisdn),
            _optional_string(imsi),
            _optional_string(imei),
            _optional_string(other_party),
            _long(start_time),
            _long(duration_ms),
            _long(uplink),
            _long(downlink),
            _long(messages),
            b"\x01" if answered else b"\x00",
            _optional_repeated(visited_plmn),
            _optional_string(cell),
            _NULL if rating_group is None else _PRESENT + _long(rating_group),
            _optional_string(session_id),
            _NULL if partial_number is None else _PRESENT + _long(partial_number),
            _NULL if cause is None else _PRESENT + _long(cause),
            b"\x01" if retransmission else b"\x00",
        )
    )


def accepted_body(record_body: bytes, usage: AcceptedUsage) -> bytes:
    """Return an accepted record's body, given that of the usage record in it: it is followed by six fields more."""
    return b"".join(
        (
            record_body,
            _string(usage.account),
            _long(usage.received_at),
            _repeated(usage.source_topic),
            _long(usage.source_partition),
            _long(usage.source_offset),
            b"\x01" if usage.on_net else b"\x00",
        )
    )
