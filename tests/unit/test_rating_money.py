"""Minimum, discount, tax and volume tiers on any path, against the rules spelled out by the letter."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from rating_oracle import Money, OracleRule, exact_net
from rating_world import HEAD, World, catalogue_of

from pipeline.domain.meter import (
    START,
    Rounding,
    Terms,
    advance,
    buy_volume,
    format_reading,
    make_curve,
    parse_reading,
)
from pipeline.domain.worth import Discount, kept_share, make_tax

TWO = Rounding(2, "half_up")
prices = st.sampled_from(["0", "0.01", "0.15", "1", "0.0333333"])


@st.composite
def parts(draw):
    """A part in both spellings: ours (curve, discount) and the oracle's, and its quantity."""
    begins = [0, *sorted(draw(st.sets(st.integers(1, 30), max_size=2)))]
    steps = tuple((b, draw(prices), draw(st.integers(1, 9)), draw(st.integers(1, 9))) for b in begins)
    fee = draw(st.sampled_from(["0", "0.20"]))
    maximum = draw(st.sampled_from([None, "2", "3"]))
    minimum = draw(st.sampled_from([None, "0.50", "1.25"]))
    tax = draw(st.sampled_from([None, ("6", True), ("19", False)]))
    kind = draw(st.sampled_from([None, "percent", "amount"]))
    first = draw(st.sampled_from([None, 7, 20]))
    curve = make_curve(
        tuple(Terms(str(b), p, str(per), str(inc)) for b, p, per, inc in steps),
        1,
        int(Fraction(fee) * 10**6),
        None if maximum is None else int(maximum) * 10**6,
        None if minimum is None else int(Fraction(minimum) * 10**6),
        None if tax is None else make_tax(*tax),
    )
    discount = None
    if kind == "percent":
        discount = Discount("d", "12.5", kept_share("12.5"), 0, first, "")
    elif kind == "amount":
        discount = Discount("d", None, Fraction(1), 400_000, first, "")
    rule = OracleRule(
        tuple((b, Fraction(p), per, inc) for b, p, per, inc in steps),
        Fraction(fee),
        None if maximum is None else Fraction(maximum),
    )
    money = Money(
        Fraction(minimum or 0),
        Fraction(1, 8) if kind == "percent" else Fraction(0),
        Fraction("0.4") if kind == "amount" else Fraction(0),
        first if kind else None,
        Fraction(19, 100) if tax == ("19", False) else Fraction(0),
    )
    return (curve, discount), rule, money, draw(st.integers(0, 25))


def walked(path):
    reading = START
    for curve, discount, quantity in path:
        reading = advance(reading, curve, TWO, quantity, reading.quantity == 0, discount).reading
    return reading


@settings(deadline=None)
@given(st.lists(parts(), min_size=1, max_size=3))
def test_any_path_is_the_rule_by_the_letter(path):
    """What is rounded in the end is what unit after unit comes to: minimum, maximum, discount, added tax."""
    ours = walked([(*part, quantity) for part, _, _, quantity in path])
    assert Fraction(ours.sum_text()) == exact_net([(rule, money, n) for _, rule, money, n in path]) * 10**6


@given(parts(), st.lists(st.integers(0, 9), max_size=6))
def test_slicing_never_changes_the_price(part, slices):
    """Of one rule with one discount, however use is sliced, and read back in between, it comes to the same."""
    (curve, discount), *_ = part
    sliced = START
    for quantity in slices:
        step = advance(sliced, curve, TWO, quantity, sliced.quantity == 0, discount)
        sliced = parse_reading(format_reading(step.reading))
    assert sliced.sum_text() == walked([(curve, discount, sum(slices))]).sum_text()


@given(parts(), st.integers(1, 60))
def test_money_stays_within_its_bounds(part, quantity):
    """Without tax no price is above the maximum; without a discount none is below the minimum."""
    (curve, discount), *_ = part
    reading = walked([(curve, discount, quantity)])
    gross = reading.worth.gross if reading.worth else Fraction(reading.numerator, reading.denominator)
    assert curve.maximum_micros is None or gross <= curve.maximum_micros
    assert gross >= (curve.minimum_micros or 0)
    if reading.worth:
        assert 0 <= reading.worth.discounted <= gross
        assert reading.worth.net >= reading.worth.discounted


