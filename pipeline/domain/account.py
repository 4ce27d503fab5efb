"""An account as the ledger leaves it: flat fields of text, and the views of them that decisions need.

The fields are the account's hash in Redis and the keys of `effects.account`:

| field | value |
|---|---|
| `balance` | main balance, integer micro-units |
| `currency` | ISO 4217 |
| `seq` | the account's own running number |
| `status` | `open`, `suspended`, `closed` |
| `closed_at` | ms; use that starts here or later is rejected |
| `credit_limit` | micro-units the balance may fall below zero before an alert |
| `over_limit` | `1` while the balance is below -credit_limit |
| `plans` | `plan@from_ms` joined by space, by time |
| `identities` | `identity@from_ms-to_ms` joined by space (open end: empty) |
| `newest` | greatest start of a CHARGED record, ms |
| `budget` | `amount_micros@50,80,100`: the customer's own monthly budget |
| `spend:YYYY-MM` | micro-units charged for use that starts in that month of tariff time |
| `reached:YYYY-MM` | `percent@amount_micros`: highest threshold of which budget was crossed in that month |
| `meter:PLAN:RULE:PERIOD` | a day or month meter, see meter.py |
| `cap:PLAN:CAP:PERIOD` | micro-units that use under that cap came to in that day or month, see discounts.py |
| `bucket:PLAN:ALLOWANCE:PERIOD` | an allowance's use, see allowances.py |
| `period` | the month that `begin_period` began last, YYYY-MM |
| `fee:PLAN:FEE:PERIOD` | micro-units that fee was charged for that month, or `once`, see fees.py |
| `rolled:PLAN:ALLOWANCE:PERIOD` | what a bucket gave in the period after its own, see allowances.py |
| `grant:N` | a bucket bought by add_allowance, see allowances.py |

Ids (plans, rules, allowances) are of letters, digits, `_`, `-`, `.`; accounts and identities hold no space or `@`.
"""

from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import AcceptedUsage, identities

_PARSED_MAX: Final = 100_000
"""Spans of accounts change seldom and are read with every batch: their texts are parsed once."""

GRANT: Final = "grant:"
OPEN: Final = "open"
SUSPENDED: Final = "suspended"
CLOSED: Final = "closed"


class PlanSpan(NamedTuple):
    """From this moment on the account has this plan (until the next span begins)."""

    plan: str
    from_ms: int


class IdentitySpan(NamedTuple):
    """The account has the identity from `from_ms` until `to_ms` (exclusive; None: until further notice)."""

    identity: str
    from_ms: int
    to_ms: int | None

    def covers(self, moment_ms: int) -> bool:
        """Tell whether the identity belongs to the account at this moment."""
        return self.from_ms <= moment_ms and (self.to_ms is None or moment_ms < self.to_ms)


@lru_cache(_PARSED_MAX)
def parse_plans(text: str) -> tuple[PlanSpan, ...]:
    """Read the `plans` field."""
    return tuple(PlanSpan(plan, int(at)) for plan, _, at in (part.rpartition("@") for part in text.split()))


def format_plans(spans: tuple[PlanSpan, ...]) -> str:
    """Write the `plans` field."""
    return " ".join(f"{span.plan}@{span.from_ms}" for span in spans)


@lru_cache(_PARSED_MAX)
def parse_identities(text: str) -> tuple[IdentitySpan, ...]:
    """Read the `identities` field."""
    spans = []
    for part in text.split():
        identity, _, span = part.rpartition("@")
        begin, _, end = span.partition("-")
        spans.append(IdentitySpan(identity, int(begin), int(end) if end else None))
    return tuple(spans)


def format_identities(spans: tuple[IdentitySpan, ...]) -> str:
    """Write the `identities` field."""
    return " ".join(f"{s.identity}@{s.from_ms}-{'' if s.to_ms is None else s.to_ms}" for s in spans)


class Account:
    """The working copy of one account within one batch: its fields, and what is parsed of them once.

    `change` is the only way to alter it; what a decision changes is what its event's `effects.account` says.

    `first_end_ms`: no field's period ends before this; None where that has to be looked up (`allowances.stale_fields`).
    """

    __slots__ = ("_grants", "_identities", "_plans", "account", "balance_micros", "fields", "first_end_ms", "seq")

    def __init__(self, account: str, fields: dict[str, str]) -> None:
        self.account = account
        self.fields = fields
        self.balance_micros = int(fields["balance"])
        self.seq = int(fields["seq"])
        self._plans: tuple[PlanSpan, ...] | None = None
        self._identities: tuple[IdentitySpan, ...] | None = None
        self._grants: tuple[str, ...] | None = None
        self.first_end_ms: int | None = None

    @property
    def currency(self) -> str:
        """ISO 4217 code of the account's one currency."""
        return self.fields["currency"]

    @property
    def status(self) -> str:
        """Return open, suspended or closed."""
        return self.fields["status"]

    @property
    def plans(self) -> tuple[PlanSpan, ...]:
        """The plan spans by time."""
        if self._plans is None:
            self._plans = parse_plans(self.fields["plans"])
        return self._plans

    @property
    def identities(self) -> tuple[IdentitySpan, ...]:
        """All spans of all identities this account ever had."""
        if self._identities is None:
            self._identities = parse_identities(self.fields.get("identities", ""))
        return self._identities

    @property
    def grants(self) -> tuple[str, ...]:
        """The fields of the buckets that were bought, in the order in which they came."""
        if self._grants is None:
            self._grants = tuple([name for name in self.fields if name.startswith(GRANT)])
        return self._grants

    def plan_at(self, moment_ms: int) -> str | None:
        """Return the plan in force at this moment: that of the latest span begun; None before the first."""
        found = None
        for span in self.plans:
            if span.from_ms > moment_ms:
                break
            found = span.plan
        return found

    def has_identity(self, identity: str, moment_ms: int) -> bool:
        """Tell whether the identity was this account's at that moment."""
        for owned, from_ms, to_ms in self.identities:
            if owned == identity and from_ms <= moment_ms and (to_ms is None or moment_ms < to_ms):
                return True
        return False

    def change(self, changes: dict[str, str | None], balance_micros: int) -> None:
        """Take over what an event changed: fields after (None removes), the balance after, one more event."""
        fields = self.fields
        for name, value in changes.items():
            if (value is None or name not in fields) and name.startswith(GRANT):
                self._grants = None
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        if "plans" in changes:
            self._plans = None
        if "identities" in changes:
            self._identities = None
        self.balance_micros = balance_micros
        self.seq += 1


def standing_refusal(usage: AcceptedUsage, account: Account) -> Refusal | None:
    """Return why use cannot be this account's: it had none of its identities then, or was closed."""
    start = usage.start_time
    for identity in identities(usage):
        if account.has_identity(identity, start):
            break
    else:
        return Refusal("not_bound", {"start_time": start})
    closed_at = account.fields.get("closed_at")
    if closed_at is not None and start >= int(closed_at):
        return Refusal("after_close", {"closed_at": int(closed_at)})
    return None
