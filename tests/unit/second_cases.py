"""Random worlds for two implementations of the pricing rules: catalogues that load, accounts, and use in any order.

A world is made of its seed alone. Its cases are the records charged on its account one after the other; each finds the
state that those before it left, so a case is replayed by its world's seed and its number.
"""

import json
import random
import re
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.adapters.catalogue import CatalogueRefused, load_directory
from pipeline.domain.usage import AcceptedUsage, UsageRecord

RECORDS = 100
DAY_MS = 86_400_000

# the zone, and days on which something happens there: the clocks change (some at midnight, some by half an hour)
PLACES = (
    ("Europe/Berlin", ("2026-03-28", "2026-10-24", "2026-12-31")),
    ("Asia/Shanghai", ("2026-09-30", "2026-02-28")),
    ("America/New_York", ("2026-03-07", "2026-10-31")),
    ("Australia/Lord_Howe", ("2026-04-04", "2026-10-03")),
    ("Africa/Cairo", ("2026-04-23", "2026-10-29")),
    ("Asia/Beirut", ("2026-03-28", "2026-10-24")),
    ("America/Asuncion", ("2024-03-23", "2024-10-05")),
    ("Africa/Casablanca", ("2026-02-14", "2026-03-21")),
    ("Asia/Kathmandu", ("2026-06-29",)),
    ("UTC", ("2028-02-28",)),
)
UNITS = {
    "VOICE": {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000},
    "DATA": {"B": 1, "kB": 1_000, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "SMS": {"msg": 1},
    "MMS": {"msg": 1},
    "EVENT": {"event": 1},
}
PREFIXES = ("+4", "+49", "+491", "+4915", "+49151", "+44", "+447", "+1", "+86", "+8613", "110", "*100#", "4915")
NUMBERS = (
    "+4915123", "+4916", "+49151", "+4930", "+447", "+4411", "+12", "+8613", "+8615", "110", "1100", "*100#", "4915",
    "+999", None,
)  # fmt: skip
PLMNS = (None, "26201", "26202", "20801", "20810", "99999")
MODES = ("half_up", "half_even", "up", "down")
TIMES = ("00:00", "02:00", "02:30", "03:00", "07:59", "08:00", "12:00", "18:30", "20:00", "23:30", "24:00")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Case:
    """A world to charge in: documents of the catalogue's versions, the account's fields, and the records."""

    def __init__(self, seed):
        self.random = random.Random(f"second {seed}")
        r = self.random
        self.zone, days = r.choice(PLACES)
        self.anchor = datetime.fromisoformat(r.choice(days)).replace(tzinfo=ZoneInfo(self.zone))
        self.start = int(self.anchor.timestamp() * 1_000)
        self.sessions = {}
        self.bands = {f"b{n}": _band(r) for n in range(3)}
        self.edges = [self.start + _ms(band[end]) for band in self.bands.values() for end in ("from", "to")]
        self.documents = _documents(r, self)
        self.fields = self._account()
        self.usages = [self._usage(n) for n in range(RECORDS)]

    def moment(self):
        """A time near the anchor: mostly within two days, often on a round hour, some weeks away at times."""
        r = self.random
        if r.random() < 0.5:  # shortly before a band begins or ends
            band = r.choice(list(self.bands.values()))
            at = self.start + r.choice((0, 0, 1, -1, 2)) * DAY_MS + _ms(r.choice((band["from"], band["to"])))
            return at - r.choice((0, 0, 1, 999, 1_000, 30_000, r.randrange(90_000), r.randrange(900_000)))
        if r.random() < 0.08:
            return self.start + r.randrange(-40 * DAY_MS, 40 * DAY_MS)
        hours = r.randrange(-6, 54)
        near = r.choice((0, 0, -30_000, -60_000, 1, -1, r.randrange(-600_000, 600_000)))
        return self.start + hours * 3_600_000 + r.choice((0, 0, 1_800_000)) + near

    def _in_session(self, session):
        """A time near the session's own: its parts come in any order, and some at one moment."""
        r = self.random
        base = self.sessions.setdefault(session, self.moment())
        if r.random() < 0.03:  # a session's id is used anew, sooner than it should be
            base = self.sessions[session] = self.moment()
        return base + r.choice((0, 0, 30_000, 60_000, 120_000, r.randrange(900_000), r.randrange(8) * 600_000))

    def _duration(self, start):
        """A call of some minutes; every other one lasts over the next hour at which a band begins or ends."""
        r = self.random
        edge = min((edge - start) % DAY_MS for edge in self.edges)
        if r.random() < 0.5 and edge < 2 * 3_600_000:
            return edge + r.choice((0, 1, 60_000, r.randrange(60_000), r.randrange(900_000), r.randrange(3_600_000)))
        some = (0, 1, 999, 1_000, 30_000, 59_999, 60_000, 60_001, 119_000)
        return r.choice((r.choice(some), r.randrange(300_000), r.randrange(1_200_000), r.randrange(4 * 3_600_000)))

    def _account(self):
        r = self.random
        plans = sorted({plan["id"] for document in self.documents for plan in document["plans"]})
        spans = [f"{r.choice(plans)}@{self.start - r.choice((400, 0.5, 0.5)) * DAY_MS:.0f}"]
        if r.random() < 0.9:
            spans = [f"{r.choice(plans)}@0"]
        for _ in range(r.choice((0, 0, 0, 1, 2))):
            spans.append(f"{r.choice(plans)}@{self.moment()}")
        spans.sort(key=lambda span: int(span.rpartition("@")[2]))
        fields = {
            "balance": "0",
            "seq": "1",
            "status": "open",
            "currency": "EUR" if r.random() < 0.985 else "USD",
            "plans": " ".join(spans),
            "identities": "",
        }
        given = [(p["id"], a) for d in self.documents for p in d["plans"] for a in p["allowances"]]
        for number in range(1, r.choice((1, 1, 2, 4, 6)) if given else 1):
            plan, allowance = r.choice(given)
            size = max(int(_count(allowance["quantity"], allowance["unit"]) * r.choice((1, 1, 2))), 1)
            begin = self.moment() - r.choice((0, DAY_MS, 30 * DAY_MS))
            end = r.choice(("-", begin + DAY_MS, begin + 40 * DAY_MS, self.start + 31 * DAY_MS))
            used = r.choice((0, size // 2))
            if allowance["price"] is not None and allowance["every"] and allowance["valid_days"]:
                used, size = 0, 0  # it repeats: each day or month has a bucket of its own
            fields[f"grant:{number}"] = f"{used}/{size} {plan} {allowance['id']} {begin} {end}"
        return fields

    def _usage(self, number):
        r = self.random
        service = r.choices(("VOICE", "DATA", "SMS", "MMS", "EVENT"), (12, 4, 3, 1, 2))[0]
        session = r.choice((None, None, None, "s1", "s2", "s3"))
        start = self._in_session(session) if session else self.moment()
        duration = octets = messages = 0
        if service == "VOICE":
            duration = self._duration(start)
        elif service == "DATA":
            octets = r.choice((0, 1, 1_000, 1_024, 10**6, 2**20, 5 * 10**6, r.randrange(10**7), r.randrange(10**5)))
        else:
            messages = r.choice((0, 1, 1, 1, 2, 3, 7))
        record = UsageRecord(
            record_id=f"r{number}" if r.random() < 0.9 else f"a:{number}",
            source="s",
            sequence=None,
            service=service,
            direction="MO" if r.random() < 0.8 else "MT",
            msisdn="+491511",
            imsi=None,
            imei=None,
            other_party=r.choice(NUMBERS),
            start_time=start,
            duration_ms=duration,
            uplink_octets=octets // 3,
            downlink_octets=octets - octets // 3,
            message_count=messages,
            answered=r.random() < 0.93,
            visited_plmn=r.choice(PLMNS) if r.random() < 0.4 else None,
            cell=None,
            rating_group=r.choice((None, 7, 32)) if service == "DATA" else None,
            session_id=session,
            partial_number=r.choice((None, 0, 1, 2, 3)) if session else None,
            cause_for_closing=None,
            retransmission=False,
        )
        return AcceptedUsage(*record, "a", record.start_time, "t", 0, 0, r.random() < 0.3)


def _documents(r, case):
    """One to three versions of one operator's catalogue, as they would be published."""
    shared, decks = _shared(r, case)
    documents = []
    for number in range(r.choice((1, 1, 2, 3))):
        tariff = {**shared, "plans": _plans(r, shared, case)}
        if tariff["tax"] is None:
            del tariff["tax"]
        del tariff["volume"], tariff["kinds"]
        begins = case.moment() if number else 1
        while any(begins == document["effective_from"] for document in documents):
            begins += 1  # each takes effect at a moment of its own
        documents.append(_loaded(tariff, decks).document(begins))
    return documents


def _loaded(tariff, decks):
    """Load a tariff; where two of its rules clash, give them other ranks, or one meter, until none do."""
    with tempfile.TemporaryDirectory(prefix="second-") as folder:
        for name, text in decks.items():
            Path(folder, f"{name}.csv").write_text(text, encoding="utf-8")
        for attempt in range(_REPAIRS_MAX):
            Path(folder, "tariff.yaml").write_text(json.dumps(tariff), encoding="utf-8")  # JSON is YAML
            try:
                return load_directory(folder)
            except CatalogueRefused as refused:
                for problem in refused.problems:
                    _repair(tariff["plans"], problem.message, attempt)
    raise AssertionError("no tariff that loads")


def _repair(plans, message, attempt):
    if "volume" in message:
        for rule in (rule for plan in plans for rule in plan["prices"] if f"'{rule['id']}'" in message):
            rule.pop("tiers", None)
        return
    found = _CLASH.match(message)
    assert found, message
    for plan in plans:
        rules = {rule["id"]: rule for rule in plan["prices"]}
        if plan["id"] == found["plan"] and {found["first"], found["second"]} <= rules.keys():
            first, second = rules[found["first"]], rules[found["second"]]
            if "meters" in message:
                for rule in plan["prices"]:
                    if not rule.get("free") and rule["match"]["service"] == first["match"]["service"]:
                        rule["meter"] = first.get("meter", "record")
            else:
                highest = max(rule.get("priority", 0) for rule in plan["prices"])
                second["priority"] = 1 + (second.get("priority", 0) if attempt < _REPAIRS_MAX // 3 else highest)


_CLASH = re.compile(r"rules '(?P<first>[^']+)' and '(?P<second>[^']+)' of plan '(?P<plan>[^']+)'")
_REPAIRS_MAX = 40


def _shared(r, case):
    """What all versions share, and the decks by name."""
    zones = {f"z{n}": {"prefixes": r.sample(PREFIXES, r.choice((1, 2, 3, 5)))} for n in range(4)}
    decks = {}
    for n in range(2):
        rows = ["prefix,rate,connect_fee,first,next"]
        for prefix in r.sample(PREFIXES[:10], r.choice((2, 4, 6))):
            fee = _fee(r) if r.random() < 0.5 else ""
            rows.append(f"{prefix},{_amount(r)},{fee},{r.choice(('', '30', '60'))},{r.choice(('', '6', '1'))}")
        decks[f"deck{n}"] = "\n".join(rows) + "\n"
        zones[f"deck{n}"] = {"file": f"deck{n}.csv"}
    shared = {
        "operator": "Test",
        "currency": "EUR",
        "timezone": case.zone,
        "rounding": _rounding(r),
        "tax": _tax(r) if r.random() < 0.2 else None,
        "zones": zones,
        "networks": {"home": ["26201", "26202"], "eu": ["20801"], "eu2": ["20801", "20810", "26202"]},
        "calendars": {"c": _calendar(r, case)},
        "bands": case.bands,
    }
    shared["volume"] = r.sample(list(UNITS), r.choice((0, 0, 1, 2)))
    shared["kinds"] = [_kinds(r, shared) for _ in range(2)]
    return shared, decks


def _calendar(r, case):
    days = [(case.anchor + timedelta(days=n)).date().isoformat() for n in range(-2, 5)]
    chosen = r.sample(days, 3)
    return {"holidays": chosen[:2], "workdays": chosen[2:]}


def _band(r):
    begin, end = sorted(r.sample(TIMES, 2))
    if r.random() < 0.5:  # a narrow one
        at = r.randrange(24 * 60 - 25)
        length = r.choice((1, 2, 7, 25))
        begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (at, at + length))
    band = {"from": begin, "to": end}
    if r.random() < 0.3:
        band["days"] = r.sample(DAYS, r.choice((2, 4, 5)))
    if r.random() < 0.5:
        band["calendar"] = "c"
    return band


def _ms(time):
    hour, minute = time.split(":")
    return int(hour) * 3_600_000 + int(minute) * 60_000


def _rounding(r):
    return {"decimals": r.choice((0, 1, 2, 2, 2, 3, 4, 6)), "mode": r.choice(MODES)}


def _amount(r):
    return r.choice(
        ("0.1", "0.15", "0.29", "1.00", "0.003", "0", "0.0333", "0.0000015", "0.07", f"0.{r.randrange(100):02}")
    )


def _fee(r):
    return r.choice(("0", "0.1", "0.05", "0.003", "0.000001", "0.3"))


def _plans(r, shared, case):
    plans = []
    for n in range(r.choice((1, 2))):
        for version in range(r.choice((1, 1, 2))):
            plan = {
                "id": f"p{n}",
                "prices": _prices(r, shared),
                "allowances": _allowances(r, shared, shared["kinds"][n]),
            }
            if version or r.random() < 0.03:
                moment = datetime.fromtimestamp(case.moment() // 60_000 * 60 + version, ZoneInfo("UTC"))
                plan["valid_from"] = moment.isoformat()
            if r.random() < 0.01:
                plan["currency"] = "USD"
            if r.random() < 0.3:
                plan["tax"] = _tax(r)
            if r.random() < 0.4:
                plan["discounts"] = [_discount(r, shared, plan, n) for n in range(r.choice((1, 2, 3)))]
            if r.random() < 0.3:
                plan["caps"] = [_cap(r, shared, n) for n in range(r.choice((1, 2)))]
            plans.append(plan)
    return plans


def _tax(r):
    return {"rate": r.choice(("19", "7", "0", "5.5", "0.3")), "included": r.random() < 0.3}


def _discount(r, shared, plan, number):
    service = r.choice((*UNITS, "VOICE", "VOICE"))
    discount = {"id": f"d{number}"}
    if r.random() < 0.7:
        discount["match"] = _match(r, shared, service)
        if r.random() < 0.5:
            discount["match"] = {"service": service}
    if r.random() < 0.2:
        discount["rule"] = r.choice([rule["id"] for rule in plan["prices"] if not rule.get("free")] or [None])
        if discount["rule"] is None:
            del discount["rule"]
    if r.random() < 0.5:
        discount["percent"] = r.choice(("10", "50", "100", "33.3", "0"))
    else:
        discount["amount"] = r.choice(("0.05", "0.50", "0.003", "2"))
    if r.random() < 0.4 and "match" in discount:
        unit = _unit(r, discount["match"]["service"])
        scale = {"ms": 30_000, "s": 60, "kB": 700, "KiB": 700}.get(unit, 1)
        discount |= {"first": r.choice((1, 2, 3)) * scale, "unit": unit}
    return discount


def _cap(r, shared, number):
    cap = {"id": f"c{number}", "every": r.choice(("day", "month")), "amount": r.choice(("0.10", "0.5", "1", "3", "0"))}
    if r.random() < 0.7:
        cap["match"] = _match(r, shared, r.choice(list(UNITS)), banded=False)
        if r.random() < 0.5:
            cap["match"] = {"service": r.choice(("VOICE", "VOICE", "DATA", "SMS"))}
    return cap


def _match(r, shared, service, *, banded=True):
    match = {"service": service}
    if r.random() < 0.6:
        match["direction"] = "MO" if r.random() < 0.8 else "MT"
    if r.random() < 0.45:
        match["to"] = r.choice(list(shared["zones"]))
    if r.random() < 0.25:
        match["visited"] = r.choice(("home", "eu", "eu2", "any", "any"))
    if service == "DATA" and r.random() < 0.4:
        match["rating_group"] = r.choice((7, 32))
    if banded and r.random() < 0.6:
        match["band"] = r.choice(list(shared["bands"]))
    if r.random() < 0.2:
        match["on_net"] = r.random() < 0.6
    return match


def _prices(r, shared):
    prices = []
    for service in UNITS:
        meter = r.choice(("record", "session", "session", "day", "month"))
        if service == "VOICE":
            meter = r.choice(("record", "session", "session", "session", "day", "month"))
        rules = [_match(r, shared, service) for _ in range(r.choice((0, 0, 1, 2)))]
        if service == "VOICE":  # what is cut: one rule for the day and others for bands of it
            base = (
                _match(r, shared, service, banded=False) if r.random() < 0.4 else {"service": service, "visited": "any"}
            )
            bands = r.sample(list(shared["bands"]), r.choice((0, 1, 2, 3, 3)))
            if base.get("visited") == "any" and len(base) == 2:
                base["direction"] = "MO"
            base.pop("on_net", None)
            rules += [base, *({**base, "band": band} for band in bands)]
        if r.random() < 0.9:
            rules.append({"service": service, "visited": "any"})
        elif r.random() < 0.5:
            rules.append({"service": service})
        for number, match in enumerate(rules):
            own = r.choice(("record", "session", "day")) if r.random() < 0.1 else meter
            rule = _rule(r, shared, f"{service.lower()}{number}", match, own)
            if len(match) > 2 and r.random() < 0.8:
                rule["priority"] = r.choice((-2, -1, 0, 0, 0, 1))
            prices.append(rule)
    r.shuffle(prices)
    return prices or [_rule(r, shared, "only", {"service": "SMS"}, "record")]


def _rule(r, shared, name, match, meter):
    rule = {"id": name, "match": match}
    if r.random() < 0.15:
        return {**rule, "free": True}
    service = match["service"]
    unit = _unit(r, service)
    rule |= {"unit": unit, "meter": meter}
    zone = shared["zones"].get(match.get("to"), {})
    if "file" in zone and r.random() < 0.7:
        rule["unit"] = unit = {"VOICE": "s", "DATA": "MB"}.get(service, unit)
        rule["steps"] = [{"price": "deck", "per": r.choice((1, 60)), "increment": r.choice((1, 60))}]
    else:
        rule["steps"] = _steps(r, unit)
    if r.random() < 0.35:
        rule["connect_fee"] = _fee(r)
    if r.random() < 0.3:
        rule["maximum"] = r.choice(("0.10", "0.5", "1.00", "3", "0"))
    if r.random() < 0.25:
        rule["minimum"] = r.choice(("0.05", "0.10", "0.25")) if rule.get("maximum") != "0" else "0"
        if rule.get("maximum") == "0.10":
            rule["minimum"] = "0.05"
    if r.random() < 0.2:
        rule["tax"] = _tax(r)
    if service in shared["volume"] and rule["steps"][0].get("price") != "deck" and meter != "session":
        rule["tiers"] = "volume"
    if r.random() < 0.35:
        rule["round_up"] = {"VOICE": {"to": r.choice((1, 10, 60)), "unit": "s"}, "DATA": {"to": r.choice((1, 10, 1000)), "unit": r.choice(("kB", "KiB"))}}.get(
            service, {"to": r.choice((2, 3)), "unit": unit}
        )  # fmt: skip
    if r.random() < 0.3:
        rule["rounding"] = _rounding(r)
    return rule


def _unit(r, service):
    weights = {"VOICE": (1, 8, 8, 1), "DATA": (0, 3, 5, 1, 2, 5, 1)}.get(service, (1,))
    return r.choices(list(UNITS[service]), weights)[0]


def _steps(r, unit):
    steps, begin = [], 0
    for _ in range(r.choice((1, 1, 2, 3))):
        step = {"from": begin, "price": _amount(r)}
        increment = {"ms": 1_000, "s": r.choice((1, 6, 10, 40, 60)), "kB": r.choice((64, 100, 1_000))}.get(unit, 1)
        if unit == "KiB":
            increment = 128
        if unit in ("min", "MB", "h", "msg", "event"):
            increment = r.choice((1, 1, 2, 3))
        if unit == "min" and r.random() < 0.2:
            increment = "0.5"
        step["increment"] = increment
        if r.random() < 0.4:
            step["per"] = r.choice((1, 3, 7, 60, 10))
        steps.append(step)
        begin += r.choice((1, 2, 3, 10)) * {"ms": 30_000, "s": 30, "kB": 500, "KiB": 500}.get(unit, 1)
    return steps


def _kinds(r, shared):
    """The allowances of a plan that all its versions have: id, service, every, valid_days, whether sold or rolled over."""
    kinds = []
    for number in range(r.choice((0, 1, 2, 4, 6))):
        service = r.choices(list(UNITS), (5, 3, 2, 1, 1))[0]
        kind = {"id": f"{r.choice('abc')}{number}", "service": service, "unit": _unit(r, service)}
        every = r.choice(("month", "month", "day", None, "valid_days"))
        sold = r.choice((None, None, None, None, "repeats", "once"))
        if sold == "repeats":
            kind |= {"every": r.choice(("day", "day", "month")), "valid_days": 7, "price": "0.30"}
        elif sold == "once" or every in (None, "valid_days"):
            kind |= {"price": "0.50"} if sold else {}
            kind |= {"valid_days": r.choice((1, 7, 30))} if every == "valid_days" else {}
        else:
            kind["every"] = every
            if r.random() < 0.4:
                kind["rollover"] = True
                kind["lasting"] = {**_match(r, shared, service), "priority": r.choice((-1, 0, 1, 5))}
                if r.random() < 0.6:
                    kind["lasting"] = {"service": service, "visited": "any"}
            if every == "month" and r.random() < 0.3:
                kind["prorate"] = True
        kinds.append(kind)
    return kinds


def _allowances(r, shared, kinds):
    """One version of a plan's allowances: what they are for and how much they hold changes."""
    found = []
    for kind in kinds:
        service, unit = kind["service"], kind["unit"]
        match = {"service": service, "visited": "any"} if r.random() < 0.5 else _match(r, shared, service)
        quantity = {"ms": 90_000, "s": r.choice((10, 90)), "kB": 700, "KiB": 700}.get(unit, r.choice((1, 2, 4)))
        match = kind.get("lasting", match)
        allowance = {**kind, **match, "quantity": quantity}
        if kind.get("rollover"):
            # what the bucket of a period before may be used for is not open to doubt: it stays the same
            del allowance["lasting"]
            allowance["rollover"] = r.choice((True, {"limit": quantity if r.random() < 0.3 else 1}))
        elif r.random() < 0.6:
            allowance["priority"] = r.choice((-1, 0, 1, 5))
        found.append(allowance)
    return found


def _count(quantity, unit):
    from fractions import Fraction

    scale = next(scale[unit] for scale in UNITS.values() if unit in scale)
    return Fraction(quantity) * scale
