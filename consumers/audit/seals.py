"""Seals on the chain: each says what the ledger came to so far, and is held against the auditor's own books.

A seal is an event like any other, so its hash vouches for everything before it; who signed that hash, has signed the
ledger up to there.
"""

import json
from collections.abc import Mapping
from typing import Final

from consumers.audit.books import Books
from consumers.audit.breach import BOOKS, CHAIN, Finding
from pipeline.adapters.ledger_codec import StoredEvent
from pipeline.domain.outcome import SEAL

SEALED: Final = "seal"
_SUMS: Final = ("opening", "topped_up", "adjusted", "charged")


class Seals:
    """Follows the seals of one partition. `signed` are hashes by seq that were signed: they must be on the chain."""

    def __init__(self, partition: int, signed: Mapping[int, bytes] | None = None) -> None:
        self.partition = partition
        self._signed = dict(signed or {})
        self._taken: list[tuple[int, bytes]] = []

    def follow(self, stored: StoredEvent, books: Books) -> Finding | None:
        """Check an event against what was signed at its place, and a seal against the books before it."""
        event = stored.event
        signed = self._signed.get(event.seq)
        if signed is not None and signed != stored.hash:
            return Finding(CHAIN, "it is not the event that was signed at this place: the ledger was written anew")
        if event.kind != SEAL or event.reason != SEALED:
            return None
        due = {
            "events": event.seq - 1,
            "kinds": {kind: count for kind, count in books.kinds.items() if count},
            **{f"{name}_micros": _texts(getattr(books.figures, name)) for name in _SUMS},
        }
        try:
            found = json.loads(event.detail or "")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            return Finding(BOOKS, "the seal says nothing that can be read")
        for name, value in due.items():
            if found.get(name) != value:
                return Finding(BOOKS, f"the seal's {name} is {found.get(name)}, but {value} is due")
        self._taken.append((event.seq, stored.hash))
        return None

    def taken(self) -> tuple[tuple[int, bytes], ...]:
        """Return (seq, hash) of the right seals since this was last asked."""
        taken, self._taken = tuple(self._taken), []
        return taken

    def close(self, last_seq: int) -> Finding | None:
        """Check that nothing was signed beyond the ledger's end."""
        beyond = [seq for seq in self._signed if seq > last_seq]
        if not beyond:
            return None
        return Finding(CHAIN, f"the ledger ends at event {last_seq}, but a seal at {max(beyond)} was signed: it is cut")


def _texts(sums: Mapping[str, int]) -> dict[str, str]:
    return {currency: f"{micros}" for currency, micros in sums.items() if micros}
