"""Rating: what one record costs, and every line of why.

Round up, then allowances, then the rest on the meter (meter.py says what a meter is). Free and unanswered records take
no allowance and move no meter. `round_up` is a curve over what precedes a part: within its own record on the meters
`record`, `day` and `month`, on the session's path on the meter `session`.

A line is made for each part (a record is cut into parts where its rule changes), and one more, with quantity 0, for
each further bucket that a part drew on. What a part puts on the meter is its rounded quantity less the allowance used
on all its lines; its amount is the rounded sum after less the rounded sum before, so the lines add up to the record's
amount on any meter. An event's rule, curve and meter can be followed from its lines alone.
"""

from bisect import insort
from collections.abc import Mapping
from typing import Final, NamedTuple

from pipeline.domain import session_path
from pipeline.domain.account import Account
from pipeline.domain.allowances import Draw, Purse, purse_for
from pipeline.domain.catalogue import Catalogue, Catalogues, Plan
from pipeline.domain.ledger import LINES_MAX, BoughtStep, Line
from pipeline.domain.matching import Part, Table, cut
from pipeline.domain.meter import (
    START,
    Advance,
    Bought,
    Reading,
    advance,
    format_reading,
    parse_reading,
    ratio_text,
    round_up,
)
from pipeline.domain.money import AMOUNT_MICROS_MAX
from pipeline.domain.outcome import Refusal
from pipeline.domain.session_path import PathPart
from pipeline.domain.usage import VOICE, AcceptedUsage, quantity

RECORD: Final = "record"
SESSION: Final = "session"
DAY: Final = "day"
MONTH: Final = "month"
METERS: Final = (RECORD, SESSION, DAY, MONTH)

_NO_DRAWS: Final[tuple[Draw, ...]] = ()


class Rated(NamedTuple):
    """A price and what it changes. `month` is that of the start in tariff time; None in a change removes a field."""

    amount_micros: int
    lines: tuple[Line, ...]
    account_changes: dict[str, str | None]
    session_changes: dict[str, str | None]
    month: str
    currency: str


class _Step(NamedTuple):
    """One part walked on its meter, before its line is written."""

    part: Part
    share: int
    draws: tuple[Draw, ...]
    meter: str | None
    before: Reading
    after: Reading
    bought: Bought
    connect_fee_micros: int


def rate(usage: AcceptedUsage, account: Account, catalogues: Catalogues, session: Mapping[str, str]) -> Rated | Refusal:
    """Price one record for an account as it stands; `session` holds the fields of the session's own state.

    Pure: nothing given is changed. Refuses with no_plan, no_tariff, currency_mismatch or too_large; it does not look
    at balance, status or whether the record was seen before.
    """
    start = usage.start_time
    catalogue = catalogues.at(start)
    plan_id = account.plan_at(start)
    plan = None if catalogue is None or plan_id is None else catalogue.plan_at(plan_id, start)
    if catalogue is None or plan is None:
        version = None if catalogue is None else catalogue.hash
        return Refusal("no_plan", {"plan": plan_id, "catalogue": version, "start": start})
    used = quantity(usage)
    table = plan.tables.get((usage.service, usage.direction))
    chain = () if table is None else table.chain(usage.other_party)
    parts = cut(chain, usage, used, catalogue.clock)
    if isinstance(parts, int):
        return _no_tariff(usage, catalogue, plan, table, parts)
    if plan.currency != account.currency:
        detail: dict[str, object] = {"plan": plan.id, "plan_currency": plan.currency, "currency": account.currency}
        return Refusal("currency_mismatch", {**detail, "catalogue": catalogue.hash})
    if len(parts) > LINES_MAX:
        return Refusal("too_large", {"lines": len(parts), "lines_max": LINES_MAX})

    account_changes: dict[str, str | None] = {}
    session_changes: dict[str, str | None] = {}
    if usage.service == VOICE and not usage.answered:
        steps = [_unpriced(part) for part in parts]
    else:
        meter = next((part.candidate.rule.meter for part in parts if not part.candidate.rule.free), None)
        purse = None if meter is None else purse_for(usage, account.fields, catalogue, plan)
        if meter == SESSION and usage.session_id is not None:
            steps = _on_session(usage, parts, purse, (catalogue, plan), (catalogues, session, session_changes))
        elif meter in (DAY, MONTH):
            period = catalogue.month_of(start) if meter == MONTH else catalogue.day_of(start)
            steps = _on_period(parts, purse, (plan.id, period), account.fields, account_changes)
        else:
            steps = _on_record(parts, purse)
        if purse is not None:
            account_changes.update(purse.changes())

    lines = _lines(steps, catalogue.hash, plan.id)
    amount = sum(line.amount_micros for line in lines)
    if len(lines) > LINES_MAX or abs(amount) > AMOUNT_MICROS_MAX:
        return Refusal("too_large", {"lines": len(lines), "lines_max": LINES_MAX, "amount_micros": str(amount)})
    return Rated(amount, lines, account_changes, session_changes, catalogue.month_of(start), plan.currency)


