"""Fees of a plan: what `begin_period` takes, worked by hand."""

import pytest
from charging_world import DOCUMENT, World, command, opening
from charging_world import _plan as plan_of
from hypothesis import given
from hypothesis import strategies as st
from rating_world import ms

from pipeline.domain.catalogue import Catalogues, compile_catalogue


def fee(fee_id, amount, every="month", *, prorate=False):
    return {"id": fee_id, "amount": amount, "every": every, "prorate": prorate}


DOC = {
    **DOCUMENT,
    "plans": [
        plan_of("plain"),
        plan_of("whole", fees=[fee("fee", "19.00")]),
        plan_of("daily", fees=[fee("fee", "30.00", prorate=True), fee("sim", "5.00", "once")]),
        plan_of("large", fees=[fee("fee", "62.00", prorate=True)]),
        plan_of("taxed", fees=[fee("fee", "10.00", prorate=True)], tax={"rate": "6", "included": False}),
        plan_of("with", fees=[fee("fee", "10.00")], tax={"rate": "6", "included": True}),
        plan_of("euro", currency="EUR"),
    ],
}
CATALOGUES = Catalogues([compile_catalogue(DOC)])


def world_on(plan, plan_from="2026-09-01T00:00:00+08:00"):
    world = World(catalogues=CATALOGUES)
    opened = ms(plan_from)
    world.one(opening(plan=plan, at=opened, plan_from=opened))
    return world


def begin(world, period, command_id=None, at=None):
    moment = ms(f"{period}-01T00:00:00+08:00") if at is None else ms(at)
    return world.one(command("begin_period", command_id or f"period-a-{period}", period=period, at=moment))


def change(world, plan, start):
    event = world.one(command("change_plan", f"to-{plan}-{start}", plan=plan, from_=ms(start)))
    assert event.reason == "plan_changed"


def taken(event):
    assert event.kind == "CHARGED"
    assert event.balance_after_micros == event.balance_before_micros - event.amount_micros
    assert sum(line.amount_micros for line in event.lines) == event.amount_micros
    return [(line.plan, line.rule, line.amount_micros) for line in event.lines]


def test_a_month_is_paid_when_it_begins():
    """One CHARGED event with a line for the fee; its id is the command's, and there is no reason."""
    world = world_on("whole")
    event = begin(world, "2026-09")
    assert taken(event) == [("whole", "fee", 19_000_000)]
    assert (event.event_id, event.reason, event.detail, event.usage) == ("period-a-2026-09", None, None, None)
    assert world.balance() == 81_000_000
    assert taken(begin(world, "2026-10")) == [("whole", "fee", 19_000_000)]
    assert "fee:whole:fee:2026-09" not in world.fields()


def test_a_plan_without_a_fee_begins_its_period_all_the_same():
    """Nothing is due: one CHARGED event of 0 without lines, which closes the bill before it."""
    assert taken(begin(world_on("plain"), "2026-09")) == []


def test_a_period_begins_once():
    """The same command is a DUPLICATE; another one for that month, or an earlier one, is REJECTED; both are free."""
    world = world_on("whole")
    begin(world, "2026-09")
    assert (begin(world, "2026-09").kind, begin(world, "2026-09").reason) == ("DUPLICATE", "duplicate_command")
    for event in (begin(world, "2026-09", "again"), begin(world, "2026-08")):
        assert (event.kind, event.reason, event.amount_micros) == ("REJECTED", "period_begun", 0)
    assert world.balance() == 81_000_000


@pytest.mark.parametrize("period", ["2026-13", "2026-1", "202611", "", "soon", "1969-12"])
def test_a_period_is_a_month(period):
    """What is no month is refused, and changes nothing."""
    event = world_on("whole").one(command("begin_period", "c", period=period))
    assert (event.kind, event.reason) == ("REJECTED", "bad_command")


def test_a_change_in_the_middle_is_evened_out_to_the_day():
    """October, 31 days: 30.00 in advance. From the 11th on `large`: 10 days of 30.00 are 9.677.. = 9.68, so 20.32 come
    back; 21 days of 62.00 are 42.00. November in advance on `large`: 62.00. The card's 5.00 is taken once."""
    world = world_on("daily", "2026-10-01T00:00:00+08:00")
    assert taken(begin(world, "2026-10")) == [("daily", "fee", 30_000_000), ("daily", "sim", 5_000_000)]
    change(world, "large", "2026-10-11T15:00:00+08:00")
    event = begin(world, "2026-11")
    assert taken(event) == [
        ("daily", "fee", -20_320_000),
        ("large", "fee", 42_000_000),
        ("large", "fee", 62_000_000),
    ]
    back, days = event.lines[0], event.lines[1].steps[0]
    assert (back.meter, back.meter_sum_before, back.meter_sum_after) == (
        "fee:daily:fee:2026-10", "30000000", "300000000/31",
    )  # fmt: skip
    assert (days.increments, days.price, days.per, days.amount) == (21, "62.00", "31", "42000000")


