"""I6: the view at its `seq` is the state that the ledger's events leave there, nothing less and nothing more.

The state here is the last value after of each effect, kept by the auditor's own hand; it is not charge's fold.

A view is read while its owner may go on writing. Its keys are then of different moments, each between the `seq` read
before and the one read after. A key that no event between the two touches must be right already at the first; one that
is touched must be what some event between them left. So a running system can be audited, and nothing is let pass.
"""

import base64
import json
from array import array
from collections.abc import Iterable
from typing import Final

from consumers.audit.breach import VIEW, Finding
from pipeline.adapters.store import keys
from pipeline.adapters.store.dump import Dump
from pipeline.domain.ledger import LAYOUT, Event
from pipeline.domain.usage import DAY_MS

_SHOWN: Final = frozenset({"balance", "seq", "hash", "layout", "epoch", "clock"})
"""Fields whose values a finding may name: the others may hold a subscriber's number."""


def head_of(event: Event, event_hash: bytes) -> dict[str, str]:
    """Return what `ledger:{p}` must say when this event is the last one folded in."""
    head = {
        "seq": f"{event.seq}",
        "hash": event_hash.hex(),
        "layout": LAYOUT,
        "clock": f"{event.clock}",
        "late_window_days": f"{event.late_window_days}",
        "epoch": f"{event.epoch}",
    }
    for name, position in zip(event.positions._fields, event.positions, strict=True):
        head[name] = f"{position.topic_id.hex()}@{position.offset}"
    return head


