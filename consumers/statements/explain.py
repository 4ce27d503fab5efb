"""Why a charge is what it is: the arithmetic of its lines, down to the rounding, for a person with a pencil.

Everything said here comes out of the event itself; no catalogue is read.
"""

import json
from collections.abc import Iterator, Mapping
from math import gcd
from typing import Final

from consumers.statements.reasons import REASONS
from consumers.statements.words import LANGUAGES, MODES, Words
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.ledger import Event, Line
from pipeline.domain.money import MICROS_PER_UNIT, format_micros, round_ratio
from pipeline.domain.outcome import CHARGED
from pipeline.domain.usage import DATA, VOICE, quantity

_MOMENTS: Final = frozenset({"at", "start_time", "broker_time", "plan_from", "effective", "from", "closed_at"})


def explain(event_id: str, event: Event, language: str = "en") -> list[str]:
    """Return the explanation of an event as lines of text; `event_id` is its `<partition>-<seq>`."""
    words = LANGUAGES[language]
    if event.kind != CHARGED:
        return list(_answer(words, REASONS[language], event_id, event))
    return list(_charge(words, MODES[language], event_id, event))


def _charge(words: Words, modes: Mapping[str, str], event_id: str, event: Event) -> Iterator[str]:
    currency = event.currency or ""
    yield words.charge.format(id=event_id, amount=format_micros(event.amount_micros), currency=currency)
    yield from _input(words, event)
    if event.lines:
        first = event.lines[0]
        yield words.tariff.format(plan=first.plan, catalogue=first.catalogue[:12])
    service = "" if event.usage is None else event.usage.service
    for number, line in enumerate(event.lines, 1):
        yield from _line(words, modes, service, number, line)
    if len(event.lines) > 1:
        parts = " + ".join(format_micros(line.amount_micros) for line in event.lines)
        yield words.sum.format(parts=parts, amount=format_micros(event.amount_micros), currency=currency)
    yield _balance(words, event)


def _input(words: Words, event: Event) -> Iterator[str]:
    usage = event.usage
    if usage is not None:
        yield words.use.format(
            service=usage.service,
            direction=usage.direction,
            other=usage.other_party or "-",
            start=iso_time(usage.start_time),
            quantity=_quantity(words, usage.service, quantity(usage)),
        )
    if event.command is not None:
        yield words.fee.format(type=event.command["type"], id=event.command["command_id"])


def _line(words: Words, modes: Mapping[str, str], service: str, number: int, line: Line) -> Iterator[str]:
    head = words.rule.format(number=number, rule=line.rule)
    if line.prefix is not None:
        head += words.prefix.format(prefix=line.prefix)
    if line.band is not None:
        head += words.band.format(band=line.band)
    yield head
    recorded = words.recorded.format(quantity=_quantity(words, service, line.quantity))
    if line.quantity_rounded != line.quantity:
        recorded += words.rounded_up.format(quantity=_quantity(words, service, line.quantity_rounded))
    if line.quantity or line.quantity_rounded:
        yield "  " + recorded
    if line.allowance is not None:
        used = _quantity(words, service, line.allowance_used)
        yield "  " + words.allowance.format(used=used, allowance=line.allowance)
    if line.rounding is None:
        yield "  " + (words.free if line.maximum_micros is None else _cap(words, line))
        return
    for step in line.steps:
        yield "  " + words.step.format(
            increments=step.increments,
            increment=step.increment,
            unit=line.unit,
            price=step.price,
            per=step.per,
            from_=step.from_,
            amount=_exact(step.amount),
        )
    if line.connect_fee_micros:
        yield "  " + words.connect_fee.format(amount=format_micros(line.connect_fee_micros))
    if line.minimum_micros is not None:
        yield "  " + words.minimum.format(minimum=format_micros(line.minimum_micros))
    if line.maximum_micros is not None:
        yield "  " + words.capped.format(maximum=format_micros(line.maximum_micros))
    if line.discount is not None:
        terms, of, taken = _moved(line.discount, " - ")
        yield "  " + words.discount.format(terms=terms, of=of, taken=taken)
    if line.tax is not None:
        yield "  " + _tax(words, line.tax)
    sums = {"before": _exact(line.meter_sum_before), "after": _exact(line.meter_sum_after)}
    yield "  " + (words.own_meter if line.meter is None else words.meter).format(meter=line.meter, **sums)
    yield "  " + _rounding(words, modes, line)


