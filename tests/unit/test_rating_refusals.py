"""What cannot be priced is refused with everything that was tried; and what is priced says all about it."""

import json
from fractions import Fraction

import pytest
from rating_world import HEAD, World, catalogue_of, ms, usage

from pipeline.domain.account import Account
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.money import round_ratio
from pipeline.domain.rating import Rated, rate

PLAN = """
  - id: p
    prices:
      - {id: mobile-day, match: {service: VOICE, direction: MO, to: mobile, band: day}, unit: min, meter: month, connect_fee: "0.03", steps: [{from: 0, price: "0.333"}, {from: 2, price: "0.1"}], maximum: "9.00"}
      - {id: cn, match: {service: VOICE, direction: MO, to: cn, band: night}, unit: min, meter: month, steps: [{price: "0.077", increment: 0.5}]}
      - {id: video, match: {service: DATA, rating_group: 9, on_net: true, visited: eu}, free: true}
"""
CATALOGUE = catalogue_of(HEAD + PLAN)


def test_no_tariff_says_everything_that_was_tried():
    """The refusal names plan, version, number, prefixes by length, and for each rule which keys failed."""
    refusal = World(CATALOGUE, "p").charge(start="2026-06-01T07:00:00+02:00", to="+8613999", seconds=60)
    assert refusal.reason == "no_tariff"
    assert refusal.detail == {
        "plan": "p",
        "catalogue": CATALOGUE.hash,
        "at": ms("2026-06-01T07:00:00+02:00"),
        "number": "+8613999",
        "prefixes": ["+8613", "+86"],
        "rules": [
            {"rule": "mobile-day", "failed": ["band"]},
            {"rule": "cn", "failed": ["band"]},
            {"rule": "video", "failed": ["service", "visited", "rating_group", "on_net"]},
        ],
    }
    json.dumps(refusal.detail)


def test_a_stretch_without_a_rule_names_its_moment():
    """The whole call is refused, and the detail says where the rules end."""
    refusal = World(CATALOGUE, "p").charge(start="2026-06-01T23:59:00+02:00", to="+86999", seconds=120)
    assert (refusal.reason, refusal.detail["at"]) == ("no_tariff", ms("2026-06-02T00:00:00+02:00"))


@pytest.mark.parametrize("plans", ["", "p@9999999999999", "other@0"])
def test_no_plan(plans):
    """No span yet, none at that time, or a plan that the catalogue does not have."""
    fields = {"balance": "0", "seq": "0", "status": "open", "currency": "EUR", "plans": plans, "identities": ""}
    assert rate(usage(seconds=1), Account("a", fields), Catalogues([CATALOGUE]), {}).reason == "no_plan"
    assert rate(usage(seconds=1), Account("a", fields), Catalogues([]), {}).reason == "no_plan"


def test_currencies_must_be_one():
    """A plan of another currency does not touch the account."""
    refusal = World(CATALOGUE, "p", currency="CNY").charge(to="+8613", seconds=1)
    assert (refusal.reason, refusal.detail["plan_currency"]) == ("currency_mismatch", "EUR")


def test_too_large():
    """More money than an event holds, and more lines than one, are for a person to look at."""
    text = (
        HEAD
        + """
  - id: p
    prices:
      - {id: much, match: {service: DATA}, unit: B, steps: [{price: "9999999999"}]}
      - {id: a, match: {service: VOICE, band: day}, free: true}
      - {id: b, match: {service: VOICE, band: night}, free: true}
      - {id: c, match: {service: VOICE}, free: true}
"""
    )
    catalogue = catalogue_of(text)
    assert World(catalogue, "p").charge(service="DATA", octets=2).reason == "too_large"
    month = World(catalogue, "p").charge(seconds=31 * 86_400)
    assert isinstance(month, Rated)
    assert len(month.lines) == 31 * 3 + 1
    bands = "".join(
        f'  m{n}: {{from: "{n // 60:02d}:{n % 60:02d}", to: "{n // 60:02d}:{n % 60 + 1:02d}"}}\n'
        for n in range(0, 1400, 2)
        if n % 60 < 59
    )
    rules = "".join(
        f"      - {{id: m{n}, match: {{service: VOICE, band: m{n}}}, free: true}}\n"
        for n in range(0, 1400, 2)
        if n % 60 < 59
    )
    busy = (
        HEAD.replace("plans:\n", "").rstrip()
        + "\n"
        + bands
        + "plans:\n  - id: p\n    prices:\n"
        + rules
        + "      - {id: c, match: {service: VOICE}, free: true}\n"
    )
    assert World(catalogue_of(busy), "p").charge(seconds=86_400).reason == "too_large"


