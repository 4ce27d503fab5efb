"""Published tariffs: a catalogue version made ready for rating, and the versions of all time.

A version is the JSON document that was published; its hash is SHA-256 of the document's canonical bytes, and
`effective_from` is in it. Compiling is pure: the same document gives the same prices for ever. A version never
changes; what was published wrong is corrected by a newer one.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.domain.allowances import Allowance
from pipeline.domain.discounts import Cap, Offer
from pipeline.domain.fees import ONCE, Fee
from pipeline.domain.matching import DeckCurves, DeckRow, Keys, Rule, Table, Zone, make_tables, make_zone
from pipeline.domain.meter import Curve, Rounding, Terms, make_curve, whole
from pipeline.domain.money import parse_micros
from pipeline.domain.tariff_time import DAY_MS, MONDAY, SUNDAY, WEEKDAYS, Band, TariffTime, day_number
from pipeline.domain.units import BASE_UNITS, unit_size
from pipeline.domain.worth import Discount, Tax, kept_share, make_tax

FORMAT: Final = 1
"""Version of the document's own shape."""

HOME: Final = "home"
ANYWHERE: Final = "any"
DECK: Final = "deck"
VOLUME: Final = "volume"
TIERS: Final = ("graduated", VOLUME)

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan: valid from this moment until the next version of the same id."""

    id: str
    valid_from: int
    currency: str
    rules: tuple[Rule, ...]
    allowances: tuple[Allowance, ...]
    tables: Mapping[tuple[str, str], Table]
    fees: tuple[Fee, ...] = ()
    offers: tuple[Offer, ...] = ()
    caps: tuple[Cap, ...] = ()

    def rule(self, rule_id: str) -> Rule:
        """Return the rule of this id; it is a bug to ask for one that is not there."""
        return next(rule for rule in self.rules if rule.id == rule_id)

    def allowance(self, allowance_id: str) -> Allowance | None:
        """Return the allowance of this id, if the plan has it."""
        return next((allowance for allowance in self.allowances if allowance.id == allowance_id), None)

    def discount(self, discount_id: str) -> Discount:
        """Return the discount of this id; it is a bug to ask for one that is not there."""
        return next(offer.discount for offer in self.offers if offer.discount.id == discount_id)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One published version. Moments in ms since 1970 UTC."""

    hash: str
    effective_from: int
    operator: str
    currency: str
    timezone: str
    clock: TariffTime
    plans: tuple[Plan, ...]
    _by_id: Mapping[str, tuple[Plan, ...]]

    def plan_at(self, plan_id: str, moment_ms: int) -> Plan | None:
        """Return the plan in the version that is valid at this moment: the latest `valid_from` not after it."""
        for plan in self._by_id.get(plan_id, ()):
            if plan.valid_from <= moment_ms:
                return plan
        return None

    def month_of(self, moment_ms: int) -> str:
        """Return the month of a moment in tariff time, YYYY-MM."""
        return self.clock.periods(moment_ms).month

    def day_of(self, moment_ms: int) -> str:
        """Return the day of a moment in tariff time, YYYY-MM-DD."""
        return self.clock.periods(moment_ms).day


class Catalogues:
    """All published versions, by `effective_from`; the first one holds for all time before it as well."""

    __slots__ = ("_by_hash", "_currencies", "_from_ms", "_versions")

    def __init__(self, versions: Iterable[Catalogue]) -> None:
        self._by_hash = {version.hash: version for version in versions}
        self._versions = sorted(self._by_hash.values(), key=lambda version: (version.effective_from, version.hash))
        self._from_ms = [version.effective_from for version in self._versions]
        self._currencies: dict[str, set[str]] = {}
        for version in self._versions:
            for plan in version.plans:
                self._currencies.setdefault(plan.id, set()).add(plan.currency)

    def at(self, start_ms: int) -> Catalogue | None:
        """Return the newest version in force at this moment, or None when nothing was ever published."""
        if not self._versions:
            return None
        return self._versions[max(bisect_right(self._from_ms, start_ms) - 1, 0)]

    def newest(self) -> Catalogue | None:
        """Return the version with the latest `effective_from`, in force already or not."""
        return self._versions[-1] if self._versions else None

    def by_hash(self, version_hash: str) -> Catalogue | None:
        """Return the version of this hash, if it was published."""
        return self._by_hash.get(version_hash)

    def corrected(self, version: Catalogue, from_ms: int, to_ms: int) -> "Catalogues":
        """Return these versions as if this one had been in force from one moment to before another."""
        assert self._versions, "nothing was published that could be corrected"
        assert from_ms < to_ms, "a time that ends before it begins"
        found = Catalogues([*self._versions, version])
        after = self.at(to_ms)
        assert after is not None
        first = (min(self._from_ms[0], from_ms) - 1, self._versions[0])
        stretches = [
            first,
            *((known.effective_from, known) for known in self._versions if first[0] < known.effective_from < from_ms),
            (from_ms, version),
            (to_ms, after),
            *((known.effective_from, known) for known in self._versions if known.effective_from > to_ms),
        ]
        found._from_ms = [begin for begin, _ in stretches]
        found._versions = [known for _, known in stretches]
        return found

    def plan_currencies(self, plan: str) -> frozenset[str]:
        """Return every currency the plan was ever published in; empty for a plan that never was."""
        return frozenset(self._currencies.get(plan, ()))


