"""Seeing how far things are without being in their way: the view's heads, the accepted topic, each balance applied.

When a balance was applied is told by Redis itself: it pushes a message whenever `ledger:{p}` changes (client-side
caching, in broadcast mode), and the head is read then. Nothing polls. The time taken is the one after that read, so
it is never too early, and too late by the push and one round trip: 0.1 to 0.3 ms on one machine, more where the
processor is busy. Which record each event is of is read in the ledger afterwards.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from typing import Any, Final, NamedTuple

from pipeline.adapters.kafka.client import end_offsets
from pipeline.adapters.kafka.ledger_lookup import LedgerLookup
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.ledger_codec import decode_event
from pipeline.adapters.store import keys
from pipeline.adapters.store.redis import connect
from pipeline.settings import Settings
from pipeline.topics import AUDIT, USAGE_ACCEPTED, USAGE_DEAD_LETTER

INVALIDATED: Final = "__redis__:invalidate"
_WAIT_S: Final = 0.1
_READ_S: Final = 30.0


class Heads:
    """How many events the view has seen, over all partitions; one thread uses it."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._client: Any = connect(settings)
        self._keys = [keys.ledger(partition) for partition in range(partitions)]

    def total(self) -> int:
        """Return the sum of all partitions' `seq`."""
        with self._client.pipeline(transaction=False) as pipe:
            for key in self._keys:
                pipe.hget(key, "seq")
            return sum(int(seq or 0) for seq in pipe.execute())

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class Topics:
    """How many records lie on a topic; one thread uses it."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._lookup = LedgerLookup(settings)
        self._accepted = [(USAGE_ACCEPTED.name, partition) for partition in range(partitions)]

    def accepted(self) -> int:
        """Return how many records mediate has accepted."""
        return sum(self._lookup.ends(self._accepted).values())

    def dead_letters(self) -> int:
        """Return how many records were set aside."""
        return sum(self._lookup.ends([(USAGE_DEAD_LETTER.name, 0)]).values())

    def close(self) -> None:
        """Leave the broker."""
        self._lookup.close()


class Answer(NamedTuple):
    """What became of a record, and when its balance was seen in the view (monotonic seconds)."""

    kind: str
    event_id: str
    seen: float


class AppliedWatch:
    """Watches balances being applied from now on; `stop`, then `answers` says which record was seen when."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._settings = settings
        self._partitions = range(partitions)
        audit = [(AUDIT.name, partition) for partition in self._partitions]
        self._from = end_offsets(settings, audit, committed_only=False)
        self._seen: dict[int, list[tuple[int, float]]] = {}
        self._by_key = {keys.ledger(partition): partition for partition in self._partitions}
        self._stopping = threading.Event()
        # the older protocol delivers what is pushed as messages of a channel
        url = settings.redis.url or ""
        old = settings.redis.model_copy(update={"url": url + ("&" if "?" in url else "?") + "protocol=2"})
        self._client: Any = connect(settings.model_copy(update={"redis": old}))
        pool = self._client.connection_pool
        self._pushed: Any = pool.get_connection()
        self._tracked: Any = pool.get_connection()
        mine = _ask(self._pushed, "CLIENT", "ID")
        _ask(self._pushed, "SUBSCRIBE", INVALIDATED)
        _ask(self._tracked, "CLIENT", "TRACKING", "ON", "REDIRECT", mine, "BCAST", "PREFIX", "ledger:")
        for key, partition in self._by_key.items():
            self._seen[partition] = [(int(self._client.hget(key, "seq") or 0), time.monotonic())]
        self._thread = threading.Thread(target=self._watch, name="applied-watch", daemon=True)
        self._thread.start()

    def total(self) -> int:
        """Return how many events the view holds, as far as was seen; Redis is not asked."""
        return sum(seen[-1][0] for seen in self._seen.values())

    def stop(self) -> None:
        """Watch no more, and close the connections."""
        self._stopping.set()
        self._thread.join()
        self._pushed.disconnect()
        self._tracked.disconnect()
        self._client.close()

    def answers(self) -> list[Answer]:
        """Read the ledger since the watch began; returns each record's answer in its ledger's order."""
        found = []
        with FollowingReader(self._settings, self._from) as reader:
            for record in reader.read_to_end(_READ_S):
                assert record.value is not None
                event = decode_event(record.value).event
                if event.usage is not None:
                    seen = self._seen_at(record.partition, event.seq)
                    if seen is not None:
                        found.append(Answer(event.kind, event.event_id, seen))
        return found

    def _seen_at(self, partition: int, seq: int) -> float | None:
        seen = self._seen[partition]
        at = bisect_left(seen, (seq,))
        return seen[at][1] if at < len(seen) else None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if not self._pushed.can_read(_WAIT_S):
                continue
            _, _, names = self._pushed.read_response()
            changed = [name for name in names or () if name in self._by_key]
            if not changed:  # of another deployment on these servers
                continue
            with self._client.pipeline(transaction=False) as pipe:
                for key in changed:
                    pipe.hget(key, "seq")
                seqs = pipe.execute()
            now = time.monotonic()
            for key, seq in zip(changed, seqs, strict=True):
                self._seen[self._by_key[key]].append((int(seq or 0), now))


def _ask(connection: Any, *command: str | int) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def kinds_of(answers: list[Answer]) -> dict[str, int]:
    """Return how many answers there were of each kind."""
    return dict(Counter(answer.kind for answer in answers))
