"""Allowances that are bought, that roll over, and that begin in the middle of a month."""

from charging_world import DOCUMENT, World, command, opening, usage
from charging_world import _plan as plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rating_world import ms

from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.usage import DAY_MS

MIB = 10**6


def bucket(bucket_id, size, service="DATA", **other):
    unit = {"DATA": "MB", "VOICE": "min", "SMS": "msg"}[service]
    return {"id": bucket_id, "match": {"service": service}, "quantity": size, "unit": unit, "every": None,
            "valid_days": None, "priority": 0, **other}  # fmt: skip


CATALOGUES = Catalogues(
    [
        compile_catalogue(
            {
                **DOCUMENT,
                "tax": {"rate": "6", "included": False},
                "plans": [
                    plan_of("plain", tax={"rate": "0", "included": True}, allowances=[
                        bucket("week", "10", price="5.00", valid_days=7),
                        bucket("free", "10", price="0.00", valid_days=7),
                        bucket("day-pass", "10", price="2.00", every="day", valid_days=30, priority=5),
                    ]),
                    plan_of("taxed", allowances=[bucket("week", "10", price="5.00", valid_days=7)]),
                    plan_of("part", allowances=[bucket("data", "31", every="month", prorate=True, rollover="20")]),
                    plan_of("other"),
                ],
            }
        )
    ]
)  # fmt: skip


def world_on(plan, opened="2026-10-01T00:00:00+08:00"):
    world = World(catalogues=CATALOGUES, late=False)
    world.one(opening(plan=plan, at=ms(opened), plan_from=ms(opened)))
    return world


def data(world, record_id, start, megabytes):
    event = world.one(usage(record_id, service="DATA", start_time=ms(start) if isinstance(start, str) else start,
                            downlink_octets=megabytes * MIB))  # fmt: skip
    assert event.kind == "CHARGED", event.detail
    assert sum(line.amount_micros for line in event.lines) == event.amount_micros
    return event


def drawn(event):
    return [(line.allowance, line.allowance_used // MIB) for line in event.lines if line.allowance]


def test_a_pack_is_paid_when_it_is_bought():
    """add_allowance of a pack with a price is one CHARGED event with a line for it, and the bucket is there."""
    world = world_on("plain")
    event = world.one(command("add_allowance", "buy", allowance="week", from_=ms("2026-10-05T00:00:00+08:00")))
    (line,) = event.lines
    assert (event.kind, event.reason, event.amount_micros) == ("CHARGED", None, 5_000_000)
    assert (line.rule, line.plan, line.unit_price, line.meter) == ("week", "plain", "5.00", "grant:1")
    assert event.balance_after_micros == event.balance_before_micros - 5_000_000
    assert world.one(command("add_allowance", "buy", allowance="week", from_=ms("2026-10-05T00:00:00+08:00"))).kind == (
        "DUPLICATE"
    )
    assert drawn(data(world, "r1", "2026-10-05T00:00:00+08:00", 4)) == [("week", 4)]
    assert drawn(data(world, "r2", "2026-10-12T00:00:00+08:00", 4)) == []


def test_a_pack_without_a_price_moves_no_money():
    """A price of nothing is none: ACCOUNT_CHANGED, as for any bucket that is added."""
    event = world_on("plain").one(command("add_allowance", "buy", allowance="free"))
    assert (event.kind, event.reason, event.amount_micros, event.lines) == ("ACCOUNT_CHANGED", "allowance_added", 0, ())


def test_a_pack_is_taxed_as_its_plan_is():
    """5.00 and 6% added: 5.30."""
    event = world_on("taxed").one(command("add_allowance", "buy", allowance="week"))
    assert (event.amount_micros, event.lines[0].tax) == (5_300_000, "6% added: 5000000 + 300000")


def test_a_day_pass_is_paid_by_the_first_use_of_each_day():
    """Bought once, for nothing; each day that is used on costs 2.00 once, with a bucket of its own; then it ends."""
    world = world_on("plain")
    assert data(world, "r0", "2026-10-04T12:00:00+08:00", 1).amount_micros == 290_000
    event = world.one(command("add_allowance", "buy", allowance="day-pass", from_=ms("2026-10-05T00:00:00+08:00")))
    assert (event.kind, event.amount_micros) == ("ACCOUNT_CHANGED", 0)
    world.one(command("add_allowance", "again", allowance="day-pass", from_=ms("2026-10-05T00:00:00+08:00")))
    first = data(world, "r1", "2026-10-05T12:00:00+08:00", 4)
    assert [(line.rule, line.amount_micros) for line in first.lines] == [("data", 0), ("day-pass", 2_000_000)]
    assert first.lines[1].meter == "bucket:plain:day-pass:2026-10-05"
    assert data(world, "r2", "2026-10-05T13:00:00+08:00", 4).amount_micros == 0
    assert data(world, "r3", "2026-10-05T14:00:00+08:00", 3).amount_micros == 290_000
    assert data(world, "r4", "2026-10-07T23:59:59+08:00", 10).amount_micros == 2_000_000
    assert data(world, "r5", "2026-10-08T00:00:00+08:00", 1).amount_micros == 2_000_000
    assert data(world, "r6", "2026-11-04T00:00:00+08:00", 1).amount_micros == 290_000


def test_a_first_month_by_its_days():
    """31 MB a month, from 11 October 15:00 on: 21 of 31 days, 21 MB. November has 31 MB, and up to 20 of October's."""
    world = world_on("part", "2026-10-11T15:00:00+08:00")
    assert drawn(data(world, "r1", "2026-10-12T00:00:00+08:00", 30)) == [("data", 21)]
    world = world_on("part", "2026-10-11T15:00:00+08:00")
    data(world, "r1", "2026-10-12T00:00:00+08:00", 2)
    event = data(world, "r2", "2026-11-01T00:00:00+08:00", 60)
    assert drawn(event) == [("data", 19), ("data", 31)]
    assert event.effects.account["rolled:part:data:2026-10"] == str(19 * MIB)
    assert event.effects.account["bucket:part:data:2026-10"] == f"{21 * MIB}/{21 * MIB}"


def test_nothing_rolls_over_from_before_the_plan():
    """An account that came to the plan this month has no bucket of the month before."""
    world = world_on("part", "2026-10-01T00:00:00+08:00")
    assert drawn(data(world, "r1", "2026-10-02T00:00:00+08:00", 60)) == [("data", 31)]
    world = world_on("other", "2026-09-01T00:00:00+08:00")
    world.one(command("change_plan", "c", plan="part", from_=ms("2026-10-01T00:00:00+08:00")))
    assert drawn(data(world, "r1", "2026-10-02T00:00:00+08:00", 60)) == [("data", 31)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 75), st.integers(1, 40)), min_size=1, max_size=10))
def test_a_bucket_gives_no_more_than_it_holds_nor_more_than_its_limit(days_used):
    """Whatever the order of use: no bucket gives more than its size, nor more than its limit in the month after."""
    world = world_on("part", "2026-09-16T00:00:00+08:00")
    rolled = {}
    start = ms("2026-09-16T00:00:00+08:00")
    for number, (day, megabytes) in enumerate(days_used):
        event = data(world, f"r{number}", start + day * DAY_MS, megabytes)
        for field, value in event.effects.account.items():
            if field.startswith("bucket:"):
                used, size = map(int, value.split("/"))
                assert 0 < used <= size <= 31 * MIB
                assert size == (31 * MIB * 15 // 30 if field.endswith("2026-09") else 31 * MIB)
            if field.startswith("rolled:"):
                rolled[field] = int(value)
    assert all(0 < given_after <= 20 * MIB for given_after in rolled.values())
