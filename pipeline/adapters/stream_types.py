"""What passes between a stream and who handles it: places, records, what becomes of them."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Incoming(NamedTuple):
    """A record as it was read."""

    offset: int
    timestamp_ms: int
    value: bytes | None
    headers: dict[str, bytes]


class Outgoing(NamedTuple):
    """A record to send; a partition where it is not the key's."""

    topic: str
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    partition: int | None = None


class Handled(NamedTuple):
    """What became of a batch: what to send, and the offset behind what was handled.

    `problem`: why the rest cannot be handled here; what was handled before it counts.
    """

    messages: list[Outgoing]
    next_offset: int
    problem: str | None = None


class Worker(Protocol):
    """What a stream is read for. One thread, the event loop's, calls it; `restore` may take long and is awaited."""

    async def restore(self, committed: Mapping[Place, int | None]) -> dict[Place, int]:
        """Take over these partitions and let go of all others; return where to go on reading each.

        `committed`: what the group has handled of each; None: nothing yet.
        """
        ...

    def handle(self, place: Place, records: list[Incoming]) -> Handled | None:
        """Handle the records in order; None: the partition is not ours any more. It must not raise."""
        ...

    def done(self, place: Place, next_offset: int) -> None:
        """Take note that all messages of what lies before this offset are acknowledged."""
        ...