class State:
    """Every key of one partition with its last values, and the day behind which it is gone.

    With `keeping`, it says which keys changed, for a store that remembers them.
    """

    def __init__(self, partition: int, *, expires: bool, keeping: bool = False) -> None:
        self._partition = partition
        self._expires = expires
        self._head: dict[str, str] = {}
        self._changed: set[str] | None = set() if keeping else None
        self.hashes: dict[str, dict[str, str]] = {}
        self.sets: dict[str, array[int]] = {}
        self.days: dict[str, int] = {}
        """last day of each key that expires, since 1970"""
        self._keys_by_day: dict[int, set[str]] = {}
        self._today = 0

    def follow(self, event: Event, event_hash: bytes) -> tuple[str, ...]:
        """Store what the event changed; returns the keys it touched."""
        p = self._partition
        effects = event.effects
        self._head = head_of(event, event_hash)
        self._forget(event.clock // DAY_MS)
        touched: list[str] = []
        if event.account_seq:
            changes = {
                **effects.account,
                "balance": f"{event.balance_after_micros}",
                "seq": f"{event.account_seq}",
            }
            touched.append(self._put(keys.account(p, event.account), changes))
        if effects.kept:
            touched.append(self._put(keys.kept(p, event.account), effects.kept))
        if effects.session is not None:
            key = keys.session(p, effects.session.key)
            if effects.session.begins:
                self.hashes.pop(key, None)
            self._last_day(key, effects.session.expires_day)
            touched.append(self._put(key, effects.session.fields))
        if effects.seen is not None:
            key = keys.seen(p, effects.seen.day, effects.seen.bucket)
            self._last_day(key, effects.seen.expires_day)
            self.sets.setdefault(key, array("q")).extend((effects.seen.record, effects.seen.content))
            touched.append(key)
        if self._changed is not None:
            self._changed.update(touched)
        return tuple(touched)

    @property
    def head(self) -> dict[str, str]:
        """What `ledger:{p}` must say."""
        return self._head

    @property
    def accounts(self) -> list[tuple[str, dict[str, str]]]:
        """Every account with its fields."""
        prefix = keys.account(self._partition, "")
        return [(key[len(prefix) :], fields) for key, fields in self.hashes.items() if key.startswith(prefix)]

    def changes(self) -> dict[str, str | None]:
        """Return each key that changed since this was last asked, as text for `recall`; None: it is gone."""
        changed, self._changed = self._changed or set(), set()
        return {key: self._written(key) for key in changed}

    def recall(self, head: dict[str, str], written: Iterable[tuple[str, str]]) -> None:
        """Go on from a head and the keys as `changes` gave them."""
        self._head = head
        self._today = int(head["clock"]) // DAY_MS if head else 0
        for key, text in written:
            kept = json.loads(text)
            if "numbers" in kept:
                self.sets[key] = array("q", base64.b64decode(kept["numbers"]))
            else:
                self.hashes[key] = kept["fields"]
            if kept["day"] is not None:
                self._last_day(key, kept["day"])

    def _written(self, key: str) -> str | None:
        kept: dict[str, object] = {"day": self.days.get(key)}
        if key in self.hashes:
            kept["fields"] = self.hashes[key]
        elif key in self.sets:
            kept["numbers"] = base64.b64encode(self.sets[key].tobytes()).decode()
        else:
            return None
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    def difference(self, key: str, dump: Dump, today: int | None) -> str | None:
        """Say how the view's key differs from this state; None where it does not."""
        if key in dump.strange:
            return dump.strange[key]
        held = self._held(key)
        found: dict[str, str] | array[int] | None = dump.hashes.get(key) or dump.sets.get(key)
        if not found:
            day = self.days.get(key)
            # the server's clock is not ours: on the last day, either is right
            gone = not held or (today is not None and day is not None and day <= today)
            return None if gone else "it is not in the view"
        if not held:
            return "no event left it"
        if found != held:
            return _difference(held, found)
        if dump.expiries_s is None:
            return None
        due = None if key not in self.days else keys.expiry_s(self.days[key])
        expiry = dump.expiries_s.get(key)
        return None if expiry == due else f"it expires at {expiry}, but {due} is due"

    def _held(self, key: str) -> "dict[str, str] | array[int] | None":
        numbers = self.sets.get(key)
        return self.hashes.get(key) if numbers is None else array("q", sorted(set(numbers)))

    def keys(self) -> Iterable[str]:
        """Return every key that the view must hold, or may still hold."""
        return [*self.hashes, *self.sets]

    def _put(self, key: str, changes: "dict[str, str | None] | dict[str, str]") -> str:
        fields = self.hashes.setdefault(key, {})
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = value
        if not fields:  # a hash without fields is no key
            del self.hashes[key]
        return key

    def _last_day(self, key: str, day: int) -> None:
        if self.days.get(key) != day:
            self.days[key] = day
            self._keys_by_day.setdefault(day, set()).add(key)

    def _forget(self, today: int) -> None:
        """Drop what the view has dropped, so that memory holds the late window twice, not all of time."""
        if not self._expires or today <= self._today:
            return
        self._today = today
        for day in [day for day in self._keys_by_day if day < today - 1]:
            for key in self._keys_by_day.pop(day):
                if self.days.get(key) == day:
                    del self.days[key]
                    self.hashes.pop(key, None)
                    self.sets.pop(key, None)
                    if self._changed is not None:
                        self._changed.add(key)


class Comparison:
    """Holds one dump of the view against the state, over the events between its two heads."""

    def __init__(self, dump: Dump, today: int | None) -> None:
        self._dump = dump
        self._today = today
        self.first_seq = _seq(dump.before)
        self.last_seq = _seq(dump.after)
        self._open: dict[str, str] | None = None

    def follow(self, seq: int, state: State, touched: tuple[str, ...]) -> Finding | None:
        """Take note that the ledger stands at `seq` (0 before the first event); `touched` are the keys it changed."""
        dump = self._dump
        if seq == self.first_seq:
            finding = _head_difference(state.head, dump.before)
            if finding is not None:
                return finding
            names = {*state.keys(), *dump.hashes, *dump.sets, *dump.strange}
            self._open = {name: why for name in names if (why := state.difference(name, dump, self._today)) is not None}
        elif self._open:
            for key in touched:
                if key in self._open and state.difference(key, dump, self._today) is None:
                    del self._open[key]
        if seq != self.last_seq:
            return None
        if self.last_seq != self.first_seq:
            finding = _head_difference(state.head, dump.after)
            if finding is not None:
                return finding
        for key, why in sorted((self._open or {}).items()):
            return Finding(VIEW, f"{key} at seq {seq}: {why}")
        return None

    def close(self, seq: int) -> Finding | None:
        """Check that the view is not ahead of a ledger that ends at `seq`."""
        if self.last_seq > seq:
            return Finding(VIEW, f"the view stands at {self.last_seq}, but the ledger ends at {seq}")
        return None


def moved_back(dump: Dump) -> bool:
    """Tell whether the view was wiped or rebuilt while it was read: then it must be read again."""
    being_made = "restoring" in dump.before or "restoring" in dump.after or (not dump.before and bool(dump.hashes))
    return being_made or _seq(dump.after) < _seq(dump.before)


def _seq(head: dict[str, str]) -> int:
    """Return where a head stands; a head without a readable seq stands nowhere, and is found to differ at 0."""
    text = head.get("seq", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _head_difference(state: dict[str, str], found: dict[str, str]) -> Finding | None:
    if state == found:
        return None
    return Finding(VIEW, f"the view's head: {_difference(state, found)}")


def _difference(held: "dict[str, str] | array[int] | None", found: "dict[str, str] | array[int] | None") -> str:
    if isinstance(held, dict) and isinstance(found, dict):
        for name in sorted({*held, *found}):
            if held.get(name) != found.get(name):
                if name in _SHOWN:
                    return f"{name} is {found.get(name)}, by the ledger {held.get(name)}"
                how = "is missing" if name not in found else "is too much" if name not in held else "has another value"
                return f"the field {name} {how}"
    if isinstance(held, array) and isinstance(found, array):
        missing, extra = len({*held} - {*found}), len({*found} - {*held})
        return f"{missing} numbers are missing, {extra} are too much"
    return "it is of another type"
