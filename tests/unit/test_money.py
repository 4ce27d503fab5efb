"""Money is whole micro-units, read and written exactly, and rounded in one place."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.money import (
    AMOUNT_MICROS_MAX,
    ROUNDING_MODES,
    AmountError,
    format_micros,
    parse_micros,
    parse_ratio,
    round_ratio,
)

micros = st.integers(-AMOUNT_MICROS_MAX, AMOUNT_MICROS_MAX)
DECIMAL_MODES = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "up": ROUND_UP, "down": ROUND_DOWN}


@given(micros, st.integers(0, 6))
def test_what_is_written_is_read_again(amount, decimals):
    """Writing an amount and reading it gives the amount, with any number of places."""
    text = format_micros(amount, decimals)
    assert parse_micros(text) == amount
    assert Fraction(text) == Fraction(amount, 1_000_000)
    assert len(text.partition(".")[2]) >= decimals


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("12", 12_000_000),
        ("0.15", 150_000),
        ("-3.50", -3_500_000),
        ("0.000001", 1),
        ("007.10", 7_100_000),
        ("1.0000000000", 1_000_000),
        ("9007199254.740991", AMOUNT_MICROS_MAX),
        ("-9007199254.740991", -AMOUNT_MICROS_MAX),
    ],
)
def test_amounts(text, amount):
    """Plain decimals are amounts; zeros beyond the sixth place say nothing."""
    assert parse_micros(text) == amount


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "1.", ".5", "+1", "1,5", " 1", "1 ", "1e3", "0x1", "--1", "1.2.3", "NaN", "inf", "1_000", "\u0661", "\u00b2",
     "1.-5", "0.0000001", "9007199254.740992", "-9007199254.740992", "9" * 41],
)  # fmt: skip
def test_what_is_no_amount(text):
    """Anything but a plain decimal within bounds is refused, and never guessed."""
    with pytest.raises(AmountError):
        parse_micros(text)


@given(st.text(max_size=50))
def test_no_text_raises_anything_else(text):
    """Hostile text is an AmountError or a number equal to what Python's own decimals read."""
    try:
        numerator, denominator = parse_ratio(text)
    except AmountError:
        return
    assert Fraction(numerator, denominator) == Fraction(text)


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [(0, 0, "0"), (0, 2, "0.00"), (1_500_000, 0, "1.5"), (-1, 2, "-0.000001"), (-12_340_000, 2, "-12.34")],
)
def test_writing(amount, decimals, text):
    """No digit that counts is dropped, and no place asked for is missing."""
    assert format_micros(amount, decimals) == text


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**9), st.integers(0, 6), st.sampled_from(ROUNDING_MODES))
def test_rounding_is_that_of_decimal_arithmetic(numerator, denominator, decimals, mode):
    """Each mode rounds the exact magnitude as Python's decimals do, where those are given enough digits."""
    exact = Fraction(numerator, denominator * 10 ** (6 - decimals))
    # a decimal of 60 digits that lies on the same side of every boundary as the fraction does
    whole, rest = divmod(abs(exact.numerator) * 2, exact.denominator)
    near = Decimal(whole) / 2 + (Decimal("0.1") if rest else 0)
    rounded = near.quantize(Decimal(1), DECIMAL_MODES[mode], Context(prec=60))
    sign = -1 if exact < 0 else 1
    assert round_ratio(numerator, denominator, decimals, mode) == sign * int(rounded) * 10 ** (6 - decimals)


@given(st.integers(0, 10**15), st.integers(1, 10**6), st.integers(0, 6), st.sampled_from(ROUNDING_MODES))
def test_a_refund_rounds_as_its_charge_did(numerator, denominator, decimals, mode):
    """Rounding works on the magnitude: minus the amount rounds to minus the result."""
    charge = round_ratio(numerator, denominator, decimals, mode)
    assert round_ratio(-numerator, denominator, decimals, mode) == -charge
    assert isinstance(charge, int)


@pytest.mark.parametrize(
    ("mode", "results"),
    [
        ("half_up", [0, 10_000, 10_000, 20_000, 20_000]),
        ("half_even", [0, 0, 10_000, 20_000, 20_000]),
        ("up", [10_000, 10_000, 10_000, 20_000, 20_000]),
        ("down", [0, 0, 10_000, 10_000, 20_000]),
    ],
)
def test_ties(mode, results):
    """0.004, 0.005, 0.01, 0.015 and 0.02 to two places."""
    assert [round_ratio(n, 1, 2, mode) for n in (4_000, 5_000, 10_000, 15_000, 20_000)] == results


@pytest.mark.parametrize(("mode", "cents"), [("down", 2), ("half_up", 3), ("half_even", 3), ("up", 3)])
def test_a_sum_a_hair_below_a_cent_is_below_it(mode, cents):
    """However long the denominator, nothing is lost on the way to the rounding: a float would see the cent itself."""
    denominator = 10**24
    hair_below_three = 3 * 10_000 * denominator - 1
    assert round_ratio(hair_below_three, denominator, 2, mode) == cents * 10_000
    assert round_ratio(-hair_below_three, denominator, 2, mode) == -cents * 10_000
