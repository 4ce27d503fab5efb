"""Numbers come to one spelling by form alone; what has no form is refused, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.numbers import NumberRules, other_number, served_number
from pipeline.domain.usage import is_e164, is_short_code

CHINA = NumberRules("86", "0", "00", 8)
AMERICA = NumberRules("1", "1", "011", 6)
SINGAPORE = NumberRules("65", "", "000", 5)

SAME_FOR_BOTH = [
    (CHINA, "+8613800000001", "+8613800000001"),
    (CHINA, "+86 138-0000-0001", "+8613800000001"),
    (CHINA, "791-445-9811", "+867914459811"),
    (CHINA, "(010) 1234.5678", "+861012345678"),
    (CHINA, "013800000001", "+8613800000001"),
    (CHINA, "0033140000000", "+33140000000"),
    (CHINA, "00 33 1 40 00 00 00", "+33140000000"),
    (CHINA, "33140000000", "+8633140000000"),
    (AMERICA, "12125550123", "+12125550123"),
    (AMERICA, "212-555-0123", "+12125550123"),
    (AMERICA, "11155501234", "+11155501234"),
    (AMERICA, "011442071234567", "+442071234567"),
    (AMERICA, "5550123", "+15550123"),
    (SINGAPORE, "61234567", "+6561234567"),
    (SINGAPORE, "00061234567", "+61234567"),
    (CHINA, "+1", "+1"),
    (CHINA, "+123456789012345", "+123456789012345"),
    (CHINA, "", None),
    (CHINA, " - ", None),
    (CHINA, "+", None),
    (CHINA, "+0861380000", None),
    (CHINA, "+1234567890123456", None),
    (CHINA, "00000000000", None),
    (CHINA, "12345678901234", None),
    (CHINA, "anonymous", None),
    (CHINA, "++8613800000001", None),
    (CHINA, "+86138x0000001", None),
    (CHINA, "\u0660\u0660\u0668\u0666\u0661\u0663\u0668\u0660\u0660\u0660", None),
    (CHINA, "\uff11\uff13\uff18\uff10\uff10\uff10\uff10\uff10\uff11", None),
    (CHINA, "*31#13800000001", None),
]

DIFFERENT = [
    # written, as the served subscriber's, as the other party's
    (CHINA, "10086", "+8610086", "10086"),
    (CHINA, "12345678", "+8612345678", "12345678"),
    (CHINA, "100-86", "+8610086", "10086"),
    (CHINA, "000", None, "000"),
    (CHINA, "0", None, "0"),
    (CHINA, "*100#", None, "*100#"),
    (CHINA, "00331400", "+331400", "00331400"),
    (SINGAPORE, "999", "+65999", "999"),
    (SINGAPORE, "999999", "+65999999", "+65999999"),
]


@pytest.mark.parametrize(("rules", "written", "becomes"), SAME_FOR_BOTH)
def test_one_spelling(rules, written, becomes):
    """Separators go, prefixes are completed, and everything without the form of a number is refused."""
    assert served_number(written, rules) == becomes
    assert other_number(written, rules) == becomes


@pytest.mark.parametrize(("rules", "written", "served", "other"), DIFFERENT)
def test_short_codes_are_the_other_partys_only(rules, written, served, other):
    """What is as short as a short code stays as dialled, except as a subscriber's own number."""
    assert served_number(written, rules) == served
    assert other_number(written, rules) == other


DIGITS_AND_MORE = st.text(st.sampled_from("+0123456789*# -.()"), max_size=24)


@given(st.one_of(st.text(max_size=40), DIGITS_AND_MORE), st.sampled_from([CHINA, AMERICA, SINGAPORE]))
def test_never_raises_and_always_has_the_form(text, rules):
    """Whatever a probe writes becomes an E.164 number, a short code or nothing."""
    served, other = served_number(text, rules), other_number(text, rules)
    assert served is None or is_e164(served)
    assert other is None or is_e164(other) or (is_short_code(other) and len(other) <= rules.short_code_digits)


@given(DIGITS_AND_MORE, st.sampled_from([CHINA, AMERICA, SINGAPORE]))
def test_a_normalised_number_stays(text, rules):
    """Normalising again changes nothing: a replay of an accepted record finds the same account and the same digest."""
    other = other_number(text, rules)
    if other is not None:
        assert other_number(other, rules) == other
