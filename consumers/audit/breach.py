"""What is found wrong: a value, not an exception, since looking for it is the work."""

from typing import Final, NamedTuple

SEQUENCE: Final = "I1"
"""`seq` is 1, 2, 3… without gaps."""
CHAIN: Final = "I2"
"""The hash chain is unbroken."""
ONCE: Final = "I3"
"""A record is charged once, and a command carried out once; what is called a repeat is one."""
COVERAGE: Final = "I4"
"""Every offset of both account topics below `positions` has exactly one event."""
BOOKS: Final = "I5"
"""Balances are what came in less what was charged; before and after meet; buckets too."""
VIEW: Final = "I6"
"""The view at its `seq` is the ledger's state there, nothing less and nothing more."""
EPOCH: Final = "I7"
"""Owners follow one another: the epoch rises by one, and neither it nor the clock falls."""
PRICES: Final = "I8"
"""A charge is what its catalogue version makes of the record and the state before it."""
COPIES: Final = "I9"
"""The same id with other content is held for review, never charged."""
TOTALS: Final = "control_total"
"""Every raw record that mediate has dealt with is in the ledger or a dead letter."""


class Finding(NamedTuple):
    """One promise broken: which, and how, in a sentence without any subscriber's number."""

    invariant: str
    detail: str


class Breach(NamedTuple):
    """A finding and its place: the event at (or behind) which the promise is first seen broken."""

    partition: int
    seq: int
    invariant: str
    detail: str
