"""Discounts and caps of a plan: what takes off a price beside the rule that made it.

A discount is asked for each priced part: the first of the plan's list that matches counts, so the list is the order of
choice. A cap is asked once a record, after its one rounding: it is a meter of its own, which sums what the matching
records of a day or month cost, and of which no more than its amount is ever to be paid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.domain.ledger import Line
from pipeline.domain.matching import Keys, Part
from pipeline.domain.tariff_time import TariffTime
from pipeline.domain.usage import AcceptedUsage
from pipeline.domain.worth import Discount

if TYPE_CHECKING:
    from pipeline.domain.catalogue import Catalogue

MONTH: Final = "month"
DAY: Final = "day"


@dataclass(frozen=True, slots=True)
class Offer:
    """A discount, and the use it is for. `from_ms` inclusive, `until_ms` exclusive: where the priced part starts."""

    keys: Keys
    rule: str | None
    from_ms: int | None
    until_ms: int | None
    discount: Discount


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that matching use of a day or month costs."""

    id: str
    keys: Keys
    every: str
    amount_micros: int


def matches(keys: Keys, usage: AcceptedUsage) -> bool:
    """Tell whether the record meets all keys but `band`."""
    return (
        keys.service in (None, usage.service)
        and keys.direction in (None, usage.direction)
        and keys.allow(usage)
        and (keys.zone is None or keys.zone.longest(usage.other_party) is not None)
    )


class Offers:
    """The discounts of a plan that one record may meet."""

    __slots__ = ("_clock", "_offers")

    def __init__(self, offers: Sequence[Offer], usage: AcceptedUsage, clock: TariffTime) -> None:
        self._offers = [offer for offer in offers if matches(offer.keys, usage)]
        self._clock = clock

    def of(self, part: Part) -> Discount | None:
        """Return the discount of a part, asked at its start."""
        moment = None
        for offer in self._offers:
            if (
                offer.rule not in (None, part.candidate.rule.id)
                or (offer.from_ms is not None and part.start_ms < offer.from_ms)
                or (offer.until_ms is not None and part.start_ms >= offer.until_ms)
            ):
                continue
            band = offer.keys.band
            if band is not None:
                moment = moment or self._clock.local(part.start_ms)
                if not band.active(moment.day, moment.time_of_day_ms):
                    continue
            return offer.discount
        return None


class Capped(NamedTuple):
    """What the caps of a plan leave of an amount: a line for each that takes something off, and their meters after."""

    lines: tuple[Line, ...]
    changes: dict[str, str | None]


def cap(
    caps: Sequence[Cap],
    usage: AcceptedUsage,
    amount_micros: int,
    fields: Mapping[str, str],
    names: tuple["Catalogue", str],
) -> Capped:
    """Hold a record's amount against every cap that matches, in the order of the plan's list.

    Each sees what the one before it left. Its meter sums what it saw, so that use that becomes cheaper later (by an
    earlier part of its session, or a lower tier) takes from what is above the cap first.
    """
    catalogue, plan = names
    lines: list[Line] = []
    changes: dict[str, str | None] = {}
    for one in caps:
        if not amount_micros or not matches(one.keys, usage):
            continue
        periods = catalogue.clock.periods(usage.start_time)
        meter = f"cap:{plan}:{one.id}:{periods.month if one.every == MONTH else periods.day}"
        before = int(fields.get(meter, "0"))
        after = before + amount_micros
        changes[meter] = str(after)
        paid = min(after, one.amount_micros) - min(before, one.amount_micros)
        if paid != amount_micros:
            lines.append(_line(one, catalogue.hash, plan, meter, (before, after), paid - amount_micros))
        amount_micros = paid
    return Capped(tuple(lines), changes)


def _line(one: Cap, catalogue: str, plan: str, meter: str, sums: tuple[int, int], amount_micros: int) -> Line:
    return Line(
        rule=one.id,
        catalogue=catalogue,
        plan=plan,
        band=None,
        prefix=None,
        quantity=0,
        quantity_rounded=0,
        unit=one.every,
        allowance=None,
        allowance_used=0,
        unit_price=None,
        steps=(),
        amount_micros=amount_micros,
        meter=meter,
        meter_quantity_before=0,
        meter_quantity_after=0,
        meter_sum_before=str(sums[0]),
        meter_sum_after=str(sums[1]),
        connect_fee_micros=0,
        minimum_micros=None,
        maximum_micros=one.amount_micros,
        discount=None,
        tax=None,
        rounding=None,
    )
