"""Every decoder with the promise it makes of any bytes at all; whatever a target raises is a finding.

Each takes one input and returns whether it was accepted. What is accepted lies within the contract's bounds and is
written again as the same bytes, where there is one way to write it; what is refused is refused by the decoder's own
value or error, never by another.
"""

import json
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import charging_world

from pipeline import topics
from pipeline.adapters import catalogue, catalogue_deck, catalogue_deck_import, command_json, formats
from pipeline.adapters.avro import (
    ACCEPTED_USAGE,
    ACCOUNT_COMMAND,
    CONTRACTS,
    USAGE_RECORD,
    Contract,
    UndecodableError,
    UnknownSchemaError,
)
from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.directory import Directory
from pipeline.adapters.formats.usage_json import usage_from_json, usage_to_json
from pipeline.adapters.kafka.client import Fetched
from pipeline.adapters.kafka.dead_letters import dead_letter_of
from pipeline.adapters.ledger_codec import accepted_usage_of, decode_event, event_to_json, expected_hash
from pipeline.adapters.memory_broker import MemoryBroker, MemoryPartition
from pipeline.adapters.registry import Registry, RegistryUnreachableError
from pipeline.adapters.store.memory import MemoryStore
from pipeline.adapters.usage_codec import UsageDecoder, encode_accepted
from pipeline.charge.owner import Owner
from pipeline.domain.catalogue import canonical_bytes
from pipeline.domain.mediation import (
    HEADERS_BYTES_MAX,
    Accepted,
    MediationRules,
    RawRecord,
    accepted_headers,
    dead_letter_headers,
    mediate,
)
from pipeline.domain.numbers import NumberRules
from pipeline.domain.outcome import ANSWER_REASONS, DEAD_LETTER_REASONS, Refusal
from pipeline.domain.usage import (
    DURATION_MS_MAX,
    INT_MAX,
    OCTETS_MAX,
    RECORD_BYTES_MAX,
    START_TIME_MAX,
    STRING_BYTES_MAX,
    AcceptedUsage,
    UsageRecord,
    is_e164,
    is_imsi,
    is_short_code,
)
from pipeline.settings import ChargeSettings, Settings

NOW: Final = charging_world.NOW
BROKEN: Final = (UndecodableError, UnknownSchemaError)


class Target(NamedTuple):
    """A decoder: valid inputs to begin with, what to do with one, whether they are text, and how many a second."""

    seeds: tuple[bytes, ...]
    run: Callable[[bytes], bool]
    text: bool
    weight: int
    """its share of the inputs: what is fast gets more"""


# --- what lies on the topics ---


def _usages() -> list[AcceptedUsage]:
    whole = {
        "sequence": 7, "imsi": "460010000000001", "imei": "350000000000001", "visited_plmn": "20801", "cell": "é",
        "rating_group": 5, "session_id": "s", "partial_number": 1, "cause_for_closing": 0, "retransmission": True,
    }  # fmt: skip
    made = charging_world.usage
    return [
        made("r1"), made("r2", **whole), made("r3", service="DATA"), made("r4", service="SMS", other_party="10086"),
        made("r5", service="EVENT", session_id="s", partial_number=2), made("r6", service="MMS", direction="MT"),
        made("r7", answered=False, msisdn=None, imsi="460010000000001"),
    ]  # fmt: skip


def _commands() -> list[dict[str, Any]]:
    made = charging_world.command
    return [
        charging_world.opening("b", "+8613900000002"),
        made("top_up", "t1", amount="10.00", reference="ref"), made("adjust", "a1", amount="-1", reason="x"),
        made("adjust", "a2", amount="0.10", reason="x", charge_id="0-2"), made("set_budget", "b1", amount="5", thresholds=[50]),
        made("change_plan", "p1", plan="basic", from_=NOW), made("add_allowance", "l1", allowance="extra"),
        made("add_identity", "i1", identity="msisdn-+8613900000003"), made("begin_period", "m1", period="2026-11"),
        made("remove_identity", "i2", identity="msisdn-" + charging_world.PHONE), made("suspend", "s1", reason="x"),
        made("settle_review", "v1", review="0-2", decision="charge", reason="x"), made("close", "c1", reason="x"),
        made("hold", "h1", amount="1", case="c"), made("resume", "s2", reason="x"),
    ]  # fmt: skip


def _fresh() -> tuple[MemoryBroker, Owner]:
    """Return a partition with one account that is open, and its owner."""
    broker, store = MemoryBroker(), MemoryStore()
    broker.versions.append(charging_world.CATALOGUE)
    _send_command(broker, ACCOUNT_COMMAND.encode(charging_world.opening()), NOW - 10)
    owner = Owner(0, 1, MemoryPartition(broker, 0), store, ChargeSettings())
    owner.take_over()
    assert owner.step() == 1
    return broker, owner


