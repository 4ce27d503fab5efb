"""Published catalogues as they were published: documents, and which of them counts."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from consumers.audit.pricing.wall import Wall

Section = Mapping[str, Any]


class Published:
    """One version of the catalogue: its document, and its name, the SHA-256 of it."""

    def __init__(self, document: Section) -> None:
        self.document = document
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        self.name = hashlib.sha256(text.encode()).hexdigest()
        self.effective_from = int(document["effective_from"])
        self.wall = Wall(document)

    def plan(self, plan: str, moment: int) -> Section | None:
        """Return the version of a plan that counts at this moment: the latest that is valid by then."""
        valid = [p for p in self.document["plans"] if p["id"] == plan and int(p["valid_from"]) <= moment]
        return max(valid, key=lambda p: int(p["valid_from"])) if valid else None

    def plan_of(self, plan: str, valid_from: int) -> Section:
        """Return the version of a plan that began at this moment."""
        return next(p for p in self.document["plans"] if (p["id"], int(p["valid_from"])) == (plan, valid_from))

    def deck_row(self, zone: str, prefix: str) -> Sequence[str | None]:
        """Return a zone's row: prefix, rate, connect_fee, first, next."""
        rows: Sequence[Sequence[str | None]] = self.document["zones"][zone]["deck"]
        return next(row for row in rows if row[0] == prefix)

    def longest_prefix(self, zone: str, number: str | None) -> str | None:
        """Return the longest of a zone's prefixes that a number has; a short code is there whole or not at all."""
        if number is None:
            return None
        entry = self.document["zones"][zone]
        prefixes = [row[0] for row in entry["deck"]] if "deck" in entry else entry["prefixes"]
        found = [p for p in prefixes if (number.startswith(p) if p.startswith("+") else number == p)]
        return max(found, key=len) if found else None


def in_force(versions: Iterable[Published], moment: int) -> Published | None:
    """Return the newest version in force at this moment; before all of them, the first; None where there is none."""
    ordered = sorted(versions, key=lambda version: version.effective_from)
    begun = [version for version in ordered if version.effective_from <= moment]
    return begun[-1] if begun else next(iter(ordered), None)
