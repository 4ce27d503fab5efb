"""Fees: what a plan costs before anything is used, charged by `begin_period`.

A period is a month of tariff time. Beginning it charges its monthly fees in advance, by the plans that are known then,
and settles the months since the one begun last: what they come to by now, less what they were charged. So a change of
plan in the middle of a month is evened out by the next period, to the day, where a fee is `prorate`.

An account remembers `period` (the month begun last), `fee:PLAN:FEE:YYYY-MM` (what that month was charged) and
`fee:PLAN:FEE:once`, in micro-units.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.domain.account import Account
from pipeline.domain.ledger import LINES_MAX, BoughtStep, Line
from pipeline.domain.meter import Rounding
from pipeline.domain.money import parse_micros, round_ratio
from pipeline.domain.outcome import Refusal
from pipeline.domain.tariff_time import DAY_MS, day_number, next_month
from pipeline.domain.worth import Tax, tax_text

if TYPE_CHECKING:
    from pipeline.domain.catalogue import Catalogue, Catalogues, Plan

MONTH: Final = "month"
ONCE: Final = "once"
PERIOD: Final = "period"
"""The account's field that says which month was begun last."""
MONTHS_MAX: Final = 24
"""How many months one command settles; an account that was left alone for longer is looked at by a person."""


class Fee(NamedTuple):
    """A fee of a plan. `price` is decimal text; `prorate`: by the days on which the plan was in force."""

    id: str
    price: str
    every: str
    prorate: bool
    rounding: Rounding
    tax: Tax | None


class Begun(NamedTuple):
    """What beginning a period charges, and what it changes of the account."""

    lines: tuple[Line, ...]
    changes: dict[str, str | None]


class _Stretch(NamedTuple):
    """Days of a month on which one plan, as published then, was in force. `opens`: it is the month's first."""

    catalogue: "Catalogue"
    plan: "Plan"
    days: int
    opens: bool


def begin(period: str, at_ms: int, account: Account, catalogues: "Catalogues") -> Begun | Refusal:
    """Return the fees due when this month (YYYY-MM) begins; `at_ms` is when that was asked for.

    Months are begun in order: refuses with `period_begun` one that is not after the last. A first period settles the
    month before it only where the account's first plan began in that month.
    """
    month = parse_month(period)
    if month is None:
        return Refusal("bad_command", {"period": "a month like 2026-11"})
    last = account.fields.get(PERIOD)
    if last is not None:
        first = parse_month(last)
        assert first is not None, "an account begun in a period that is no month"
        if month <= first:
            return Refusal("period_begun", {"period": last})
    elif account.plans and _month_start(month - 1, catalogues) <= account.plans[0].from_ms:
        first = month - 1
    else:
        first = month
    if month - first > MONTHS_MAX:
        return Refusal("bad_command", {"period": f"at most {MONTHS_MAX} months after the last one begun, {last}"})
    lines: list[Line] = []
    changes: dict[str, str | None] = {PERIOD: period}
    for settled in range(first, month + 1):
        found = _monthly(settled, account, catalogues)
        if isinstance(found, Refusal):
            return found
        for line in found:
            assert line.meter is not None, "a fee without a meter"
            if line.amount_micros:
                lines.append(line)
                if settled == month:
                    changes[line.meter] = str(line.amount_micros)
            if settled < month and line.meter in account.fields:
                changes[line.meter] = None
    lines.extend(_once(first, max(at_ms, _month_start(month, catalogues)), account, catalogues, changes))
    if len(lines) > LINES_MAX:
        return Refusal("too_large", {"lines": len(lines), "lines_max": LINES_MAX})
    return Begun(tuple(lines), changes)


def parse_month(text: str) -> int | None:
    """Read YYYY-MM as a count of months, or None."""
    year, dash, month = text.partition("-")
    if not (dash and len(year) == 4 and len(month) == 2 and (year + month).isascii() and (year + month).isdigit()):
        return None
    return int(year) * 12 + int(month) - 1 if 1 <= int(month) <= 12 and int(year) >= 1970 else None


def _month_text(month: int) -> str:
    return f"{month // 12:04d}-{month % 12 + 1:02d}"


