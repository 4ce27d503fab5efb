"""A record is priced by what held at its own start: version, plan, month, and the account's currency."""

import pytest
from charging_world import DOCUMENT, opening, usage
from charging_world import World as Ledger
from charging_world import _plan as plan_of
from charging_world import _rule as rule_of
from rating_world import HEAD, World, catalogue_of, ms

from pipeline.domain.catalogue import Catalogues, compile_catalogue

CALLS = "{id: x, match: {service: VOICE}, meter: %s, unit: min, steps: [{price: '%s'}]}"
CHANGE = ms("2026-07-01T00:00:00+02:00")


def tariff(price, meter="record", plan="p", effective_from=0):
    return catalogue_of(f"{HEAD}\n  - {{id: {plan}, prices: [{CALLS % (meter, price)}]}}\n", effective_from)


@pytest.mark.parametrize("meter", ["record", "session", "day", "month"])
def test_a_call_over_a_change_of_tariff_is_of_the_version_of_its_start(meter):
    """Two minutes from 23:59 at 0.10, though 0.20 holds from midnight on; so does its month. From midnight on: 0.40."""
    catalogues = Catalogues([tariff("0.10", meter), tariff("0.20", meter, effective_from=CHANGE)])
    world = World(catalogues, "p")
    over = world.charge(start=CHANGE - 60_000, seconds=120, session="a")
    assert (over.amount_micros, over.month, len(over.lines)) == (200_000, "2026-06", 1)
    assert world.charge(start=CHANGE, seconds=120, session="b").amount_micros == 400_000


def test_a_call_over_a_change_of_plan_is_of_the_plan_of_its_start():
    """One ms before the account's new plan begins the old one prices the whole call, however late it arrives."""
    text = f"{HEAD}\n  - {{id: old, prices: [{CALLS % ('record', '0.10')}]}}\n"
    text += f"  - {{id: new, prices: [{CALLS % ('record', '0.20')}]}}\n"
    world = World(catalogue_of(text), "old")
    world.account.fields["plans"] = f"old@0 new@{CHANGE}"
    amounts = [world.charge(start=at, seconds=120).amount_micros for at in (CHANGE, CHANGE - 1)]
    assert amounts == [400_000, 200_000]


def test_a_call_over_midnight_is_of_the_day_of_its_start():
    """A day's meter: four minutes from 23:58 are all of the old day, whose fourth minute is cheaper; then a new day."""
    text = (
        HEAD
        + """
  - id: p
    prices:
      - {id: x, match: {service: VOICE}, meter: day, unit: min, steps: [{price: "0.10"}, {from: 3, price: "0.01"}]}
"""
    )
    world = World(catalogue_of(text), "p")
    assert world.charge(start="2026-06-01T23:58:00+02:00", seconds=240).amount_micros == 310_000
    assert world.charge(start="2026-06-02T00:01:00+02:00", seconds=60).amount_micros == 100_000


CURRENCIES = compile_catalogue(
    {
        **DOCUMENT,
        "plans": [
            plan_of("plain", prices=[rule_of("call", {"service": "VOICE"}, "min", "0.15")]),
            plan_of("euro", prices=[rule_of("call", {"service": "VOICE"}, "min", "0.02")], currency="EUR"),
        ],
    }
)


def test_accounts_of_several_currencies_are_charged_side_by_side():
    """One catalogue, one ledger: each account in its own currency, by its plan's prices."""
    ledger = Ledger(catalogues=Catalogues([CURRENCIES]))
    ledger.one(opening())
    ledger.one(opening("b", plan="euro", currency="EUR", identities=["msisdn-+491511"]))
    charged = [ledger.one(usage("r1")), ledger.one(usage("r2", account="b", msisdn="+491511"))]
    assert [(event.kind, event.currency, event.amount_micros) for event in charged] == [
        ("CHARGED", "CNY", 150_000),
        ("CHARGED", "EUR", 20_000),
    ]


def test_the_identities_of_an_account_share_its_allowances():
    """Three minutes included: two used by one number, so the second number's two minutes have one of them left."""
    bundle = {"id": "family", "match": {"service": "VOICE"}, "quantity": "3", "unit": "min", "every": "month",
              "valid_days": None, "priority": 0}  # fmt: skip
    plan = plan_of("plain", prices=[rule_of("call", {"service": "VOICE"}, "min", "0.15")], allowances=[bundle])
    ledger = Ledger(catalogues=Catalogues([compile_catalogue({**DOCUMENT, "plans": [plan]})]))
    ledger.one(opening(identities=["msisdn-+8613800000001", "msisdn-+8613800000002"]))
    mother = ledger.one(usage("r1", msisdn="+8613800000001", duration_ms=120_000))
    child = ledger.one(usage("r2", msisdn="+8613800000002", duration_ms=120_000))
    assert [(event.kind, event.amount_micros) for event in (mother, child)] == [("CHARGED", 0), ("CHARGED", 150_000)]
