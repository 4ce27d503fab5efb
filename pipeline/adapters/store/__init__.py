"""The view of balances: what charge loads before a batch and writes after it.

`Store` is the promise; `redis` keeps it in Redis or Valkey, `memory` in a dict. One contract suite runs over both.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from pipeline.domain.ledger import Writes


class OutOfStepError(RuntimeError):
    """The view is not where the caller believes: someone else wrote, or it lost its tail. Take over again."""


class ViewUnavailableError(RuntimeError):
    """The view did not answer, or answered that it cannot: what became of a write is unknown. Take over again."""


class Need(NamedTuple):
    """What one batch needs to know; only the fields needed."""

    accounts: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    """(account, field)"""
    sessions: tuple[str, ...] = ()
    seen: tuple[tuple[int, int, int, int], ...] = ()
    """(day, bucket, record number, content number)"""


class Loaded(NamedTuple):
    """What the view knows of it."""

    accounts: dict[str, dict[str, str]]
    """fields by account; an account not in it does not exist"""
    kept: dict[tuple[str, str], str]
    sessions: dict[str, dict[str, str]]
    seen: dict[tuple[int, int, int, int], tuple[bool, bool]]
    """for each asked: (record number known, content number known)"""


class Store(Protocol):
    """The view of one deployment; each call is about one ledger partition. Any call may raise ViewUnavailableError."""

    def head(self, partition: int) -> dict[str, str]:
        """Return the fields of `ledger:{p}`; empty where the partition was never written or was wiped."""

    def load(self, partition: int, seq: int, need: Need) -> Loaded:
        """Return what is asked, if the view stands exactly at `seq`; raises OutOfStepError otherwise."""

    def apply(self, partition: int, previous_hash: str, writes: Writes) -> None:
        """Bring the view from `writes.first_seq - 1` (whose event had `previous_hash`) to `writes.last_seq`.

        All or nothing to any later reader: `seq` is written last, and what precedes it are absolute values, so a run
        broken half way is repaired by a repeat. A view that stands at `last_seq` or beyond is left alone. Raises
        OutOfStepError when it stands anywhere else, or its hash is another one.
        """

    def restore(self, partition: int, parts: Iterable[Writes]) -> None:
        """Fill a wiped view with a snapshot: `parts` are its writes, the last one has the head.

        Until the last part the view has no `seq`, and nobody else can write. Raises OutOfStepError when the view is
        not empty, or was wiped meanwhile; what was written by then is for the next wipe.
        """

    def wipe(self, partition: int) -> None:
        """Remove everything of the partition, `ledger:{p}` first: that closes the gate to every other writer.

        Ends early where another writer begins to rebuild the view meanwhile: what that one wrote stays.
        """

    def attempt(self, partition: int, at: str) -> int:
        """Count one more beginning of the batch at this place; returns the count, this one included."""

    def attempts_ended(self, partition: int) -> None:
        """Forget the count: the batch ended, or failed without ending its process."""

    def account(self, partition: int, account: str) -> dict[str, str]:
        """Return the fields of one account as the view has them now; empty where there is none."""
