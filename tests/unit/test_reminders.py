"""What a customer is told of his own alerts: one plain sentence in his language, or nothing."""
# ruff: noqa: RUF001 - full-width punctuation is how Chinese is written

import pytest

from consumers.alerts.change import Rule
from consumers.alerts.reminder import LANGUAGES, reminder, reminder_data

BUDGET = {"month": "2026-11", "percent": 80, "budget_micros": 50_000_000, "spend_after_micros": 40_000_000}
ALLOWANCE = {"service": "DATA", "percent": 80, "size": 5 * 2**30, "used_after": 4 * 2**30 + 1}
BALANCE = {"balance_after_micros": 8_505_000, "threshold_micros": 10_000_000}


def alert(detector, figures, state="open", currency="CNY"):
    """An alert as it is kept."""
    detail = {"account_seq": 1, "currency": currency, **figures}
    return {"detector": detector, "state": state, "detail": detail, "account": "alice", "alert_id": "a"}


@pytest.mark.parametrize(
    ("found", "english", "chinese"),
    [
        (
            alert("spend_budget", BUDGET),
            "In 2026-11 you have spent 40.00 CNY. That is 80% of the 50.00 CNY you set as your budget.",
            "您在2026年11月已消费40.00元，达到您设定的预算50.00元的80%。",
        ),
        (
            alert("spend_budget", {**BUDGET, "percent": 100, "spend_after_micros": 50_010_000}),
            (
                "In 2026-11 you have spent 50.01 CNY. The 50.00 CNY you set as your budget are used up. "
                "You can go on; it is charged as usual."
            ),
            "您在2026年11月已消费50.01元，您设定的预算50.00元已经用完。您可以继续使用，费用照常收取。",
        ),
        (
            alert("allowance_low", ALLOWANCE),
            "You have used 80% of the data included in your plan. Left: 1023.9 MB.",
            "您套餐内的流量已使用80%，剩余1023.9 MB。",
        ),
        (
            alert("allowance_low", {"service": "VOICE", "percent": 80, "size": 6_000_000, "used_after": 4_800_001}),
            "You have used 80% of the calls included in your plan. Left: 19 minutes.",
            "您套餐内的通话已使用80%，剩余19分钟。",
        ),
        (
            alert("allowance_low", {**ALLOWANCE, "percent": 100}),
            "You have used all of the data included in your plan. More is charged at the normal price.",
            "您套餐内的流量已经用完，继续使用将按标准资费收费。",
        ),
        (
            alert("low_balance", BALANCE, currency="EUR"),
            "Your balance is 8.505 EUR, which is below 10.00 EUR. Please top up.",
            "您的余额为8.505 EUR，已低于10.00 EUR，请及时充值。",
        ),
    ],
)
def test_it_says_so_in_plain_words(found, english, chinese):
    """Figures are exact, and what is left is never said to be more than it is."""
    assert reminder(found, "en") == english
    assert reminder(found, "zh") == chinese
    assert reminder_data(found, "zh")["text"] == chinese


@pytest.mark.parametrize(
    "found",
    [
        alert("low_balance", BALANCE, state="close"),
        alert("irsf", {}),
        alert("spend_budget", {"percent": 80}),
        alert("spend_budget", {**BUDGET, "month": "soon"}),
        {**alert("low_balance", BALANCE), "detail": "text"},
    ],
)
def test_of_anything_else_a_customer_is_told_nothing(found):
    """Neither of what ended, nor of detectors for the operator's eyes, nor of figures that are none."""
    assert [reminder(found, language) for language in LANGUAGES] == [None, None]


def test_a_rule_with_one_account_is_his_own():
    """Somebody else's alert is not his."""
    assert not Rule(accounts=("bob",)).matches({**alert("low_balance", BALANCE), "severity": "info", "object": "o"})
