"""Small ledgers in memory, right to the byte, for tests that break them."""

import hashlib

from consumers.audit.breach import Breach
from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from pipeline.adapters.avro import ACCOUNT_COMMAND
from pipeline.adapters.ledger_codec import encode_event, usage_body_of
from pipeline.adapters.store.dump import Dump, dump_memory
from pipeline.adapters.store.memory import MemoryStore
from pipeline.domain.ledger import (
    NO_EFFECTS,
    Effects,
    Event,
    Line,
    Position,
    Positions,
    SeenEffect,
    SessionEffect,
    fold,
    genesis_hash,
)
from pipeline.domain.usage import DAY_MS, AcceptedUsage, digest, seen_of

TOPIC_ID = "00112233445566778899aabbccddeeff"
USAGE_ID, COMMAND_ID, CATALOGUE_ID = b"u" * 16, b"c" * 16, b"k" * 16
START = 20_000 * DAY_MS
WINDOW_DAYS = 35


def usage_of(record_id: str, account: str = "a", start: int = START, offset: int = 0, **fields) -> AcceptedUsage:
    values = {
        "record_id": record_id, "source": "msc1", "sequence": None, "service": "VOICE", "direction": "MO",
        "msisdn": "+8613800000001", "imsi": None, "imei": None, "other_party": "+8613900000001", "start_time": start,
        "duration_ms": 60_000, "uplink_octets": 0, "downlink_octets": 0, "message_count": 0, "answered": True,
        "visited_plmn": None, "cell": None, "rating_group": None, "session_id": None, "partial_number": None,
        "cause_for_closing": None, "retransmission": False, "account": account, "received_at": start + 1_000,
        "source_topic": "charging.usage.received.v1", "source_partition": 0, "source_offset": offset, "on_net": False,
    }  # fmt: skip
    return AcceptedUsage(**{**values, **fields})


def command_of(kind: str, command_id: str, account: str = "a", **fields) -> dict[str, object]:
    names = [field["name"] for field in ACCOUNT_COMMAND.schema["fields"]]
    command = {"type": kind, "command_id": command_id, "account": account, "at": START, "actor": "test"}
    return {**dict.fromkeys(names), **command, **fields}


def line_of(amount_micros: int, allowance: str | None = None, allowance_used: int = 0) -> Line:
    return Line(
        "call", "cat1", "basic", None, None, 60_000, 60_000, "min", allowance, allowance_used, "0.10", (),
        amount_micros, None, 0, 60_000, "0", str(amount_micros), 0, None, None, None, None, "2 half_up",
    )  # fmt: skip


