"""The whole pipeline as processes, with a supervisor of sorts, for tests that take things away from it."""

import random
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from charging_traffic import account_name, usage
from harness import ACCOUNTS, Deployment, Worker

from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.kafka.client import admin, end_offsets, producer
from pipeline.adapters.kafka.intake import GROUP
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import decode_event
from pipeline.adapters.progress import committed_offsets
from pipeline.domain.usage import RECORD_FIELDS, UsageRecord
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED

SAMPLE_S = 0.25


class Supervisor:
    """Keeps mediate and charge running, as `up` or systemd does, and looks at their memory and readiness meanwhile."""

    def __init__(self, world: Deployment, parts: tuple[str, ...] = ("mediate", "charge")) -> None:
        self._world = world
        self.running: dict[str, Worker] = {part: world.start_worker(part, process=part) for part in parts}
        self.deaths: Counter[str] = Counter()
        self.rss_bytes: Counter[str] = Counter()
        """the most that each part was seen to hold"""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def ready(self, part: str) -> bool:
        return self.running[part].ready()

    def logs(self) -> str:
        return "\n".join(f"{part}: {worker.log.read_text()[-1_500:]}" for part, worker in self.running.items())

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for part, worker in list(self.running.items()):
                if worker.process.poll() is not None:
                    self.deaths[part] += 1
                    time.sleep(0.5)
                    self.running[part] = self._world.start_worker(part, process=part)
                    continue
                try:
                    rss = psutil.Process(worker.process.pid).memory_info().rss
                except psutil.Error:
                    continue
                self.rss_bytes[part] = max(self.rss_bytes[part], rss)


def raw_usage(n: int, chance: random.Random, **changes: Any) -> tuple[str, UsageRecord]:
    """Return the account, and the n-th record as its probe sends it."""
    number = chance.randrange(ACCOUNTS)
    accepted = usage(n, number, int(time.time() * 1000), chance)
    record = UsageRecord._make(getattr(accepted, name) for name in RECORD_FIELDS)
    return account_name(number), record._replace(**changes)


def publish_raw(world: Deployment, first: int, records: int) -> set[tuple[str, str]]:
    """Send so many records as probes do; return (account, record_id) of each."""
    out = producer(world.settings)
    chance = random.Random(first)
    sent = set()
    for n in range(first, first + records):
        account, record = raw_usage(n, chance)
        while len(out) > 90_000:
            out.poll(0.05)
        out.produce(USAGE_RECEIVED.name, USAGE_RECORD.encode(record._asdict()), partition=n % 4)
        sent.add((account, record.record_id))
        out.poll(0)
    assert out.flush(60) == 0
    return sent


def drained(world: Deployment) -> bool:
    """Tell whether mediate has settled every raw record, and each accepted one and each command has its event."""
    time.sleep(0.5)  # whoever asks without a pause takes the processor from those who work
    facts = describe_topics(world.settings)
    raw = [(USAGE_RECEIVED.name, p) for p in range(facts[USAGE_RECEIVED.name].partitions)]
    inputs = [(topic.name, p) for topic in (USAGE_ACCEPTED, ACCOUNT_COMMAND) for p in range(world.partitions)]
    ends = end_offsets(world.settings, raw, committed_only=False)
    offsets = committed_offsets(world.settings, admin(world.settings), GROUP, raw)
    if any(offsets.get(place, 0) < end for place, end in ends.items()):
        return False
    return world.answered() >= sum(end_offsets(world.settings, inputs, committed_only=False).values())


def answers(world: Deployment) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Read the whole ledger: how often each (account, record_id) is CHARGED, and the events by kind."""
    charged: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    places = [(AUDIT.name, p) for p in range(world.partitions)]
    with FollowingReader.from_beginning(world.settings, places) as reader:
        for record in reader.read_to_end(30):
            assert record.value is not None
            event = decode_event(record.value).event
            kinds[event.kind if event.reason is None else f"{event.kind} {event.reason}"] += 1
            if event.kind == "CHARGED" and event.usage is not None:
                charged[event.account, event.event_id] += 1
    return charged, kinds


def letters(world: Deployment) -> list[tuple[bytes | None, dict[str, bytes | None]]]:
    """Return value and headers of every dead letter."""
    partitions = describe_topics(world.settings)[USAGE_DEAD_LETTER.name].partitions
    places = [(USAGE_DEAD_LETTER.name, p) for p in range(partitions)]
    with FollowingReader.from_beginning(world.settings, places) as reader:
        return [(record.value, dict(record.headers)) for record in reader.read_to_end(30)]


def free_of_space(folder: Path) -> Path:
    """Write a file that takes all the space left where this folder lies; return it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(65_536))
                file.flush()
        except OSError:
            return filler
