"""The meter against the rule of the path spelled out by the letter."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_oracle import OracleRule, exact_sum, price

from pipeline.domain.meter import (
    START,
    Rounding,
    Terms,
    advance,
    format_reading,
    make_curve,
    parse_reading,
    round_up,
    whole,
)
from pipeline.domain.money import AmountError

prices = st.sampled_from(["0", "0.01", "0.1", "0.15", "1", "0.0333333", "7.77777"])


@st.composite
def rules(draw):
    """A rule in both spellings: ours and the oracle's."""
    begins = [0, *sorted(draw(st.sets(st.integers(1, 200), max_size=3)))]
    steps = tuple((b, draw(prices), draw(st.integers(1, 70)), draw(st.integers(1, 70))) for b in begins)
    fee = draw(st.sampled_from(["0", "0.20"]))
    maximum = draw(st.sampled_from([None, "0.50", "3"]))
    decimals = draw(st.integers(0, 6))
    mode = draw(st.sampled_from(["half_up", "half_even", "up", "down"]))
    ours = make_curve(
        tuple(Terms(str(b), p, str(per), str(inc)) for b, p, per, inc in steps),
        1,
        int(Fraction(fee) * 10**6),
        None if maximum is None else int(Fraction(maximum) * 10**6),
    )
    cap = None if maximum is None else Fraction(maximum)
    exact = tuple((b, Fraction(p), per, inc) for b, p, per, inc in steps)
    return ours, Rounding(decimals, mode), OracleRule(exact, Fraction(fee), cap, decimals, mode)


def walked(path):
    reading = START
    for (curve, rounding, _), quantity in path:
        reading = advance(reading, curve, rounding, quantity, reading.quantity == 0).reading
    return reading


paths = st.lists(st.tuples(rules(), st.integers(0, 300)), min_size=1, max_size=4)


@given(paths)
def test_walk_is_the_rule_by_the_letter(path):
    """Sum and price of any path are those of buying one increment after another."""
    reading = walked(path)
    parts = [(rule[2], quantity) for rule, quantity in path]
    assert Fraction(reading.numerator, reading.denominator) == exact_sum(parts) * 10**6
    assert reading.price_micros() == price(parts) * 10**6


@given(rules(), st.lists(st.integers(0, 100), max_size=6))
def test_slicing_never_changes_the_sum(rule, slices):
    """For one rule the price is a curve of the quantity: however it is sliced, the end is the same."""
    sliced = walked([(rule, quantity) for quantity in slices])
    together = walked([(rule, sum(slices))])
    assert sliced.sum_text() == together.sum_text()
    assert sliced.paid == together.paid


@given(rules(), st.integers(0, 400), st.integers(0, 100))
def test_price_never_falls_as_use_grows(rule, quantity, more):
    """Within one rule, more use never costs less, and never more than the cap."""
    before, after = walked([(rule, quantity)]), walked([(rule, quantity + more)])
    assert before.price_micros() <= after.price_micros()
    cap = rule[0].maximum_micros
    assert cap is None or after.numerator <= cap * after.denominator


@given(paths)
def test_a_reading_survives_the_account(path):
    """A meter read back from its field stands where it stood."""
    reading = walked(path)
    again = parse_reading(format_reading(reading))
    assert format_reading(again) == format_reading(reading)
    assert again.price_micros() == reading.price_micros()


@given(paths)
def test_bought_steps_pay_for_the_meter(path):
    """What the parts bought is exactly what is paid for."""
    reading, paid = START, 0
    for (curve, rounding, _), quantity in path:
        step = advance(reading, curve, rounding, quantity, connects=False)
        paid += sum(count * bought.steps[index].increment for bought, index, count in step.bought)
        reading = step.reading
    assert paid == reading.paid >= reading.quantity


def test_a_long_step_is_bought_at_once():
    """A petabyte by the octet is one multiplication, not a loop."""
    curve = make_curve((Terms("0", "0.000000001", "1", "1"),), 1, 0, None)
    assert advance(START, curve, Rounding(2, "half_up"), 10**15, connects=True).reading.price_micros() == 10**12


@pytest.mark.parametrize(
    "terms",
    [
        (),
        (Terms("1", "1", "1", "1"),),
        (Terms("0", "1", "1", "1"), Terms("0", "2", "1", "1")),
        (Terms("0", "1", "0", "1"),),
        (Terms("0", "1", "1", "0"),),
        (Terms("0", "-1", "1", "1"),),
        (Terms("0", "1", "1", "0.5"),),
    ],
)
def test_steps_that_cannot_be_priced(terms):
    """A curve begins at 0, moves on, and knows whole quantities only."""
    with pytest.raises(AmountError):
        make_curve(terms, 1, 0, None)


def test_units_and_rounding_up():
    """Half a minute is 30 000 ms; rounding up leaves a multiple, and 0 leaves everything."""
    assert whole("0.5", 60_000) == 30_000
    assert [round_up(quantity, 60) for quantity in (0, 1, 60, 61)] == [0, 60, 60, 120]
    assert round_up(61, 0) == 61
