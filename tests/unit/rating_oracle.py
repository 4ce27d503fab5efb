"""The rule of the path, spelled out by the letter: fractions, and one increment after another. Slow, and obvious."""

from fractions import Fraction
from typing import NamedTuple


class OracleRule(NamedTuple):
    """Steps are (from, price, per, increment) in the smallest unit; money in units of the currency."""

    steps: tuple
    connect_fee: Fraction = Fraction(0)
    maximum: Fraction | None = None
    decimals: int = 2
    mode: str = "half_up"
    round_up: int = 1


def rounded(value, decimals, mode):
    scaled = abs(value) * 10**decimals
    whole = scaled.numerator // scaled.denominator
    rest = scaled - whole
    half = Fraction(1, 2)
    if mode == "up":
        whole += rest > 0
    elif mode == "half_up":
        whole += rest >= half
    elif mode == "half_even":
        whole += rest > half or (rest == half and whole % 2 == 1)
    return Fraction(whole if value >= 0 else -whole, 10**decimals)


def exact_sum(parts):
    """Walk (rule, quantity) parts: paid, q and sum from 0."""
    paid = q = 0
    total = Fraction(0)
    connected = False
    for rule, quantity in parts:
        cost = Fraction(0)
        if quantity > 0 and not connected:
            cost += rule.connect_fee
            connected = True
        q += quantity
        while paid < q:
            _, price, per, increment = max((step for step in rule.steps if step[0] <= paid), key=lambda step: step[0])
            cost += Fraction(price) * increment / per
            paid += increment
        if rule.maximum is None or total + cost <= rule.maximum:
            total += cost
        else:
            total = max(total, rule.maximum)
    return total


def price(parts):
    """Return the price of a path: its sum, rounded once by the part with the most decimals, the first on a tie."""
    if not parts:
        return Fraction(0)
    finest = max((rule for rule, _ in parts), key=lambda rule: rule.decimals)
    return rounded(exact_sum(parts), finest.decimals, finest.mode)


def session_price(parts):
    """Price recorded parts by their order: rounded up together by the first part's rule."""
    to = parts[0][0].round_up if parts else 1

    def curve(quantity):
        return -(-quantity // to) * to

    preceding = 0
    shares = []
    for rule, recorded in parts:
        shares.append((rule, curve(preceding + recorded) - curve(preceding)))
        preceding += recorded
    return price(shares)
