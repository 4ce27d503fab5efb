"""Discounts: which one a part has; caps: what is paid of a day's or a month's records."""

from collections.abc import Sequence
from typing import NamedTuple

from consumers.audit.pricing.account import AccountState
from consumers.audit.pricing.catalogue import Published, Section
from consumers.audit.pricing.choice import asks
from consumers.audit.pricing.exact import counted, exact, micros
from consumers.audit.pricing.walk import Discount
from pipeline.domain.usage import AcceptedUsage


def discount_of(plan: Section, rule: Section, usage: AcceptedUsage, moment: int, version: Published) -> str | None:
    """Return the first discount of the plan that a part has which begins at this moment; None where it has none."""
    for discount in plan.get("discounts", ()):
        begin, end = discount["from"], discount["until"]
        if discount["rule"] is not None and discount["rule"] != rule["id"]:
            continue
        if (begin is not None and moment < int(begin)) or (end is not None and moment >= int(end)):
            continue
        if asks(discount["match"], usage, moment, version):
            return str(discount["id"])
    return None


def discount_named(plan: Section, name: str | None) -> Discount | None:
    """Return what a plan's discount takes."""
    if name is None:
        return None
    discount = next(each for each in plan.get("discounts", ()) if each["id"] == name)
    first = None if discount["first"] is None else counted(discount["first"], discount["unit"])
    if discount["amount"] is not None:
        return Discount(exact("0"), micros(discount["amount"]), first)
    return Discount(exact(discount["percent"]) / 100, None, first)


class Capped(NamedTuple):
    """What a cap made of a record: how much it took off, and what its records come to with this one."""

    cap: str
    taken_micros: int
    field: str
    total_micros: int


def capped(
    account: AccountState, plan: Section, usage: AcceptedUsage, version: Published, amount_micros: int
) -> Sequence[Capped]:
    """Hold a record's amount against the plan's caps, one after the other; each sees what those before it left."""
    found = []
    left, wall = amount_micros, version.wall
    for cap in plan.get("caps", ()):
        if left == 0 or not asks(cap["match"], usage, usage.start_time, version):
            continue
        start = usage.start_time
        period = wall.day(start).isoformat() if cap["every"] == "day" else wall.month(start)
        field = f"cap:{plan['id']}:{cap['id']}:{period}"
        before = int(account.fields.get(field, "0"))
        most = int(micros(cap["amount"]))
        paid = min(before + left, most) - min(before, most)
        found.append(Capped(cap["id"], left - paid, field, before + left))
        left = paid
    return found
