"""The past priced anew: what each charge would have cost had another catalogue been in force, and the corrections.

An account's events are followed from the ledger's first on with a shadow of its state: plans, bought buckets and all
else as they were, meters, buckets, caps and sessions as the corrected prices leave them. So a record is priced by what
the records before it come to under the corrected prices, and not by what they were charged.

Nothing in the ledger changes: a difference is an `adjust` linked to the charge. Its id is made of the charge, of the
catalogue and of how often the charge was corrected before, so a repeat posts nothing twice.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pipeline.domain.account import Account
from pipeline.domain.batch import session_key
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.ledger import Event
from pipeline.domain.outcome import ADJUSTED, CHARGED, Refusal
from pipeline.domain.rating import Rated, rate
from pipeline.domain.sessions import LATEST_DAY
from pipeline.domain.usage import AcceptedUsage

_OURS: Final = re.compile(r"rerate-[0-9a-f]{16}-(?P<charge>[0-9]+-[0-9]+)-[0-9]+(?P<rest>-rest)?")
_PRICED: Final = ("meter:", "bucket:", "rolled:", "cap:", "grant:")
"""Fields that the shadow keeps by its own prices."""


class Correction(NamedTuple):
    """One charge and what it should have been. Amounts in micro-units; `paid_micros` counts earlier corrections."""

    account: str
    charge_id: str
    start_ms: int
    currency: str
    charged_micros: int
    paid_micros: int
    due_micros: int
    times: int
    returned_micros: int
    """what adjustments of all kinds gave back on the charge so far"""

    @property
    def amount_micros(self) -> int:
        """What is added to the balance: above 0 where too much was paid."""
        return self.paid_micros - self.due_micros

    def adjustments(self, catalogue: str) -> Iterator[tuple[str, int, str | None]]:
        """Yield (command id, amount, charge id or None) of each adjustment that makes it right; catalogue by its hash.

        On a charge no more is returned than it took: what is above that (a charge below 0 became smaller still) is
        returned without a link to it.
        """
        name = f"rerate-{catalogue[:16]}-{self.charge_id}-{self.times}"
        linked = self.amount_micros
        if linked > 0:
            linked = max(min(linked, max(self.charged_micros, 0) - self.returned_micros), 0)
        rest = self.amount_micros - linked
        if linked:
            yield name, linked, self.charge_id
        if rest:
            yield f"{name}-rest" if linked else name, rest, None


class Unpriced(NamedTuple):
    """A charge that the corrected catalogue has no price for: it stays as it is, and a person looks at it."""

    account: str
    charge_id: str
    reason: str


class _Charge(NamedTuple):
    usage: AcceptedUsage
    amount_micros: int
    currency: str
    due: Rated | Refusal


class Rerating:
    """Follows the events of one partition; `found` then names every difference of charges within the time given."""

    def __init__(self, partition: int, catalogues: Catalogues, from_ms: int, to_ms: int) -> None:
        self._partition = partition
        self._catalogues = catalogues
        self._from_ms, self._to_ms = from_ms, to_ms
        self._accounts: dict[str, Account] = {}
        self._sessions: dict[str, dict[str, str]] = {}
        self._charges: dict[str, _Charge] = {}
        self._corrected: dict[str, tuple[int, int]] = {}
        self._returned: dict[str, int] = {}

    def follow(self, event: Event) -> None:
        """Take in the partition's next event."""
        if not event.account_seq:
            return
        account = self._accounts.get(event.account)
        if account is None:
            account = self._accounts[event.account] = Account(event.account, {"balance": "0", "seq": "0"})
            account.fields["currency"] = event.currency or ""
        if event.kind == CHARGED and event.usage is not None:
            self._price(event, event.usage, account)
        else:
            account.change(dict(event.effects.account), event.balance_after_micros)
        if event.kind == ADJUSTED:
            self._adjusted(event)

    def _price(self, event: Event, usage: AcceptedUsage, account: Account) -> None:
        key = session_key(usage)
        session = {} if key is None else self._sessions.setdefault(key, {})
        due = rate(usage, account, self._catalogues, session)
        real = event.effects.account
        if isinstance(due, Rated):
            kept = {name: value for name, value in real.items() if value is None or not name.startswith(_PRICED)}
            account.change({**kept, **due.account_changes}, event.balance_after_micros)
            session.update({name: value for name, value in due.session_changes.items() if value is not None})
        else:  # it stays as it was charged
            account.change(dict(real), event.balance_after_micros)
            if event.effects.session is not None:
                fields = event.effects.session.fields
                session.update({n: v for n, v in fields.items() if v is not None and n != LATEST_DAY})
        if self._from_ms <= usage.start_time < self._to_ms:
            charge = _Charge(usage, event.amount_micros, event.currency or "", due)
            self._charges[f"{self._partition}-{event.seq}"] = charge

    def _adjusted(self, event: Event) -> None:
        linked = None if event.command is None else event.command["charge_id"]
        if linked is not None:
            self._returned[str(linked)] = self._returned.get(str(linked), 0) + event.amount_micros
        ours = _OURS.fullmatch(event.event_id)
        if ours is not None:
            times, total = self._corrected.get(ours["charge"], (0, 0))
            self._corrected[ours["charge"]] = (times + (ours["rest"] is None), total + event.amount_micros)

    def found(self) -> Iterator[Correction | Unpriced]:
        """Yield what differs, in the order of the ledger; nothing for a charge that is right, or was made right."""
        for charge_id, charge in self._charges.items():
            if isinstance(charge.due, Refusal):
                yield Unpriced(charge.usage.account, charge_id, charge.due.reason)
                continue
            times, corrected = self._corrected.get(charge_id, (0, 0))
            correction = Correction(
                charge.usage.account,
                charge_id,
                charge.usage.start_time,
                charge.currency,
                charge.amount_micros,
                charge.amount_micros - corrected,
                charge.due.amount_micros,
                times,
                self._returned.get(charge_id, 0),
            )
            if correction.amount_micros:
                yield correction


def rerate(partition: int, events: Iterable[Event], catalogues: Catalogues, span: tuple[int, int]) -> Rerating:
    """Follow a partition's events; `catalogues` has the corrected version in force in the span (ms, end exclusive)."""
    rerating = Rerating(partition, catalogues, *span)
    for event in events:
        rerating.follow(event)
    return rerating
