"""Money left, and money owed: low_balance and credit_limit. Each opens on the way down and closes on the way up.

Their windows name the threshold alone, because a detector without memory cannot know, when a balance comes back, which
event it fell with. So an account has one such alert, which opens and closes as often as the balance passes.
"""

from typing import Final

from pipeline.domain.detectors.finding import CLOSE, CRITICAL, INFO, NO_SCORE, OPEN, WARNING, Finding, account_finding
from pipeline.domain.ledger import Event
from pipeline.domain.money import format_micros
from pipeline.domain.outcome import ACCOUNT_CHANGED

LOW_BALANCE: Final = "low_balance"
CREDIT_LIMIT: Final = "credit_limit"
OVER_LIMIT_FIELD: Final = "over_limit"


def low_balance(event: Event, charge_id: str, threshold_micros: int) -> list[Finding]:
    """Open where the balance falls below the threshold by this event, close where it comes back to it or above.

    An account that opens does not come back: it never fell.
    """
    before, after = event.balance_before_micros, event.balance_after_micros
    if (before < threshold_micros) == (after < threshold_micros) or event.kind == ACCOUNT_CHANGED:
        return []
    figures = {**_balances(event), "threshold_micros": threshold_micros}
    window = f"below@{threshold_micros}"
    if after >= threshold_micros:
        action = "Nothing to do: the balance is back."
        return [account_finding(event, charge_id, LOW_BALANCE, CLOSE, INFO, window, NO_SCORE, figures, action)]
    action = "Ask the customer to top up; use goes on being charged whatever the balance."
    score = format_micros(threshold_micros - after)
    return [account_finding(event, charge_id, LOW_BALANCE, OPEN, WARNING, window, score, figures, action)]


def credit_limit(event: Event, charge_id: str) -> list[Finding]:
    """Open where charge says that the balance passed the credit limit, close where it says that it came back."""
    changes = event.effects.account
    if OVER_LIMIT_FIELD not in changes:
        return []
    figures = _balances(event)
    window = "over"
    if changes[OVER_LIMIT_FIELD] != "1":
        action = "Nothing to do: the balance is within the credit limit again."
        return [account_finding(event, charge_id, CREDIT_LIMIT, CLOSE, INFO, window, NO_SCORE, figures, action)]
    action = "Decide whether to suspend the account in the network: use that has happened is charged beyond the limit."
    score = format_micros(-event.balance_after_micros)
    return [account_finding(event, charge_id, CREDIT_LIMIT, OPEN, CRITICAL, window, score, figures, action)]


def _balances(event: Event) -> dict[str, object]:
    return {
        "balance_before_micros": event.balance_before_micros,
        "balance_after_micros": event.balance_after_micros,
        "amount_micros": event.amount_micros,
    }
