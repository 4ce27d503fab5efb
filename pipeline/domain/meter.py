"""The meter: a price is a path of parts, walked.

A path starts at paid = 0, quantity = 0, sum = 0. Each part adds its quantity; while less is paid for than used, it
buys one whole increment of its rule's step with the greatest `from` not above what is paid for. The first part with a
quantity adds its connect fee; no part lifts the sum above its rule's maximum. Minimum, discount and added tax, where a
path has them, follow in worth.py. What comes out is rounded once, at the very end, by the part with the most decimals.

A record costs price(path with it) - price(path without it). For one rule the price is a curve F of the quantity and
this is F(q1) - F(q0); so however use is sliced into records, the same use costs the same.

Sums are exact: an integer numerator over an integer denominator, in micro-units. A step is bought in closed form.
Quantities are in ms, octets or messages.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Final, NamedTuple

from pipeline.domain.money import MICROS_PER_UNIT, AmountError, parse_ratio, round_ratio
from pipeline.domain.worth import Discount, Tax, Worth, format_worth, move, parse_worth, worth_of


class Terms(NamedTuple):
    """A step as the tariff manager wrote it: decimal text, `from`, `per` and `increment` in the rule's unit."""

    from_: str
    price: str
    per: str
    increment: str


class Step(NamedTuple):
    """A step made ready: where it begins, how much an increment is, what one costs over the curve's denominator."""

    from_quantity: int
    increment: int
    cost: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class Curve:
    """What use costs by one rule (of one deck row): steps by `from`, the first from 0; fee and cap in micro-units.

    `volume`: the whole quantity has the price of its last step. `plain`: the sum alone is what is rounded.
    """

    steps: tuple[Step, ...]
    denominator: int
    connect_fee_micros: int
    maximum_micros: int | None
    minimum_micros: int | None
    volume: bool
    tax: Tax | None
    plain: bool


def whole(text: str, unit_size: int) -> int:
    """Return a decimal count of units as a whole number of ms, octets or messages; raises AmountError."""
    numerator, denominator = parse_ratio(text)
    if numerator * unit_size % denominator:
        raise AmountError(f"{text} is no whole number of the smallest unit (ms, octet, message)")
    return numerator * unit_size // denominator


