import re
from functools import cache

import pytest

from consumers.statements.bill import bill_to_json, bills
from consumers.statements.explain import explain
from consumers.statements.words import LANGUAGES, Words
from deploy.cli.rating import compiled, offline_ledger
from deploy.sample.story import catalogue_dir
from pipeline.adapters.command_json import command_from_json
from pipeline.adapters.formats import usage_from_json
from pipeline.domain.money import format_micros

ALICE = "msisdn-+8613800000001"


@cache
def tariffs():
    return compiled(catalogue_dir())


def command(kind, number, **fields):
    return command_from_json(
        {
            "type": kind,
            "command_id": f"c{number}",
            "account": "alice",
            "at": "2026-10-01T00:00:00Z",
            "actor": "staff-x",
            **fields,
        }
    )


def call(record_id, start, seconds, other="+8613512345678", **fields):
    return usage_from_json(
        {
            "record_id": record_id,
            "source": "msc",
            "service": "VOICE",
            "direction": "MO",
            "msisdn": "+8613800000001",
            "other_party": other,
            "start_time": start,
            "duration_ms": seconds * 1000,
            **fields,
        }
    )


def events(*records, plan="payg", commands=()):
    opened = command(
        "open_account",
        0,
        currency="CNY",
        plan=plan,
        identities=[ALICE],
        opening_balance="50",
        plan_from="2026-01-01T00:00:00Z",
    )
    ledger = offline_ledger(tariffs())
    found = [stored.event for stored in ledger.commands([opened, *commands])]
    return found + [stored.event for stored in ledger.records(records)]


def bills_of(found):
    return bills("alice", 3, found, tariffs().month_of)


def test_a_bill_adds_up():
    """The lines of a bill add up to its total, and opening balance and payments less charges are the balance."""
    found = events(
        call("r1", "2026-10-08T03:00:00Z", 61),
        call("r2", "2026-10-08T04:00:00Z", 3600, "+4930123456"),
        call("r3", "2026-10-09T04:00:00Z", 5),
        commands=[command("top_up", 1, amount="20", reference="p1"), command("adjust", 2, amount="-1.5", reason="fee")],
    )
    bill = bills_of(found)["2026-10"]
    shown = bill_to_json(bill)
    assert shown["total_micros"] == sum(line["amount_micros"] for line in shown["lines"]) > 0
    assert shown["total_micros"] == sum(part["amount_micros"] for part in shown["subtotals"])
    assert shown["paid_micros"] == 50_000_000 + 20_000_000 - 1_500_000
    assert shown["balance_micros"] == shown["paid_micros"] - shown["total_micros"] == found[-1].balance_after_micros


def test_months_are_those_of_tariff_time():
    """Before any period was begun, use is billed in the month in which it started on the tariff's own wall clock."""
    found = events(call("r1", "2026-10-31T15:59:59Z", 60), call("r2", "2026-10-31T16:00:00Z", 60))
    by_month = bills_of(found)
    assert [item.event.event_id for item in by_month["2026-10"].charges] == ["r1"]
    assert [item.event.event_id for item in by_month["2026-11"].charges] == ["r2"]


def test_only_what_was_charged_is_billed():
    """A duplicate, a held record and a rejected one are on no bill."""
    found = events(
        call("r1", "2026-10-08T03:00:00Z", 61),
        call("r1", "2026-10-08T03:00:00Z", 61),
        call("r1", "2026-10-08T03:00:00Z", 62),
        call("r2", "2026-10-08T05:00:00Z", 62, "77777777"),
    )
    assert [event.kind for event in found[1:]] == ["CHARGED", "DUPLICATE", "REVIEW", "REJECTED"]
    assert [item.event_id for item in bills_of(found)["2026-10"].charges] == ["3-2"]


def test_a_begun_period_closes_the_bill_before_it():
    """From the first begun period on, a bill is what lies between two of them in the ledger, late use included."""
    found = events(call("r1", "2026-10-08T03:00:00Z", 61), call("r2", "2026-10-09T03:00:00Z", 61))
    fee = command("begin_period", 9, period="2026-11")
    begun = found[1]._replace(seq=90, usage=None, command=fee, event_id="c9")
    by_month = bills_of([*found[:2], begun, found[2]])
    assert [item.event_id for item in by_month["2026-10"].charges] == ["3-2"]
    assert [item.event_id for item in by_month["2026-11"].charges] == ["3-90", "3-3"]


def test_lines_that_do_not_add_up_are_a_bug():
    """A charge whose lines do not make its amount is never billed in silence."""
    found = events(call("r1", "2026-10-08T03:00:00Z", 61))
    wrong = found[1]._replace(balance_after_micros=found[1].balance_after_micros - 1)
    with pytest.raises(AssertionError, match="3-2"):
        bills_of([found[0], wrong])


def test_of_no_events_there_is_no_bill():
    """An account that the ledger does not know has no bill, and neither has one that was only refused."""
    assert bills_of([]) == {}


def text_of(event):
    return "\n".join(explain("3-2", event))


def test_an_explanation_carries_the_arithmetic():
    """Whole steps, the connect fee, the exact sum and the one rounding are all there, each with its figures."""
    event = events(call("r1", "2026-10-08T03:00:00Z", 61, "+4930123456"))[1]
    text = text_of(event)
    assert f"charge 3-2: {format_micros(event.amount_micros)} CNY" in text
    assert "61 x 1 s at" in text
    assert "connect fee 0.20" in text
    assert "rounded to 2 decimals (half_up)" in text
    assert (
        f"balance 50.00 - {format_micros(event.amount_micros)} = {format_micros(event.balance_after_micros)} CNY"
        in text
    )


def test_the_steps_explained_add_up_to_the_exact_sum():
    """The amounts of the steps, added as fractions, are the sum that is then rounded."""
    event = events(call("r1", "2026-10-08T03:00:00Z", 61))[1]
    steps = re.findall(r"= ([0-9.]+)$", text_of(event), re.MULTILINE)
    assert steps[:2] == ["0.39", "0.018"]
    assert "0.00 before, 0.408 after" in text_of(event)
    assert "0.41 - 0.00 = 0.41" in text_of(event)


def test_a_sum_that_no_decimal_ends_is_a_fraction():
    """An exact sum is never shown as a rounded one: where no decimal ends, the fraction stands first."""
    text = text_of(events(call("r1", "2026-10-08T03:00:00Z", 61, "+4930123456"))[1])
    assert re.search(r"= 61/240 \(0\.254166\.\.\.\)", text)


def test_allowance_and_free_are_said():
    """What an allowance took is said with its name, and a free rule says so instead of any sum."""
    event = events(call("r1", "2026-10-08T03:00:00Z", 61), plan="basic")[1]
    assert "120 s of it from allowance basic-voice" in text_of(event)
    free = events(call("r1", "2026-10-08T03:00:00Z", 61, direction="MT"))[1]
    assert "free by this rule" in text_of(free)
    assert "rounded" not in text_of(free)


def test_a_refusal_explains_itself():
    """An event that is no charge says its reason in a sentence, and everything that was tried."""
    text = text_of(events(call("r2", "2026-10-08T05:00:00Z", 62, "77777777"))[1])
    assert text.startswith("event 3-2: REJECTED no_tariff\n  No rule of the plan matches the use")
    assert "prefixes" in text
    assert "call-mobile" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_fills_the_same_blanks(language):
    """A sentence in another language takes exactly what the English one takes."""
    for field in Words._fields:
        blanks = [set(re.findall(r"{(\w+)}", getattr(LANGUAGES[name], field))) for name in ("en", language)]
        assert blanks[0] == blanks[1], field
