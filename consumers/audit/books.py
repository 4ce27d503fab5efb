"""I5: the books of one partition: every amount is in a balance, and every balance is made of amounts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumers.audit.breach import BOOKS, Finding
from pipeline.domain.ledger import NO_EFFECTS, Event
from pipeline.domain.outcome import (
    ACCOUNT_CHANGED,
    ADJUSTED,
    CHARGED,
    DUPLICATE,
    REJECTED,
    REVIEW,
    SEAL,
    TOPPED_UP,
)

OPENED: Final = "opened"
_BUCKETS: Final = ("bucket:", "grant:")
WITHOUT_EFFECT: Final = frozenset({DUPLICATE, REVIEW, REJECTED, SEAL})


class Figures:
    """Sums in micro-units by currency; each kind of money once."""

    def __init__(self) -> None:
        self.opening: Counter[str] = Counter()
        self.topped_up: Counter[str] = Counter()
        self.adjusted: Counter[str] = Counter()
        self.charged: Counter[str] = Counter()
        self.balances: Counter[str] = Counter()

    def add(self, other: "Figures") -> None:
        """Add another partition's."""
        for name, sums in vars(other).items():
            getattr(self, name).update(sums)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the sums by figure and currency."""
        return {name: dict(sums) for name, sums in vars(self).items()}

    def imbalance(self) -> str | None:
        """Return the first currency whose balances are not opening + top-ups + adjustments - charges."""
        for currency in self.balances | self.opening | self.topped_up | self.adjusted | self.charged:
            due = self.opening[currency] + self.topped_up[currency] + self.adjusted[currency] - self.charged[currency]
            if due != self.balances[currency]:
                return currency
        return None


class _Account:
    __slots__ = ("balance_micros", "buckets", "currency", "seq")

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.balance_micros = 0
        self.seq = 0
        self.buckets: dict[str, int] = {}


class Books:
    """The accounts of one partition as their own events leave them. Memory: a few hundred bytes an account."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.figures = Figures()
        self._accounts: dict[str, _Account] = {}

    @property
    def accounts(self) -> int:
        """How many accounts were opened."""
        return len(self._accounts)

    def follow(self, event: Event) -> Finding | None:
        """Check one event against the account it names, and book it."""
        self.kinds[event.kind] += 1
        if event.kind in WITHOUT_EFFECT and event.effects != NO_EFFECTS:
            return Finding(BOOKS, f"a {event.kind} changes the state")
        if (event.reason is None) != (event.kind == CHARGED):
            return Finding(BOOKS, f"a {event.kind} with the reason {event.reason}: it is null for CHARGED alone")
        account = self._accounts.get(event.account)
        if event.account_seq == 0:
            return self._of_no_account(event, account)
        opens = event.kind == ACCOUNT_CHANGED and event.reason == OPENED
        if opens != (account is None):
            return Finding(BOOKS, "the account is opened twice" if opens else "the account was never opened")
        if account is None:
            if event.currency is None:
                return Finding(BOOKS, "the account is opened without a currency")
            account = self._accounts[event.account] = _Account(event.currency)
        return self._book(event, account, opens=opens)

    def close(self) -> Finding | None:
        """Hold the sums of the whole partition against each other, as far as it was read."""
        self.figures.balances.clear()
        for account in self._accounts.values():
            self.figures.balances[account.currency] += account.balance_micros
        currency = self.figures.imbalance()
        return None if currency is None else Finding(BOOKS, f"the sums of {currency} do not balance")

    def remember(self) -> dict[str, Any]:
        """Return what `recall` needs, but for the accounts, which are in the state."""
        return {"kinds": dict(self.kinds), "figures": self.figures.as_json()}

    def recall(self, remembered: Mapping[str, Any], accounts: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """Take up the books where they were left: the sums, and each account's fields in the state."""
        self.kinds = Counter(remembered["kinds"])
        for name, sums in remembered["figures"].items():
            setattr(self.figures, name, Counter(sums))
        for name, fields in accounts:
            account = self._accounts[name] = _Account(fields["currency"])
            account.balance_micros, account.seq = int(fields["balance"]), int(fields["seq"])
            account.buckets = {field: _used(text) for field, text in fields.items() if field.startswith(_BUCKETS)}

    def _of_no_account(self, event: Event, account: _Account | None) -> Finding | None:
        if account is not None and (event.usage is not None or event.command is not None):
            return Finding(BOOKS, "account_seq is 0, but the account is open")
        if event.kind not in WITHOUT_EFFECT or event.effects != NO_EFFECTS:
            return Finding(BOOKS, f"a {event.kind} of no account changes something")
        if event.amount_micros or event.balance_before_micros or event.balance_after_micros:
            return Finding(BOOKS, f"a {event.kind} of no account moves money")
        return None

    def _book(self, event: Event, account: _Account, *, opens: bool) -> Finding | None:
        if event.account_seq != account.seq + 1:
            return Finding(BOOKS, f"account_seq goes from {account.seq} to {event.account_seq}")
        if event.balance_before_micros != account.balance_micros:
            return Finding(
                BOOKS, f"the balance before is {event.balance_before_micros}, but it was {account.balance_micros}"
            )
        if event.currency != account.currency:
            return Finding(BOOKS, f"the event is in {event.currency}, the account in {account.currency}")
        amount = event.amount_micros
        change, sums = 0, None
        if event.kind == CHARGED:
            change, sums = -amount, self.figures.charged
            lines = sum(line.amount_micros for line in event.lines)
            if lines != amount:
                return Finding(BOOKS, f"the lines come to {lines}, the amount is {amount}")
        elif event.kind in (TOPPED_UP, ADJUSTED) or opens:
            change = amount
            sums = {TOPPED_UP: self.figures.topped_up, ADJUSTED: self.figures.adjusted}.get(
                event.kind, self.figures.opening
            )
        elif amount:
            return Finding(BOOKS, f"a {event.kind} has the amount {amount}")
        if event.balance_after_micros != account.balance_micros + change:
            due = account.balance_micros + change
            return Finding(BOOKS, f"the balance after is {event.balance_after_micros}, but {due} is due")
        if event.kind == TOPPED_UP and amount <= 0:
            return Finding(BOOKS, f"a top-up of {amount}")
        account.seq = event.account_seq
        account.balance_micros = event.balance_after_micros
        if sums is not None:
            sums[account.currency] += amount
        return _draw(event, account)


def _draw(event: Event, account: _Account) -> Finding | None:
    """Check the buckets: what they gave is what the lines took, never more than they hold, never given back."""
    given = 0
    for field, value in event.effects.account.items():
        if not field.startswith(_BUCKETS):
            continue
        if value is None:
            account.buckets.pop(field, None)
            continue
        size = value.partition(" ")[0].partition("/")[2]
        before, after = account.buckets.get(field, 0), _used(value)
        if not before <= after <= int(size):
            return Finding(BOOKS, f"the allowance {field} goes from {before} used to {after} of {size}")
        account.buckets[field] = after
        given += after - before
    taken = sum(line.allowance_used for line in event.lines)
    if given != taken:
        return Finding(BOOKS, f"the lines take {taken} from allowances, the buckets give {given}")
    return None


def _used(bucket: str) -> int:
    return int(bucket.partition("/")[0])
