"""Send account commands and await what became of each: its event in the ledger, and the view that shows it.

What can go wrong, and what it means for the caller:

| happens | then |
|---|---|
| the command is larger than the contract allows | CommandTooLargeError; it and what follows was not sent |
| the broker did not acknowledge it | its Answer has a problem: it may have been written all the same |
| no event came in time | its Answer has a problem: it may still be carried out |
| the event is there, the view is behind | its Answer has both the event and a problem |

In each of them the same command under the same id may be sent again: it is carried out once.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from pipeline.adapters.avro import Record
from pipeline.adapters.kafka.client import BrokerError, end_offsets
from pipeline.adapters.kafka.command_sender import CommandSender
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import StoredEvent, decode_event
from pipeline.adapters.store import Store
from pipeline.adapters.store.redis import RedisStore
from pipeline.settings import Settings
from pipeline.topics import AUDIT, partition_of

IN_FLIGHT_MAX: Final = 500
_POLL_S: Final = 0.05
_VIEW_POLL_S: Final = 0.01


class Answer(NamedTuple):
    """What became of one command. `problem` says why that is not known; None: it is."""

    command: Record
    partition: int
    offset: int | None
    stored: StoredEvent | None
    problem: str | None

    @property
    def event_id(self) -> str | None:
        """The event's own id, `<partition>-<seq>`; None where no event is known."""
        return None if self.stored is None else f"{self.partition}-{self.stored.event.seq}"


def send(
    settings: Settings, commands: Iterable[Record], *, wait: bool = True, timeout_s: float = 30
) -> Iterator[Answer]:
    """Send commands and yield an Answer for each, in their order.

    With `wait`, an answer is yielded once its event is in the ledger and the view has it. `timeout_s` is how long
    nothing may move; each event that comes starts it anew. Commands of one account are carried out in their order,
    those of different accounts in any. Raises BrokerError or ViewUnavailableError where a server cannot be reached.
    """
    partitions = describe_topics(settings)[AUDIT.name].partitions
    sender = CommandSender(settings, partitions, timeout_s)
    store = RedisStore(settings) if wait else None
    rest = iter(commands)
    while window := list(islice(rest, IN_FLIGHT_MAX)):
        start = _ledger_ends(settings, {partition_of(c["account"], partitions) for c in window}) if wait else {}
        pending = Pending()
        failure = None
        try:
            for command in window:
                pending.sent(command, partition_of(command["account"], partitions))
                sender.send(command, pending.delivered(len(pending.answers) - 1))
            sender.flush()
        except BrokerError as error:
            failure = str(error)
        for index, answer in enumerate(pending.answers):
            if answer.offset is None:
                pending.answers[index] = answer._replace(problem=failure or "the broker did not acknowledge it")
        if store is not None:
            _await_events(settings, pending, start, timeout_s)
            _await_view(store, pending, timeout_s)
        yield from pending.answers


class Pending:
    """The commands of one window, and which of them an event answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._open: dict[tuple[str, str], list[int]] = {}

    def sent(self, command: Record, partition: int) -> None:
        """Take note of a command about to be sent."""
        self._open.setdefault((command["account"], command["command_id"]), []).append(len(self.answers))
        self.answers.append(Answer(command, partition, None, None, None))

    def delivered(self, index: int) -> "Delivered":
        """Return what is to be called with the offset of that command."""
        return Delivered(self.answers, index)

    def take(self, stored: StoredEvent) -> bool:
        """Give an event to the command it answers; tell whether there was one.

        An earlier command under the same id has an event of its own, which stands at an earlier position: an event
        answers the first command that lies before its position and has no event yet.
        """
        event = stored.event
        if event.command is None:
            return False
        for index in self._open.get((event.account, str(event.command["command_id"])), ()):
            answer = self.answers[index]
            if answer.stored is None and answer.offset is not None and event.positions.command.offset > answer.offset:
                self.answers[index] = answer._replace(stored=stored)
                return True
        return False

    def waiting(self) -> list[int]:
        """Return the commands that lie on the topic and have no event yet."""
        return [i for i, a in enumerate(self.answers) if a.offset is not None and a.stored is None]


class Delivered:
    """Writes down where one command lies."""

    def __init__(self, answers: list[Answer], index: int) -> None:
        self._answers = answers
        self._index = index

    def __call__(self, offset: int) -> None:
        """Take note of the offset."""
        self._answers[self._index] = self._answers[self._index]._replace(offset=offset)


def _ledger_ends(settings: Settings, partitions: set[int]) -> dict[tuple[str, int], int]:
    return end_offsets(settings, [(AUDIT.name, p) for p in sorted(partitions)], committed_only=False)


def _await_events(settings: Settings, pending: Pending, start: dict[tuple[str, int], int], timeout_s: float) -> None:
    left = len(pending.waiting())
    if not left:
        return
    deadline = time.monotonic() + timeout_s
    with FollowingReader(settings, start) as reader:
        while left and time.monotonic() < deadline:
            for record in reader.poll(1_000, _POLL_S):
                assert record.value is not None, "an event without a value"
                if pending.take(decode_event(record.value)):
                    left -= 1
                    deadline = time.monotonic() + timeout_s
    for index in pending.waiting():
        pending.answers[index] = pending.answers[index]._replace(problem=f"no event within {timeout_s:g} s")


def _await_view(store: Store, pending: Pending, timeout_s: float) -> None:
    """Wait until the view stands at each answer's event or beyond."""
    wanted: dict[int, int] = {}
    for answer in pending.answers:
        if answer.stored is not None:
            wanted[answer.partition] = max(wanted.get(answer.partition, 0), answer.stored.event.seq)
    behind = {}
    for partition, seq in wanted.items():
        reached = await_view(store, partition, seq, timeout_s)
        if reached < seq:
            behind[partition] = reached
    for index, answer in enumerate(pending.answers):
        stored = answer.stored
        if stored is not None and stored.event.seq > behind.get(answer.partition, stored.event.seq):
            problem = f"it is in the ledger, but the view did not have it within {timeout_s:g} s"
            pending.answers[index] = answer._replace(problem=problem)


def await_view(store: Store, partition: int, seq: int, timeout_s: float) -> int:
    """Wait until the view of a partition stands at `seq` or beyond, at most so long; returns where it stands."""
    deadline = time.monotonic() + timeout_s
    while True:
        reached = int(store.head(partition).get("seq", "0"))
        if reached >= seq or time.monotonic() > deadline:
            return reached
        time.sleep(_VIEW_POLL_S)
