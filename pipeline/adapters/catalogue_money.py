"""What a plan takes beside its prices, as the author writes it: fees, taxes, discounts, caps."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.catalogue_yaml import Place, Value
from pipeline.domain.catalogue import discount_of
from pipeline.domain.discounts import DAY
from pipeline.domain.fees import MONTH, ONCE
from pipeline.domain.money import AmountError
from pipeline.domain.units import BASE_UNITS, UNITS
from pipeline.domain.worth import percent_of

Section = dict[str, Any]
ReadMatch = Callable[[Value | None, str], Section]

_FEE_IDS: Final = {MONTH: "fee", ONCE: "fee-once"}


def read_fees(value: Value | None, what: str, reader: Reader) -> list[Section]:
    """Return a plan's fees: one, or a list of them; each has an id of its own."""
    if value is None:
        return []
    places: dict[str, Place] = {}
    fees = []
    for item in (value,) if value.items is None else value.items:
        given = reader.fields(item, f"{what}: fee", ("amount",), ("id", "every", "prorate"))
        every = reader.choice(given.get("every"), f"{what}: fee: every", (MONTH, ONCE), MONTH)
        fee_id = reader.id(given["id"], f"{what}: fee: id") if "id" in given else _FEE_IDS[every]
        other = places.setdefault(fee_id, item.place)
        if other is not item.place:
            reader.note(item.place, f"{what}: fee {fee_id!r} is there twice; give each an id of its own", other)
        prorate = reader.flag(given.get("prorate"), f"{what}: fee: prorate")
        if prorate and every == ONCE:
            reader.note(given["prorate"].place, f"{what}: a fee of every: once has no prorate; leave it out")
        amount = reader.amount(given.get("amount"), f"{what}: fee: amount", "0")
        fees.append({"id": fee_id, "amount": amount, "every": every, "prorate": prorate})
    return fees


def read_tax(value: Value | None, what: str, reader: Reader) -> Section | None:
    """Return a tax: its rate in percent, and whether prices hold it already."""
    if value is None:
        return None
    given = reader.fields(value, f"{what}: tax", ("rate", "included"), ())
    return {
        "rate": read_percent(given.get("rate"), f"{what}: tax: rate", reader),
        "included": reader.flag(given.get("included"), f"{what}: tax: included"),
    }


def read_percent(value: Value | None, what: str, reader: Reader) -> str:
    """Return a percentage of 0 or more, as text."""
    text = reader.text(value, what, "0")
    if value is None:
        return "0"
    try:
        percent_of(text)
    except AmountError as error:
        reader.note(value.place, f"{what}: {error}; write 6% as 6")
        return "0"
    return text


def read_discounts(
    value: Value | None, what: str, rules: Mapping[str, Section], match: ReadMatch, reader: Reader
) -> list[Section]:
    """Return a plan's discounts in their order; `rules` are those of the plan, `match` reads match keys."""
    places: dict[str, Place] = {}
    discounts = []
    for item in reader.items(value, f"{what}: discounts"):
        optional = ("match", "rule", "percent", "amount", "first", "unit", "from", "until")
        given = reader.fields(item, f"discount of {what}", ("id",), optional)
        discount_id = _id(given.get("id"), f"discount of {what}", item, places, reader)
        own = f"discount {discount_id!r} of {what}"
        found: Section = {
            "id": discount_id,
            "match": match(given.get("match"), own),
            "rule": reader.choice(given["rule"], f"{own}: rule", rules, "") if "rule" in given else None,
            "percent": read_percent(given["percent"], f"{own}: percent", reader) if "percent" in given else None,
            "amount": reader.amount(given.get("amount"), f"{own}: amount", None),
            "first": reader.decimal(given["first"], f"{own}: first", "1") if "first" in given else None,
            "unit": None,
            "from": reader.moment_ms(given["from"], f"{own}: from") if "from" in given else None,
            "until": reader.moment_ms(given["until"], f"{own}: until") if "until" in given else None,
        }
        _check_discount(found, given, (own, rules, item), reader)
        discounts.append(found)
    return discounts


def _check_discount(
    found: Section, given: Mapping[str, Value], about: tuple[str, Mapping[str, Section], Value], reader: Reader
) -> None:
    own, rules, item = about
    if ("percent" in given) == ("amount" in given):
        reader.note(item.place, f"{own}: say either percent or amount")
    if found["from"] is not None and found["until"] is not None and found["from"] >= found["until"]:
        reader.note(given["until"].place, f"{own}: 'until' is after 'from'", given["from"].place)
    rule = rules.get(found["rule"] or "")
    if rule is not None and rule["free"]:
        reader.note(given["rule"].place, f"{own}: rule {rule['id']!r} is free; there is nothing to take off")
    if ("first" in given) != ("unit" in given):
        reader.note(item.place, f"{own}: 'first' and 'unit' go together, like first: 100, unit: min")
        return
    if "first" in given:
        service = found["match"].get("service") or (None if rule is None else rule["match"].get("service"))
        if service is None:
            reader.note(given["first"].place, f"{own}: 'first' counts use of one service; say match: {{service: ...}}")
            return
        found["unit"] = reader.choice(given["unit"], f"{own}: unit of {service}", UNITS[service], BASE_UNITS[service])
    try:
        discount = discount_of(found)
        if discount.first == 0:
            reader.note(given["first"].place, f"{own}: 'first' is more than 0")
    except AmountError as error:
        reader.note(item.place, f"{own}: {error}")


def read_caps(value: Value | None, what: str, match: ReadMatch, reader: Reader) -> list[Section]:
    """Return a plan's caps in their order."""
    places: dict[str, Place] = {}
    caps = []
    for item in reader.items(value, f"{what}: caps"):
        given = reader.fields(item, f"cap of {what}", ("id", "every", "amount"), ("match",))
        cap_id = _id(given.get("id"), f"cap of {what}", item, places, reader)
        own = f"cap {cap_id!r} of {what}"
        keys = match(given.get("match"), own)
        if "band" in keys:
            reader.note(given["match"].place, f"{own}: a cap counts whole records; leave band out")
        caps.append(
            {
                "id": cap_id,
                "match": keys,
                "every": reader.choice(given.get("every"), f"{own}: every", (DAY, MONTH), DAY),
                "amount": reader.amount(given.get("amount"), f"{own}: amount", "0"),
            }
        )
    return caps


def _id(value: Value | None, what: str, item: Value, places: dict[str, Place], reader: Reader) -> str:
    found = reader.id(value, f"id of a {what}")
    other = places.setdefault(found, item.place)
    if other is not item.place:
        reader.note(item.place, f"{what}: id {found!r} is there twice; rename one", other)
    return found
