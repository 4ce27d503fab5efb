"""What a plan takes beside its prices, as the author writes it: fees and taxes."""

from typing import Any, Final

from pipeline.adapters.catalogue_reader import Reader
from pipeline.adapters.catalogue_yaml import Place, Value
from pipeline.domain.fees import MONTH, ONCE
from pipeline.domain.money import AmountError
from pipeline.domain.worth import percent_of

Section = dict[str, Any]

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
