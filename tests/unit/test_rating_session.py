"""Sessions: partial records in any cut and any order come to one sum."""

import json
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from rating_oracle import OracleRule, session_price
from rating_world import HEAD, World, catalogue_of, ms

from pipeline.domain.catalogue import Catalogues
from pipeline.domain.money import ROUNDING_MODES

CATALOGUE = catalogue_of(
    HEAD
    + """
  - id: p
    allowances: [{id: m, service: VOICE, to: cn, quantity: 1, unit: min, every: month}]
    prices:
      - id: day
        match: {service: VOICE, direction: MO, band: day}
        meter: session
        round_up: {to: 60, unit: s}
        connect_fee: "0.05"
        unit: s
        steps: [{from: 0, price: "1.00", per: 60, increment: 60}, {from: 60, price: "0.071", per: 7, increment: 7}]
        maximum: "3.00"
      - id: else
        match: {service: VOICE, direction: MO}
        meter: session
        round_up: {to: 7, unit: s}
        unit: s
        rounding: {decimals: 4, mode: up}
        steps: [{from: 0, price: "0.20", per: 60, increment: 1}]
      - {id: data, match: {service: DATA, direction: MO}, meter: session, unit: kB, steps: [{price: "0.01", increment: 10}]}
"""
)
SECOND = 1_000
DAY_RULE = OracleRule(
    ((0, Fraction(1), 60 * SECOND, 60 * SECOND), (60 * SECOND, Fraction(71, 1000), 7 * SECOND, 7 * SECOND)),
    Fraction(5, 100),
    Fraction(3),
    2,
    "half_up",
    60 * SECOND,
)
ELSE_RULE = OracleRule(((0, Fraction(20, 100), 60 * SECOND, SECOND),), Fraction(0), None, 4, "up", 7 * SECOND)
EVENING = ms("2026-06-01T20:00:00+02:00")
MORNING = ms("2026-06-01T08:00:00+02:00")


lengths = st.tuples(st.integers(0, 150), st.sampled_from([0, 1, 500])).map(lambda drawn: drawn[0] * 1_000 + drawn[1])


@st.composite
def sliced_calls(draw):
    """A call over the edge of the day, cut into partial records, in some order of arrival."""
    morning = draw(st.booleans())
    before, after = draw(lengths), draw(lengths) + 1
    edge = MORNING if morning else EVENING
    cuts = sorted(cut for cut in draw(st.sets(lengths.map(lambda n: 2 * n), max_size=5)) if 0 < cut < before + after)
    ends = [0, *cuts, before + after]
    partials = [
        {"start": edge - before + begin, "ms": end - begin, "partial": number, "session": "s"}
        for number, (begin, end) in enumerate(pairwise(ends), start=1)
    ]
    first, second = (ELSE_RULE, DAY_RULE) if morning else (DAY_RULE, ELSE_RULE)
    whole = [(first, before), (second, after)] if before else [(second, after)]
    return draw(st.permutations(partials)), whole


@given(sliced_calls())
def test_any_cut_in_any_order_comes_to_the_same_sum(call):
    """The partial records of a call cost together what the call costs, by the letter of the rule of the path."""
    partials, whole = call
    world = World(CATALOGUE, "p")
    rated = [world.charge(**partial) for partial in partials]
    assert sum(r.amount_micros for r in rated) == session_price(whole) * 10**6
    for r in rated:
        assert sum(line.amount_micros for line in r.lines) == r.amount_micros


@st.composite
def rules(draw):
    """A rule by the second in both spellings: the catalogue's keys, and the oracle's (in ms)."""
    begins = [0, *sorted(draw(st.sets(st.integers(1, 150), max_size=2)))]
    prices = st.sampled_from(["0", "0.01", "0.15", "1", "0.0333333"])
    steps = [(b, draw(prices), draw(st.integers(1, 70)), draw(st.integers(1, 70))) for b in begins]
    fee, cap = draw(st.sampled_from(["0", "0.20"])), draw(st.sampled_from([None, "0.50", "3"]))
    to = draw(st.sampled_from([None, 7, 60]))
    decimals, mode = draw(st.integers(0, 6)), draw(st.sampled_from(ROUNDING_MODES))
    keys = {
        "meter": "session",
        "unit": "s",
        "connect_fee": fee,
        "maximum": cap,
        "round_up": to and {"to": to},
        "rounding": {"decimals": decimals, "mode": mode},
        "steps": [{"from": b, "price": price, "per": per, "increment": inc} for b, price, per, inc in steps],
    }
    exact = tuple((b * SECOND, Fraction(price), per * SECOND, inc * SECOND) for b, price, per, inc in steps)
    limit = None if cap is None else Fraction(cap)
    return keys, OracleRule(exact, Fraction(fee), limit, decimals, mode, (to or 0) * SECOND or 1)


