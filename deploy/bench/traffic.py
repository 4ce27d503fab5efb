"""The benchmark's operator: its tariffs, its accounts, and what they do; the same seed makes the same."""

import random
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.adapters.avro import ACCOUNT_COMMAND, USAGE_RECORD
from pipeline.domain.usage import DAY_MS, UsageRecord

REALISTIC: Final = "realistic"
FLAT: Final = "flat"
PLANS: Final = (REALISTIC, FLAT)
PLAN: Final = "basic"
DECK_PREFIXES: Final = 12_000
DAYS_BACK: Final = 3
OPENED_DAYS_AGO: Final = 40
REPEATED: Final = 0.02
"""of the records: a copy of one that was sent shortly before, unchanged"""
FAMILY_EVERY: Final = 10
FAMILY_LINES: Final = 4
"""one account in ten is a family: so many lines draw on the same balance"""
_REPEATED_WITHIN: Final = 500
_COUNTRIES: Final = tuple(code for code in range(20, 99) if code != 86)
_COMMAND_FIELDS: Final = (
    *("currency", "plan", "identities", "opening_balance", "credit_limit", "plan_from", "identity", "amount"),
    *("reference", "reason", "charge_id", "from", "allowance", "thresholds", "period", "review", "decision", "case"),
)

KINDS: Final = {
    "call": 24,
    "call-on-net": 6,
    "call-world": 5,
    "call-missed": 3,
    "call-short-code": 1,
    "call-in": 10,
    "data": 26,
    "data-stream": 6,
    "data-own-app": 2,
    "sms": 8,
    "sms-in": 3,
    "sms-world": 1,
    "mms": 1,
    "event": 2,
    "roam-call": 1,
    "roam-data": 1,
}
"""What subscribers do, in per cent."""
assert sum(KINDS.values()) == 100


class Line(NamedTuple):
    """A number of an account."""

    account: str
    msisdn: str
    imsi: str


class Outgoing(NamedTuple):
    """A raw record as a probe sends it: keyed by its subscriber."""

    key: bytes
    value: bytes


def account_name(number: int) -> str:
    """Return the name of the n-th account."""
    return f"acc-{number:08d}"


def lines_of(number: int) -> int:
    """Return how many lines the n-th account has."""
    return FAMILY_LINES if number % FAMILY_EVERY == 0 else 1


def line(number: int, index: int) -> Line:
    """Return a line of the n-th account."""
    subscriber = number * FAMILY_LINES + index
    return Line(account_name(number), f"+86139{subscriber:08d}", f"46099{subscriber:010d}")


def opening(number: int, now_ms: int) -> bytes:
    """Return the command that opens the n-th account."""
    name = account_name(number)
    lines = [line(number, index) for index in range(lines_of(number))]
    command: dict[str, object] = dict.fromkeys(_COMMAND_FIELDS)
    command |= {
        "type": "open_account",
        "command_id": f"open-{name}",
        "account": name,
        "at": now_ms - OPENED_DAYS_AGO * DAY_MS,
        "actor": "service-bench",
        "currency": "CNY",
        "plan": PLAN,
        "identities": [identity for of in lines for identity in (f"msisdn-{of.msisdn}", f"imsi-{of.imsi}")],
        "opening_balance": "1000.00",
    }
    return ACCOUNT_COMMAND.encode(command)


def write_catalogue(directory: Path, plans: str, deck: int = DECK_PREFIXES, allowances: int | None = None) -> None:
    """Write a catalogue: `deck` prefixes where the plans are realistic, and as many allowances as is said."""
    with as_file(files("deploy.bench") / "catalogue" / plans / "bench.yaml") as source:
        text = source.read_text()
    if allowances is not None:
        text = _with_allowances(text, allowances)
    (directory / "decks").mkdir(parents=True)
    (directory / "bench.yaml").write_text(text)
    if plans == REALISTIC:
        rows = [f"{prefix},{rate}" for prefix, rate in _deck(deck)]
        (directory / "decks" / "world.csv").write_text("\n".join(["prefix,rate", *rows]) + "\n")


def _with_allowances(text: str, count: int) -> str:
    """Replace a plan's allowances by so many small ones of voice and data in turn, drawn on one after the other."""
    kept = [row for row in text.splitlines() if "{id: basic-" not in row]
    at = next(n for n, row in enumerate(kept) if row.strip().startswith("allowances:"))
    if not count:
        return "\n".join(kept[:at] + kept[at + 1 :]) + "\n"
    sizes = (("voice", "VOICE, to: cn", "2, unit: min"), ("data", "DATA", "5, unit: MB"))
    made = []
    for n in range(count):
        name, match, quantity = sizes[n % 2]
        made.append(
            f"      - {{id: basic-{name}-{n}, service: {match}, quantity: {quantity}, every: month, priority: {n}}}"
        )
    return "\n".join([*kept[: at + 1], *made, *kept[at + 1 :]]) + "\n"


