"""Which rule prices a record: keys, zones, and the tables that find the rule.

Among the rules of which every key matches, the one with the longest prefix is chosen (no `to` counts 0), then the one
with the highest priority, then the one with the most keys. The tables keep that order: for each prefix the whole list
of rules to try, best first, made when a number first has it. So a record costs one look-up of its number and a walk
down a short list, and a rate deck of any size costs nothing before it is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.domain.meter import Curve, Rounding
from pipeline.domain.tariff_time import Band, TariffTime
from pipeline.domain.usage import DIRECTIONS, SERVICES, VOICE, AcceptedUsage

Cells = Sequence[str | None]
"""A row of a rate deck as it stands in a document: its prefix, then the cells of a `DeckRow`."""


class DeckRow(NamedTuple):
    """One row of a rate deck as written, without its prefix; an empty cell is None and keeps the rule's value."""

    rate: str
    connect_fee: str | None
    first: str | None
    next: str | None


class DeckCurves:
    """What use costs by each row of a deck. A curve is made when its row is first asked for; equal rows share one."""

    __slots__ = ("_made", "_make", "_rows")

    def __init__(self, rows: Mapping[str, Cells | None], make: Callable[[DeckRow], Curve]) -> None:
        self._rows = rows
        self._make = make
        self._made: dict[DeckRow, Curve] = {}

    def of(self, prefix: str) -> Curve:
        """Return the curve of a prefix that stands in the deck."""
        cells = self._rows[prefix]
        assert cells is not None, "a deck price on a zone without a deck"
        _, rate, fee, first, following = cells
        assert rate is not None, "a row without a rate"
        row = DeckRow(rate, fee, first, following)
        found = self._made.get(row)
        if found is None:
            found = self._made[row] = self._make(row)
        return found


@dataclass(frozen=True, slots=True)
class Zone:
    """A set of number prefixes; entries without `+` are whole short codes. A deck's have a rate each."""

    id: str
    prefixes: Mapping[str, Cells | None]
    lengths: tuple[int, ...]

    def longest(self, number: str | None) -> str | None:
        """Return the longest prefix of the number in this zone; a number without `+` matches whole or not at all."""
        if number is None:
            return None
        if not number.startswith("+"):
            return number if number in self.prefixes else None
        for length in self.lengths:
            prefix = number[:length]
            if prefix in self.prefixes:
                return prefix
        return None


def make_zone(zone_id: str, prefixes: Mapping[str, Cells | None]) -> Zone:
    """Make a zone of its prefixes."""
    return Zone(zone_id, prefixes, _lengths(prefixes))


def _lengths(prefixes: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({len(prefix) for prefix in prefixes if prefix.startswith("+")}, reverse=True))


@dataclass(frozen=True, slots=True)
class Keys:
    """What a rule or an allowance asks of a record; None asks nothing.

    `visited` is the set of networks (None in it: no network was named, which is home); None is everywhere.
    """

    service: str | None
    direction: str | None
    zone: Zone | None
    visited: frozenset[str | None] | None
    rating_group: int | None
    on_net: bool | None
    band: Band | None

    def allow(self, usage: AcceptedUsage) -> bool:
        """Tell whether the record meets visited, rating_group and on_net; the tables answer for the others."""
        return (
            (self.visited is None or usage.visited_plmn in self.visited)
            and (self.rating_group is None or self.rating_group == usage.rating_group)
            and (self.on_net is None or self.on_net == usage.on_net)
        )

    def failed(self, usage: AcceptedUsage, day: int, time_of_day_ms: int) -> list[str]:
        """Name every key that the record does not meet at this local moment; for a person to read."""
        failed = []
        if self.service not in (None, usage.service):
            failed.append("service")
        if self.direction not in (None, usage.direction):
            failed.append("direction")
        if self.zone is not None and self.zone.longest(usage.other_party) is None:
            failed.append("to")
        if self.visited is not None and usage.visited_plmn not in self.visited:
            failed.append("visited")
        if self.rating_group not in (None, usage.rating_group):
            failed.append("rating_group")
        if self.on_net not in (None, usage.on_net):
            failed.append("on_net")
        if self.band is not None and not self.band.active(day, time_of_day_ms):
            failed.append("band")
        return failed


@dataclass(frozen=True, slots=True)
class Rule:
    """A priced (or free) rule of a plan.

    `round_up` in ms, octets or messages, 0 none. `price` is None where the rule is free.
    """

    id: str
    keys: Keys
    key_count: int
    priority: int
    free: bool
    unit: str
    meter: str
    round_up: int
    rounding: Rounding
    price: Curve | DeckCurves | None = field(repr=False)

    def curve(self, prefix: str | None) -> Curve:
        """Return what use costs by this rule for a number that matched this prefix."""
        price = self.price
        assert price is not None, "a free rule has no curve"
        if isinstance(price, DeckCurves):
            assert prefix is not None, "a deck's price without a prefix"
            return price.of(prefix)
        return price

    def is_volume(self) -> bool:
        """Tell whether the whole quantity has the price of its last step."""
        return isinstance(self.price, Curve) and self.price.volume


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule, the prefix by which it would match, and its curve there; with the rule's band at hand."""

    rule: Rule
    prefix: str | None
    curve: Curve | None
    band: Band | None


