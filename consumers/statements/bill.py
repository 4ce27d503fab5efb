"""Itemised bills: a pure projection of one account's events.

A bill holds the account's events between two `begin_period` commands, in the order of the ledger; before the first of
them, those whose use starts in that month of tariff time. Its lines add up to its total, to the micro-unit.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from pipeline.adapters.formats import usage_to_json
from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.ledger import Event
from pipeline.domain.money import format_micros
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, TOPPED_UP
from pipeline.domain.usage import quantity

MonthOf = Callable[[int], str]
"""From a moment (ms) to its month in tariff time, YYYY-MM."""

_MOVES_MONEY: Final = frozenset({CHARGED, TOPPED_UP, ADJUSTED, ACCOUNT_CHANGED})


class Item(NamedTuple):
    """One event on a bill. `amount_micros` is what it takes from the balance: payments are negative."""

    event_id: str
    """`<partition>-<seq>`: of a charge its charge_id"""
    at_ms: int
    """where the use started; of a command its `at`"""
    amount_micros: int
    event: Event


class Subtotal(NamedTuple):
    """The charges of one service by one rule. `quantity` in ms, octets or messages."""

    service: str
    rule: str
    charges: int
    quantity: int
    amount_micros: int


class Bill(NamedTuple):
    """The bill of one account and period. `charges` and `payments` are in the order of the ledger."""

    account: str
    period: str
    currency: str
    charges: tuple[Item, ...]
    payments: tuple[Item, ...]
    balance_micros: int
    """after the account's newest event, of whatever period"""

    @property
    def charged_micros(self) -> int:
        """What the period's use and fees cost."""
        return sum(item.amount_micros for item in self.charges)

    @property
    def paid_micros(self) -> int:
        """What was paid in or given back: opening balance, top-ups, adjustments."""
        return -sum(item.amount_micros for item in self.payments)

    def subtotals(self) -> list[Subtotal]:
        """Return the charges by service and by the rule of their first line."""
        sums: dict[tuple[str, str], tuple[int, int, int]] = {}
        for item in self.charges:
            event = item.event
            service = "FEE" if event.usage is None else event.usage.service
            rule = event.lines[0].rule if event.lines else ""
            count, used, amount = sums.get((service, rule), (0, 0, 0))
            used += 0 if event.usage is None else quantity(event.usage)
            sums[service, rule] = count + 1, used, amount + item.amount_micros
        return [Subtotal(*key, *value) for key, value in sorted(sums.items())]


def bills(account: str, partition: int, events: Iterable[Event], month_of: MonthOf) -> dict[str, Bill]:
    """Return every bill of an account by its period, from all of its events in order.

    An event that moved no money and priced no use is on no bill. Raises nothing; of no events there is no bill.
    """
    found: dict[str, tuple[list[Item], list[Item]]] = {}
    currency, balance, begun = "", 0, None
    for event in events:
        if not event.account_seq:
            continue
        command = event.command
        if command is not None and command["type"] == "begin_period" and event.kind == CHARGED:
            begun = str(command["period"])
        currency, balance = event.currency or currency, event.balance_after_micros
        if event.kind not in _MOVES_MONEY or (event.kind != CHARGED and not event.amount_micros):
            continue
        at_ms = _moment(event)
        charges, payments = found.setdefault(begun or month_of(at_ms), ([], []))
        taken = event.balance_before_micros - event.balance_after_micros
        item = Item(f"{partition}-{event.seq}", at_ms, taken, event)
        if event.kind == CHARGED:
            assert sum(line.amount_micros for line in event.lines) == taken, (
                f"the lines of {item.event_id} do not add up"
            )
            charges.append(item)
        else:
            payments.append(item)
    return {
        period: Bill(account, period, currency, tuple(charges), tuple(payments), balance)
        for period, (charges, payments) in found.items()
    }


def _moment(event: Event) -> int:
    if event.usage is not None:
        return event.usage.start_time
    assert event.command is not None, "an event that answers no input moves no money"
    at = event.command["at"]
    assert isinstance(at, int)
    return at


def bill_to_json(bill: Bill) -> dict[str, Any]:
    """Return a bill as JSON: amounts as decimal text and as micro-units, times ISO 8601, quantities in ms, octets."""
    return {
        "account": bill.account,
        "month": bill.period,
        "currency": bill.currency,
        "total_micros": bill.charged_micros,
        "total": format_micros(bill.charged_micros),
        "paid_micros": bill.paid_micros,
        "balance_micros": bill.balance_micros,
        "balance": format_micros(bill.balance_micros),
        "lines": list(_charge_lines(bill)),
        "payments": [
            {
                "event": item.event_id,
                "kind": item.event.kind,
                "reason": item.event.reason,
                "at": iso_time(item.at_ms),
                "amount_micros": -item.amount_micros,
                "amount": format_micros(-item.amount_micros),
            }
            for item in bill.payments
        ],
        "subtotals": [{**part._asdict(), "amount": format_micros(part.amount_micros)} for part in bill.subtotals()],
    }


def _charge_lines(bill: Bill) -> Iterator[dict[str, Any]]:
    """Yield a charge's priced parts, each as a line of the bill."""
    for item in bill.charges:
        event = item.event
        usage = None if event.usage is None else usage_to_json(event.usage)
        for line in event.lines:
            yield {
                "charge_id": item.event_id,
                "record_id": event.event_id,
                "start_time": iso_time(item.at_ms),
                "service": None if usage is None else usage["service"],
                "direction": None if usage is None else usage["direction"],
                "other_party": None if usage is None else usage["other_party"],
                "plan": line.plan,
                "rule": line.rule,
                "band": line.band,
                "quantity": line.quantity,
                "quantity_rounded": line.quantity_rounded,
                "allowance": line.allowance,
                "allowance_used": line.allowance_used,
                "amount_micros": line.amount_micros,
                "amount": format_micros(line.amount_micros),
            }
