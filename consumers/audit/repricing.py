"""I8: every charge is what its catalogue version makes of the record and the account's state before it.

The price is worked out by the second implementation (`consumers.audit.pricing`), which shares nothing with the core
that charged. The state is the last value after of each effect, as every event left it; the catalogue versions are those
that the event's own position in their topic says were known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from consumers.audit.breach import PRICES, Finding
from consumers.audit.pricing import AccountState, Priced, PricedLine, Published, Refused, price
from consumers.audit.pricing.account import canonical
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import CHARGED, REJECTED
from pipeline.domain.usage import DAY_MS, AcceptedUsage

Versions = Callable[[int], Sequence[Published]]
"""Returns the versions published below an offset of their topic."""

_Session = tuple[str, str, str]
"""account, service, session_id"""

PRICED_FIELDS: Final = ("meter:", "bucket:", "grant:", "cap:", "rolled:")
"""What of an account's state a price changes: the fields that begin so."""
REFUSALS: Final = frozenset({"no_plan", "no_tariff", "currency_mismatch"})
"""The reasons for which a record has no price, whatever else is the matter with it."""
_SESSION_DAY: Final = "day"
_UNREADABLE: Final = (LookupError, ValueError, ArithmeticError, StopIteration, AssertionError)
"""What text of a state or a catalogue that nobody should have written may end in."""


class _Found(NamedTuple):
    """What an event says: the same as Priced, but read from it."""

    amount_micros: int
    lines: tuple[PricedLine, ...]
    changes: dict[str, str]
    session_changes: dict[str, str]


class Repricing:
    """Follows the events of one partition in their order. Memory: what pricing needs of each account and session.

    With `keeping`, it says which sessions changed, for a store that remembers them.
    """

    def __init__(self, versions: Versions, *, keeping: bool = False) -> None:
        self._versions = versions
        self._accounts: dict[str, AccountState] = {}
        self._sessions_by_day: dict[int, set[_Session]] = {}
        self._today = 0
        self._changed: set[_Session] | None = set() if keeping else None
        self.repriced = 0
        """how many charges were worked out a second time"""

    def follow(self, event: Event) -> Finding | None:
        """Price a charge, or a refusal to price, a second time; then take over what the event changed."""
        self._forget(event.clock // DAY_MS)
        if not event.account_seq:
            return None
        account = self._accounts.setdefault(event.account, AccountState())
        finding = None
        if event.usage is not None and (event.kind == CHARGED or event.reason in REFUSALS):
            finding = self._finding(event, event.usage, account)
        account.follow(event)
        self._note_session(event)
        return finding

    def changes(self) -> dict[_Session, tuple[int, dict[str, str]] | None]:
        """Return (last day, fields) of each session that changed since this was last asked; None: it is over."""
        changed, self._changed = self._changed or set(), set()
        found: dict[_Session, tuple[int, dict[str, str]] | None] = {}
        for session in changed:
            account = self._accounts[session[0]]
            day = account.expires_day.get(session[1:])
            found[session] = None if day is None else (day, account.sessions[session[1:]])
        return found

    def recall(
        self,
        accounts: Iterable[tuple[str, Mapping[str, str]]],
        sessions: Iterable[tuple[_Session, int, Mapping[str, str]]],
        today: int,
    ) -> None:
        """Go on from there: the accounts' fields in the state, and the sessions that were kept."""
        for name, fields in accounts:
            self._accounts[name] = AccountState(fields)
        for session, day, fields in sessions:
            account = self._accounts[session[0]]
            account.sessions[session[1:]], account.expires_day[session[1:]] = dict(fields), day
            self._sessions_by_day.setdefault(day, set()).add(session)
        self._today = today

    def _finding(self, event: Event, usage: AcceptedUsage, account: AccountState) -> Finding | None:
        self.repriced += 1
        try:
            versions = self._versions(event.positions.catalogue.offset)
            why = _difference(event, price(usage, account, versions))
            if why is not None and self._may_have_expired(event, usage, account):
                why = _difference(event, price(usage, account.without_session(usage), versions))
        except _UNREADABLE as error:
            why = f"it cannot be priced again: {type(error).__name__}"
        return None if why is None else Finding(PRICES, why)

    def _may_have_expired(self, event: Event, usage: AcceptedUsage, account: AccountState) -> bool:
        """Tell whether the server may have dropped the record's session: its clock is not the ledger's."""
        day = account.expires_day.get((usage.service, str(usage.session_id)))
        return day is not None and day <= event.clock // DAY_MS + 1

    def _note_session(self, event: Event) -> None:
        session, usage = event.effects.session, event.usage
        if session is not None and usage is not None:
            key = (event.account, usage.service, str(usage.session_id))
            self._sessions_by_day.setdefault(session.expires_day, set()).add(key)
            if self._changed is not None:
                self._changed.add(key)

    def _forget(self, today: int) -> None:
        """Drop the sessions that are over, so that memory holds the late window twice, not all of time."""
        if today <= self._today:
            return
        self._today = today
        for day in [day for day in self._sessions_by_day if day < today - 1]:
            for key in self._sessions_by_day.pop(day):
                self._accounts[key[0]].forget_session(key[1:], day)
                if self._changed is not None:
                    self._changed.add(key)


def _difference(event: Event, priced: Priced | Refused) -> str | None:
    if event.kind == REJECTED:
        if isinstance(priced, Refused):
            return None if priced.reason == event.reason else f"refused as {event.reason}, but {priced.reason} is due"
        return f"refused as {event.reason}, but it has a price"
    if isinstance(priced, Refused):
        return f"it is charged, but {priced.reason} is due"
    found = _read(event)
    if found.amount_micros != priced.amount_micros:
        return f"the amount is {found.amount_micros}, but {priced.amount_micros} is due"
    if len(found.lines) != len(priced.lines):
        return f"there are {len(found.lines)} lines, but {len(priced.lines)} are due"
    for number, (line, due) in enumerate(zip(found.lines, priced.lines, strict=True), 1):
        for name in PricedLine._fields:
            if getattr(line, name) != getattr(due, name):
                return f"line {number}: {name} is {getattr(line, name)}, but {getattr(due, name)} is due"
    return _field_difference(found.changes, priced.changes) or _field_difference(
        found.session_changes, priced.session_changes
    )


def _read(event: Event) -> _Found:
    lines = tuple(PricedLine(*(getattr(line, name) for name in PricedLine._fields)) for line in event.lines)
    changes = {
        name: canonical(name, value)
        for name, value in event.effects.account.items()
        if value is not None and name.startswith(PRICED_FIELDS)  # what is too old to be asked for may go with a charge
    }
    session = {} if event.effects.session is None else event.effects.session.fields
    parts = {name: f"{value}" for name, value in session.items() if name != _SESSION_DAY}
    return _Found(event.amount_micros, lines, changes, parts)


def _field_difference(found: Mapping[str, str], due: Mapping[str, str]) -> str | None:
    for name in sorted({*found, *due}):
        if found.get(name) != due.get(name):
            return f"the field {name} is {found.get(name)}, but {due.get(name)} is due"
    return None
