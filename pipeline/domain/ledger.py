"""The ledger: its events, the chain that binds them, and the fold that makes the state of them.

The fold interprets nothing. Every event carries the value *after* of each field it changed, so folding is storing the
last value of each; a newer release folds old events to the same bytes, and meaning lives in rating. It is one pure
function, used by the live path, by replay after a fault and by rebuild.

Field order is that of `schemas/audit_event.v1.avsc`; a test holds them together.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.domain.usage import AcceptedUsage

LAYOUT: Final = "1"
"""Version of the shape of the state's keys: another one in Redis means rebuild."""

LINES_MAX: Final = 1_000


class BoughtStep(NamedTuple):
    """Whole increments bought at one step: increments x price x increment / per, exact."""

    from_: str
    price: str
    per: str
    increment: str
    increments: int
    amount: str


class Line(NamedTuple):
    """How one priced part came to its amount; enough to recompute it with pencil and paper.

    Quantities are in ms, octets or messages; sums are exact micro-units, written `n` or `n/d`. The meter's sums stand
    before rounding: amount = round(sum after) - round(sum before).
    """

    rule: str
    catalogue: str
    plan: str
    band: str | None
    prefix: str | None
    quantity: int
    quantity_rounded: int
    unit: str
    allowance: str | None
    allowance_used: int
    unit_price: str | None
    steps: tuple[BoughtStep, ...]
    amount_micros: int
    meter: str | None
    meter_quantity_before: int
    meter_quantity_after: int
    meter_sum_before: str
    meter_sum_after: str
    connect_fee_micros: int
    minimum_micros: int | None
    maximum_micros: int | None
    discount: str | None
    tax: str | None
    rounding: str | None


def new_step(from_: str, price: str, per: str, increment: str, increments: int, amount: str) -> BoughtStep:
    """Return `BoughtStep(...)`; see `new_event`."""
    return tuple.__new__(BoughtStep, (from_, price, per, increment, increments, amount))


def new_line(
    rule: str,
    catalogue: str,
    plan: str,
    band: str | None,
    prefix: str | None,
    quantity: int,
    quantity_rounded: int,
    unit: str,
    allowance: str | None,
    allowance_used: int,
    unit_price: str | None,
    steps: tuple[BoughtStep, ...],
    amount_micros: int,
    meter: str | None,
    meter_quantity_before: int,
    meter_quantity_after: int,
    meter_sum_before: str,
    meter_sum_after: str,
    connect_fee_micros: int,
    minimum_micros: int | None,
    maximum_micros: int | None,
    discount: str | None,
    tax: str | None,
    rounding: str | None,
) -> Line:
    """Return `Line(...)`; see `new_event`."""
    fields = (
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
        amount_micros,
        meter,
        meter_quantity_before,
        meter_quantity_after,
        meter_sum_before,
        meter_sum_after,
        connect_fee_micros,
        minimum_micros,
        maximum_micros,
        discount,
        tax,
        rounding,
    )
    return tuple.__new__(Line, fields)


class SessionEffect(NamedTuple):
    """What changed of a session's meter, kept in a key of its own.

    `begins`: a new session; whatever its key held, of a session of the same id long ago, is gone.
    """

    key: str
    expires_day: int
    fields: dict[str, str | None]
    begins: bool = False


class SeenEffect(NamedTuple):
    """The two numbers added to the sets of an event day."""

    day: int
    bucket: int
    record: int
    content: int
    expires_day: int


class Effects(NamedTuple):
    """Every field of state that changed, with its value after."""

    account: dict[str, str | None]
    kept: dict[str, str]
    session: SessionEffect | None
    seen: SeenEffect | None


NO_EFFECTS: Final = Effects({}, {}, None, None)


def new_effects(
    account: dict[str, str | None], kept: dict[str, str], session: SessionEffect | None, seen: SeenEffect | None
) -> Effects:
    """Return `Effects(...)`; see `new_event`."""
    return tuple.__new__(Effects, (account, kept, session, seen))


def new_seen(day: int, bucket: int, record: int, content: int, expires_day: int) -> SeenEffect:
    """Return `SeenEffect(...)`; see `new_event`."""
    return tuple.__new__(SeenEffect, (day, bucket, record, content, expires_day))


class Position(NamedTuple):
    """The next offset of one input, and which topic it counts in."""

    topic_id: bytes
    offset: int


class Positions(NamedTuple):
    """Where a new owner goes on."""

    usage: Position
    command: Position
    catalogue: Position


def next_positions(before: Positions, usage_offset: int) -> Positions:
    """Return the positions after one more usage record; see `new_event`."""
    usage = tuple.__new__(Position, (before.usage.topic_id, usage_offset))
    return tuple.__new__(Positions, (usage, before.command, before.catalogue))