def _tax(words: Words, text: str) -> str:
    rate = text.partition(" ")[0]
    if ":" not in text:
        return words.tax_included.format(rate=rate)
    _, of, added = _moved(text, " + ")
    return words.tax_added.format(rate=rate, of=of, added=added)


def _moved(text: str, sign: str) -> tuple[str, str, str]:
    """Read `TERMS: EXACT SIGN EXACT` of a line's discount or tax."""
    terms, _, figures = text.rpartition(": ")
    of, _, moved = figures.partition(sign)
    return terms, _exact(of), _exact(moved)


def _cap(words: Words, line: Line) -> str:
    assert line.maximum_micros is not None
    return words.cap.format(
        cap=line.rule,
        maximum=format_micros(line.maximum_micros),
        before=_exact(line.meter_sum_before),
        after=_exact(line.meter_sum_after),
        amount=format_micros(line.amount_micros),
    )


def _rounding(words: Words, modes: Mapping[str, str], line: Line) -> str:
    """Say the one rounding; where the sum before was rounded another way, it is what was charged so far."""
    assert line.rounding is not None
    decimals, mode = line.rounding.split(" ")[:2]
    numerator, denominator = _ratio(line.meter_sum_after)
    after = round_ratio(numerator, denominator, int(decimals), mode)
    return words.rounding.format(
        decimals=decimals,
        mode=modes.get(mode, mode),
        after=format_micros(after),
        before=format_micros(after - line.amount_micros),
        amount=format_micros(line.amount_micros),
    )


def _balance(words: Words, event: Event) -> str:
    return words.balance.format(
        before=format_micros(event.balance_before_micros),
        amount=format_micros(event.balance_before_micros - event.balance_after_micros),
        after=format_micros(event.balance_after_micros),
        currency=event.currency or "",
    )


def _answer(words: Words, reasons: Mapping[str, str], event_id: str, event: Event) -> Iterator[str]:
    reason = event.reason or ""
    yield words.answer.format(id=event_id, kind=event.kind, reason=reason).rstrip()
    yield "  " + reasons.get(reason, words.unknown_reason)
    yield from _input(words, event)
    if event.detail is not None:
        for name, value in json.loads(event.detail).items():
            yield "  " + words.detail.format(name=name, value=detail_text(name, value))
    if event.account_seq:
        amount = event.balance_after_micros - event.balance_before_micros
        yield words.balance_changed.format(
            before=format_micros(event.balance_before_micros),
            amount=format_micros(amount),
            after=format_micros(event.balance_after_micros),
            currency=event.currency or "",
        )


def detail_text(name: str, value: object) -> str:
    """Write one thing of an event's detail for people: moments as times, the rest as it is."""
    if name in _MOMENTS and isinstance(value, int):
        return iso_time(value)
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)


def _ratio(text: str) -> tuple[int, int]:
    """Read an exact sum of micro-units, `n` or `n/d`."""
    numerator, _, denominator = text.partition("/")
    return int(numerator), int(denominator or "1")


def _exact(text: str) -> str:
    """Write an exact sum of micro-units in the currency's unit: as a decimal, or as a fraction and how it begins."""
    numerator, denominator = _ratio(text)
    if denominator == 1:
        return format_micros(numerator)
    begins = format_micros(abs(numerator) // denominator, 6)
    common = gcd(numerator, denominator * MICROS_PER_UNIT)
    fraction = f"{numerator // common}/{denominator * MICROS_PER_UNIT // common}"
    return f"{fraction} ({'-' if numerator < 0 else ''}{begins}...)"


def _quantity(words: Words, service: str, amount: int) -> str:
    if service == VOICE:
        seconds, ms = divmod(amount, 1000)
        return f"{seconds}.{ms:03d} {words.second}" if ms else f"{seconds} {words.second}"
    return f"{amount:,} {words.octet}" if service == DATA else f"{amount} {words.message}"