def make_curve(
    terms: tuple[Terms, ...],
    unit_size: int,
    connect_fee_micros: int,
    maximum_micros: int | None,
    minimum_micros: int | None = None,
    tax: Tax | None = None,
    *,
    volume: bool = False,
) -> Curve:
    """Make a curve of its steps; raises AmountError when a number of them cannot be priced."""
    if minimum_micros is not None and maximum_micros is not None and minimum_micros > maximum_micros:
        raise AmountError("a minimum is not above the maximum")
    exact = []
    for term in terms:
        begin, per, increment = (whole(text, unit_size) for text in (term.from_, term.per, term.increment))
        numerator, denominator = parse_ratio(term.price)
        if numerator < 0 or begin < 0 or per <= 0 or increment <= 0:
            raise AmountError("a price and `from` are 0 or more, `per` and `increment` more than 0")
        numerator *= MICROS_PER_UNIT * increment
        denominator *= per
        common = gcd(numerator, denominator)
        exact.append((begin, increment, numerator // common, denominator // common, term))
    exact.sort(key=lambda step: step[0])
    begins = [step[0] for step in exact]
    if not begins or begins[0] != 0 or len(set(begins)) != len(begins):
        raise AmountError("steps begin with `from: 0`, and no two begin at the same quantity")
    denominator = lcm(*(step[3] for step in exact))
    steps = tuple(
        Step(begin, increment, cost * (denominator // own), term) for begin, increment, cost, own, term in exact
    )
    plain = minimum_micros is None and not volume and (tax is None or tax.included)
    return Curve(steps, denominator, connect_fee_micros, maximum_micros, minimum_micros, volume, tax, plain)


Bought = tuple[tuple[Curve, int, int], ...]
"""Whole increments bought: (curve, index of its step, how many)."""


class Rounding(NamedTuple):
    """How a sum is rounded: decimals of the currency's unit, and the mode."""

    decimals: int
    mode: str


class Reading:
    """Where a meter stands: used, paid for, the exact sum, and how the sum is to be rounded (-1: no part yet).

    `worth` is there where a minimum, a discount, an added tax or volume tiers are on the path: what is rounded is then
    its `net`, and the sum only what was bought.
    """

    __slots__ = ("decimals", "denominator", "mode", "numerator", "paid", "quantity", "worth")

    def __init__(
        self,
        quantity: int,
        paid: int,
        numerator: int,
        denominator: int,
        decimals: int,
        mode: str,
        worth: Worth | None = None,
    ) -> None:
        self.quantity: Final = quantity
        self.paid: Final = paid
        self.numerator: Final = numerator
        self.denominator: Final = denominator
        self.decimals: Final = decimals
        self.mode: Final = mode
        self.worth: Final = worth

    def price_micros(self) -> int:
        """Return the price of the path so far, rounded once."""
        return 0 if self.decimals < 0 else self.rounded_micros(self.decimals, self.mode)

    def rounded_micros(self, decimals: int, mode: str) -> int:
        """Return the price of the path so far, rounded in this way."""
        if self.worth is not None:
            return round_ratio(self.worth.net.numerator, self.worth.net.denominator, decimals, mode)
        return round_ratio(self.numerator, self.denominator, decimals, mode)

    def sum_text(self) -> str:
        """Return what is rounded, exact in micro-units, `n` or `n/d` in lowest terms."""
        return ratio_text(self.numerator, self.denominator) if self.worth is None else str(self.worth.net)


START: Final = Reading(0, 0, 0, 1, -1, "")


class Advance:
    """What one part did: the meter after it, what it bought, and its connect fee in micro-units."""

    __slots__ = ("bought", "connect_fee_micros", "reading")

    def __init__(self, reading: Reading, bought: Bought, connect_fee_micros: int) -> None:
        self.reading: Final = reading
        self.bought: Final = bought
        self.connect_fee_micros: Final = connect_fee_micros


def ratio_text(numerator: int, denominator: int) -> str:
    """Write an exact sum: `n`, or `n/d` in lowest terms."""
    if denominator == 1:
        return str(numerator)
    common = gcd(numerator, denominator)
    return str(numerator // common) if common == denominator else f"{numerator // common}/{denominator // common}"


def buy(curve: Curve, paid: int, quantity: int) -> tuple[int, int, Bought]:
    """Buy whole increments until `quantity` is paid for: (paid after, cost over the curve's denominator, bought)."""
    steps = curve.steps
    if len(steps) == 1:
        step = steps[0]
        count = -((paid - quantity) // step.increment)
        return paid + count * step.increment, count * step.cost, ((curve, 0, count),)
    cost = 0
    bought = []
    at = 0
    last = len(steps) - 1
    while paid < quantity:
        while at < last and steps[at + 1].from_quantity <= paid:
            at += 1
        step = steps[at]
        goal = quantity if at == last else min(quantity, steps[at + 1].from_quantity)
        count = -((paid - goal) // step.increment)
        paid += count * step.increment
        cost += count * step.cost
        bought.append((curve, at, count))
    return paid, cost, tuple(bought)


def buy_volume(curve: Curve, before: int, after: int) -> tuple[int, int, Bought]:
    """Price the whole quantity by the last step it reaches, less what it was before: as `buy`, but it may be less."""
    paid, cost, bought = 0, 0, []
    for sign, quantity in ((1, after), (-1, before)):
        if not quantity:
            continue
        at = max(index for index, step in enumerate(curve.steps) if step.from_quantity < quantity)
        step = curve.steps[at]
        count = -(-quantity // step.increment)
        cost += sign * count * step.cost
        if sign > 0:
            paid = count * step.increment
            bought.append((curve, at, count))
        elif at == bought[0][1]:
            bought = [(curve, at, bought[0][2] - count)]
        else:
            bought.append((curve, at, -count))
    return paid, cost, tuple(row for row in bought if row[2])


def advance(
    reading: Reading, curve: Curve, rounding: Rounding, quantity: int, connects: bool, discount: Discount | None = None
) -> Advance:
    """Walk one part of a path: `quantity` more of this curve, rounded at the end in this way if it has most decimals.

    `connects`: this part is the one that pays the connect fee, if it has a quantity at all. The money steps in their
    order: increments and connect fee, minimum, maximum, discount, exclusive tax; the rounding is the path's.
    """
    used, paid, numerator, denominator = reading.quantity, reading.paid, reading.numerator, reading.denominator
    decimals, mode, worth = reading.decimals, reading.mode, reading.worth
    if rounding.decimals > decimals:
        decimals, mode = rounding
    if quantity == 0:
        return Advance(Reading(used, paid, numerator, denominator, decimals, mode, worth), (), 0)
    plain = discount is None and worth is None and curve.plain
    if not plain and discount is not None and discount.first is not None:
        left = discount.first - used
        if 0 < left < quantity:  # one part up to where the discount ends, and one on from there
            return _advance_in_two(reading, curve, rounding, (left, quantity - left), connects, discount)
        if left <= 0:
            discount = None
    used += quantity
    cost = 0
    bought: Bought = ()
    if not plain and curve.volume:
        paid, cost, bought = buy_volume(curve, used - quantity, used)
    elif paid < used:
        paid, cost, bought = buy(curve, paid, used)
    if denominator != curve.denominator:
        common = lcm(denominator, curve.denominator)
        numerator *= common // denominator
        cost *= common // curve.denominator
        denominator = common
    fee = curve.connect_fee_micros if connects else 0
    after = numerator + cost + fee * denominator
    if curve.maximum_micros is not None and (plain or not curve.volume):
        # never above the cap, and never below what earlier parts, by their own rules, have come to
        after = max(numerator, min(after, curve.maximum_micros * denominator))
    if plain:
        return Advance(Reading(used, paid, after, denominator, decimals, mode), bought, fee)
    worth = _worth_after(worth or worth_of(reading.numerator, reading.denominator), curve, after, denominator, discount)
    return Advance(Reading(used, paid, after, denominator, decimals, mode, worth), bought, fee)


def _worth_after(worth: Worth, curve: Curve, numerator: int, denominator: int, discount: Discount | None) -> Worth:
    """Return a path's worth once a part of this curve brought its sum there.

    A minimum lifts what the path comes to, not its sum: what is bought later goes on from the sum.
    """
    floor = max(worth.floor_micros, curve.minimum_micros or 0)
    gross = max(Fraction(numerator, denominator), Fraction(floor))
    if curve.volume and curve.maximum_micros is not None:
        # as above: a later version's lower cap takes nothing back of what the path has come to
        gross = min(gross, max(Fraction(curve.maximum_micros), worth.gross))
    return move(worth, floor, gross, discount, curve.tax)


def _advance_in_two(
    reading: Reading,
    curve: Curve,
    rounding: Rounding,
    quantities: tuple[int, int],
    connects: bool,
    discount: Discount,
) -> Advance:
    head = advance(reading, curve, rounding, quantities[0], connects, discount)
    tail = advance(head.reading, curve, rounding, quantities[1], connects=False, discount=discount)
    bought = [*head.bought, *tail.bought]
    if head.bought and tail.bought and head.bought[-1][1] == tail.bought[0][1]:
        at = len(head.bought)
        joined = (curve, head.bought[-1][1], head.bought[-1][2] + tail.bought[0][2])
        bought[at - 1 : at + 1] = [joined]
    return Advance(tail.reading, tuple(bought), head.connect_fee_micros)


def round_up(quantity: int, to: int) -> int:
    """Round a quantity up to a multiple of `to`; 0 leaves it as it is."""
    return -(-quantity // to) * to if to else quantity


def format_reading(reading: Reading) -> str:
    """Write a meter as an account's field: `quantity paid sum decimals mode`, the sum exact in micro-units.

    Where it has a worth, that follows: `minimum gross given discounted net`.
    """
    total = ratio_text(reading.numerator, reading.denominator)
    text = f"{reading.quantity} {reading.paid} {total} {reading.decimals} {reading.mode}"
    return text if reading.worth is None else f"{text} {format_worth(reading.worth)}"


def parse_reading(text: str | None) -> Reading:
    """Read what `format_reading` wrote; None is a meter that never moved."""
    if text is None:
        return START
    quantity, paid, total, decimals, mode, *rest = text.split(" ")
    numerator, _, denominator = total.partition("/")
    worth = parse_worth(rest) if rest else None
    return Reading(int(quantity), int(paid), int(numerator), int(denominator or 1), int(decimals), mode, worth)
