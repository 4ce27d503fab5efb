"""What an audit says in the end: counts and figures of what was read, and the first breach if there is one."""

from collections import Counter
from typing import Any, NamedTuple

from consumers.audit.books import Figures
from consumers.audit.breach import Breach
from consumers.audit.partition import PartitionAudit
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, DUPLICATE, REJECTED, REVIEW, SEAL, TOPPED_UP


class Report(NamedTuple):
    """The outcome. Events are counted by kind, sums are micro-units by currency, of what was read before any breach."""

    ok: bool
    partitions: int
    events: int
    charged: int
    duplicates: int
    review: int
    rejected: int
    topped_up: int
    adjusted: int
    account_changed: int
    seals: int
    dead_letters: int
    """distinct raw records in the dead-letter topic, as far as it is kept"""
    accounts: int
    charged_micros: dict[str, int]
    opening_micros: dict[str, int]
    topped_up_micros: dict[str, int]
    adjusted_micros: dict[str, int]
    balance_micros: dict[str, int]
    """balance = opening + topped_up + adjusted - charged, in each currency"""
    breach: Breach | None

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON shows it."""
        return {**self._asdict(), "breach": None if self.breach is None else self.breach._asdict()}


class Tally:
    """Adds up partitions for the report."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._kinds: Counter[str] = Counter()
        self._figures = Figures()
        self._accounts = 0

    def add(self, audit: PartitionAudit) -> None:
        """Add one partition, as far as it was read."""
        self._kinds.update(audit.books.kinds)
        self._figures.add(audit.books.figures)
        self._accounts += audit.books.accounts

    def report(self, breach: Breach | None, dead_letters: int) -> Report:
        """Return the report."""
        kinds, figures = self._kinds, self._figures
        return Report(
            ok=breach is None,
            partitions=self._partitions,
            events=kinds.total(),
            charged=kinds[CHARGED],
            duplicates=kinds[DUPLICATE],
            review=kinds[REVIEW],
            rejected=kinds[REJECTED],
            topped_up=kinds[TOPPED_UP],
            adjusted=kinds[ADJUSTED],
            account_changed=kinds[ACCOUNT_CHANGED],
            seals=kinds[SEAL],
            dead_letters=dead_letters,
            accounts=self._accounts,
            charged_micros=dict(figures.charged),
            opening_micros=dict(figures.opening),
            topped_up_micros=dict(figures.topped_up),
            adjusted_micros=dict(figures.adjusted),
            balance_micros=dict(figures.balances),
            breach=breach,
        )
