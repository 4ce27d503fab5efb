"""All checks of one partition, event after event; no reading here, so a simulation can feed it as well."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumers.audit.books import Books
from consumers.audit.breach import BOOKS, CHAIN, VIEW, Breach, Finding
from consumers.audit.chain import Chain
from consumers.audit.coverage import Coverage
from consumers.audit.register import Register
from consumers.audit.repricing import Repricing
from consumers.audit.seals import Seals
from consumers.audit.view import Comparison, State
from pipeline.adapters.avro import UndecodableError, UnknownSchemaError
from pipeline.adapters.ledger_codec import StoredEvent, decode_event
from pipeline.adapters.store.dump import Dump
from pipeline.domain.ledger import Event
from pipeline.domain.usage import DAY_MS
from pipeline.topics import partition_of

_PRICED: Final = "priced:"
"""Begins the name of a row that only pricing needs: a session under its own id."""


class PartitionAudit:
    """Takes the events of one partition in their order; the first breach is the last word: do not go on behind it.

    `genesis` is the first previous_hash; `register` is shared by all partitions. `today` (days since 1970) judges what
    may have expired; None where nothing does. With a `view`, it is compared when the ledger comes by its seq; with a
    `repricing`, every charge is priced a second time; with `seals`, signed ones are asked for on the chain. `keeping`
    lets `changes` say what a store must remember for `recall`.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        genesis: bytes,
        register: Register,
        *,
        today: int | None,
        view: Dump | None = None,
        repricing: Repricing | None = None,
        seals: Seals | None = None,
        keeping: bool = False,
    ) -> None:
        self.partition = partition
        self.chain = Chain(genesis)
        self.coverage = Coverage()
        self.books = Books()
        self._partitions = partitions
        self._register = register
        self._repricing = repricing
        self._today = today
        self._seals = seals or Seals(partition)
        self._state = State(partition, expires=today is not None, keeping=keeping)
        self._comparison = None if view is None else Comparison(view, today)
        self._begun = False
        self.last: Event | None = None
        """the event taken last"""

    def take(self, data: bytes | None, offset: int) -> Breach | None:
        """Check the next value of the audit topic, at this offset."""
        finding = self._begin()
        if finding is not None:
            return self._placed(finding)
        finding = self.chain.vouch(data, offset)
        if finding is not None:
            return Breach(self.partition, self.chain.seq + 1, *finding)
        assert data is not None, "vouched for"
        try:
            stored = decode_event(data)
        except (UnknownSchemaError, UndecodableError) as error:
            return Breach(self.partition, self.chain.seq + 1, CHAIN, f"the value at offset {offset}: {error}")
        finding = self._follow(stored)
        return None if finding is None else Breach(self.partition, stored.event.seq, *finding)

    def close(self) -> Breach | None:
        """Hold the sums against each other, and the end against the view; to be asked behind the last event."""
        finding = self._begin() or self.books.close() or self._seals.close(self.chain.seq)
        if finding is None and self._comparison is not None:
            finding = self._comparison.close(self.chain.seq)
        return self._placed(finding)

    def await_view(self, view: Dump, today: int) -> Breach | None:
        """Compare a view that stands where the ledger does or further on, once the ledger comes by its seq."""
        self._comparison = Comparison(view, today)
        return self._placed(self._comparison.follow(self.chain.seq, self._state, ()))

    def forget_view(self) -> None:
        """Compare no view until another one is given."""
        self._comparison = None

    @property
    def awaits_view(self) -> bool:
        """Tell whether a view was given and is not wholly compared."""
        return self._comparison is not None and self.chain.seq < self._comparison.last_seq

    @property
    def repriced(self) -> int:
        """How many charges were priced a second time."""
        return 0 if self._repricing is None else self._repricing.repriced

    @property
    def sealed(self) -> tuple[tuple[int, bytes], ...]:
        """(seq, hash) of the seals found right since this was last asked."""
        return self._seals.taken()

    def changes(self) -> tuple[dict[str, Any], dict[str, str | None]]:
        """Return what `recall` needs: where all checks stand, and each row that changed since (None: it is gone)."""
        stands = {
            "chain": self.chain.remember(),
            "coverage": self.coverage.remember(),
            "books": self.books.remember(),
            "head": self._state.head,
        }
        rows = self._state.changes()
        if self._repricing is not None:
            for session, kept in self._repricing.changes().items():
                text = None if kept is None else json.dumps({"day": kept[0], "fields": kept[1]}, ensure_ascii=False)
                rows[_PRICED + json.dumps(session, ensure_ascii=False)] = text
        return stands, rows

    def recall(self, stands: Mapping[str, Any], rows: Iterable[tuple[str, str]]) -> None:
        """Go on from there; of a new instance only."""
        rows = list(rows)
        self.chain.recall(stands["chain"])
        self.coverage.recall(stands["coverage"])
        self._state.recall(stands["head"], [row for row in rows if not row[0].startswith(_PRICED)])
        accounts = self._state.accounts
        self.books.recall(stands["books"], accounts)
        if self._repricing is not None:
            sessions = []
            for key, text in rows:
                if key.startswith(_PRICED):
                    account, service, session_id = json.loads(key[len(_PRICED) :])
                    kept = json.loads(text)
                    sessions.append(((account, service, session_id), kept["day"], kept["fields"]))
            self._repricing.recall(accounts, sessions, self.chain.clock // DAY_MS)

    def compare(self, view: Dump) -> Breach | None:
        """Compare a view that stands where the ledger does, behind the event last taken."""
        comparison = Comparison(view, self._today)
        finding = comparison.close(self.chain.seq)
        if finding is None and (comparison.first_seq, comparison.last_seq) != (self.chain.seq, self.chain.seq):
            finding = Finding(VIEW, f"the view stands at {comparison.first_seq}, the ledger at {self.chain.seq}")
        return self._placed(finding or comparison.follow(self.chain.seq, self._state, ()))

    def _follow(self, stored: StoredEvent) -> Finding | None:
        event = stored.event
        finding = (
            self.chain.follow(stored)
            or self._seals.follow(stored, self.books)
            or self.coverage.follow(event)
            or self._at_home(event)
            or self.books.follow(event)
            or self._register.follow(self.partition, event)
            or (None if self._repricing is None else self._repricing.follow(event))
        )
        if finding is not None:
            return finding
        self.last = event
        touched = self._state.follow(event, stored.hash)
        return None if self._comparison is None else self._comparison.follow(event.seq, self._state, touched)

    def _begin(self) -> Finding | None:
        """Compare the view with an empty ledger, if that is where it stands."""
        if self._begun or self._comparison is None:
            return None
        self._begun = True
        return self._comparison.follow(0, self._state, ())

    def _at_home(self, event: Event) -> Finding | None:
        """Check that an account's money is in its own partition, hence in one place only."""
        if event.account_seq == 1 and partition_of(event.account, self._partitions) != self.partition:
            return Finding(BOOKS, "the account belongs to another partition")
        return None

    def _placed(self, finding: Finding | None) -> Breach | None:
        return None if finding is None else Breach(self.partition, self.chain.seq, *finding)
