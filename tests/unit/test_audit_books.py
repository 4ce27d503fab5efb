"""The auditor finds every wrong amount, balance, running number and allowance."""

import pytest
from audit_ledger import USAGE_ID, LedgerMaker, audited, found, line_of, moved, sample

from consumers.audit.books import Figures
from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from consumers.audit.report import Tally
from pipeline.domain.ledger import Position
from pipeline.topics import partition_of


@pytest.mark.parametrize(
    "fields",
    [
        {"balance_after_micros": 9_900_001},
        {"balance_before_micros": 10_000_001},
        {"balance_before_micros": 10_000_001, "balance_after_micros": 9_900_001},
        {"amount_micros": 100_001, "balance_after_micros": 9_899_999},
        {"lines": (line_of(60_000), line_of(40_001))},
        {"account_seq": 3},
        {"account_seq": 0},
        {"currency": "EUR"},
        {"account": "nobody"},
        {"reason": "late"},
    ],
)
def test_a_wrong_charge(fields):
    """Amount, lines, before, after, currency and running number of a charge hold together."""
    made = sample()
    made.change(2, **fields)
    assert found(audited(made)) == (2, "I5")


@pytest.mark.parametrize(
    ("seq", "fields"),
    [
        (3, {"balance_after_micros": 4_900_000}),  # a top-up that takes
        (3, {"amount_micros": -1, "balance_after_micros": 9_899_999}),
        (9, {"balance_after_micros": 14_649_999}),
        (4, {"amount_micros": 1}),
        (4, {"balance_after_micros": 14_900_001}),
        (4, {"reason": None}),
        (10, {"account_seq": 0, "balance_before_micros": 0, "balance_after_micros": 0}),
        (1, {"currency": None}),
        (6, {"amount_micros": 1}),
        (6, {"balance_before_micros": 1}),
        (7, {"kind": "ACCOUNT_CHANGED", "positions": None}),
    ],
)
def test_a_wrong_answer(seq, fields):
    """Only charges, top-ups, adjustments and openings move money; an event of no account moves nothing."""
    made = sample()
    if "positions" in fields:
        del made.events[7:]
        last = made.events[6].positions
        fields = {**fields, "positions": last._replace(usage=Position(USAGE_ID, last.usage.offset + 1))}
    made.change(seq, **fields)
    assert found(audited(made)) == (seq, "I5")


def test_an_answer_without_effects():
    """What is refused, held or a repeat changes nothing of the state."""
    for seq in (4, 5, 6, 7, 10):
        made = sample()
        made.change(seq, effects=made.events[seq - 1].effects._replace(kept={"x": "y"}))
        assert found(audited(made)) == (seq, "I5")


def test_an_account_opened_twice():
    """A second opening would give the balance again."""
    made = sample()
    event = made.opened()
    made.change(event.seq, command=None, positions=moved(event, usage=8, command=3))
    assert found(audited(made)) == (event.seq, "I5")


def test_an_account_in_another_partition():
    """An account's money is in its own partition only."""
    made = LedgerMaker(1 - partition_of("a", 2))
    made.opened()
    assert found(audited(made, partitions=2)) == (1, "I5")


@pytest.mark.parametrize(
    ("value", "taken", "right"),
    [
        ("60/100", 60, True),
        ("60/100", 59, False),  # the lines took less than the bucket gave
        ("101/100", 101, False),
        (None, 0, True),  # an old period goes
    ],
)
def test_buckets(value, taken, right):
    """A bucket gives what the lines take, never more than it holds."""
    made = LedgerMaker()
    made.opened()
    changes = {"bucket:basic:voice:2026-01": value}
    made.charged("r1", 0, changes=changes, lines=(line_of(0, "voice", taken),))
    assert found(audited(made)) == (None if right else (2, "I5"))


def test_a_bucket_never_gives_back():
    """What an allowance gave stays taken: used never falls."""
    made = LedgerMaker()
    made.opened()
    grant = "grant:1"
    made.charged("r1", 0, changes={grant: "60/100 basic data 0 -"}, lines=(line_of(0, "data", 60),))
    made.charged("r2", 0, changes={grant: "50/100 basic data 0 -"}, lines=(line_of(0, "data", -10),))
    assert found(audited(made)) == (3, "I5")


def test_figures_that_do_not_balance():
    """Sums that do not come to the balances name their currency."""
    figures = Figures()
    figures.opening["CNY"] = figures.balances["CNY"] = figures.topped_up["EUR"] = 5
    assert figures.imbalance() == "EUR"
    figures.charged["EUR"], figures.balances["EUR"] = 6, -1
    assert figures.imbalance() is None


def test_the_figures_balance():
    """The report's sums are those of the events: balance = opening + top-ups + adjustments - charges."""
    made = sample()
    audit = PartitionAudit(0, 1, made.genesis, Register(), today=None)
    assert [audit.take(value, n) for n, value in enumerate(made.values())] == [None] * 11
    assert audit.close() is None
    tally = Tally(1)
    tally.add(audit)
    report = tally.report(None, 3)
    assert report.ok
    assert (report.events, report.charged, report.duplicates, report.review, report.rejected) == (11, 3, 1, 1, 2)
    assert (report.topped_up, report.adjusted, report.account_changed, report.seals) == (1, 1, 1, 1)
    assert report.charged_micros == {"CNY": 300_000}
    assert report.balance_micros == {"CNY": 10_000_000 + 5_000_000 - 1_000 - 300_000}
    assert report.as_json()["breach"] is None
    assert report.dead_letters == 3