@given(rules(), rules(), sliced_calls())
@settings(deadline=None)
def test_whatever_the_tariff_any_cut_in_any_order_comes_to_the_same_sum(day, other, call):
    """The same of any two rules: steps, connect fees, caps, rounding up and rounding as they may be."""
    partials, whole = call
    (day_keys, day_rule), (other_keys, other_rule) = day, other
    match = {"service": "VOICE", "direction": "MO"}
    prices = [
        {"id": "day", "match": {**match, "band": "day"}, **day_keys},
        {"id": "else", "match": match, **other_keys},
    ]
    plan = json.dumps({"id": "p", "prices": prices})
    world = World(catalogue_of(f"{HEAD}\n  - {plan}\n"), "p")
    charged = sum(world.charge(**partial).amount_micros for partial in partials)
    path = [(day_rule if rule is DAY_RULE else other_rule, quantity) for rule, quantity in whole]
    assert charged == session_price(path) * 10**6


def test_ninety_seconds_in_three_are_two_minutes():
    """3 x 30 s rounded up to 60 on a session are 120 s, not 180 s."""
    world = World(CATALOGUE, "p")
    start = ms("2026-06-01T12:00:00+02:00")
    rated = [world.charge(start=start + n * 30_000, seconds=30, session="s", partial=n + 1) for n in range(3)]
    assert [line.quantity_rounded for r in rated for line in r.lines] == [60_000, 0, 60_000]


def test_a_finer_rounding_that_comes_later_is_made_good():
    """Two peak minutes: 1.05 + 9 x 0.071 = 1.689, charged 1.69. One more of four decimals: the path is 1.879."""
    world = World(CATALOGUE, "p")
    charged = [
        world.charge(start=EVENING - 120_000, seconds=120, session="s", partial=1).amount_micros,
        world.charge(start=EVENING, seconds=60, session="s", partial=2).amount_micros,
    ]
    assert charged == [1_690_000, 189_000]


def test_sessions_do_not_mix():
    """The path is one service's and one session's: another session begins from nothing."""
    world = World(CATALOGUE, "p")
    first = world.charge(seconds=60, session="a")
    assert world.charge(seconds=60, session="b").amount_micros == first.amount_micros


def test_without_a_session_id_the_record_is_the_path():
    """A null session_id leaves nothing behind."""
    world = World(CATALOGUE, "p")
    rated = world.charge(seconds=60)
    assert rated.session_changes == {}
    assert rated.lines[0].meter is None


def test_what_an_allowance_took_stays_taken():
    """A part whose share shrinks because an earlier one arrives keeps what it took; its quantity is at least 0.

    Second half first: 30 s round up to 60 s, all of the bundle's minute. Then the first 30 s: their own share is
    60 s, the other's falls to 0, of which 60 s are taken: nothing is left of it. The 60 s now cost 1.05.
    """
    world = World(CATALOGUE, "p")
    start = ms("2026-06-01T12:00:00+02:00")
    later = world.charge(start=start + 30_000, seconds=30, session="s", partial=2, to="+8613")
    assert (later.amount_micros, later.lines[0].allowance_used) == (0, 60_000)
    earlier = world.charge(start=start, seconds=30, session="s", partial=1, to="+8613")
    assert (earlier.amount_micros, earlier.lines[0].allowance_used) == (1_050_000, 0)
    # nothing is left, but not less than nothing: the next minute is paid, 9 x 7 s at 0.071: 1.05 + 0.639 -> 1.69
    after = world.charge(start=start + 60_000, seconds=60, session="s", partial=3, to="+8613")
    assert after.amount_micros == 640_000


def test_a_late_part_shows_what_the_path_buys_more_and_less():
    """Lines of a part that arrives before an earlier one was known add up with their steps: more here, less there."""
    world = World(CATALOGUE, "p")
    world.charge(start=MORNING, seconds=60, session="s", partial=2)
    late = world.charge(start=MORNING - 60_000, seconds=60, session="s", partial=1)
    (line,) = late.lines
    assert sum(Fraction(step.amount) for step in line.steps) + line.connect_fee_micros == Fraction(
        line.meter_sum_after
    ) - Fraction(line.meter_sum_before)
    assert any(step.increments < 0 for step in line.steps)
    assert line.rounding == "4 up (before: 2 half_up)"


def test_data_in_partials_pays_its_increments_once():
    """Ten partials of 1 kB in increments of 10 kB buy one increment, whichever comes first."""
    world = World(CATALOGUE, "p")
    amounts = [
        world.charge(service="DATA", start=MORNING + n, octets=1_000, session="d", partial=n).amount_micros
        for n in (3, 1, 2, 5, 4, 9, 8, 6, 7, 10)
    ]
    assert amounts == [100_000] + [0] * 9


def test_parts_keep_the_version_that_priced_them():
    """A session over a change of tariff holds each part to the version of its own record's start."""
    text = (
        HEAD
        + '\n  - {id: p, prices: [{id: x, match: {service: VOICE}, meter: session, unit: s, steps: [{price: "%s"}]}]}\n'
    )
    old, new = catalogue_of(text % "0.01"), catalogue_of(text % "0.02", EVENING)
    world = World(Catalogues([new, old]), "p")
    assert world.charge(start=EVENING - 10_000, seconds=10, session="s", partial=1).amount_micros == 100_000
    assert world.charge(start=EVENING, seconds=10, session="s", partial=2).amount_micros == 200_000
    assert {line.split(" ")[-1] for line in world.sessions["s"].values()} == {old.hash, new.hash}
