"""What detect keeps of its states outside of memory: a compacted topic, written a batch at a time.

One place (`ledger-3`, `shared-5`) is a partition of one of detect's stages. Its states are keys of the topic's
partition, beside one record of marks that says up to which offset of its input they hold. Both are written in one
transaction, so marks and states are always of one moment; and the transaction's id is the place's, so that whoever
takes a place over fences the one before, as charge does.
"""

import json
import threading
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pipeline.adapters.kafka.client import BrokerError, KafkaException, Producer, transactional_producer
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.domain.detectors.engine import Change
from pipeline.domain.detectors.kept import LAYOUT
from pipeline.settings import Settings
from pipeline.topics import DETECT_STATE, NAMESPACE

MARKS: Final = "~"
POLL_EVERY: Final = 1_000
_write: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Written = list[tuple[bytes, bytes | None]]


class Kept(NamedTuple):
    """What was kept: the marks (their `next` is the offset to go on from) and the states: part, key, JSON each."""

    marks: dict[str, Any]
    states: list[tuple[str, str, Any]]


class StateTopic:
    """The kept states of one place. Open it first: from then on nobody else writes them."""

    def __init__(self, settings: Settings, place: str, partition: int) -> None:
        self._settings = settings
        self._place = place
        self._partition = partition
        self._timeout_s = settings.kafka.request_timeout_ms / 1000
        self._producer: Producer | None = None
        self._lock = threading.Lock()

    def open(self) -> Kept | None:
        """Fence whoever had this place, and return what is kept; None: nothing that can be read today.

        Raises KafkaException or BrokerError where the broker does not answer.
        """
        producer = transactional_producer(self._settings, f"{NAMESPACE}chargeline-detect-{self._place}")
        producer.init_transactions(self._timeout_s + self._settings.charge.transaction_timeout_ms / 1000)
        self._producer = producer
        prefix = f"{self._place}/"
        found: dict[str, bytes] = {}
        with FollowingReader.from_beginning(self._settings, [(DETECT_STATE.name, self._partition)]) as reader:
            for record in reader.read_to_end(self._timeout_s + self._settings.charge.transaction_timeout_ms / 1000):
                key = (record.key or b"").decode()
                if not key.startswith(prefix):
                    continue
                if record.value is None:
                    found.pop(key, None)
                else:
                    found[key] = record.value
        marks = json.loads(found.pop(prefix + MARKS, b"{}"))
        if marks.get("layout") != LAYOUT:
            # what another version kept: its keys go, for nobody would ever write over those that are no more
            if found:
                self._commit([(key.encode(), None) for key in found])
            return None
        states = []
        for key, value in found.items():
            _, part, name = _split(key)
            states.append((part, name, json.loads(value)))
        return Kept(marks, states)

    def prepared(self, changes: Iterable[Change], marks: dict[str, Any]) -> Written:
        """Return the records of these changes and marks, as they are now: they may change before they are written."""
        place = self._place
        written: Written = [
            (f"{place}/{part}|{key}".encode(), None if state is None else _write(state).encode())
            for part, key, state in changes
        ]
        written.append((f"{place}/{MARKS}".encode(), _write({**marks, "layout": LAYOUT}).encode()))
        return written

    def write(self, written: Written) -> None:
        """Write all of it or nothing; raises BrokerError where that is not known, or the place is another's by now."""
        with self._lock:
            self._commit(written)

    def _commit(self, written: Written) -> None:
        producer = self._producer
        if producer is None:
            raise BrokerError("the kept states are not open")
        try:
            producer.begin_transaction()
            for at, (key, value) in enumerate(written):
                self._produce(producer, key, value)
                if at % POLL_EVERY == 0:
                    producer.poll(0)
            producer.commit_transaction(self._timeout_s)
        except KafkaException as error:
            self._producer = None
            raise BrokerError(f"states were not kept: {error.args[0].str()}") from None

    def _produce(self, producer: Producer, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                producer.produce(DETECT_STATE.name, value, key, self._partition)
            except BufferError:
                producer.poll(0.1)
            else:
                return


def _split(key: str) -> tuple[str, str, str]:
    head, _, name = key.partition("|")
    place, _, part = head.partition("/")
    return place, part, name
