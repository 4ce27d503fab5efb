"""What a charge does to the account's own limits: the month's spend, the budget's thresholds, the credit limit.

Written as fields of the account, so that a reader of one event sees each crossing without any memory of its own.
"""

from collections.abc import Mapping


def spend_changes(fields: Mapping[str, str], month: str, amount_micros: int) -> dict[str, str | None]:
    """Return the month's spend after, and the highest threshold of the budget if one more was crossed by it.

    A threshold is crossed once for a budget and month: what falls back and rises again says nothing new.
    """
    name = f"spend:{month}"
    spent = int(fields.get(name, "0")) + amount_micros
    changes: dict[str, str | None] = {name: str(spent)}
    budget = fields.get("budget")
    if budget is None:
        return changes
    amount_text, _, thresholds = budget.partition("@")
    amount = int(amount_text)
    crossed = max((int(t) for t in thresholds.split(",") if spent * 100 >= amount * int(t)), default=0)
    reached, _, of_budget = fields.get(f"reached:{month}", "0@").partition("@")
    if crossed > (int(reached) if of_budget == amount_text else 0):
        changes[f"reached:{month}"] = f"{crossed}@{amount_text}"
    return changes


def limit_changes(fields: Mapping[str, str], balance_micros: int) -> dict[str, str | None]:
    """Return the change of `over_limit`, if this balance passes the credit limit, or comes back above it."""
    over = balance_micros < -int(fields.get("credit_limit", "0"))
    if over == ("over_limit" in fields):
        return {}
    return {"over_limit": "1" if over else None}