class Event(NamedTuple):
    """One fact of the ledger, but for `previous_hash` and `hash`, which the chain adds.

    `usage_body` is the accepted record's Avro body as it came in, copied unchanged into the event; `usage` is the same,
    read. `command` is the command's content by field name.
    """

    seq: int
    kind: str
    event_id: str
    account: str
    account_seq: int
    usage: AcceptedUsage | None
    command: dict[str, object] | None
    digest: bytes | None
    reason: str | None
    detail: str | None
    lines: tuple[Line, ...]
    amount_micros: int
    currency: str | None
    balance_before_micros: int
    balance_after_micros: int
    effects: Effects
    clock: int
    late_window_days: int
    positions: Positions
    epoch: int


def new_event(
    seq: int,
    kind: str,
    event_id: str,
    account: str,
    account_seq: int,
    usage: AcceptedUsage | None,
    command: dict[str, object] | None,
    digest: bytes | None,
    reason: str | None,
    detail: str | None,
    lines: tuple[Line, ...],
    amount_micros: int,
    currency: str | None,
    balance_before_micros: int,
    balance_after_micros: int,
    effects: Effects,
    clock: int,
    late_window_days: int,
    positions: Positions,
    epoch: int,
) -> Event:
    """Return `Event(...)`, four times as fast from compiled code: a named tuple's own constructor is interpreted."""
    fields = (
        seq,
        kind,
        event_id,
        account,
        account_seq,
        usage,
        command,
        digest,
        reason,
        detail,
        lines,
        amount_micros,
        currency,
        balance_before_micros,
        balance_after_micros,
        effects,
        clock,
        late_window_days,
        positions,
        epoch,
    )
    return tuple.__new__(Event, fields)


def genesis_hash(topic_id: str, partition: int) -> bytes:
    """Return the first `previous_hash`: SHA-256 of `<topic id>:<partition>`, so that no two ledgers begin alike."""
    return hashlib.sha256(f"{topic_id}:{partition}".encode()).digest()


def chain_hash(fingerprint: bytes, body: bytes) -> bytes:
    """Return an event's `hash`: SHA-256 of the schema's fingerprint and the Avro body before that field, as written.

    The body holds `previous_hash`, so each hash vouches for every event before it.
    """
    return hashlib.sha256(fingerprint + body).digest()


class Writes(NamedTuple):
    """What a run of events writes into the view: absolute values only, the last one of each; None removes."""

    first_seq: int
    last_seq: int
    head: dict[str, str]
    accounts: dict[str, dict[str, str | None]]
    kept: dict[str, dict[str, str]]
    sessions: dict[str, tuple[int, dict[str, str | None], bool]]
    """(last day, changes, whether the key is emptied first) by session"""
    seen: dict[tuple[int, int], tuple[int, list[int]]]


def head_fields(event: Event, event_hash: bytes) -> dict[str, str]:
    """Return the partition's own fields after this event: where it stands, and where its owner goes on."""
    positions = event.positions
    return {
        "seq": str(event.seq),
        "hash": event_hash.hex(),
        "layout": LAYOUT,
        "clock": str(event.clock),
        "late_window_days": str(event.late_window_days),
        "epoch": str(event.epoch),
        "usage": f"{positions.usage.topic_id.hex()}@{positions.usage.offset}",
        "command": f"{positions.command.topic_id.hex()}@{positions.command.offset}",
        "catalogue": f"{positions.catalogue.topic_id.hex()}@{positions.catalogue.offset}",
    }


def fold(events: Iterable[tuple[Event, bytes]]) -> Writes:
    """Fold a run of events (each with its hash) into the writes that bring the view from first_seq - 1 to last_seq.

    Pure, and total: whatever an event says happens to the state. Writing the result twice changes nothing, because all
    values are absolute. At least one event must be given.
    """
    accounts: dict[str, dict[str, str | None]] = {}
    kept: dict[str, dict[str, str]] = {}
    sessions: dict[str, tuple[int, dict[str, str | None], bool]] = {}
    seen: dict[tuple[int, int], tuple[int, list[int]]] = {}
    first_seq = 0
    last: tuple[Event, bytes] | None = None
    for event, event_hash in events:
        last = (event, event_hash)
        first_seq = first_seq or event.seq
        if event.account_seq:
            fields = accounts.setdefault(event.account, {})
            fields.update(event.effects.account)
            fields["balance"] = str(event.balance_after_micros)
            fields["seq"] = str(event.account_seq)
        effects = event.effects
        if effects.kept:
            kept.setdefault(event.account, {}).update(effects.kept)
        if effects.session is not None:
            session = effects.session
            _, values, emptied = sessions.get(session.key, (0, {}, False))
            if session.begins:
                values, emptied = {}, True
            values.update(session.fields)
            sessions[session.key] = (session.expires_day, values, emptied)
        if effects.seen is not None:
            mark = effects.seen
            _, numbers = seen.setdefault((mark.day, mark.bucket), (mark.expires_day, []))
            numbers += (mark.record, mark.content)
            seen[mark.day, mark.bucket] = (mark.expires_day, numbers)
    assert last is not None, "a fold of no events"
    return Writes(first_seq, last[0].seq, head_fields(*last), accounts, kept, sessions, seen)
