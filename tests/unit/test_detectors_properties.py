"""Detectors over whole histories of an account, whatever happens to it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from test_detectors import PARAMETERS, YUAN, event

from pipeline.domain.detectors import Finding, findings
from pipeline.domain.ledger import Event
from pipeline.domain.limits import limit_changes, spend_changes
from pipeline.domain.outcome import CHARGED, TOPPED_UP

BUDGETS = ("50000000@50,80,100", "20000000@50,80,100", "50000000@80")
MONTHS = ("2026-10", "2026-11")

charges = st.tuples(st.just("charge"), st.sampled_from(MONTHS), st.integers(-15 * YUAN, 30 * YUAN))
top_ups = st.tuples(st.just("top_up"), st.just(""), st.integers(1, 60 * YUAN))
budgets = st.tuples(st.just("budget"), st.sampled_from(BUDGETS), st.just(0))


def history(steps: list[tuple[str, str, int]], credit_limit: int) -> list[Event]:
    """The events that these steps leave in the ledger, by charge's own rules for limits."""
    fields = {"credit_limit": str(credit_limit)}
    balance, events = 20 * YUAN, []
    for number, (kind, what, amount) in enumerate(steps, 1):
        if kind == "budget":
            fields["budget"] = what
            continue
        after = balance - amount if kind == "charge" else balance + amount
        changes = limit_changes(fields, after)
        if kind == "charge" and amount:
            changes |= spend_changes(fields, what, amount)
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        answer = CHARGED if kind == "charge" else TOPPED_UP
        events.append(event(answer, balance, amount, changes, seq=number, account_seq=number))
        balance = after
    return events


def detect(events: list[Event]) -> list[Finding]:
    return [finding for e in events for finding in findings(e, f"0-{e.seq}", PARAMETERS)]


@given(st.lists(st.one_of(charges, charges, charges, top_ups, budgets), max_size=60), st.integers(0, 40 * YUAN))
def test_a_threshold_of_a_budget_alerts_at_most_once_a_month(steps, credit_limit):
    """Spend rises, falls back and rises again, budgets change and come back: no window is raised twice in a row.

    A budget that is set again to an amount it had before may be crossed anew, under the same id: the same alert.
    """
    events = history(steps, credit_limit)
    raised = [f for f in detect(events) if f.detector == "spend_budget"]
    changed = sum(1 for kind, _, _ in steps if kind == "budget")
    if changed <= 1:
        assert len({f.window for f in raised}) == len(raised)
    for month in MONTHS:
        mine = [f for f in raised if f.detail["month"] == month]
        for one, two in pairwise(mine):
            same_budget = one.detail["budget_micros"] == two.detail["budget_micros"]
            assert not same_budget or one.detail["percent"] < two.detail["percent"]


@given(st.lists(charges, max_size=60))
def test_every_threshold_that_the_spend_stands_above_was_raised(steps):
    """The highest share of the budget ever reached in a month is the share of that month's last alert."""
    events = history([("budget", BUDGETS[0], 0), *steps], 0)
    raised = [f for f in detect(events) if f.detector == "spend_budget"]
    for month in MONTHS:
        spent = highest = 0
        for e in events:
            if (after := e.effects.account.get(f"spend:{month}")) is not None:
                spent = int(after)
                highest = max(highest, spent)
        expected = max((t for t in (50, 80, 100) if highest * 100 >= 50 * YUAN * t), default=None)
        last = [f.detail["percent"] for f in raised if f.detail["month"] == month][-1:]
        assert last == ([] if expected is None else [expected])


@given(st.lists(st.one_of(charges, top_ups), max_size=60), st.integers(0, 40 * YUAN))
def test_money_alerts_open_and_close_by_turns_and_end_as_the_balance_stands(steps, credit_limit):
    """Each of low_balance and credit_limit opens first, then closes, and so on; the last state is the truth."""
    events = history(steps, credit_limit)
    found = detect(events)
    balance = events[-1].balance_after_micros if events else 20 * YUAN
    for detector, is_open in (
        ("low_balance", balance < PARAMETERS.low_balance_micros),
        ("credit_limit", balance < -credit_limit),
    ):
        states = [f.state for f in found if f.detector == detector]
        assert states[::2] == ["open"] * len(states[::2])
        assert states[1::2] == ["close"] * len(states[1::2])
        assert is_open == (states[-1:] == ["open"])
