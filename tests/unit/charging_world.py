"""A small operator to charge for: a tariff, records and commands, and a partition decided batch by batch."""

from collections.abc import Iterable, Mapping

from pipeline.adapters.avro import ACCOUNT_COMMAND
from pipeline.adapters.store import Need
from pipeline.adapters.store.memory import MemoryStore
from pipeline.domain.account import Account
from pipeline.domain.batch import CommandInput, Head, Input, State, UsageInput, named_event, needed, prepare
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import Event, Position, Positions, fold
from pipeline.domain.usage import DAY_MS, AcceptedUsage

NOW = 1_795_000_000_000  # 2026-11-18
OPENED = NOW - 200 * DAY_MS
WINDOW_DAYS = 35
PHONE = "+8613900000001"
USAGE_ID, COMMAND_ID, CATALOGUE_ID = b"u" * 16, b"c" * 16, b"k" * 16


def _rule(rule_id: str, match: dict[str, object], unit: str | None, price: str, **other: object) -> dict[str, object]:
    steps = [{"from": "0", "price": price, "per": "1", "increment": "1"}]
    rule = {
        "id": rule_id, "match": match, "rounding": None, "unit": unit, "round_up": None, "priority": 0, "free": False,
        "meter": "record", "connect_fee": "0", "maximum": None, "steps": steps,
    }  # fmt: skip
    return {**rule, **other}


_PRICES = [
    _rule("call", {"service": "VOICE", "direction": "MO", "to": "mobile"}, "min", "0.15"),
    _rule("data", {"service": "DATA"}, "MB", "0.29", meter="month"),
    _rule("sms", {"service": "SMS", "direction": "MO"}, "msg", "0.10"),
    # a session of games: the first ten events at 1.00, the next at 0.50, never more than 12.00
    _rule("game", {"service": "EVENT"}, "event", "1.00", meter="session", maximum="12.00", connect_fee="0.20",
          steps=[{"from": "0", "price": "1.00", "per": "1", "increment": "1"},
                 {"from": "10", "price": "0.50", "per": "1", "increment": "1"}]),
    # one message dearer than any balance may be
    _rule("gold", {"service": "MMS", "direction": "MO"}, "msg", "9000000000.00"),
]  # fmt: skip
_BUCKETS = [
    {"id": "talk", "match": {"service": "VOICE"}, "quantity": "30", "unit": "min", "every": "month",
     "valid_days": None, "priority": 10},
    {"id": "extra", "match": {"service": "VOICE"}, "quantity": "10", "unit": "min", "every": None,
     "valid_days": 30, "priority": 5},
]  # fmt: skip


def _plan(plan_id: str, **other: object) -> dict[str, object]:
    plan = {"id": plan_id, "valid_from": 0, "currency": None, "allowances": [], "prices": _PRICES}
    return {**plan, **other}


DOCUMENT: dict[str, object] = {
    "format": 1,
    "effective_from": 0,
    "operator": "Example",
    "currency": "CNY",
    "timezone": "Asia/Shanghai",
    "rounding": {"decimals": 2, "mode": "half_up"},
    "zones": {"mobile": {"prefixes": ["+8613", "+8615"]}},
    "networks": {"home": ["46001"]},
    "calendars": {},
    "bands": {},
    "offsets": [[-(10**15), 28800]],
    "plans": [
        _plan("basic", allowances=_BUCKETS),
        _plan("plain"),
        _plan("euro", currency="EUR"),
        _plan("later", valid_from=NOW + 1_000 * DAY_MS),
    ],
}
CATALOGUE = compile_catalogue(DOCUMENT)


def usage(record_id: str, **given: object) -> AcceptedUsage:
    """A record of account `a`: a call of one minute to a mobile, an hour ago, unless told otherwise."""
    service = given.get("service", "VOICE")
    record = {
        "record_id": record_id, "source": "msc1", "sequence": None, "service": service, "direction": "MO",
        "msisdn": PHONE, "imsi": None, "imei": None,
        "other_party": None if service == "DATA" else "+8613800000002",
        "start_time": NOW - 3_600_000, "duration_ms": 60_000 if service == "VOICE" else 0, "uplink_octets": 0,
        "downlink_octets": 1_000_000 if service == "DATA" else 0,
        "message_count": 0 if service in ("VOICE", "DATA") else 1, "answered": True, "visited_plmn": None, "cell": None,
        "rating_group": None, "session_id": None, "partial_number": None, "cause_for_closing": None,
        "retransmission": False, "account": "a", "received_at": NOW, "source_topic": "raw", "source_partition": 0,
        "source_offset": 0, "on_net": False,
    }  # fmt: skip
    unknown = given.keys() - record.keys()
    assert not unknown, f"no such field: {unknown}"
    return AcceptedUsage(**{**record, **given})


_COMMAND_FIELDS = [field["name"] for field in ACCOUNT_COMMAND.schema["fields"]]