@lru_cache(1)
def _events() -> tuple[bytes, ...]:
    broker, owner = _fresh()
    for usage in _usages():
        _send_usage(broker, ACCEPTED_USAGE.encode(usage._asdict()))
    for command in _commands()[1:]:
        _send_command(broker, ACCOUNT_COMMAND.encode(command))
    while owner.step():
        pass
    return _ledger(broker)


def _send_usage(broker: MemoryBroker, value: bytes) -> None:
    broker.append(topics.USAGE_ACCEPTED.name, 0, None, value)


def _send_command(broker: MemoryBroker, value: bytes, time_ms: int = NOW) -> None:
    broker.append(topics.ACCOUNT_COMMAND.name, 0, None, value, time_ms=time_ms)


def _ledger(broker: MemoryBroker) -> tuple[bytes, ...]:
    return tuple(entry.value for entry in broker.logs[topics.AUDIT.name, 0].entries if entry.value is not None)


def _seeds_of(name: str) -> tuple[bytes, ...]:
    bare = [UsageRecord._make(usage[: len(UsageRecord._fields)]) for usage in _usages()]
    binding = {
        "identity": "msisdn-+8613900000001",
        "account": "a",
        "spans": [{"from": 0, "to": None}, {"from": 5, "to": 9}],
    }
    alert = {
        "alert_id": "x", "state": "open", "detector": "irsf", "severity": "info", "object": "account-a", "account": "a",
        "opened_at": NOW, "window": "PT1H", "score": "1.5", "record_ids": ["r1"], "charge_ids": [], "detail": "{}",
        "action": "",
    }  # fmt: skip
    document = canonical_bytes(charging_world.DOCUMENT).decode()
    made: dict[str, list[dict[str, Any]]] = {
        "usage_record": [usage._asdict() for usage in bare],
        "accepted_usage": [usage._asdict() for usage in _usages()],
        "account_command": _commands(),
        "subscriber_binding": [binding],
        "catalogue_version": [{"hash": "h", "effective_from": 0, "published_at": 0, "document": document[:300]}],
        "alert": [alert],
    }
    if name == "audit_event":
        return _events()
    return tuple(CONTRACTS[name].encode(value) for value in made[name])


def _avro(contract: Contract) -> Callable[[bytes], bool]:
    def run(data: bytes) -> bool:
        try:
            record = contract.decode(data)
        except BROKEN:
            return False
        assert contract.encode(record) == data, "another encoding"
        _within(contract.schema, record)
        return True

    return run


def _within(schema: Any, value: Any) -> None:
    """Hold every number against the type that its schema gives it."""
    if isinstance(schema, list):
        present = [branch for branch in schema if branch != "null"]
        if value is not None and len(present) == 1:
            _within(present[0], value)
        return
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "int":
        assert -INT_MAX - 1 <= value <= INT_MAX, "an int of more than 32 bits"
    elif kind == "array":
        for item in value:
            _within(schema["items"], item)
    elif kind == "record":
        for field in schema["fields"]:
            _within(field["type"], value[field["name"]])


def _usage(data: bytes) -> bool:
    """A probe's bytes through decoder and mediation: accepted within the contract's bounds, or a dead letter."""
    decoder = _DECODER if data[:1] == b"\0" else _PLAIN
    outcome = mediate(RawRecord("raw", 0, 0, NOW, None, data, ()), decoder.decode(data), _DIRECTORY, _RULES)
    if not isinstance(outcome, Accepted):
        assert outcome.refusal.reason in DEAD_LETTER_REASONS
        dead_letter_headers(outcome)
        return False
    usage = outcome.usage
    _in_bounds(usage, data)
    value = encode_accepted(usage, data if outcome.as_sent else None)
    again, body = accepted_usage_of(value)
    assert again == usage
    assert value.endswith(body)
    assert ACCEPTED_USAGE.decode(value) == usage._asdict()
    return True