def _unpriced(part: Part, at: Reading = START) -> _Step:
    """A part that is free, or of a call that nobody answered: it moves no meter and costs nothing."""
    return _Step(part, part.quantity, _NO_DRAWS, None, at, at, (), 0)


def _on_record(parts: list[Part], purse: Purse | None) -> list[_Step]:
    """The record is its own path: its parts by time, from nothing."""
    steps = []
    reading = START
    preceding = 0
    to = -1
    for part in parts:
        rule = part.candidate.rule
        if rule.free:
            steps.append(_unpriced(part, reading))
            continue
        if to < 0:
            to = rule.round_up
        share = round_up(preceding + part.quantity, to) - round_up(preceding, to) if to else part.quantity
        preceding += part.quantity
        draws, rest = _draw(purse, share, part.start_ms)
        curve = part.candidate.curve
        assert curve is not None, "a priced rule without a curve"
        after, bought, fee = advance(reading, curve, rule.rounding, rest, reading.quantity == 0)
        steps.append(_Step(part, share, draws, None, reading, after, bought, fee))
        reading = after
    return steps


def _draw(purse: Purse | None, share: int, start_ms: int) -> tuple[tuple[Draw, ...], int]:
    """Draw on the allowances; returns what each gave, and the rest that goes on the meter."""
    if purse is None:
        return _NO_DRAWS, share
    draws = purse.draw(share, start_ms)
    return draws, share - sum(draw.used for draw in draws)


def _on_period(
    parts: list[Part],
    purse: Purse | None,
    names: tuple[str, str],
    fields: Mapping[str, str],
    changes: dict[str, str | None],
) -> list[_Step]:
    """Each rule has its own path of the day or month, in ledger order; the record pays one connect fee.

    A part that an allowance covers whole leaves its meter as it is.
    """
    plan_id, period = names
    steps = []
    readings: dict[str, Reading] = {}
    preceding = 0
    to = -1
    connects = True
    for part in parts:
        rule = part.candidate.rule
        if rule.free:
            steps.append(_unpriced(part))
            continue
        if to < 0:
            to = rule.round_up
        share = round_up(preceding + part.quantity, to) - round_up(preceding, to)
        preceding += part.quantity
        draws, rest = _draw(purse, share, part.start_ms)
        meter = f"meter:{plan_id}:{rule.id}:{period}"
        before = readings.get(meter)
        if before is None:
            before = parse_reading(fields.get(meter))
        after, bought, fee = Advance(before, (), 0)
        if rest:
            curve = part.candidate.curve
            assert curve is not None, "a priced rule without a curve"
            after, bought, fee = advance(before, curve, rule.rounding, rest, connects)
            connects = False
            changes[meter] = format_reading(after)
        readings[meter] = after
        steps.append(_Step(part, share, draws, meter, before, after, bought, fee))
    return steps