def _first_day(month: int) -> int:
    return day_number(month // 12, month % 12 + 1, 1)


def _days_in(month: int) -> int:
    return next_month(month // 12, month % 12 + 1) - _first_day(month)


def _month_start(month: int, catalogues: "Catalogues") -> int:
    """Return the moment (ms) at which a month begins on the wall of the version in force then."""
    day = _first_day(month)
    catalogue = catalogues.at(day * DAY_MS)
    assert catalogue is not None, "an account was opened without a catalogue"
    return catalogue.clock.midnight_ms(day)


def _stretches(month: int, account: Account, catalogues: "Catalogues") -> list[_Stretch] | Refusal:
    """Return which plans the month had, by time; the day of a change is the new plan's."""
    start, end = _month_start(month, catalogues), _month_start(month + 1, catalogues)
    closed_at = account.fields.get("closed_at")
    if closed_at is not None:
        end = min(end, int(closed_at))
    spans = account.plans
    stretches: list[_Stretch] = []
    for index, span in enumerate(spans):
        until = min(spans[index + 1].from_ms, end) if index + 1 < len(spans) else end
        begin_ms = max(span.from_ms, start)
        if begin_ms >= until:
            continue
        catalogue = catalogues.at(begin_ms)
        assert catalogue is not None, "an account was opened without a catalogue"
        plan = catalogue.plan_at(span.plan, begin_ms)
        if plan is None:  # the plan is published for a later time only: use of this stretch has no price either
            continue
        if plan.currency != account.currency:
            return Refusal("currency_mismatch", {"plan": plan.id, "plan_currency": plan.currency})
        first_day = catalogue.clock.local(begin_ms).day
        last_day = catalogue.clock.local(until - 1).day + 1
        if index + 1 < len(spans) and until == spans[index + 1].from_ms:
            last_day = catalogue.clock.local(until).day
        stretches.append(_Stretch(catalogue, plan, last_day - first_day, not stretches))
    return stretches


def _monthly(month: int, account: Account, catalogues: "Catalogues") -> list[Line] | Refusal:
    """Return a line for each monthly fee that the month has, or was charged: what is due less what was charged."""
    stretches = _stretches(month, account, catalogues)
    if isinstance(stretches, Refusal):
        return stretches
    text = _month_text(month)
    days: dict[str, int] = {}
    found: dict[str, tuple[_Stretch, Fee]] = {}
    whole: set[str] = set()
    for stretch in stretches:
        for fee in stretch.plan.fees:
            if fee.every == MONTH:
                meter = f"fee:{stretch.plan.id}:{fee.id}:{text}"
                found.setdefault(meter, (stretch, fee))
                days[meter] = days.get(meter, 0) + stretch.days
                if stretch.opens:
                    whole.add(meter)
    lines = []
    for meter, (stretch, fee) in found.items():
        charged = int(account.fields.get(meter, "0"))
        # a whole fee is of the plan that opens the month; a plan that comes later begins with the next
        bought = (days[meter], _days_in(month)) if fee.prorate else (int(meter in whole), 1)
        lines.append(_line(stretch, fee, meter, charged, bought))
    for meter, value in account.fields.items():  # charged for a plan that never came
        if meter.startswith("fee:") and meter.endswith(":" + text) and meter not in found and int(value):
            lines.append(_returned(month, meter, int(value), catalogues))
    return lines


def _once(
    first: int, until_ms: int, account: Account, catalogues: "Catalogues", changes: dict[str, str | None]
) -> list[Line]:
    """Return the one-off fees of the plans that began in or after this month, up to a moment; each is taken once."""
    start = _month_start(first, catalogues)
    lines = []
    for span in account.plans:
        if not start <= span.from_ms <= until_ms:
            continue
        catalogue = catalogues.at(span.from_ms)
        assert catalogue is not None, "an account was opened without a catalogue"
        plan = catalogue.plan_at(span.plan, span.from_ms)
        for fee in () if plan is None else plan.fees:
            assert plan is not None
            meter = f"fee:{plan.id}:{fee.id}:{ONCE}"
            if fee.every == ONCE and meter not in account.fields and meter not in changes:
                lines.append(_line(_Stretch(catalogue, plan, 0, opens=False), fee, meter, 0, (1, 1)))
                changes[meter] = str(lines[-1].amount_micros)
    return [line for line in lines if line.amount_micros]


def _line(stretch: _Stretch, fee: Fee, meter: str, charged_micros: int, bought: tuple[int, int]) -> Line:
    return price_line(fee, (stretch.plan.id, stretch.catalogue.hash), meter, charged_micros, bought)


def price_line(
    fee: Fee, names: tuple[str, str], meter: str, charged_micros: int = 0, bought: tuple[int, int] = (1, 1)
) -> Line:
    """Write the line of a price that does not hang on use, under a plan and a catalogue's hash.

    It is for so many days of so many, or the whole, less what was charged already; `meter` is the field that remembers.
    """
    count, per = bought
    plan, catalogue = names
    plain = Fraction(parse_micros(fee.price) * count, per)
    due = plain if fee.tax is None else plain * fee.tax.factor
    rounded = round_ratio(due.numerator, due.denominator, fee.rounding.decimals, fee.rounding.mode)
    steps = (BoughtStep("0", fee.price, str(per), "1", count, str(plain)),) if count else ()
    return _fee_line(
        (fee.id, catalogue, plan, "day" if fee.prorate else fee.every, fee.price),
        steps,
        rounded - charged_micros,
        (meter, count, str(charged_micros), str(due)),
        (tax_text(fee.tax, plain, due - plain), f"{fee.rounding.decimals} {fee.rounding.mode}"),
    )


def _returned(month: int, meter: str, charged_micros: int, catalogues: "Catalogues") -> Line:
    _, plan, fee, _ = meter.split(":")
    catalogue = catalogues.at(_month_start(month, catalogues))
    assert catalogue is not None, "an account was opened without a catalogue"
    names = (fee, catalogue.hash, plan, MONTH, None)
    return _fee_line(names, (), -charged_micros, (meter, 0, str(charged_micros), "0"), (None, "6 down"))


def _fee_line(
    names: tuple[str, str, str, str, str | None],
    steps: tuple[BoughtStep, ...],
    amount_micros: int,
    meter: tuple[str, int, str, str],
    how: tuple[str | None, str],
) -> Line:
    fee_id, catalogue, plan, unit, price = names
    name, count, before, after = meter
    return Line(
        rule=fee_id,
        catalogue=catalogue,
        plan=plan,
        band=None,
        prefix=None,
        quantity=0,
        quantity_rounded=0,
        unit=unit,
        allowance=None,
        allowance_used=0,
        unit_price=price,
        steps=steps,
        amount_micros=amount_micros,
        meter=name,
        meter_quantity_before=0,
        meter_quantity_after=count,
        meter_sum_before=before,
        meter_sum_after=after,
        connect_fee_micros=0,
        minimum_micros=None,
        maximum_micros=None,
        discount=None,
        tax=how[0],
        rounding=how[1],
    )
