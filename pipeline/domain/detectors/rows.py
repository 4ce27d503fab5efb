"""Rows: what the ledger's stage hands to the stage of shared objects, and to which partition of it.

A row is one use, for one partition, with the views that it is to be counted in there. Rows of one ledger partition
come in the order of its events and are numbered by them, so a row that comes again is known by its number.
"""

import json
import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pipeline.domain.detectors.engine import DEAD_LETTERS, SHARED_VIEWS
from pipeline.domain.detectors.part import CALLER, IMEI, RANGE, SOURCE, Part
from pipeline.domain.detectors.use import Reference, Use, line_of, use_of
from pipeline.domain.outcome import REJECTED
from pipeline.domain.usage import RECORD_FIELDS, UsageRecord

_ORDER: Final = (CALLER, RANGE, IMEI, SOURCE, DEAD_LETTERS)
_BIT: Final = {view: 1 << at for at, view in enumerate(_ORDER)}
_VIEWS: Final = tuple(frozenset(view for view in _ORDER if bits & _BIT[view]) for bits in range(1 << len(_ORDER)))
_RECORD_FIELDS: Final = len(RECORD_FIELDS)
_write: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Row(NamedTuple):
    """One use as it came over: its number where it comes from, the views to count it in, whether it is history."""

    number: int
    views: frozenset[str]
    quiet: bool
    use: Use


class Message(NamedTuple):
    """Rows of one origin (`ledger-3`, `dead-letters-0`) and the clock there; none: the time alone."""

    origin: str
    clock: int
    rows: tuple[Row, ...]


class Router:
    """Says where a use belongs: the partition of each shared object it touches."""

    def __init__(self, parts: Iterable[Part], partitions: int) -> None:
        """Raises nothing; `parts` are those of the shared stage, `partitions` the count of its topic."""
        self._partitions = partitions
        self._keyed: list[tuple[int, str, Part]] = []
        known = {SOURCE}
        for part in parts:
            if part.view in SHARED_VIEWS and part.view not in known:
                known.add(part.view)
                self._keyed.append((_BIT[part.view], part.view, part))

    def targets(self, use: Use) -> dict[int, int]:
        """Return the partitions this use goes to, each with the bits of its views there."""
        found = {self.partition_of(SOURCE, use.usage.source): _BIT[SOURCE]}
        for bit, view, part in self._keyed:
            key = part.key(use)
            if key is not None:
                target = self.partition_of(view, key)
                found[target] = found.get(target, 0) | bit
        return found

    def dead_letter_target(self, usage: UsageRecord) -> dict[int, int]:
        """Return where a refused record goes: to its source."""
        return {self.partition_of(SOURCE, usage.source): _BIT[DEAD_LETTERS]}

    def partition_of(self, view: str, key: str) -> int:
        """Return the partition of an object; only ours read this topic, so the hash is the quickest there is."""
        return zlib.crc32(f"{view} {key}".encode()) % self._partitions


def use_text(number: int, use: Use, *, quiet: bool) -> str:
    """Return a use as it goes into rows, the same for all of its partitions."""
    return _write((
        number, int(quiet), use.clock, use.since, use.kind, use.account, use.charge_id, use.received_at,
        *use.usage[:_RECORD_FIELDS],
    ))  # fmt: skip


def dead_letter_text(number: int, usage: UsageRecord, received_at: int, *, quiet: bool) -> str:
    """Return a refused record as it goes into rows: it counts as REJECTED, for the shares and numbers of its source."""
    return _write((
        number, int(quiet), received_at, usage.start_time, REJECTED, line_of(usage), "", received_at, *usage,
    ))  # fmt: skip


def message_text(origin: str, clock: int, rows: Iterable[tuple[int, str]]) -> str:
    """Return a message of these rows: (bits of the views, text) each."""
    listed = ",".join([f"[{bits},{text}]" for bits, text in rows])
    return f'{{"from":{json.dumps(origin)},"clock":{clock},"rows":[{listed}]}}'


def read_message(data: bytes, reference: Reference) -> Message:
    """Read a message; raises ValueError where it is none of ours."""
    try:
        found: Any = json.loads(data)
        return Message(found["from"], found["clock"], tuple([_row(row, reference) for row in found["rows"]]))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not a message of rows: {type(error).__name__}") from None


def _row(row: Any, reference: Reference) -> Row:
    bits, (number, quiet, clock, since, kind, account, charge_id, received_at, *fields) = row
    usage = UsageRecord._make(fields)
    use = use_of(usage, account, clock, reference, since, kind, charge_id, received_at=received_at)
    return Row(number, _VIEWS[bits], bool(quiet), use)
