"""The lines of a charge: how the price came about, in figures that a stranger can follow with pencil and paper.

There is a line for each part of the record (it is cut into parts where its rule changes), and one more, with quantity
0, for each further bucket that a part drew on. Of one part:

- what goes on the meter is `quantity_rounded` less the `allowance_used` of all its lines;
- `steps` are the whole increments bought; their amounts and the connect fee, no less in all than the path's minimum and
  no further than the maximum, lift the meter's sum (where later parts of a session are known, and in volume tiers,
  `steps` are what the whole path buys more, and less);
- `discount` says of which amount what is taken, `tax` to which amount what is added before that sum is reached;
- the amount is the sum after less the sum before, both rounded as `rounding` says.

So the lines of a record add up to its amount, on any meter.
"""

from fractions import Fraction
from typing import Final

from pipeline.domain.allowances import Draw
from pipeline.domain.ledger import BoughtStep, Line, new_line, new_step
from pipeline.domain.matching import Part
from pipeline.domain.meter import Bought, Curve, Reading, ratio_text
from pipeline.domain.worth import Discount, tax_text, worth_of

_NOTHING: Final = Fraction(0)


class Priced:
    """One part on its meter: its share after rounding up, its draws, the meter before and after, what it bought."""

    __slots__ = ("after", "before", "bought", "connect_fee_micros", "discount", "draws", "meter", "part", "share")

    def __init__(
        self,
        part: Part,
        share: int,
        draws: tuple[Draw, ...],
        meter: str | None,
        before: Reading,
        after: Reading,
        bought: Bought,
        connect_fee_micros: int,
        discount: Discount | None = None,
    ) -> None:
        self.part: Final = part
        self.share: Final = share
        self.draws: Final = draws
        self.meter: Final = meter
        self.before: Final = before
        self.after: Final = after
        self.bought: Final = bought
        self.connect_fee_micros: Final = connect_fee_micros
        self.discount: Final = discount


def lines_of(steps: list[Priced], catalogue: str, plan: str) -> tuple[Line, ...]:
    """Write the lines. One rounding a meter: that of its path with the whole record on it.

    Only the first `before` of a meter is rounded as it was when it was last charged, and the line says so if that was
    another way.
    """
    ends: dict[str | None, Reading] = {}
    for step in steps:
        if step.after.decimals >= 0:
            ends[step.meter] = step.after
    lines: list[Line] = []
    charged: dict[str | None, int] = {}
    for step in steps:
        rule = step.part.candidate.rule
        amount = 0
        rounding = None
        if step.after.decimals >= 0 and not rule.free:
            end = ends[step.meter]
            before = charged.get(step.meter)
            rounding = f"{end.decimals} {end.mode}"
            if before is None:
                before = step.before.price_micros()
                if step.before.decimals >= 0 and (step.before.decimals, step.before.mode) != (end.decimals, end.mode):
                    rounding += f" (before: {step.before.decimals} {step.before.mode})"
            charged[step.meter] = after = step.after.rounded_micros(end.decimals, end.mode)
            amount = after - before
        lines.append(_line(step, catalogue, plan, amount, rounding))
        lines.extend(_further_bucket(lines[-1], step, draw) for draw in step.draws[1:])
    return tuple(lines)


def _line(step: Priced, catalogue: str, plan: str, amount_micros: int, rounding: str | None) -> Line:
    part, draws, before, after, bought = step.part, step.draws, step.before, step.after, step.bought
    candidate = part.candidate
    rule = candidate.rule
    band = candidate.band
    first = draws[0] if draws else None
    curve = candidate.curve
    discount, tax = None, None
    if curve is not None and (curve.tax is not None or after.worth is not None):
        discount, tax = _taken_and_added(step, curve)
    return new_line(
        rule.id,
        catalogue,
        plan,
        None if band is None else band.id,
        candidate.prefix,
        part.quantity,
        step.share,
        rule.unit,
        None if first is None else first.allowance,
        0 if first is None else first.used,
        bought[0][0].steps[bought[0][1]].terms.price if bought else None,
        _bought_steps(bought),
        amount_micros,
        step.meter,
        before.quantity,
        after.quantity,
        before.sum_text(),
        after.sum_text(),
        step.connect_fee_micros,
        None if curve is None else curve.minimum_micros,
        None if curve is None else curve.maximum_micros,
        discount,
        tax,
        rounding,
    )


def _taken_and_added(step: Priced, curve: Curve) -> tuple[str | None, str | None]:
    """Say discount and tax of a part: on what, and how much, in exact micro-units."""
    if step.after.worth is None:
        return None, None if curve.tax is None else tax_text(curve.tax, _NOTHING, _NOTHING)
    after = step.after.worth
    before = step.before.worth or worth_of(step.before.numerator, step.before.denominator)
    gross, left = after.gross - before.gross, after.discounted - before.discounted
    discount = None
    if step.discount is not None:
        discount = f"{step.discount.id} {step.discount.terms}: {gross} - {gross - left}"
    return discount, tax_text(curve.tax, left, after.net - before.net - left)


def _bought_steps(bought: Bought) -> tuple[BoughtStep, ...]:
    rows = []
    for curve, index, count in bought:
        step = curve.steps[index]
        amount = ratio_text(count * step.cost, curve.denominator)
        from_, price, per, increment = step.terms
        rows.append(new_step(from_, price, per, increment, count, amount))
    return tuple(rows)


def _further_bucket(line: Line, step: Priced, draw: Draw) -> Line:
    """The line of a second or later bucket of one part: it only says what the bucket gave."""
    return line._replace(
        quantity=0,
        quantity_rounded=0,
        allowance=draw.allowance,
        allowance_used=draw.used,
        unit_price=None,
        steps=(),
        amount_micros=0,
        meter_quantity_before=step.after.quantity,
        meter_sum_before=line.meter_sum_after,
        connect_fee_micros=0,
    )
