"""Detectors: what use and charges say that somebody should know of; pure.

Those of this module need no memory: a crossing lies between an event's before and its after, so nothing is lost with a
worker, and reading an event again finds the same alerts with the same ids. The others have states, kept by `engine`.
"""

from typing import Final, NamedTuple

from pipeline.domain.detectors.allowance import ALLOWANCE_LOW, allowance_low
from pipeline.domain.detectors.balance import CREDIT_LIMIT, LOW_BALANCE, credit_limit, low_balance
from pipeline.domain.detectors.budget import SPEND_BUDGET, spend_budget
from pipeline.domain.detectors.finding import Finding
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, TOPPED_UP

__all__ = ["DETECTORS", "Finding", "Parameters", "findings"]

DETECTORS: Final = (LOW_BALANCE, CREDIT_LIMIT, SPEND_BUDGET, ALLOWANCE_LOW)
_CHANGING: Final = frozenset({CHARGED, TOPPED_UP, ADJUSTED, ACCOUNT_CHANGED})
"""Kinds of event that change an account; the others are looked at by nobody here."""


class Parameters(NamedTuple):
    """What operators set: the balance below which low_balance opens, in micro-units of the account's currency."""

    low_balance_micros: int


def findings(event: Event, charge_id: str, parameters: Parameters) -> list[Finding]:
    """Return the alerts that this event opens or closes, in the order of DETECTORS; mostly none.

    `charge_id` is `<partition>-<seq>` of the event. Given the same event again, it returns the same.
    """
    if event.kind not in _CHANGING:
        return []
    return [
        *low_balance(event, charge_id, parameters.low_balance_micros),
        *credit_limit(event, charge_id),
        *spend_budget(event, charge_id),
        *allowance_low(event, charge_id),
    ]