def _deck(count: int) -> list[tuple[str, str]]:
    """Return so many prefixes with their rates: each country, then its areas, as a carrier's deck has them."""
    chance = random.Random(count)  # noqa: S311 - a made-up deck, the same every time
    prefixes = [f"+{code}" for code in _COUNTRIES]
    digits = 1
    while len(prefixes) < count:
        areas = [f"+{code}{area:0{digits}d}" for area in range(10**digits) for code in _COUNTRIES]
        prefixes += areas[: count - len(prefixes)]
        digits += 1
    return [(prefix, f"{chance.randrange(5, 300) / 100:.2f}") for prefix in prefixes[:count]]


def traffic(name: str, records: int, accounts: int, now_ms: int) -> list[Outgoing]:
    """Return so many raw records of what the accounts did in the last days, 2 % of them repeats.

    `name` goes into the ids and the seed: what was sent under another name is other traffic.
    """
    made = _Traffic(name, accounts, now_ms)
    sent: list[Outgoing] = []
    for number in range(records):
        if sent and made.chance.random() < REPEATED:
            sent.append(sent[-1 - made.chance.randrange(min(len(sent), _REPEATED_WITHIN))])
        else:
            sent.append(made.record(number))
    return sent


def record_id(name: str, number: int) -> str:
    """Return the id of the n-th record of this name."""
    return f"bench-{name}-{number:09d}"


def number_of(identifier: str) -> int:
    """Return which record of its name an id is of."""
    return int(identifier.rpartition("-")[2])


class _Traffic:
    def __init__(self, name: str, accounts: int, now_ms: int) -> None:
        self.chance = random.Random(name)  # noqa: S311 - traffic, the same every time
        self._name = name
        self._accounts = accounts
        self._now_ms = now_ms
        self._kinds, self._shares = list(KINDS), list(KINDS.values())
        self._deck = [prefix for prefix, _ in _deck(DECK_PREFIXES)]

    def record(self, number: int) -> Outgoing:
        chance = self.chance
        account = chance.randrange(self._accounts)
        of = line(account, chance.randrange(lines_of(account)))
        kind = chance.choices(self._kinds, self._shares)[0]
        base = dict.fromkeys(UsageRecord._fields)
        fields: dict[str, object] = {
            **base,
            "record_id": record_id(self._name, number),
            "source": f"probe-{number % 4}",
            "sequence": number,
            "service": "VOICE",
            "direction": "MT" if kind.endswith("-in") else "MO",
            "msisdn": of.msisdn,
            "imsi": of.imsi,
            "start_time": self._now_ms - chance.randrange(DAYS_BACK * DAY_MS) - 60_000,
            "duration_ms": 0,
            "uplink_octets": 0,
            "downlink_octets": 0,
            "message_count": 0,
            "answered": kind != "call-missed",
            "visited_plmn": "20801" if kind.startswith("roam") else "46099",
            "cell": f"46099-{account % 97}-{account % 1009}",
            "cause_for_closing": 0,
            "retransmission": False,
        }
        fields |= getattr(self, f"_{kind.removeprefix('roam-').partition('-')[0]}")(kind, of, number)
        return Outgoing(of.msisdn.encode(), USAGE_RECORD.encode(fields))

    def _call(self, kind: str, _of: Line, _number: int) -> dict[str, object]:
        chance = self.chance
        if kind == "call-world":
            other = f"{chance.choice(self._deck)}{chance.randrange(10**6):06d}"
        elif kind == "call-on-net":
            other = line(chance.randrange(self._accounts), 0).msisdn
        elif kind == "call-short-code":
            other = chance.choice(("10086", "12590", "110"))
        else:
            other = f"+86138{chance.randrange(10**8):08d}"
        duration = 0 if kind == "call-missed" else 4_000 + int(chance.expovariate(1 / 90_000))
        return {"other_party": other, "duration_ms": duration}

    def _data(self, kind: str, of: Line, number: int) -> dict[str, object]:
        chance = self.chance
        fields: dict[str, object] = {
            "service": "DATA",
            "duration_ms": 1_000 * chance.randrange(10, 1_800),
            "uplink_octets": chance.randrange(10**6),
            "downlink_octets": chance.randrange(2 * 10**7),
        }
        if kind == "data-stream":  # partial records of one long session a line
            fields |= {"rating_group": 700, "session_id": f"{self._name}-{of.imsi}", "partial_number": number + 1}
        elif kind == "data-own-app":
            fields["rating_group"] = 900
        return fields

    def _sms(self, kind: str, _of: Line, _number: int) -> dict[str, object]:
        world = kind == "sms-world"
        other = f"{self.chance.choice(self._deck)}000000" if world else f"+86138{self.chance.randrange(10**8):08d}"
        return {"service": "SMS", "other_party": other, "message_count": 1}

    def _mms(self, _kind: str, _of: Line, _number: int) -> dict[str, object]:
        return {"service": "MMS", "other_party": f"+86138{self.chance.randrange(10**8):08d}", "message_count": 1}

    def _event(self, _kind: str, _of: Line, _number: int) -> dict[str, object]:
        return {"service": "EVENT", "message_count": 1}