def canonical_bytes(document: Document) -> bytes:
    """Return the document's one spelling: JSON in UTF-8, sorted keys, no spaces."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def compile_catalogue(document: Document) -> Catalogue:
    """Make a published document ready for rating. Pure; equal documents give equal catalogues.

    The document was checked when it was loaded, so a KeyError or ValueError here means that it is of another origin
    or of a newer format; numbers that cannot be priced raise AmountError.
    """
    if document.get("format") != FORMAT:
        raise ValueError(
            f"catalogue format {document.get('format')!r} is not known to this release (it reads {FORMAT})"
        )
    zones = {zone_id: make_zone_of(zone_id, zone) for zone_id, zone in document["zones"].items()}
    networks: dict[str, frozenset[str | None]] = {
        group: frozenset(codes) for group, codes in document["networks"].items()
    }
    networks[HOME] = networks.get(HOME, frozenset()) | {None}
    calendars = {name: _moved_days(calendar) for name, calendar in document["calendars"].items()}
    bands = {name: _band(name, band, calendars) for name, band in document["bands"].items()}
    reader = _Reader(document, zones, networks, bands)
    plans = tuple(reader.plan(plan) for plan in document["plans"])
    by_id: dict[str, list[Plan]] = {}
    for plan in sorted(plans, key=lambda plan: -plan.valid_from):
        by_id.setdefault(plan.id, []).append(plan)
    return Catalogue(
        hashlib.sha256(canonical_bytes(document)).hexdigest(),
        document["effective_from"],
        document["operator"],
        document["currency"],
        document["timezone"],
        TariffTime(document["offsets"]),
        plans,
        {plan_id: tuple(versions) for plan_id, versions in by_id.items()},
    )


def make_zone_of(zone_id: str, zone: Document) -> Zone:
    """Return a zone of the document: `prefixes`, or the rows of its `deck`."""
    if DECK in zone:
        return make_zone(zone_id, {cells[0]: cells for cells in zone[DECK]})
    return make_zone(zone_id, dict.fromkeys(zone["prefixes"]))


def _moved_days(calendar: Document) -> dict[int, int]:
    moved = {_date(text): MONDAY for text in calendar["workdays"]}
    moved.update({_date(text): SUNDAY for text in calendar["holidays"]})
    return moved


def _date(text: str) -> int:
    year, month, day = text.split("-")
    return day_number(int(year), int(month), int(day))


def _band(name: str, band: Document, calendars: Mapping[str, Mapping[int, int]]) -> Band:
    days = tuple(day in band["days"] for day in WEEKDAYS)
    moved = {} if band["calendar"] is None else calendars[band["calendar"]]
    return Band(name, days, time_of_day_ms(band["from"]), time_of_day_ms(band["to"]), moved)


def tax_of(tax: Document | None) -> Tax | None:
    """Return a tax of the document; raises AmountError."""
    return None if tax is None else make_tax(tax["rate"], tax["included"])


def time_of_day_ms(text: str) -> int:
    """Return `HH:MM` (or `HH:MM:SS`) as ms since midnight; 24:00 is the day's end."""
    seconds = 0
    for place, number in zip((3_600, 60, 1), text.split(":"), strict=False):
        seconds += place * int(number)
    assert seconds * 1_000 <= DAY_MS, "a time of day beyond 24:00"
    return seconds * 1_000


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads plans against the catalogue's own zones, networks and bands."""

    document: Document
    zones: Mapping[str, Zone]
    networks: Mapping[str, frozenset[str | None]]
    bands: Mapping[str, Band]

    def plan(self, plan: Document) -> Plan:
        tax = tax_of(plan.get("tax") or self.document.get("tax"))
        rounding = Rounding(self.document["rounding"]["decimals"], self.document["rounding"]["mode"])
        rules = tuple(self._rule(rule, tax) for rule in plan["prices"])
        return Plan(
            plan["id"],
            plan["valid_from"],
            plan["currency"] or self.document["currency"],
            rules,
            tuple(self._allowance(allowance, rounding, tax) for allowance in plan["allowances"]),
            make_tables(rules),
            tuple(
                Fee(fee["id"], fee["amount"], fee["every"], fee["prorate"], rounding, tax)
                for fee in plan.get("fees", ())
            ),
            tuple(self._offer(discount) for discount in plan.get("discounts", ())),
            tuple(
                Cap(cap["id"], self._keys(cap["match"], ANYWHERE), cap["every"], parse_micros(cap["amount"]))
                for cap in plan.get("caps", ())
            ),
        )

    def _offer(self, discount: Document) -> Offer:
        return Offer(
            self._keys(discount["match"], ANYWHERE),
            discount["rule"],
            discount["from"],
            discount["until"],
            discount_of(discount),
        )

    def _keys(self, match: Document, elsewhere: str = HOME) -> Keys:
        visited = match.get("visited", elsewhere)
        return Keys(
            match.get("service"),
            match.get("direction"),
            self.zones[match["to"]] if "to" in match else None,
            None if visited == ANYWHERE else self.networks[visited],
            match.get("rating_group"),
            match.get("on_net"),
            self.bands[match["band"]] if "band" in match else None,
        )

    def _rule(self, rule: Document, tax: Tax | None) -> Rule:
        keys = self._keys(rule["match"])
        rounding = rule["rounding"] or self.document["rounding"]
        unit = rule["unit"] or BASE_UNITS.get(keys.service or "", "")
        round_up = rule["round_up"]
        return Rule(
            id=rule["id"],
            keys=keys,
            key_count=len(rule["match"]),
            priority=rule["priority"],
            free=rule["free"],
            unit=unit,
            meter=rule["meter"],
            round_up=whole(round_up["to"], unit_size(round_up["unit"])) if round_up else 0,
            rounding=Rounding(rounding["decimals"], rounding["mode"]),
            price=None if rule["free"] else price_of(rule, keys.zone, unit_size(unit), tax_of(rule.get("tax")) or tax),
        )

    def _allowance(self, allowance: Document, rounding: Rounding, tax: Tax | None) -> Allowance:
        days, every = allowance["valid_days"], allowance["every"]
        size = unit_size(allowance["unit"])
        rollover, price = allowance.get("rollover"), allowance.get("price")
        return Allowance(
            id=allowance["id"],
            keys=self._keys({"direction": "MO", **allowance["match"]}),
            size=whole(allowance["quantity"], size),
            every=every,
            valid_ms=None if days is None else days * DAY_MS,
            priority=allowance["priority"],
            rollover=None if rollover is None else whole(rollover, size),
            prorate=allowance.get("prorate", False),
            price=None if price is None else Fee(allowance["id"], price, every or ONCE, False, rounding, tax),
        )


