"""What becomes of a price between its maximum and its one rounding: minimum, discount, exclusive tax.

Money steps in this order: increments and connect fee, minimum, maximum, discount, exclusive tax, rounding. Where a
path has none of these steps its plain sum says all, and nothing here is asked. Where it has, its `Worth` says how far
each step has come, as exact rationals in micro-units. A part adds what it moved: what the path's gross came to more by
it is discounted by the part's own discount, and what is left is taxed at its own rate.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from pipeline.domain.money import AmountError, parse_ratio

_HUNDRED: Final = 100
_ZERO: Final = Fraction(0)


@dataclass(frozen=True, slots=True)
class Tax:
    """A rate in percent as written; `factor` is 1 where prices hold the tax already, else 1 + rate."""

    rate: str
    included: bool
    factor: Fraction


def make_tax(rate: str, included: bool) -> Tax:
    """Make a tax of its rate in percent; raises AmountError."""
    share = percent_of(rate)
    return Tax(rate, included, Fraction(1) if included else 1 + share)


def tax_text(tax: Tax | None, before: Fraction, added: Fraction) -> str | None:
    """Say a tax on a line: its rate, and what it adds to what, in exact micro-units, where it is not in the price."""
    if tax is None:
        return None
    return f"{tax.rate}% included" if tax.included else f"{tax.rate}% added: {before} + {added}"


def percent_of(text: str) -> Fraction:
    """Read a percentage of 0 or more as a share of one; raises AmountError."""
    numerator, denominator = parse_ratio(text)
    if numerator < 0:
        raise AmountError("a percentage is 0 or more")
    return Fraction(numerator, denominator * _HUNDRED)


@dataclass(frozen=True, slots=True)
class Discount:
    """Less to pay: a share of the price (`kept` is what is left of it), or an amount off each path.

    `first` (ms, octets or messages): only for what is bought while the meter stands below it. `terms`: for people.
    """

    id: str
    percent: str | None
    kept: Fraction
    amount_micros: int
    first: int | None
    terms: str


def kept_share(percent: str) -> Fraction:
    """Return what is left to pay after a discount of so many percent, at most 100; raises AmountError."""
    share = percent_of(percent)
    if share > 1:
        raise AmountError("a discount is at most 100 percent")
    return 1 - share


class Worth(NamedTuple):
    """Where the money of a path stands, in exact micro-units.

    `floor_micros`: the greatest minimum so far. `gross`: after minimum and maximum. `given`: what amounts off have
    taken. `discounted`: after discounts. `net`: with exclusive tax; what is rounded.
    """

    floor_micros: int
    gross: Fraction
    given: Fraction
    discounted: Fraction
    net: Fraction


def worth_of(numerator: int, denominator: int) -> Worth:
    """Return the worth of a plain sum: no step took anything yet."""
    plain = Fraction(numerator, denominator)
    return Worth(0, plain, _ZERO, plain, plain)


def move(worth: Worth, floor_micros: int, gross: Fraction, discount: Discount | None, tax: Tax | None) -> Worth:
    """Return the worth once a part moved the gross there: its discount, then its tax, on what the gross moved."""
    moved = gross - worth.gross
    given = worth.given
    if discount is None:
        left = moved
    elif discount.percent is not None:
        left = moved * discount.kept
    elif moved >= 0:
        taken = min(moved, max(discount.amount_micros - given, _ZERO))
        given += taken
        left = moved - taken
    else:  # the path became cheaper: an amount off is never more than the path comes to
        given = min(given, gross)
        left = moved - (given - worth.given)
    taxed = left if tax is None else left * tax.factor
    return Worth(floor_micros, gross, given, worth.discounted + left, worth.net + taxed)


def format_worth(worth: Worth) -> str:
    """Write a worth as the tail of a meter's field."""
    return " ".join(str(value) for value in worth)


def parse_worth(words: list[str]) -> Worth:
    """Read what `format_worth` wrote, split at the spaces."""
    floor, *rest = words
    gross, given, discounted, net = (_fraction(word) for word in rest)
    return Worth(int(floor), gross, given, discounted, net)


def _fraction(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator or 1))