def _in_bounds(usage: AcceptedUsage, data: bytes) -> None:
    assert len(data) <= RECORD_BYTES_MAX
    assert all(len(v.encode()) <= STRING_BYTES_MAX for v in usage[:22] if isinstance(v, str))
    assert usage.record_id
    assert usage.account == "a"
    assert 0 <= usage.duration_ms <= DURATION_MS_MAX
    assert 0 <= usage.start_time <= min(START_TIME_MAX, NOW + 300_000)
    assert usage.uplink_octets >= 0 <= usage.downlink_octets
    assert usage.uplink_octets + usage.downlink_octets <= OCTETS_MAX
    assert 0 <= usage.message_count <= INT_MAX
    assert usage.msisdn is not None or usage.imsi is not None
    assert usage.msisdn is None or is_e164(usage.msisdn)
    assert usage.imsi is None or is_imsi(usage.imsi)
    assert usage.other_party is None or is_e164(usage.other_party) or is_short_code(usage.other_party)


_RULES: Final = MediationRules(NumberRules("86", "0", "00", 8), 300_000, trust_replayed_received_at=True)
_DIRECTORY: Final = Directory()
_DIRECTORY.bind("msisdn-" + charging_world.PHONE, "a", [(0, None)])
_DIRECTORY.bind("imsi-460010000000001", "a", [(0, None)])
_PLAIN: Final = UsageDecoder()
_REGISTRY: Final = Registry("http://127.0.0.1:9", 1, USAGE_RECORD)
_REGISTRY._fingerprints[1] = USAGE_RECORD.fingerprint
_DECODER: Final = UsageDecoder(_REGISTRY)


def _accepted(data: bytes) -> bool:
    """The reader written by hand and the library give one verdict and one record."""
    try:
        usage, body = accepted_usage_of(data)
    except BROKEN:
        usage = None
    try:
        record = ACCEPTED_USAGE.decode(data)
    except BROKEN:
        record = None
    assert (usage is None) == (record is None), "one reads it and the other does not"
    if usage is None:
        return False
    assert usage._asdict() == record
    assert ACCEPTED_USAGE.header + body == data
    return True


def _event(data: bytes) -> bool:
    """An event of the ledger."""
    try:
        stored = decode_event(data)
    except BROKEN:
        return False
    expected_hash(data)
    assert len(stored.hash) == 32
    return True


def _charge(data: bytes) -> bool:
    """Bytes on an input of charge: one event each, never a fault, and the event can be shown. First byte: which input."""
    broker, owner = _fresh()
    if data[:1] == b"c":
        _send_command(broker, data[1:])
    else:
        _send_usage(broker, data[1:])
    assert owner.step() == 1
    value = _ledger(broker)[-1]
    assert value is not None
    stored = decode_event(value)
    event = stored.event
    assert expected_hash(value) == stored.hash
    assert event.seq == 2
    assert event.reason is None or event.reason in ANSWER_REASONS
    assert event.reason != "fault", f"the core failed: {event.detail}"
    json.dumps(event_to_json(stored))
    return event.kind not in {"REJECTED", "REVIEW"}


def _row(data: bytes) -> bool:
    """A row of the directory: its key up to the first line feed."""
    key, _, value = data.partition(b"\n")
    try:
        Directory().apply(key, value or None)
    except ValueError:
        return False
    return True


def _headers(data: bytes) -> bool:
    """Headers of a raw record and of a dead letter, one a line."""
    pairs = [line.partition(b"=") for line in data.split(b"\n")]
    headers = tuple((name.decode("utf-8", "replace"), value if found else None) for name, found, value in pairs)
    raw = RawRecord("raw", 0, 0, NOW, None, _CALL, headers)
    outcome = mediate(raw, _PLAIN.decode(_CALL), _DIRECTORY, _RULES)
    assert isinstance(outcome, Accepted)
    assert 0 <= outcome.usage.received_at <= NOW
    kept = accepted_headers(outcome)
    assert sum(len(name) + len(value or b"") for name, value in kept) <= HEADERS_BYTES_MAX
    letter = mediate(raw, Refusal("undecodable", {}), _DIRECTORY, _RULES)
    assert not isinstance(letter, Accepted)
    ours = dead_letter_headers(letter)
    said = [name for name, _ in ours]
    assert said.count("reason") == said.count("received_at") == 1
    dead_letter_of(Fetched("dlq", 0, 0, NOW, None, data, ours))
    dead_letter_of(Fetched("dlq", 0, 0, NOW, None, data, headers))
    return bool(kept)


def _registry(data: bytes) -> bool:
    """A registry's answer."""
    try:
        return _REGISTRY.read_answer(data) is not None
    except RegistryUnreachableError:
        return False


# --- what lies in files ---