@given(st.integers(1, 300), st.integers(0, 300))
def test_volume_is_a_curve_of_the_whole_quantity(quantity, more):
    """V(q + x) - V(q), whatever came before; V is the whole quantity at the last step that it reaches."""
    steps = ((0, "0.10", 3), (10, "0.09", 1), (100, "0.05", 7))
    curve = make_curve(tuple(Terms(str(b), p, "1", str(i)) for b, p, i in steps), 1, 0, None, volume=True)

    def value(q):
        _, price, increment = [step for step in steps if step[0] < q][-1]
        return -(-q // increment) * increment * Fraction(price) * 10**6

    paid, cost, bought = buy_volume(curve, quantity, quantity + more)
    assert Fraction(cost, curve.denominator) == value(quantity + more) - value(quantity)
    assert paid >= quantity + more
    assert sum(count * curve.steps[at].cost for _, at, count in bought) == cost
    total = walked([(curve, None, quantity), (curve, None, more)])
    assert Fraction(total.sum_text()) == value(quantity + more)


TARIFF = catalogue_of(
    HEAD
    + """
  - id: p
    tax: {rate: "10", included: false}
    discounts:
      - {id: tenth, match: {band: day}, percent: "10"}
      - {id: off, match: {service: DATA}, amount: "0.30"}
    caps:
      - {id: day, match: {service: DATA}, every: day, amount: "1.00"}
      - {id: all, every: month, amount: "3.00"}
    prices:
      - {id: day, match: {service: VOICE, band: day}, meter: session, unit: s, steps: [{price: "0.01"}], minimum: "0.30"}
      - {id: else, match: {service: VOICE}, meter: session, connect_fee: "0.05", unit: s, steps: [{price: "0.02"}], maximum: "2.00"}
      - {id: data, match: {service: DATA}, meter: day, unit: kB, steps: [{price: "0.07", increment: 3}]}
"""
)


def test_a_line_says_what_was_taken_and_added():
    """From the steps to the amount: 10 s x 0.01 = 0.10, minimum 0.30, 10% of it off, 10% of the rest added: 0.297."""
    (line,) = World(TARIFF, "p").charge(start="2026-06-01T12:00:00+02:00", seconds=10).lines
    assert (line.steps[0].amount, line.minimum_micros, line.maximum_micros) == ("100000", 300_000, None)
    assert line.discount == "tenth 10%: 300000 - 30000"
    assert line.tax == "10% added: 270000 + 27000"
    assert (line.meter_sum_before, line.meter_sum_after, line.amount_micros) == ("0", "297000", 300_000)


def test_a_cap_has_a_line_of_its_own():
    """30 kB x 0.07 less 10% plus 10% is 2.079, 2.08; the day's cap takes 1.08 off, and says of what."""
    rated = World(TARIFF, "p").charge(service="DATA", octets=30_000)
    price, capped = rated.lines
    assert (price.amount_micros, capped.amount_micros, rated.amount_micros) == (2_080_000, -1_080_000, 1_000_000)
    assert (capped.rule, capped.meter, capped.maximum_micros) == ("day", "cap:p:day:2026-06-01", 1_000_000)
    assert (capped.meter_sum_before, capped.meter_sum_after) == ("0", "2080000")
    assert rated.account_changes["cap:p:all:2026-06"] == "1000000"


records = st.lists(
    st.tuples(st.integers(-4, 20), st.integers(0, 90), st.sampled_from(["VOICE", "DATA"]), st.booleans()), max_size=7
)


@settings(deadline=None)
@given(records, st.randoms(use_true_random=False))
def test_every_order_of_arrival_comes_to_the_same(given_records, random):
    """Sessions and days with discounts, minimums and taxes: what all of it costs does not hang on who came first, and
    no cap is ever passed."""
    costs = []
    given_records = list(enumerate(given_records))
    for _ in range(2):
        world = World(TARIFF, "p")
        total = {"VOICE": 0, "DATA": 0}
        for number, (minutes, used, service, own) in given_records:
            rated = world.charge(
                record_id=f"r{number}",
                start=1_780_308_000_000 + minutes * 60_000 * 60,
                seconds=used if service == "VOICE" else 0,
                octets=used * 1_000 if service == "DATA" else 0,
                service=service,
                session=f"s-{own}" if service == "VOICE" else None,
            )
            assert sum(line.amount_micros for line in rated.lines) == rated.amount_micros
            for line in rated.lines:
                before, after = Fraction(line.meter_sum_before), Fraction(line.meter_sum_after)
                if line.rounding is not None and "before" not in line.rounding:
                    assert abs(line.amount_micros - (after - before)) <= 10_000
            total[service] += rated.amount_micros
        costs.append(sum(total.values()))
        assert sum(total.values()) <= 3_000_000
        random.shuffle(given_records)
    assert costs[0] == costs[1]
