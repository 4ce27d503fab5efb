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


class Money(NamedTuple):
    """What else becomes of a part's price: shares are of one; `first` in the smallest unit."""

    minimum: Fraction = Fraction(0)
    percent: Fraction = Fraction(0)
    amount: Fraction = Fraction(0)
    first: int | None = None
    added_tax: Fraction = Fraction(0)


def exact_net(parts):
    """Walk (rule, money, quantity) parts unit by unit: minimum, maximum, discount and tax by the letter.

    A minimum lifts what the path comes to (the greatest so far); a discount is of what a unit lifts that by.
    """
    units = []
    for rule, money, quantity in parts:
        units += [(rule, money)] * quantity
    net = gross = given = floor = Fraction(0)
    for count, (_, money) in enumerate(units, 1):
        floor = max(floor, money.minimum)
        runs = []  # the same path so far as parts of one rule each
        for unit_rule, _ in units[:count]:
            if runs and runs[-1][0] is unit_rule:
                runs[-1][1] += 1
            else:
                runs.append([unit_rule, 1])
        now = max(exact_sum(runs), floor)
        moved, gross = now - gross, now
        if money.first is None or count <= money.first:
            taken = min(moved, max(money.amount - given, 0))
            given += taken
            moved = (moved - taken) * (1 - money.percent)
        net += moved * (1 + money.added_tax)
    return net