def _lines(format_name: str) -> Callable[[bytes], bool]:
    def run(data: bytes) -> bool:
        found = list(formats.read(format_name, data.splitlines(keepends=True)))
        for item in found:
            if isinstance(item, formats.Unreadable):
                assert item.reason in DEAD_LETTER_REASONS
                json.dumps(item.detail, ensure_ascii=False).encode()
                continue
            assert USAGE_RECORD.decode(USAGE_RECORD.encode(item._asdict())) == item._asdict()
            if 0 <= item.start_time <= START_TIME_MAX:
                assert usage_from_json(json.loads(json.dumps(usage_to_json(item)))) == item
        return any(isinstance(item, UsageRecord) for item in found)

    return run


def _detect(data: bytes) -> bool:
    try:
        assert formats.detect_format(".csv", data) in formats.FORMATS
    except formats.FormatError:
        return False
    return True


def _zone(data: bytes) -> bool:
    try:
        list(formats.read("asterisk", [_ROW], data.decode("utf-8", "replace")))
    except formats.FormatError:
        return False
    return True


def _command(data: bytes) -> bool:
    """A command as it is typed: read, written to its topic and read again."""
    accepted = False
    for item in command_json.read_commands(data.split(b"\n")):
        if isinstance(item, command_json.Unreadable):
            assert item.refusal.reason in ANSWER_REASONS
            json.dumps(item.refusal.detail, ensure_ascii=False).encode()
            continue
        _, record = item
        assert ACCOUNT_COMMAND.decode(ACCOUNT_COMMAND.encode(record)) == record
        again = command_json.command_from_json(json.loads(json.dumps(command_json.command_to_json(record))))
        assert again == record
        accepted = True
    return accepted


