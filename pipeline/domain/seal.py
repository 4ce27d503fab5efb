"""A seal: what the ledger of a partition came to so far, in counts by kind and sums by currency.

The event that carries it also carries, as every event does, the hash of the one before it; so whoever signs a seal's
hash has signed these figures and every event behind them. Nothing here decides on money.
"""

import json
from typing import Final

from pipeline.domain.ledger import Event
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, SEAL, TOPPED_UP

SEALED: Final = "seal"
"""The reason of a SEAL event that seals, and does not tell of a loss or a setting."""
FIGURES: Final = ("opening_micros", "topped_up_micros", "adjusted_micros", "charged_micros")
_FIGURE_OF: Final = {
    ACCOUNT_CHANGED: "opening_micros",
    TOPPED_UP: "topped_up_micros",
    ADJUSTED: "adjusted_micros",
    CHARGED: "charged_micros",
}


class Totals:
    """The events of one partition from the first one on, counted and summed in micro-units."""

    def __init__(self) -> None:
        self.events = 0
        self.kinds: dict[str, int] = {}
        self.sums: dict[str, dict[str, int]] = {name: {} for name in FIGURES}

    def add(self, event: Event) -> None:
        """Count one more event."""
        self.events += 1
        self.kinds[event.kind] = self.kinds.get(event.kind, 0) + 1
        if event.amount_micros and event.currency is not None:
            sums = self.sums[_FIGURE_OF[event.kind]]  # amounts are of no other kind
            sums[event.currency] = sums.get(event.currency, 0) + event.amount_micros

    def add_all(self, other: "Totals") -> None:
        """Count what follows, counted by itself."""
        self.events += other.events
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        for name, added in other.sums.items():
            sums = self.sums[name]
            for currency, micros in added.items():
                sums[currency] = sums.get(currency, 0) + micros

    def detail(self) -> dict[str, object]:
        """Return the seal's content; sums are texts, for they may be longer than other languages' numbers."""
        figures: dict[str, object] = {
            name: {currency: str(micros) for currency, micros in sums.items() if micros}
            for name, sums in self.sums.items()
        }
        return {"events": self.events, "kinds": dict(self.kinds), **figures}


def totals_of(seal: Event) -> Totals:
    """Return the totals behind a seal: those it says, and itself."""
    assert is_seal(seal) and seal.detail is not None, "a seal says its totals"  # noqa: PT018 - one fact
    found = json.loads(seal.detail)
    totals = Totals()
    totals.events = int(found["events"])
    totals.kinds = {kind: int(count) for kind, count in found["kinds"].items()}
    for name in FIGURES:
        totals.sums[name] = {currency: int(text) for currency, text in found[name].items()}
    totals.add(seal)
    return totals


def is_seal(event: Event) -> bool:
    """Tell whether an event seals what is before it."""
    return event.kind == SEAL and event.reason == SEALED