def command(kind: str, command_id: str, **given: object) -> dict[str, object]:
    """A command of account `a`, sent now, with nothing that it is not told."""
    record: dict[str, object] = dict.fromkeys(_COMMAND_FIELDS)
    record |= {"type": kind, "command_id": command_id, "account": "a", "at": NOW, "actor": "test"}
    given = {name.rstrip("_"): value for name, value in given.items()}
    unknown = given.keys() - record.keys()
    assert not unknown, f"no such field: {unknown}"
    return {**record, **given}


def opening(account: str = "a", phone: str = PHONE, **given: object) -> dict[str, object]:
    """The command that opens an account long ago, with 100.00 on plan `plain`."""
    fields = {"currency": "CNY", "plan": "plain", "identities": ["msisdn-" + phone], "opening_balance": "100.00"}
    return command("open_account", f"open-{account}", **{"account": account, "at": OPENED, **fields, **given})


class World:
    """One ledger partition, decided by the real rules; its view is kept by the fold and held against their state."""

    def __init__(self, *, catalogues: Catalogues | None = None, late: bool = True, window_days: int = WINDOW_DAYS):
        self.store = MemoryStore()
        self.catalogues = catalogues or Catalogues([CATALOGUE])
        self.late = late
        self.events: list[Event] = []
        self.elsewhere: dict[str, int] = {}
        """accounts that belong to other partitions"""
        positions = Positions(Position(USAGE_ID, 0), Position(COMMAND_ID, 0), Position(CATALOGUE_ID, 1))
        self.head = Head(0, 0, 0, window_days, 1, positions)
        self._offsets = {True: 0, False: 0}

    def send(self, *things: AcceptedUsage | Mapping[str, object] | Input, broker_time: int = NOW) -> list[Event]:
        """Decide these as one batch; returns their events. Records and commands take the next offsets."""
        inputs = [self._input(thing, broker_time) for thing in things]
        prepared = prepare(inputs, self._named(inputs))
        wanted = Need(*needed(prepared))
        batch = Batch(self.head, state := self._load(wanted), self.catalogues, self._homes(wanted), late=self.late)
        decided = [batch.decide(item) for item in prepared]
        events = [item.event for item in decided]
        self.bindings = [binding for item in decided for binding in item.bindings]
        assert [event.seq for event in events] == list(range(self.head.seq + 1, self.head.seq + 1 + len(things)))
        self.store.apply(0, _hash(self.head.seq).hex(), fold((event, _hash(event.seq)) for event in events))
        self.head = batch.head
        self.events += events
        assert _known(state) == _known(self._load(wanted)), "the fold left another state than the rules did"
        return events

    def one(self, thing: AcceptedUsage | Mapping[str, object] | Input, broker_time: int = NOW) -> Event:
        """Decide one input in a batch of its own."""
        return self.send(thing, broker_time=broker_time)[0]

    def fields(self, account: str = "a") -> dict[str, str]:
        """The account's fields as the view has them."""
        return self.store.account(0, account)

    def balance(self, account: str = "a") -> int:
        return int(self.fields(account)["balance"])

    def _input(self, thing: AcceptedUsage | Mapping[str, object] | Input, broker_time: int) -> Input:
        if isinstance(thing, UsageInput | CommandInput):
            is_command = isinstance(thing, CommandInput)
            return thing._replace(offset=self._next(is_command=is_command))
        if isinstance(thing, AcceptedUsage):
            return UsageInput(self._next(is_command=False), thing, b"body", b"value", None)
        return CommandInput(self._next(is_command=True), thing, b"value", None, broker_time)

    def _next(self, *, is_command: bool) -> int:
        self._offsets[is_command] += 1
        return self._offsets[is_command] - 1

    def _named(self, inputs: Iterable[Input]) -> dict[str, Event]:
        names = [named_event(item.command) for item in inputs if isinstance(item, CommandInput) and item.command]
        by_id = {f"0-{event.seq}": event for event in self.events}
        return {name: by_id[name] for name in names if name in by_id}

    def _homes(self, wanted: Need) -> dict[str, int]:
        return {account: self.elsewhere.get(account, 0) for account in wanted.accounts}

    def _load(self, wanted: Need) -> State:
        loaded = self.store.load(0, int(self.store.head(0).get("seq", "0")), wanted)
        return State(
            {name: Account(name, fields) for name, fields in loaded.accounts.items()},
            loaded.kept,
            loaded.sessions,
            {(day, bucket, record) for (day, bucket, record, _), found in loaded.seen.items() if found[0]},
            {(day, bucket, content) for (day, bucket, _, content), found in loaded.seen.items() if found[1]},
        )


def _hash(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def _known(state: State) -> object:
    accounts = {
        name: {**account.fields, "balance": str(account.balance_micros), "seq": str(account.seq)}
        for name, account in state.accounts.items()
    }
    sessions = {key: fields for key, fields in state.sessions.items() if fields}
    return accounts, state.kept, sessions, state.seen_records, state.seen_contents