def _on_session(
    usage: AcceptedUsage,
    parts: list[Part],
    purse: Purse | None,
    tariff: tuple[Catalogue, Plan],
    state: tuple[Catalogues, Mapping[str, str], dict[str, str | None]],
) -> list[_Step]:
    """Put the record's parts on the session's path, one by one by time; each costs what the path then costs more.

    Where a part stands at the path's end, its line shows what it bought. Where later parts are known already, it shows
    what the whole path buys more, and less.
    """
    catalogue, plan = tariff
    catalogues, session, changes = state
    path = session_path.read_path(session, catalogues)
    walked = session_path.walk(path)
    meter = f"session:{usage.service}:{usage.session_id}"
    steps = []
    for part in parts:
        candidate = part.candidate
        rule, curve = candidate.rule, candidate.curve
        if curve is None:
            steps.append(_unpriced(part, walked.reading))
            continue
        placed = PathPart(part.start_ms, usage.partial_number or 0, usage.record_id, part.quantity, 0, rule, curve)
        insort(path, placed, key=PathPart.place)
        index = path.index(placed)
        share = session_path.share_in(path, index)
        draws, rest = _draw(purse, share, part.start_ms)
        placed = path[index] = placed._replace(taken=share - rest)
        if index + 1 == len(path):
            after = session_path.step_on(walked, placed, share)
            bought = after.bought[len(walked.bought) :]
        else:
            after = session_path.walk(path)
            bought = session_path.net_bought(after.bought, walked.bought)
        fee = after.connect_fee_micros - walked.connect_fee_micros
        steps.append(_Step(part, share, draws, meter, walked.reading, after.reading, bought, fee))
        walked = after
        changes[session_path.field_of(placed)] = session_path.value_of(
            placed, candidate.prefix, plan.id, plan.valid_from, catalogue.hash
        )
    return steps


def _lines(steps: list[_Step], catalogue: str, plan: str) -> tuple[Line, ...]:
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


def _line(step: _Step, catalogue: str, plan: str, amount_micros: int, rounding: str | None) -> Line:
    part, share, draws, meter, before, after, bought, fee = step
    candidate = part.candidate
    rule = candidate.rule
    band = candidate.band
    first = draws[0] if draws else None
    return Line(
        rule.id,
        catalogue,
        plan,
        None if band is None else band.id,
        candidate.prefix,
        part.quantity,
        share,
        rule.unit,
        None if first is None else first.allowance,
        0 if first is None else first.used,
        bought[0][0].steps[bought[0][1]].terms.price if bought else None,
        _bought_steps(bought),
        amount_micros,
        meter,
        before.quantity,
        after.quantity,
        before.sum_text(),
        after.sum_text(),
        fee,
        None,  # minimum, discount and tax have their places in this order: none can be written in a catalogue yet
        None if candidate.curve is None else candidate.curve.maximum_micros,
        None,
        None,
        rounding,
    )


def _bought_steps(bought: Bought) -> tuple[BoughtStep, ...]:
    rows = []
    for curve, index, count in bought:
        step = curve.steps[index]
        amount = ratio_text(count * step.cost, curve.denominator)
        rows.append(BoughtStep(*step.terms, count, amount))
    return tuple(rows)


def _further_bucket(line: Line, step: _Step, draw: Draw) -> Line:
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


def _no_tariff(usage: AcceptedUsage, catalogue: Catalogue, plan: Plan, table: Table | None, at_ms: int) -> Refusal:
    """Say everything that was tried: each prefix of the number, each rule with the keys that failed."""
    number = usage.other_party
    prefixes: list[str] = []
    if number is not None and table is not None:
        cuts = table.lengths if number.startswith("+") else (len(number),)
        prefixes = [number[:length] for length in cuts if length <= len(number)]
    day, time_of_day, _ = catalogue.clock.local(at_ms)
    tried = [{"rule": rule.id, "failed": rule.keys.failed(usage, day, time_of_day)} for rule in plan.rules]
    return Refusal(
        "no_tariff",
        {
            "plan": plan.id,
            "catalogue": catalogue.hash,
            "at": at_ms,
            "number": number,
            "prefixes": prefixes,
            "rules": tried,
        },
    )