class LedgerMaker:
    """Writes right events one after the other; `events` may then be altered, and `values` ties the chain anew."""

    def __init__(self, partition: int = 0, epoch: int = 1) -> None:
        self.partition = partition
        self.epoch = epoch
        self.events: list[Event] = []
        self._accounts: dict[str, tuple[int, int]] = {}
        self._at = {"usage": 0, "command": 0}
        self._raw = partition * 1_000_000
        self._clock = 0

    def opened(self, account: str = "a", balance: int = 10_000_000, **fields: str) -> Event:
        changes = {"currency": "CNY", "status": "open", "plans": "basic@0", **fields}
        effects = Effects(changes, {"command:open": "00"}, None, None)
        command = command_of("open_account", f"open-{account}", account, opening_balance=str(balance))
        return self._add("ACCOUNT_CHANGED", account, balance, balance, effects, command=command, reason="opened")

    def topped_up(self, amount: int, reference: str = "r1", account: str = "a") -> Event:
        command = command_of("top_up", f"top-{reference}", account, amount=str(amount), reference=reference)
        effects = Effects({}, {f"reference:{reference}": str(amount)}, None, None)
        return self._add("TOPPED_UP", account, amount, amount, effects, command=command, reason="topped_up")

    def adjusted(self, amount: int, account: str = "a") -> Event:
        command = command_of("adjust", f"adjust-{len(self.events)}", account, amount=str(amount))
        return self._add("ADJUSTED", account, amount, amount, NO_EFFECTS, command=command, reason="adjusted")

    def charged(
        self,
        record_id: str,
        amount: int = 100_000,
        account: str = "a",
        start: int = START,
        session: SessionEffect | None = None,
        changes: dict[str, str | None] | None = None,
        lines: tuple[Line, ...] | None = None,
        **fields,
    ) -> Event:
        usage = usage_of(record_id, account, start, self._raw, **fields)
        self._raw += 1
        seen = SeenEffect(*seen_of(usage, digest(usage)), start // DAY_MS + 2 * WINDOW_DAYS)
        effects = Effects(changes if changes is not None else {"newest": str(start)}, {}, session, seen)
        lines = (line_of(amount),) if lines is None else lines
        return self._add("CHARGED", account, -amount, amount, effects, usage=usage, lines=lines)

    def answered(self, kind: str, reason: str, record_id: str, account: str = "a", **fields) -> Event:
        usage = usage_of(record_id, account, offset=self._raw, **fields)
        self._raw += 1
        return self._add(kind, account, 0, 0, NO_EFFECTS, usage=usage, reason=reason)

    def unread(self) -> Event:
        return self._add("REJECTED", "", 0, 0, NO_EFFECTS, moves="usage", reason="undecodable")

    def sealed(self, reason: str = "settings_changed") -> Event:
        return self._add("SEAL", "", 0, 0, NO_EFFECTS, moves=None, reason=reason)

    def _add(
        self, kind, account, change, amount, effects, *, usage=None, command=None, moves="", reason=None, lines=()
    ):
        seq, before = self._accounts.get(account, (0, 0))
        known = bool(seq) or reason == "opened"
        if known:
            seq += 1
            self._accounts[account] = (seq, before + change)
        moves = ("usage" if command is None else "command") if moves == "" else moves
        if moves:
            self._at[moves] += 1
        if usage is not None:
            self._clock = max(self._clock, usage.received_at)
        event = Event(
            seq=len(self.events) + 1,
            kind=kind,
            event_id=usage.record_id if usage else str(command["command_id"]) if command else "x",
            account=account,
            account_seq=seq,
            usage=usage,
            command=command,
            digest=None if usage is None else digest(usage),
            reason=reason,
            detail=None if kind == "CHARGED" else "{}",
            lines=lines,
            amount_micros=amount,
            currency="CNY" if known else None,
            balance_before_micros=before,
            balance_after_micros=before + change,
            effects=effects,
            clock=self._clock,
            late_window_days=WINDOW_DAYS,
            positions=Positions(
                Position(USAGE_ID, self._at["usage"]),
                Position(COMMAND_ID, self._at["command"]),
                Position(CATALOGUE_ID, 1),
            ),
            epoch=self.epoch,
        )
        self.events.append(event)
        return event

    @property
    def genesis(self) -> bytes:
        return genesis_hash(TOPIC_ID, self.partition)

    def encoded(self) -> list[tuple[bytes, bytes]]:
        """Every event's (value, hash), the chain tied over the events as they are now."""
        previous, values = self.genesis, []
        for event in self.events:
            body = None if event.usage is None else usage_body_of(event.usage)
            value, previous = encode_event(event, body, previous)
            values.append((value, previous))
        return values

    def values(self) -> list[bytes]:
        return [value for value, _ in self.encoded()]

    def view(self, upto: int | None = None) -> Dump:
        """The view that charge's own fold makes of the first events."""
        store = MemoryStore()
        folded = list(zip(self.events, (digest_ for _, digest_ in self.encoded()), strict=True))[:upto]
        if folded:
            store.apply(self.partition, "", fold(folded))
        return dump_memory(store, self.partition)

    def change(self, seq: int, **fields) -> None:
        """Alter one event; whoever ties the chain anew afterwards is a forger with all the keys."""
        self.events[seq - 1] = self.events[seq - 1]._replace(**fields)


def sample(partition: int = 0) -> LedgerMaker:
    """A ledger with every kind of event."""
    made = LedgerMaker(partition)
    made.opened()
    made.charged("r1")
    made.topped_up(5_000_000)
    made.answered("DUPLICATE", "duplicate", "r1")
    made.answered("REVIEW", "conflicting_copy", "r1", duration_ms=1)
    made.unread()
    made.sealed()
    session = SessionEffect("a:s1", START // DAY_MS + 70, {"p1": "60000 0", "day": str(START // DAY_MS)})
    made.charged("r2", 250_000, session=session)
    made.epoch = 2
    made.adjusted(-1_000)
    made.answered("REJECTED", "no_tariff", "r3")
    made.charged("r4", -50_000)
    return made


def audited(
    made: LedgerMaker,
    values: list[bytes | None] | None = None,
    *,
    view: Dump | None = None,
    partitions: int = 1,
    register: Register | None = None,
    today: int | None = None,
) -> Breach | None:
    """Audit a ledger whole: its partition, then the ids of all partitions entered so far."""
    register = register or Register()
    audit = PartitionAudit(made.partition, partitions, made.genesis, register, today=today, view=view)
    for offset, value in enumerate(made.values() if values is None else values):
        breach = audit.take(value, offset)
        if breach is not None:
            return breach
    return audit.close()


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def found(breach):
    return None if breach is None else (breach.seq, breach.invariant)


def moved(event, **offsets):
    positions = event.positions
    ids = {"usage": USAGE_ID, "command": COMMAND_ID}
    return positions._replace(**{name: Position(ids[name], at) for name, at in offsets.items()})
