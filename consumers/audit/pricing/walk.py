"""The meter: a path of parts, walked one increment after the other."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final, NamedTuple

from consumers.audit.pricing.catalogue import Published, Section
from consumers.audit.pricing.exact import counted, exact, micros, rounded

PATIENCE: Final = 40
"""So many increments are bought one by one; what is left at the same step is then bought in one go, or a gigabyte by
the octet would take days."""


class Step(NamedTuple):
    """From this quantity on, whole increments cost so much each (micro-units)."""

    start: int
    increment: int
    cost: Fraction


class Tariff(NamedTuple):
    """What a part's rule asks: its steps, and the sums around them, in micro-units."""

    steps: tuple[Step, ...]
    connect_fee: Fraction = Fraction(0)
    minimum: Fraction = Fraction(0)
    maximum: Fraction | None = None
    decimals: int = 2
    mode: str = "half_up"
    volume: bool = False
    tax_rate: Fraction = Fraction(0)
    """of an added tax; 0 where it is included"""


class Discount(NamedTuple):
    """What is taken off a part: a share of its price, or an amount off its path; `first`: of what is bought below."""

    share: Fraction
    amount: Fraction | None
    first: int | None


class Meter(NamedTuple):
    """How far a path has been walked, in ms, octets or messages. `decimals` is -1 before its first part."""

    quantity: int = 0
    paid: int = 0
    bought: Fraction = Fraction(0)
    """what the increments and connect fees come to: as capped, but for volume tiers, which price all of it anew"""
    decimals: int = -1
    mode: str = "half_up"
    floor: Fraction = Fraction(0)
    """the greatest minimum so far"""
    lifted: Fraction = Fraction(0)
    """what was bought, after minimum and maximum"""
    taken: Fraction = Fraction(0)
    """what discounts of an amount took off"""
    net: Fraction = Fraction(0)
    """after discounts"""
    gross: Fraction = Fraction(0)
    """with added tax: the sum that is rounded"""

    def price(self) -> int:
        """Return what the path costs, rounded once."""
        return 0 if self.decimals < 0 else rounded(self.gross, self.decimals, self.mode)


def tariff_of(version: Published, plan: Section, rule: Section, prefix: str | None) -> Tariff:
    """Read a rule, with its deck's row where the price is the deck's."""
    unit = rule["unit"]
    rounding = rule["rounding"] or version.document["rounding"]
    connect_fee = rule["connect_fee"]
    steps = []
    for step in rule["steps"]:
        price, per, increment = step["price"], step["per"], step["increment"]
        if price != "deck":
            steps.append(_step(step["from"], price, per, increment, unit))
            continue
        assert prefix is not None, "a deck's price without a prefix"
        _, rate, row_fee, first, following = version.deck_row(rule["match"]["to"], prefix)
        assert rate is not None, "a deck's row without a rate"
        connect_fee = connect_fee if row_fee is None else row_fee
        steps.append(_step("0", rate, per, first or increment, unit))
        steps.append(_step(first or increment, rate, per, following or increment, unit))
    return Tariff(
        steps=tuple(steps),
        connect_fee=micros(connect_fee),
        minimum=micros(rule.get("minimum") or "0"),
        maximum=None if rule["maximum"] is None else micros(rule["maximum"]),
        decimals=int(rounding["decimals"]),
        mode=str(rounding["mode"]),
        volume=rule.get("tiers") == "volume",
        tax_rate=added_tax(rule.get("tax") or plan.get("tax") or version.document.get("tax")),
    )


def added_tax(tax: Section | None) -> Fraction:
    """Return the rate of a tax that is added to the price; 0 for none, or one that the price holds."""
    return Fraction(0) if tax is None or tax["included"] else exact(tax["rate"]) / 100


def _step(start: str, price: str, per: str, increment: str, unit: str) -> Step:
    bought = counted(increment, unit)
    return Step(counted(start, unit), bought, micros(price) * bought / counted(per, unit))


