"""An account's fields as people and programs read them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.adapters.ledger_codec import iso_time
from pipeline.domain.account import Account
from pipeline.domain.allowances import parse_grant
from pipeline.domain.money import format_micros


def account_to_json(name: str, partition: int, fields: dict[str, str]) -> dict[str, Any]:
    """Return an account as `--json` shows it: amounts in micro-units, quantities in ms, octets or messages."""
    account = Account(name, fields)
    return {
        "account": name,
        "partition": partition,
        "seq": account.seq,
        "status": account.status,
        "currency": account.currency,
        "balance": format_micros(account.balance_micros),
        "balance_micros": account.balance_micros,
        "credit_limit_micros": int(fields.get("credit_limit", "0")),
        "over_limit": "over_limit" in fields,
        "plans": [{"plan": span.plan, "from": iso_time(span.from_ms)} for span in account.plans],
        "identities": [
            {
                "identity": span.identity,
                "from": iso_time(span.from_ms),
                "to": None if span.to_ms is None else iso_time(span.to_ms),
            }
            for span in account.identities
        ],
        "buckets": [
            {"plan": b.plan, "allowance": b.allowance, "period": b.period, "used": b.used, "size": b.size}
            for b in buckets(fields)
        ],
        "spend_micros": {name[6:]: int(value) for name, value in sorted(fields.items()) if name.startswith("spend:")},
        "budget": fields.get("budget"),
        "newest": iso_time(int(fields["newest"])) if "newest" in fields else None,
        "closed_at": iso_time(int(fields["closed_at"])) if "closed_at" in fields else None,
    }


class Bucket(NamedTuple):
    """A bucket of one period, or one that was bought, whose period is `grant:N`; in ms, octets or messages."""

    plan: str
    allowance: str
    period: str
    used: int
    size: int


def buckets(fields: dict[str, str]) -> Iterator[Bucket]:
    """Yield every bucket that the account has drawn on or bought, by name."""
    for name, value in sorted(fields.items()):
        if name.startswith("bucket:"):
            _, plan, allowance, period = name.split(":", 3)
            used, _, size = value.partition("/")
            yield Bucket(plan, allowance, period, int(used), int(size))
        elif name.startswith("grant:"):
            grant = parse_grant(value)
            yield Bucket(grant.plan, grant.allowance, name, grant.used, grant.size)


def account_rows(fields: dict[str, str]) -> list[tuple[str, str]]:
    """Return an account as rows of a name and a value."""
    account = Account("", fields)
    currency = account.currency
    rows = [("balance", f"{format_micros(account.balance_micros)} {currency}"), ("status", account.status)]
    if "credit_limit" in fields:
        rows.append(("credit limit", f"{format_micros(int(fields['credit_limit']))} {currency}"))
    rows += [("plan", f"{span.plan} from {iso_time(span.from_ms)}") for span in account.plans]
    for span in account.identities:
        until = "" if span.to_ms is None else f" to {iso_time(span.to_ms)}"
        rows.append(("identity", f"{span.identity} from {iso_time(span.from_ms)}{until}"))
    rows += [("allowance", f"{b.allowance} {b.period}: {b.used} of {b.size} used") for b in buckets(fields)]
    for name in sorted(fields):
        if name.startswith("spend:"):
            rows.append(("spent", f"{name[6:]}: {format_micros(int(fields[name]))} {currency}"))
    if "budget" in fields:
        amount, _, thresholds = fields["budget"].partition("@")
        rows.append(("budget", f"{format_micros(int(amount))} {currency} a month, alerts at {thresholds} %"))
    if "closed_at" in fields:
        rows.append(("closed at", iso_time(int(fields["closed_at"]))))
    return rows