def test_rating_changes_nothing_it_was_given():
    """Pricing the same record twice gives the same answer: nothing given was changed."""
    world = World(CATALOGUE, "p")
    world.charge(to="+8613", seconds=100)
    before = dict(world.account.fields)
    first, again = world.rate(to="+8613", seconds=100), world.rate(to="+8613", seconds=100)
    for name in ("amount_micros", "lines", "account_changes", "session_changes", "month", "currency"):
        assert getattr(first, name) == getattr(again, name), name
    assert world.account.fields == before


def test_a_stranger_recomputes_the_amount_from_the_lines():
    """Steps and connect fee lift the sum; both sums, rounded, differ by the amount; sums follow one another."""
    world = World(CATALOGUE, "p")
    sums = {}
    for seconds in (30, 100, 200, 3_000, 7_000):
        rated = world.charge(start="2026-06-01T19:50:00+02:00", to="+8613", seconds=seconds)
        for line in rated.lines:
            before, after = Fraction(line.meter_sum_before), Fraction(line.meter_sum_after)
            assert before == sums.get(line.meter, 0)
            sums[line.meter] = after
            decimals, mode = line.rounding.split(" ")
            priced = [round_ratio(s.numerator, s.denominator, int(decimals), mode) for s in (before, after)]
            assert line.amount_micros == priced[1] - priced[0]
            bought = line.connect_fee_micros
            for step in line.steps:
                exact = Fraction(step.price) * 10**6 * step.increments * Fraction(step.increment) / Fraction(step.per)
                assert Fraction(step.amount) == exact
                bought += exact
            cap = line.maximum_micros
            assert after == (before + bought if cap is None else max(before, min(before + bought, cap)))
            assert line.meter_quantity_after - line.meter_quantity_before == line.quantity_rounded - line.allowance_used
            assert line.unit_price == (line.steps[0].price if line.steps else None)
    assert {line.prefix for line in rated.lines} == {"+8613", "+86"}
    assert rated.lines[0].meter == "meter:p:mobile-day:2026-06"
    assert rated.lines[0].catalogue == CATALOGUE.hash


@pytest.mark.parametrize("record", [{"seconds": 0}, {"seconds": 60, "answered": False}])
def test_what_costs_nothing_has_a_line_that_says_why(record):
    """A call of no length, or that nobody answered, names the rule it fell under, moves nothing and costs nothing."""
    rated = World(CATALOGUE, "p").charge(to="+8613", **record)
    (line,) = rated.lines
    assert (line.rule, line.amount_micros, line.steps, line.connect_fee_micros) == ("mobile-day", 0, (), 0)
    assert rated.account_changes == {}
    assert rated.month == "2026-06"


def test_versions_by_the_records_own_start():
    """The newest version in force at the start prices it; before the first, the first; however late it arrives."""
    text = HEAD + '\n  - {id: p, prices: [{id: x, match: {service: SMS}, unit: msg, steps: [{price: "%s"}]}]}\n'
    moments = [ms(f"2026-0{month}-01T00:00:00+02:00") for month in (6, 7)]
    catalogues = Catalogues(
        [catalogue_of(text % price, at) for price, at in zip(("0.01", "0.02"), moments, strict=True)]
    )
    world = World(catalogues, "p")
    amounts = [
        world.charge(service="SMS", start=at).amount_micros
        for at in (moments[1], moments[1] - 1, moments[0], moments[0] - 1)
    ]
    assert amounts == [20_000, 10_000, 10_000, 10_000]
    assert catalogues.newest() is catalogues.at(moments[1])
    assert catalogues.by_hash("0" * 64) is None