def discount_of(discount: Document) -> Discount:
    """Return a discount of the document; raises AmountError when a number of it makes no sense."""
    percent, amount, first, unit = discount["percent"], discount["amount"], discount["first"], discount["unit"]
    terms = f"{percent}%" if amount is None else str(amount)
    if first is not None:
        terms += f" of the first {first} {unit}"
    return Discount(
        discount["id"],
        percent,
        kept_share(percent or "0"),
        parse_micros(amount or "0"),
        None if first is None else whole(first, unit_size(unit)),
        terms,
    )


def price_of(rule: Document, zone: Zone | None, unit: int, tax: Tax | None = None) -> Curve | DeckCurves:
    """Return what the rule's use costs in units of this size; raises AmountError when its steps cannot be priced.

    A deck's rows are not looked at before their curves are asked for, which raises AmountError then.
    """
    fee = parse_micros(rule["connect_fee"])
    maximum = None if rule["maximum"] is None else parse_micros(rule["maximum"])
    minimum = None if rule.get("minimum") is None else parse_micros(rule["minimum"])
    steps = rule["steps"]
    if steps[0]["price"] != DECK:
        terms = tuple(Terms(step["from"], step["price"], step["per"], step["increment"]) for step in steps)
        volume = rule.get("tiers") == VOLUME
        return make_curve(terms, unit, fee, maximum, minimum, tax, volume=volume)
    assert zone is not None, "a deck price without a zone"

    def curve_of(row: DeckRow) -> Curve:
        own_fee = fee if row.connect_fee is None else parse_micros(row.connect_fee)
        return make_curve(_deck_terms(row, steps[0]), unit, own_fee, maximum, minimum, tax)

    return DeckCurves(zone.prefixes, curve_of)


def _deck_terms(row: DeckRow, step: Document) -> tuple[Terms, ...]:
    """Return a deck row's steps: {0, first}, {first, next}, both at the row's rate per the step's `per`."""
    first = row.first or step["increment"]
    following = row.next or step["increment"]
    begin = Terms("0", row.rate, step["per"], first)
    return (begin,) if first == following else (begin, Terms(first, row.rate, step["per"], following))
