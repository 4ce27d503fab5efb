"""The subscriber directory: who had which identity when, folded from the rows of its topic."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from pipeline.adapters.avro import SUBSCRIBER_BINDING

KEY_SEPARATOR: Final = "|"
_FOREVER: Final = 2**63 - 1


class _Span(NamedTuple):
    account: str
    from_ms: int
    to_ms: int


class Directory:
    """Identities in memory, for a million of them: about 0.3 KB each.

    A row says all spans of one identity for one account and replaces what was said before; an empty value removes it.
    So the same rows in the same order, from wherever one begins, give the same directory.
    """

    def __init__(self) -> None:
        self._spans: dict[str, tuple[_Span, ...]] = {}
        self._accounts: dict[str, str] = {}  # one string an account, not one an identity

    def __len__(self) -> int:
        """Return how many identities have an account at some time."""
        return len(self._spans)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one row of the topic; raises ValueError for one that charge cannot have written."""
        if key is None:
            raise ValueError("a row of the directory without a key")
        if value is None:
            identity, _, account = key.decode().partition(KEY_SEPARATOR)
            self.bind(identity, account, [])
            return
        row = SUBSCRIBER_BINDING.decode(value)
        identity, account = row["identity"], row["account"]
        if key != f"{identity}{KEY_SEPARATOR}{account}".encode():
            raise ValueError("a row of the directory whose key is not its identity and account")
        self.bind(identity, account, [(span["from"], span["to"]) for span in row["spans"]])

    def bind(self, identity: str, account: str, spans: Sequence[tuple[int, int | None]]) -> None:
        """Say that the account had the identity during these spans (ms, end exclusive, None is open) and no others."""
        account = self._accounts.setdefault(account, account)
        others = [span for span in self._spans.get(identity, ()) if span.account != account]
        own = [_Span(account, begin, _FOREVER if end is None else end) for begin, end in spans]
        if others or own:
            self._spans[identity] = (*others, *own)
        else:
            self._spans.pop(identity, None)

    def accounts_at(self, identity: str, moment_ms: int) -> tuple[str, ...]:
        """Return the accounts that had the identity at that moment: none, one, or (a fault of bookkeeping) more."""
        found: tuple[str, ...] = ()
        for account, begin, end in self._spans.get(identity, ()):
            if begin <= moment_ms < end and account not in found:
                found += (account,)
        return found
