"""What a detect process does with the partitions it is given: reads their states, handles, keeps states again."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.detect_state import StateTopic
from pipeline.adapters.detector_reference import read_cells, read_parameters, reference
from pipeline.adapters.kafka.client import BrokerError
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.stream_types import Handled, Incoming, Place
from pipeline.detect.alerts import AlertMaker
from pipeline.detect.places import DeadLetterPlace, Input, LedgerPlace, Position, SharedPlace
from pipeline.domain.detectors import Parameters
from pipeline.domain.detectors.event_time import DAY_MS, HOUR_MS
from pipeline.domain.detectors.stages import LedgerStage, Rules, SharedStage
from pipeline.settings import Settings
from pipeline.topics import AUDIT, CATALOGUE, DETECT_USE, USAGE_DEAD_LETTER

TOPICS_READ: Final = (AUDIT.name, DETECT_USE.name, USAGE_DEAD_LETTER.name)

_log = logger("detect")

AnyPlace = LedgerPlace | SharedPlace | DeadLetterPlace


class Worker:
    """The partitions of one process, by their topics."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raise BrokerError where topics or the broker are not there, ReferenceFileError for a wrong file."""
        self.give_up: Callable[[str], None] = lambda _: None
        """told why this process must be replaced; set before anything is handled"""
        self._settings = settings
        self._facts = describe_topics(settings)
        self._rules = _rules(settings)
        self._alerts = AlertMaker(metrics)
        self._places: dict[Place, AnyPlace] = {}
        self._restoring = False
        self._keeping: dict[Place, asyncio.Task[None]] = {}

    async def restore(self, committed: Mapping[Place, int | None]) -> dict[Place, int]:
        """Take over these partitions and let go of all others; return where to go on reading each.

        A partition that was ours before, and that nobody has brought further, goes on from memory. Raises BrokerError
        or KafkaException where the broker does not answer.
        """
        self._restoring = True
        try:
            for place in self._places.keys() - committed.keys():
                del self._places[place]
            gone = [
                place
                for place, offset in committed.items()
                if place not in self._places or (offset or 0) > self._places[place].next_offset
            ]
            opened = await asyncio.gather(*(asyncio.to_thread(self._open, place, committed[place]) for place in gone))
            self._places.update(zip(gone, opened, strict=True))
        finally:
            self._restoring = False
        _log.info("partitions_taken_over", partitions=len(committed), states_read=len(gone))
        return {place: known.next_offset for place, known in self._places.items()}

    def positions(self) -> Mapping[Place, int] | None:
        """Return the next offset to be handled of each partition; None while states are read. Of any thread."""
        return None if self._restoring else {place: known.next_offset for place, known in tuple(self._places.items())}

    def handle(self, place: Place, records: list[Incoming]) -> Handled | None:
        """Handle the records in order; None: the partition is not ours any more."""
        known = self._places.get(place)
        return None if known is None else known.handle(records)

    def done(self, place: Place, next_offset: int) -> None:
        """Keep the states of a partition, if it is time."""
        known = self._places.get(place)
        if known is None or known.next_offset != next_offset or isinstance(known, DeadLetterPlace):
            return
        before = self._keeping.get(place)
        if (before is None or before.done()) and known.is_due(time.monotonic()):
            written = known.prepared(time.monotonic())
            self._keeping[place] = asyncio.create_task(self._keep(known.topic, written))

    async def _keep(self, topic: StateTopic, written: list[tuple[bytes, bytes | None]]) -> None:
        try:
            await asyncio.to_thread(topic.write, written)
        except BrokerError as error:
            _log.warning("states_not_kept", error=type(error).__name__)
            self.give_up("states could not be kept: another worker has them, or the broker is away")

    def _open(self, place: Place, committed: int | None) -> AnyPlace:
        settings = self._settings
        now_ms = time.time_ns() // 1_000_000
        source = Input(settings, place, self._facts[place.topic].topic_id.hex())
        quiet_ms = now_ms - settings.detect.quiet_hours * HOUR_MS
        shared = self._facts[DETECT_USE.name].partitions
        if place.topic == USAGE_DEAD_LETTER.name:
            start = source.offset_at(quiet_ms) if committed is None else committed
            return DeadLetterPlace(self._rules, place.partition, shared, self._alerts, start)
        name = "ledger" if place.topic == AUDIT.name else "shared"
        topic = StateTopic(settings, f"{name}-{place.partition}", place.partition)
        kept = topic.open()
        if kept is not None and kept.marks["topic"] != source.topic_id:
            kept = committed = None  # a topic that was made anew: of what was read of the old one nothing holds
        if kept is not None:
            start, history = kept.marks["next"], kept.marks["history"]
            at = Position(start, max(committed or 0, start), history, kept.marks["seq"])
        else:
            start = source.offset_at(now_ms - settings.detect.memory_days * DAY_MS)
            if committed is None:
                history = start if settings.detect.replay_raises else source.offset_at(quiet_ms)
            else:
                history = max(committed, start)
            at = Position(start, start, history, None)
        if place.topic == AUDIT.name:
            ledger = LedgerStage(self._rules, place.partition, shared)
            if kept is not None:
                ledger.restore(kept.states, kept.marks)
            return LedgerPlace(
                settings, ledger, topic, source.topic_id, place.partition, shared, self._alerts, at, committed
            )
        stage = SharedStage(self._rules)
        if kept is not None:
            stage.restore(kept.states, kept.marks)
        return SharedPlace(settings, stage, topic, source.topic_id, place.partition, self._rules, self._alerts, at)


def _rules(settings: Settings) -> Rules:
    """Return what detectors go by, read once: another catalogue or another file counts from the next start on."""
    detect = settings.detect
    known = reference(settings.mediate.country_code, read_cells(detect.cells_file), _newest_document(settings))
    return Rules(Parameters(detect.low_balance_micros), read_parameters(detect.parameters_file), known)


def _newest_document(settings: Settings) -> dict[str, object] | None:
    newest = None
    with FollowingReader.from_beginning(settings, [(CATALOGUE.name, 0)]) as reader:
        for record in reader.read_to_end(settings.kafka.request_timeout_ms / 1000):
            if record.value is not None:
                newest = record.value
    document: dict[str, object] | None = (
        None if newest is None else json.loads(CATALOGUE_VERSION.decode(newest)["document"])
    )
    return document