class Part:
    """A stretch of one record priced by one rule: where it starts, how much it is (ms, octets, messages)."""

    __slots__ = ("candidate", "quantity", "start_ms")

    def __init__(self, start_ms: int, quantity: int, candidate: Candidate) -> None:
        self.start_ms: Final = start_ms
        self.quantity: Final = quantity
        self.candidate: Final = candidate


Chain = tuple[Candidate, ...]


class Table:
    """Rules of one plan for one service and direction: by prefix, all that can match a number, best first."""

    __slots__ = ("_chains", "_elsewhere", "_zoned", "lengths")

    def __init__(self, rules: Sequence[Rule]) -> None:
        best_first = sorted(rules, key=lambda rule: (-rule.priority, -rule.key_count))
        self._elsewhere: Chain = tuple(_candidate(rule, None) for rule in best_first if rule.keys.zone is None)
        self._zoned = tuple((rule.keys.zone.prefixes, rule) for rule in best_first if rule.keys.zone is not None)
        self._chains: dict[str, Chain] = {}
        """every prefix of the rules' zones; its chain is empty until a number has asked for it"""
        for prefixes, _ in self._zoned:
            self._chains.update(dict.fromkeys(prefixes, ()))
        self.lengths = _lengths(self._chains)

    def chain(self, number: str | None) -> Chain:
        """Return every rule whose `to` the number meets, in the order of choice."""
        if number is None:
            return self._elsewhere
        if number.startswith("+"):
            for length in self.lengths:
                found = self._chains.get(number[:length])
                if found is not None:
                    return found or self._made(number[:length])
            return self._elsewhere
        found = self._chains.get(number)
        if found is None:
            return self._elsewhere
        return found or self._made(number)

    def _made(self, prefix: str) -> Chain:
        """Make the chain of a prefix: its own rules, then those of the next shorter one."""
        own = tuple(_candidate(rule, prefix) for prefixes, rule in self._zoned if prefix in prefixes)
        shorter = self.chain(prefix[:-1]) if prefix.startswith("+") else self._elsewhere
        made = self._chains[prefix] = (*own, *shorter)
        return made


def make_tables(rules: Sequence[Rule]) -> dict[tuple[str, str], Table]:
    """Make the tables of a plan, one for each service and direction that any of its rules can match."""
    tables = {}
    for service in SERVICES:
        for direction in DIRECTIONS:
            fitting = [
                rule
                for rule in rules
                if rule.keys.service in (None, service) and rule.keys.direction in (None, direction)
            ]
            if fitting:
                tables[service, direction] = Table(fitting)
    return tables


def _candidate(rule: Rule, prefix: str | None) -> Candidate:
    return Candidate(rule, prefix, None if rule.free else rule.curve(prefix), rule.keys.band)


def cut(chain: Chain, usage: AcceptedUsage, quantity: int, clock: TariffTime) -> list[Part] | int:
    """Cut a record where its chosen rule changes; only an answered call is cut, all else is one part.

    Returns the parts by time, or the moment (ms) at which no rule matched.
    """
    start = usage.start_time
    eligible: list[Candidate] = []
    for candidate in chain:
        if candidate.rule.keys.allow(usage):
            if candidate.band is None:
                if not eligible:
                    return [Part(start, quantity, candidate)]
                eligible.append(candidate)
                break  # it is there at any time: what ranks below is never chosen
            eligible.append(candidate)
    end = start + quantity if usage.service == VOICE and usage.answered else start
    parts: list[Part] = []
    at = begin = start
    current: Candidate | None = None
    while True:
        moment = clock.local(at)
        day, time_of_day = moment.day, moment.time_of_day_ms
        chosen = None
        edge = 86_400_000
        for candidate in eligible:
            band = candidate.band
            if band is None:
                chosen = chosen or candidate
                break
            if time_of_day < band.from_ms:
                edge = min(edge, band.from_ms)
            elif time_of_day < band.to_ms:
                edge = min(edge, band.to_ms)
                if chosen is None and band.on_day(day):
                    chosen = candidate
        if chosen is None:
            return at
        if current is not None and chosen.rule is not current.rule:
            parts.append(Part(begin, at - begin, current))
            begin = at
        current = chosen
        at = min(at + edge - time_of_day, moment.offset_until_ms)
        if at >= end:
            parts.append(Part(begin, start + quantity - begin, current))
            return parts
