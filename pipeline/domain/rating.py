"""Rating: what one record costs, and every line of why.

Round up, then allowances, then the rest on the meter (meter.py says what a meter is). Free and unanswered records take
no allowance and move no meter. `round_up` is a curve over what precedes a part: within its own record on the meters
`record`, `day` and `month`, on the session's path on the meter `session`.

Each part that was priced becomes a line of the event (lines.py), and the lines add up to the amount.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from pipeline.domain import session_path
from pipeline.domain.account import Account
from pipeline.domain.allowances import Draw, Purse, purse_for
from pipeline.domain.catalogue import Catalogue, Catalogues, Plan
from pipeline.domain.discounts import Offers, cap
from pipeline.domain.ledger import LINES_MAX, Line
from pipeline.domain.lines import Priced, lines_of
from pipeline.domain.matching import Part, Table, cut
from pipeline.domain.meter import (
    START,
    Advance,
    Reading,
    advance,
    format_reading,
    parse_reading,
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


class Rated:
    """A price and what it changes. `month` is that of the start in tariff time; None in a change removes a field."""

    __slots__ = ("account_changes", "amount_micros", "currency", "lines", "month", "session_changes")

    def __init__(
        self,
        amount_micros: int,
        lines: tuple[Line, ...],
        account_changes: dict[str, str | None],
        session_changes: dict[str, str | None],
        month: str,
        currency: str,
    ) -> None:
        self.amount_micros: Final = amount_micros
        self.lines: Final = lines
        self.account_changes: Final = account_changes
        self.session_changes: Final = session_changes
        self.month: Final = month
        self.currency: Final = currency


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

    openings: tuple[Line, ...] = ()
    account_changes: dict[str, str | None] = {}
    session_changes: dict[str, str | None] = {}
    if usage.service == VOICE and not usage.answered:
        steps = [_unpriced(part) for part in parts]
    else:
        meter = next((part.candidate.rule.meter for part in parts if not part.candidate.rule.free), None)
        purse = None if meter is None else purse_for(usage, account, catalogues, catalogue, plan)
        offers = Offers(plan.offers, usage, catalogue.clock) if plan.offers else None
        if meter == SESSION and usage.session_id is not None:
            tariff = (catalogue, plan, offers)
            steps = _on_session(usage, parts, purse, tariff, (catalogues, session, session_changes))
        elif meter in (DAY, MONTH):
            period = catalogue.month_of(start) if meter == MONTH else catalogue.day_of(start)
            steps = _on_period(parts, purse, (plan.id, period, offers), account.fields, account_changes)
        else:
            steps = _on_record(parts, purse, offers)
        if purse is not None:
            account_changes.update(purse.changes())
            openings = purse.openings()

    lines = lines_of(steps, catalogue.hash, plan.id)
    amount = lines[0].amount_micros if len(lines) == 1 else sum(line.amount_micros for line in lines)
    if plan.caps:
        capped = cap(plan.caps, usage, amount, account.fields, (catalogue, plan.id))
        account_changes.update(capped.changes)
        lines += capped.lines
        amount += sum(line.amount_micros for line in capped.lines)
    if openings:
        lines += openings
        amount += sum(line.amount_micros for line in openings)
    if len(lines) > LINES_MAX or abs(amount) > AMOUNT_MICROS_MAX:
        return Refusal("too_large", {"lines": len(lines), "lines_max": LINES_MAX, "amount_micros": str(amount)})
    return Rated(amount, lines, account_changes, session_changes, catalogue.month_of(start), plan.currency)


def _unpriced(part: Part, at: Reading = START) -> Priced:
    """A part that is free, or of a call that nobody answered: it moves no meter and costs nothing."""
    return Priced(part, part.quantity, _NO_DRAWS, None, at, at, (), 0)


def _on_record(parts: list[Part], purse: Purse | None, offers: Offers | None) -> list[Priced]:
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
        discount = None if offers is None else offers.of(part)
        step = advance(reading, curve, rule.rounding, rest, reading.quantity == 0, discount)
        steps.append(
            Priced(part, share, draws, None, reading, step.reading, step.bought, step.connect_fee_micros, discount)
        )
        reading = step.reading
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
    tariff: tuple[str, str, Offers | None],
    fields: Mapping[str, str],
    changes: dict[str, str | None],
) -> list[Priced]:
    """Each rule has its own path of the day or month, in ledger order; the record pays one connect fee.

    A part that an allowance covers whole leaves its meter as it is.
    """
    plan_id, period, offers = tariff
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
        step = Advance(before, (), 0)
        discount = None if offers is None else offers.of(part)
        if rest:
            curve = part.candidate.curve
            assert curve is not None, "a priced rule without a curve"
            step = advance(before, curve, rule.rounding, rest, connects, discount)
            connects = False
            changes[meter] = format_reading(step.reading)
        readings[meter] = step.reading
        steps.append(
            Priced(part, share, draws, meter, before, step.reading, step.bought, step.connect_fee_micros, discount)
        )
    return steps


def _on_session(
    usage: AcceptedUsage,
    parts: list[Part],
    purse: Purse | None,
    tariff: tuple[Catalogue, Plan, Offers | None],
    state: tuple[Catalogues, Mapping[str, str], dict[str, str | None]],
) -> list[Priced]:
    """Put the record's parts on the session's path, one by one by time; each costs what the path then costs more.

    Where a part stands at the path's end, its line shows what it bought. Where later parts are known already, it shows
    what the whole path buys more, and less.
    """
    catalogue, plan, offers = tariff
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
        discount = None if offers is None else offers.of(part)
        partial = usage.partial_number or 0
        placed = PathPart(part.start_ms, partial, usage.record_id, part.quantity, 0, rule, curve, discount)
        index = bisect_left(path, placed.place(), key=PathPart.place)
        at_end = index == len(path)
        path.insert(index, placed)
        preceding = walked.recorded if at_end else sum(earlier.recorded for earlier in path[:index])
        share = session_path.share_after(path, preceding, placed)
        draws, rest = _draw(purse, share, part.start_ms)
        placed = path[index] = placed._replace(taken=share - rest)
        if at_end:
            after = session_path.step_on(walked, placed, share)
            bought = after.bought
        else:
            before = session_path.walk([*path[:index], *path[index + 1 :]])
            after = session_path.walk(path)
            bought = session_path.net_bought(after.bought, before.bought)
        fee = after.connect_fee_micros - walked.connect_fee_micros
        steps.append(Priced(part, share, draws, meter, walked.reading, after.reading, bought, fee, discount))
        walked = after
        changes[session_path.field_of(placed)] = session_path.value_of(
            placed, candidate.prefix, plan.id, plan.valid_from, catalogue.hash
        )
    return steps


def _no_tariff(usage: AcceptedUsage, catalogue: Catalogue, plan: Plan, table: Table | None, at_ms: int) -> Refusal:
    """Say everything that was tried: each prefix of the number, each rule with the keys that failed."""
    number = usage.other_party
    prefixes: list[str] = []
    if number is not None and table is not None:
        cuts = table.lengths if number.startswith("+") else (len(number),)
        prefixes = [number[:length] for length in cuts if length <= len(number)]
    moment = catalogue.clock.local(at_ms)
    tried = [
        {"rule": rule.id, "failed": rule.keys.failed(usage, moment.day, moment.time_of_day_ms)} for rule in plan.rules
    ]
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