def walk(meter: Meter, tariff: Tariff, quantity: int, discount: Discount | None, *, connects: bool) -> Meter:
    """Walk one more part. `connects`: this part, if it has a quantity, adds its connect fee."""
    decimals, mode = meter.decimals, meter.mode
    if tariff.decimals > decimals:
        decimals, mode = tariff.decimals, tariff.mode
    if quantity == 0:
        return meter._replace(decimals=decimals, mode=mode)
    used = meter.quantity + quantity
    floor = max(meter.floor, tariff.minimum)
    due = tariff.connect_fee if connects else Fraction(0)
    first = None if discount is None else discount.first
    buy = _buy_volume if tariff.volume else _buy
    paid, cost, cost_below = buy(meter, tariff, used, due, first)
    lifted = _lift(meter, tariff, cost, floor)
    below = meter.lifted if cost_below is None else _lift(meter, tariff, cost_below, floor)
    off = _off(meter, discount, below - meter.lifted)
    left = lifted - meter.lifted - off
    return Meter(
        used,
        paid,
        meter.bought + cost if tariff.volume else _capped(meter, tariff, cost),
        decimals,
        mode,
        floor,
        lifted,
        meter.taken + (off if discount is not None and discount.amount is not None else 0),
        meter.net + left,
        meter.gross + left * (1 + tariff.tax_rate),
    )


def _off(meter: Meter, discount: Discount | None, price: Fraction) -> Fraction:
    """Return what a discount takes off what a part comes to."""
    if discount is None:
        return Fraction(0)
    if discount.amount is None:
        return price * discount.share
    if price < 0:  # volume tiers made what is on the path cheaper: it is never below nothing
        return min(meter.net + price, Fraction(0))
    return min(max(discount.amount - meter.taken, Fraction(0)), price)


def _lift(meter: Meter, tariff: Tariff, cost: Fraction, floor: Fraction) -> Fraction:
    """Return what the path comes to: no less than its minimum, and its maximum does not let it rise above."""
    return max(_capped(meter, tariff, cost), floor)


def _capped(meter: Meter, tariff: Tariff, cost: Fraction) -> Fraction:
    bought = meter.bought + cost
    if tariff.maximum is None:
        return bought
    before = meter.lifted if tariff.volume else meter.bought
    return min(bought, max(tariff.maximum, before))


def _buy(
    meter: Meter, tariff: Tariff, used: int, due: Fraction, first: int | None
) -> tuple[int, Fraction, Fraction | None]:
    """Buy until the use is paid; returns what is paid then, the cost, and the part of it bought below `first`.

    That part is None where nothing was bought while the meter stood below.
    """
    paid, cost, bought = meter.paid, due, 0
    below = cost if first is None or meter.quantity < first else None
    while paid < used:
        step = _step_at(tariff.steps, paid)
        stands_below = first is None or paid < first
        if bought < PATIENCE:
            paid += step.increment
            cost += step.cost
        else:
            ends = [used, *(other.start for other in tariff.steps if other.start > paid)]
            if first is not None and paid < first:
                ends.append(first)
            increments = _increments(min(ends) - paid, step)
            paid += increments * step.increment
            cost += increments * step.cost
        bought += 1
        if stands_below:
            below = cost
    return paid, cost, below


def _buy_volume(
    meter: Meter, tariff: Tariff, used: int, due: Fraction, first: int | None
) -> tuple[int, Fraction, Fraction | None]:
    """Price the whole quantity anew, by the last step it reaches; its first units by the last step that they reach."""
    paid, after = _volume(tariff, used)
    _, before = _volume(tariff, meter.quantity)
    cost = due + after - before
    if first is None:
        return paid, cost, cost
    _, after = _volume(tariff, min(used, first))
    _, before = _volume(tariff, min(meter.quantity, first))
    return paid, cost, after - before + (due if meter.quantity < first else 0)


def _volume(tariff: Tariff, quantity: int) -> tuple[int, Fraction]:
    if quantity == 0:
        return 0, Fraction(0)
    step = max((each for each in tariff.steps if each.start < quantity), key=lambda each: each.start)
    increments = _increments(quantity, step)
    return increments * step.increment, increments * step.cost


def _step_at(steps: Iterable[Step], paid: int) -> Step:
    """Return the step with the greatest start not above what is paid."""
    return max((step for step in steps if step.start <= paid), key=lambda step: step.start)


def _increments(quantity: int, step: Step) -> int:
    """Return how many whole increments cover a quantity."""
    whole, rest = divmod(quantity, step.increment)
    return whole + (1 if rest else 0)


def round_up(quantity: int, to: int | None) -> int:
    """Return the smallest multiple of `to` that is not less; with no `to` the quantity itself."""
    if to is None:
        return quantity
    multiples = 0
    if quantity > 0:
        multiples = (quantity - 1) // to + 1
    return multiples * to
