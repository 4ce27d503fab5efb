"""Ledger events to bytes and back; the chain is tied here, over the bytes as they are written.

An accepted record's body goes into its event as it came (an Avro record's encoding is that of its fields, one after
the other), so the ledger holds what was received to the byte, and no record is encoded twice.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pipeline.adapters.avro import (
    ACCEPTED_USAGE,
    ACCOUNT_COMMAND,
    AUDIT_EVENT,
    HASH_BYTES,
    HEADER_BYTES,
    Record,
    UndecodableError,
    write_body,
)
from pipeline.domain.ledger import (
    BoughtStep,
    Effects,
    Event,
    Line,
    Position,
    Positions,
    SeenEffect,
    SessionEffect,
    chain_hash,
)
from pipeline.domain.usage import AcceptedUsage
from pipeline.domain.wire import accepted_body, event_value, record_body
from pipeline.domain.wire_replay import read_bare_event, read_used_event
from pipeline.domain.wire_usage import WireError, read_accepted_usage

_LINE_FIELDS: Final = Line._fields
_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
_TIMES: Final = frozenset({"start_time", "received_at", "at", "plan_from", "from"})


class StoredEvent(NamedTuple):
    """An event as the ledger holds it, with its place in the chain."""

    event: Event
    previous_hash: bytes
    hash: bytes


def accepted_usage_of(data: bytes) -> tuple[AcceptedUsage, bytes]:
    """Read an accepted record, and its bare body; raises UnknownSchemaError or UndecodableError."""
    if data[:HEADER_BYTES] == ACCEPTED_USAGE.header:
        try:
            return read_accepted_usage(data, HEADER_BYTES), data[HEADER_BYTES:]
        except WireError as error:
            raise UndecodableError(str(error)) from None
    record = ACCEPTED_USAGE.decode(data)  # an older version, or nothing of ours
    return AcceptedUsage(**record), ACCEPTED_USAGE.encode(record)[HEADER_BYTES:]


def encode_event(event: Event, usage_body: bytes | None, previous_hash: bytes) -> tuple[bytes, bytes]:
    """Return (the event's value on the topic, its hash); `usage_body` is the accepted record's body, if it has one."""
    command = None if event.command is None else write_body(ACCOUNT_COMMAND, event.command)
    return event_value(AUDIT_EVENT.header, event, usage_body, command, previous_hash)


def usage_body_of(usage: AcceptedUsage) -> bytes:
    """Return the bare body of an accepted record."""
    return accepted_body(record_body(usage), usage)


def _tail(event: Event, previous_hash: bytes) -> Record:
    effects = event.effects
    positions = event.positions
    return {
        "digest": event.digest,
        "reason": event.reason,
        "detail": event.detail,
        "lines": [_line(line) for line in event.lines],
        "amount_micros": event.amount_micros,
        "currency": event.currency,
        "balance_before_micros": event.balance_before_micros,
        "balance_after_micros": event.balance_after_micros,
        "effects": {
            "account": effects.account,
            "kept": effects.kept,
            "session": None if effects.session is None else effects.session._asdict(),
            "seen": None if effects.seen is None else effects.seen._asdict(),
        },
        "clock": event.clock,
        "late_window_days": event.late_window_days,
        "positions": {
            "usage": {"topic_id": positions.usage.topic_id, "offset": positions.usage.offset},
            "command": {"topic_id": positions.command.topic_id, "offset": positions.command.offset},
            "catalogue": {"topic_id": positions.catalogue.topic_id, "offset": positions.catalogue.offset},
        },
        "epoch": event.epoch,
        "previous_hash": previous_hash,
    }


def _line(line: Line) -> Record:
    record: Record = dict(zip(_LINE_FIELDS, line, strict=True))
    record["steps"] = [
        {
            "from": step.from_,
            "price": step.price,
            "per": step.per,
            "increment": step.increment,
            "increments": step.increments,
            "amount": step.amount,
        }
        for step in line.steps
    ]
    return record


def decode_event(data: bytes) -> StoredEvent:
    """Read an event of any published version, strictly; raises UnknownSchemaError or UndecodableError.

    Says nothing about the chain: `expected_hash` does.
    """
    record = AUDIT_EVENT.decode(data)
    return StoredEvent(_event(record), record["previous_hash"], record["hash"])


def decode_used_event(data: bytes) -> Event:
    """Read an event with its record and what its lines gave and took; several times as fast as `decode_event`.

    The bytes must hash to the hash they end in: then they are what charge wrote. Raises UnknownSchemaError or
    UndecodableError.
    """
    AUDIT_EVENT.writer_of(data)
    event = _as_written(data, read_used_event)
    return decode_event(data).event if event is None else event


def decode_bare_event(data: bytes) -> StoredEvent:
    """Read what an event left behind, without its usage, command and lines; four times as fast as `decode_event`.

    The bytes must hash to the hash they end in; raises UnknownSchemaError or UndecodableError.
    """
    event = _as_written(data, read_bare_event)
    if event is None:
        event = decode_event(data).event._replace(usage=None, command=None, lines=())
    return StoredEvent(event, data[-2 * HASH_BYTES : -HASH_BYTES], data[-HASH_BYTES:])


def _as_written(data: bytes, read: Callable[[bytes, int], Event | None]) -> Event | None:
    """Read bytes that hash to the hash they end in; None where the event is of an older version, or a command's."""
    if len(data) < HEADER_BYTES + 2 * HASH_BYTES or data[-HASH_BYTES:] != expected_hash(data):
        raise UndecodableError("the bytes do not hash to the hash they end in")
    if data[:HEADER_BYTES] != AUDIT_EVENT.header:
        return None
    try:
        return read(data, HEADER_BYTES)
    except WireError as error:
        raise UndecodableError(str(error)) from None


def expected_hash(data: bytes) -> bytes:
    """Return the hash that an event's bytes must end in."""
    return chain_hash(data[2:HEADER_BYTES], data[HEADER_BYTES:-HASH_BYTES])


def _event(record: Record) -> Event:
    effects, positions = record["effects"], record["positions"]
    return Event(
        seq=record["seq"],
        kind=record["kind"],
        event_id=record["event_id"],
        account=record["account"],
        account_seq=record["account_seq"],
        usage=None if record["usage"] is None else AcceptedUsage(**record["usage"]),
        command=record["command"],
        digest=record["digest"],
        reason=record["reason"],
        detail=record["detail"],
        lines=tuple(
            Line(**{**line, "steps": tuple(BoughtStep(*step.values()) for step in line["steps"])})
            for line in record["lines"]
        ),
        amount_micros=record["amount_micros"],
        currency=record["currency"],
        balance_before_micros=record["balance_before_micros"],
        balance_after_micros=record["balance_after_micros"],
        effects=Effects(
            effects["account"],
            effects["kept"],
            None if effects["session"] is None else SessionEffect(**effects["session"]),
            None if effects["seen"] is None else SeenEffect(**effects["seen"]),
        ),
        clock=record["clock"],
        late_window_days=record["late_window_days"],
        positions=Positions(*(Position(p["topic_id"], p["offset"]) for p in positions.values())),
        epoch=record["epoch"],
    )


def iso_time(ms: int) -> str:
    """Write ms since 1970 as ISO 8601 in UTC with milliseconds; outside the years 1 to 9999 as the number it is.

    For there are such: a command's time is whatever its sender says, and the ledger keeps it.
    """
    if not _FIRST_MS <= ms <= _LAST_MS:
        return str(ms)
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19] + f".{ms % 1000:03d}Z"


def event_to_json(stored: StoredEvent) -> dict[str, Any]:
    """Return an event as JSON shows it: every field by its name, bytes as hex, times ISO 8601."""
    event = stored.event
    shown: dict[str, Any] = {
        "seq": event.seq,
        "kind": event.kind,
        "event_id": event.event_id,
        "account": event.account,
        "account_seq": event.account_seq,
        "usage": None if event.usage is None else _shown(event.usage._asdict()),
        "command": None if event.command is None else _shown(event.command),
        **_shown(_tail(event, stored.previous_hash)),
        "hash": stored.hash.hex(),
    }
    shown["detail"] = None if event.detail is None else json.loads(event.detail)
    shown["clock"] = iso_time(event.clock)
    return shown


def _shown(value: Any, name: str = "") -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: _shown(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if name in _TIMES and isinstance(value, int) and not isinstance(value, bool):
        return iso_time(value)
    return value
