"""spend_budget: a share of the customer's own monthly budget is spent."""

from typing import Final

from pipeline.domain.detectors.finding import CRITICAL, OPEN, WARNING, Finding, account_finding, ratio
from pipeline.domain.ledger import Event

SPEND_BUDGET: Final = "spend_budget"
REACHED_PREFIX: Final = "reached:"
SPEND_PREFIX: Final = "spend:"
WHOLE_PERCENT: Final = 100


def spend_budget(event: Event, charge_id: str) -> list[Finding]:
    """Open where charge says that the month's spend crossed a threshold of the budget.

    Charge says so once for a threshold, a budget and a month, naming the highest one crossed: a record that passes two
    at once makes one alert. A month's spend that falls back closes nothing; the next month is another window.
    """
    found = []
    changes = event.effects.account
    for field, value in changes.items():
        if not field.startswith(REACHED_PREFIX) or value is None:
            continue
        month = field.removeprefix(REACHED_PREFIX)
        percent_text, _, budget_text = value.partition("@")
        percent, budget_micros = int(percent_text), int(budget_text)
        spend_text = changes.get(SPEND_PREFIX + month)
        assert spend_text is not None, "a threshold is crossed by a spend, which the same event names"
        spend_micros = int(spend_text)
        used_up = percent >= WHOLE_PERCENT
        figures: dict[str, object] = {
            "month": month,
            "percent": percent,
            "budget_micros": budget_micros,
            "spend_before_micros": spend_micros - event.amount_micros,
            "spend_after_micros": spend_micros,
        }
        found.append(
            account_finding(
                event,
                charge_id,
                SPEND_BUDGET,
                OPEN,
                CRITICAL if used_up else WARNING,
                f"{month}/{percent}%@{budget_micros}",
                ratio(spend_micros, budget_micros) if budget_micros > 0 else "1.0000",
                figures,
                "Tell the customer that the month's budget is used up; further use is charged all the same."
                if used_up
                else f"Tell the customer that {percent} % of the month's budget is spent.",
            )
        )
    return found