_FOLDER: Final = Path(
    tempfile.mkdtemp(prefix="chargeline-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
)


def _yaml(data: bytes) -> bool:
    """A catalogue directory of one file, and a deck beside it."""
    (_FOLDER / "tariff.yaml").write_bytes(data)
    deck = _FOLDER / "decks"
    deck.mkdir(exist_ok=True)
    (deck / "world.csv").write_text("prefix,rate\n+1,0.10\n+44,0.20\n")
    try:
        loaded = catalogue.load_directory(_FOLDER)
    except catalogue.CatalogueRefused as refused:
        told = str(refused)
    else:
        told = ""
    if told.encode():
        return False
    document = loaded.document(5)
    compiled = catalogue.compile(document)
    assert catalogue.compile(json.loads(canonical_bytes(document))).hash == compiled.hash
    return True


def _deck(data: bytes) -> bool:
    path = _FOLDER / "deck.csv"
    path.write_bytes(data)
    reader = Reader()
    rows = catalogue_deck.read_deck(path, "deck.csv", reader)
    str([str(problem) for problem in reader.problems]).encode()
    assert all(catalogue_deck.PREFIX.fullmatch(str(row[0])) for row in rows)
    return bool(rows)


def _price_list(data: bytes) -> bool:
    """A deck of another system: what is taken over reads again as a deck of ours."""
    path = _FOLDER / "list.csv"
    path.write_bytes(data)
    imported = catalogue_deck_import.import_deck(path)
    if imported.problems or not imported.rows:
        return False
    path.write_text(catalogue_deck_import.deck_text(imported), encoding="utf-8", newline="")
    reader = Reader()
    rows = catalogue_deck.read_deck(path, "list.csv", reader)
    assert not reader.problems, [str(problem) for problem in reader.problems]
    assert [row[0] for row in rows] == [row[0] for row in imported.rows]
    return True


def _settings(data: bytes) -> bool:
    """A settings file."""
    path = _FOLDER / "chargeline.toml"
    path.write_bytes(data)
    os.environ["CHARGELINE_CONFIG"] = str(path)
    try:
        Settings()
    except ValueError:  # pydantic's and TOML's own are both of this kind
        return False
    finally:
        del os.environ["CHARGELINE_CONFIG"]
    return True


_CALL: Final = _seeds_of("usage_record")[0]
_ROW: Final = (
    b'"","13900000001","13800000002","ctx","""A"" <1>","SIP/1","SIP/2","Dial","x","2026-10-01 08:00:00",'
    b'"2026-10-01 08:00:05","2026-10-01 08:01:00",60,55,"ANSWERED","DOCUMENTATION","1.1",""'
)
_JSON: Final = tuple(json.dumps(usage_to_json(UsageRecord._make(usage[:22]))).encode() for usage in _usages())
_SAMPLE: Final = Path(__file__).resolve().parents[2] / "deploy" / "sample" / "catalogue"


def _tariffs() -> tuple[bytes, ...]:
    small = (
        b"currency: CNY\ntimezone: Asia/Shanghai\nzones: {w: {file: decks/world.csv}, m: {prefixes: ['+8613']}}\n"
        b"calendars: {cn: {holidays: ['2026-10-01'], workdays: ['2026-10-10']}}\n"
        b"bands: {peak: {calendar: cn, days: [mon], from: '08:00', to: '20:00'}}\nnetworks: {eu: ['20801']}\n"
        b"plans:\n- id: p\n  valid_from: '2026-01-01T00:00:00+08:00'\n  fee: {amount: '19.00', every: month}\n"
        b"  tax: {rate: '6', included: true}\n  caps: [{id: c, every: day, amount: '5'}]\n"
        b"  discounts: [{id: d, percent: '10', from: '2026-01-01T00:00:00Z'}]\n"
        b"  allowances: [{id: v, service: VOICE, quantity: 100, unit: min, every: month, rollover: true}]\n"
        b"  prices:\n  - {id: a, match: {service: VOICE, direction: MO, to: w}, unit: min, steps: [{price: deck}]}\n"
        b"  - {id: b, match: {service: DATA}, unit: MB, meter: day, maximum: '3', round_up: {to: 1, unit: kB},\n"
        b"     steps: [{from: 0, price: '0.1', per: 1, increment: 1}, {from: 5, price: '0.05'}]}\n"
        b"  - {id: t, match: {service: VOICE, direction: MT}, free: true}\n"
    )
    aliases = b"currency: CNY\ntimezone: UTC\nx: &a [1, 1]\ny: &b [*a, *a]\nplans: [{id: p, prices: [{id: &r a, match: *r}]}]\n"
    return small, aliases, (_SAMPLE / "plan-basic.yaml").read_bytes()


def broken(data: bytes) -> bool:
    """Fails for what begins with `ab`: no decoder, but what the engines are tried on."""
    if data[:1] == b"a" and data[1:2] == b"b":
        raise ZeroDivisionError
    return False


TARGETS: Final[dict[str, Target]] = {
    **{f"avro-{name}": Target(_seeds_of(name), _avro(contract), False, 8) for name, contract in CONTRACTS.items()},
    "usage": Target(_seeds_of("usage_record"), _usage, False, 24),
    "usage-framed": Target(
        tuple(b"\0\0\0\0\1" + value[10:] for value in _seeds_of("usage_record")), _usage, False, 8
    ),
    "accepted": Target(_seeds_of("accepted_usage"), _accepted, False, 16),
    "event": Target(_events(), _event, False, 4),
    "charge-usage": Target(tuple(b"u" + value for value in _seeds_of("accepted_usage")), _charge, False, 1),
    "charge-command": Target(tuple(b"c" + value for value in _seeds_of("account_command")), _charge, False, 1),
    "directory-row": Target(
        (b"msisdn-+8613900000001|a\n" + _seeds_of("subscriber_binding")[0], b"imsi-460010000000001|a\n"), _row, False, 8
    ),
    "headers": Target(
        (b"traceparent=00-1\nce_id=x\nreceived_at=1790000000000\nreason=late\nempty", b"ce_x=" + b"y" * 2_000),
        _headers, True, 8,
    ),
    "registry": Target(
        (json.dumps({"schema": json.dumps(USAGE_RECORD.schema)}).encode(), b'{"schema": "\\"int\\"", "schemaType": "JSON"}'),
        _registry, True, 4,
    ),
    "usage-json": Target(_JSON, _lines("json"), True, 8),
    "usage-asterisk": Target((_ROW, _ROW + b"\n" + _ROW), _lines("asterisk"), True, 8),
    "detect-format": Target((_ROW, _JSON[0]), _detect, True, 8),
    "time-zone": Target((b"Asia/Shanghai", b"UTC", b"America/Argentina/Ushuaia"), _zone, True, 1),
    "command-json": Target(
        tuple(json.dumps(command_json.command_to_json(command)).encode() for command in _commands()), _command, True, 8
    ),
    "settings": Target(
        (b'data_dir = "/tmp/x"\nlog_level = "info"\n[kafka]\nbootstrap_servers = "b:9092"\nledger_partitions = 8\n',),
        _settings, True, 1,
    ),
    "catalogue": Target(_tariffs(), _yaml, True, 1),
    "deck": Target((b"prefix,rate,connect_fee,first,next\n+1,0.10,,60,1\n10086,0,0.5,,\n",), _deck, True, 4),
    "price-list": Target(
        (b"dialprefix;rateinitial;connectcharge;initblock;billingblock\n44;0,10;0;60;1\n1-9;0.2;;;\n", b"code,rate\n+1,2\n"),
        _price_list, True, 4,
    ),
}  # fmt: skip
"""Name to target."""