def test_a_change_that_is_known_is_in_the_advance():
    """The change of 16 November is ordered in October: November begins with 15 days of each, 15.00 and 31.00."""
    world = world_on("daily", "2026-10-01T00:00:00+08:00")
    begin(world, "2026-10")
    change(world, "large", "2026-11-16T00:00:00+08:00")
    assert taken(begin(world, "2026-11")) == [("daily", "fee", 15_000_000), ("large", "fee", 31_000_000)]
    assert taken(begin(world, "2026-12")) == [("large", "fee", 62_000_000)]


def test_a_change_that_never_came_is_given_back():
    """The change of 16 November is taken back before it comes: its half is returned, the other half taken."""
    world = world_on("daily", "2026-10-01T00:00:00+08:00")
    begin(world, "2026-10")
    change(world, "large", "2026-11-16T00:00:00+08:00")
    begin(world, "2026-11")
    change(world, "daily", "2026-11-02T00:00:00+08:00")
    assert taken(begin(world, "2026-12")) == [
        ("daily", "fee", 15_000_000),
        ("large", "fee", -31_000_000),
        ("daily", "fee", 30_000_000),
    ]


def test_a_whole_fee_is_that_of_the_plan_that_opens_the_month():
    """Without `prorate` a month is paid whole by its first plan, and a plan that comes later begins with the next."""
    world = world_on("whole", "2026-10-20T12:00:00+08:00")
    assert taken(begin(world, "2026-11")) == [("whole", "fee", 19_000_000), ("whole", "fee", 19_000_000)]
    change(world, "large", "2026-11-16T00:00:00+08:00")
    assert taken(begin(world, "2026-12")) == [("large", "fee", 31_000_000), ("large", "fee", 62_000_000)]


def test_an_account_of_old_is_not_asked_for_its_past():
    """The first period ever begun settles nothing but the month in which the account began."""
    assert taken(begin(world_on("daily", "2026-03-01T00:00:00+08:00"), "2026-10")) == [("daily", "fee", 30_000_000)]


def test_a_month_that_was_left_out_is_settled_by_the_next():
    """September was begun and October was not: November takes both."""
    world = world_on("whole")
    begin(world, "2026-09")
    assert taken(begin(world, "2026-11")) == [("whole", "fee", 19_000_000), ("whole", "fee", 19_000_000)]
    event = begin(world, "2030-01")
    assert (event.kind, event.reason) == ("REJECTED", "bad_command")


def test_a_closed_account_is_settled_and_pays_no_more():
    """Closed on 10 November 12:00, ten days of thirty: 20.00 of 30.00 come back, and nothing is due after."""
    world = world_on("daily", "2026-10-01T00:00:00+08:00")
    begin(world, "2026-10")
    begin(world, "2026-11")
    world.one(command("close", "close", reason="gone", at=ms("2026-11-10T12:00:00+08:00")))
    assert taken(begin(world, "2026-12")) == [("daily", "fee", -20_000_000)]
    assert taken(begin(world, "2027-01")) == []


def test_a_tax_is_added_or_said():
    """10.00 and 6%: 10.60 where it is added, 10.00 where it is in the price; the line says which."""
    added, inside = begin(world_on("taxed"), "2026-09"), begin(world_on("with"), "2026-09")
    assert taken(added) == [("taxed", "fee", 10_600_000)]
    assert added.lines[0].tax == "6% added: 10000000 + 600000"
    assert taken(inside) == [("with", "fee", 10_000_000)]
    assert inside.lines[0].tax == "6% included"


def test_a_plan_of_another_currency_is_refused():
    """As with use: a fee is never taken in a currency that is not the account's."""
    other = {**DOC, "effective_from": ms("2026-10-01T00:00:00+08:00"),
             "plans": [plan_of("whole", currency="EUR", fees=[fee("fee", "19.00")])]}  # fmt: skip
    world = world_on("whole")
    world.catalogues = Catalogues([compile_catalogue(DOC), compile_catalogue(other)])
    begin(world, "2026-09")
    assert begin(world, "2026-10").reason == "currency_mismatch"


@given(st.lists(st.tuples(st.sampled_from(["daily", "large", "plain"]), st.integers(1, 29)), max_size=5))
def test_however_plans_change_the_days_add_up(changes):
    """However often the plan changes within October, begun before or after, each day is paid once: what October comes
    to in the end is the sum over its days, each fee rounded once."""
    world = world_on("daily", "2026-10-01T00:00:00+08:00")
    taken(begin(world, "2026-10"))
    plan_on = ["daily"] * 31
    for number, (plan, day) in enumerate(sorted(changes, key=lambda item: item[1])):
        start = ms(f"2026-10-{day + 1:02d}T06:00:00+08:00") + number
        world.one(command("change_plan", f"c{number}", plan=plan, from_=start))
        plan_on[day:] = [plan] * (31 - day)
    before = 100_000_000 - world.balance() - 5_000_000
    event = begin(world, "2026-11")
    october = before + sum(line.amount_micros for line in event.lines if line.meter.endswith("2026-10"))
    cents = [(plan_on.count(name) * price * 100 * 2 + 31) // 62 for name, price in (("daily", 30), ("large", 62))]
    assert october == sum(cents) * 10_000
