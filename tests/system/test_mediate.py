"""Mediate as a process on a real broker: it drains, it dies, another client feeds it, and nothing is lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaProducer

import schemas
from pipeline import mediate
from pipeline.adapters.avro import ACCEPTED_USAGE, SUBSCRIBER_BINDING, USAGE_RECORD, schema_fingerprint
from pipeline.adapters.kafka.client import (
    ConsumerGroupTopicPartitions,
    Fetched,
    TopicPartition,
    admin,
    end_offsets,
    producer,
)
from pipeline.adapters.kafka.intake import GROUP
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.settings import Settings
from pipeline.topics import (
    SUBSCRIBER,
    USAGE_ACCEPTED,
    USAGE_DEAD_LETTER,
    USAGE_RECEIVED,
    Topic,
    partition_of,
)

pytestmark = pytest.mark.system

OURS = (USAGE_RECEIVED, USAGE_ACCEPTED, USAGE_DEAD_LETTER)
WAIT_S = 40
PROGRAM = """
import signal, sys, threading
from pipeline import mediate
from pipeline.adapters import logs
from pipeline.settings import Settings
logs.configure("info")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
sys.exit(mediate.run(Settings(), stop))
"""


class World:
    """The shared broker, as far as this test is concerned: what lies there already is skipped and not counted."""

    def __init__(self, settings: Settings) -> None:
        create_topics(settings)
        facts = describe_topics(settings)
        self.settings = settings
        self.partitions = facts[USAGE_ACCEPTED.name].partitions
        self.before = self._ends([(topic.name, p) for topic in OURS for p in range(facts[topic.name].partitions)])
        received = [(topic, p, end) for (topic, p), end in self.before.items() if topic == USAGE_RECEIVED.name]
        wanted = [TopicPartition(*place) for place in received]
        client = admin(settings)
        until(
            lambda: (
                not client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, wanted)])[GROUP].exception(
                    WAIT_S
                )
            )
        )
        binding = {"identity": "msisdn-+8613800000001", "account": "alice", "spans": [{"from": 0, "to": None}]}
        charge = producer(settings)
        charge.produce(SUBSCRIBER.name, SUBSCRIBER_BINDING.encode(binding), "msisdn-+8613800000001|alice")
        assert charge.flush(WAIT_S) == 0

    def _ends(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return end_offsets(self.settings, partitions, committed_only=False)

    def send(self, values: list[bytes]) -> None:
        """Send as a probe, over all partitions."""
        probe = producer(self.settings)
        for n, value in enumerate(values):
            probe.produce(USAGE_RECEIVED.name, value, partition=n % 4)
        assert probe.flush(WAIT_S) == 0

    def read(self, topic: Topic) -> list[Fetched]:
        """Return what this test has brought about on a topic."""
        start = {place: end for place, end in self.before.items() if place[0] == topic.name}
        with FollowingReader(self.settings, start) as reader:
            return list(reader.read_to_end(WAIT_S))

    def accepted_end(self) -> int:
        return sum(self._ends([(USAGE_ACCEPTED.name, p) for p in range(self.partitions)]).values())

    def settled(self) -> Counter[tuple[int, int]]:
        """Count what was made of each raw (partition, offset)."""
        accepted = (ACCEPTED_USAGE.decode(record.value) for record in self.read(USAGE_ACCEPTED))
        letters = (dict(record.headers) for record in self.read(USAGE_DEAD_LETTER))
        return Counter(
            [(usage["source_partition"], usage["source_offset"]) for usage in accepted]
            + [(int(letter["source_partition"]), int(letter["source_offset"])) for letter in letters]
        )

    def raw_offsets(self) -> set[tuple[int, int]]:
        """Return every raw (partition, offset) that this test has sent."""
        raw = [place for place in self.before if place[0] == USAGE_RECEIVED.name]
        return {
            (place[1], offset) for place, end in self._ends(raw).items() for offset in range(self.before[place], end)
        }

    def is_settled(self) -> bool:
        return set(self.settled()) == self.raw_offsets()


@pytest.fixture
def world(servers) -> World:
    return World(servers)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Process:
    """A mediate of its own; its log lines are read as they come."""

    def __init__(self, settings: Settings) -> None:
        environment = {
            **os.environ,
            "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
            "CHARGELINE_MEDIATE__BATCH_RECORDS": "50",
        }
        command = [sys.executable, "-W", "error", "-c", PROGRAM]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def get(self, path: str) -> tuple[int, str]:
        until(lambda: bool(self.lines) or self.process.poll() is not None)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.lines[0]['http_port']}{path}", timeout=5) as response:
            return response.status, response.read().decode()

    def ready(self) -> bool:
        with suppress(OSError):
            return self.get("/readyz")[0] == 200
        return False

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        self.process.stderr.close()
        return code


@pytest.fixture
def start(request) -> Iterator[Callable[[], Process]]:
    """Return a way to start processes on the shared broker; they are gone in the end."""
    started: list[Process] = []

    def start_one() -> Process:
        started.append(Process(request.getfixturevalue("servers")))
        return started[-1]

    yield start_one
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def call(n: int, **fields: object) -> bytes:
    return USAGE_RECORD.encode(
        {
            "record_id": f"r-{n}", "source": "msc", "service": "VOICE", "direction": "MO",
            "msisdn": "+8613800000001", "start_time": int(time.time() * 1000) - 60_000, "duration_ms": 1_000, **fields,
        }
    )  # fmt: skip


def test_a_stopped_process_has_settled_each_record_once(world, start):
    """On SIGTERM it finishes, commits, leaves with 0; the next one finds nothing to do again."""
    world.send([call(n) if n % 3 else b"junk" for n in range(300)])
    first = start()
    until(first.ready)
    until(lambda: len(world.settled()) >= 100)
    assert first.end(signal.SIGTERM) == 0
    second = start()
    until(world.is_settled)
    world.send([call(1_000)])
    until(lambda: len(world.settled()) == 301)
    assert set(world.settled().values()) == {1}
    assert second.end(signal.SIGTERM) == 0
    assert second.lines[-1]["event"] == "mediate_stopped"


@pytest.mark.faults
def test_killed_processes_lose_nothing(world, start):
    """Killed again and again in the middle of the work: each raw offset ends on a topic, some more than once."""
    for _ in range(3):
        process = start()
        until(process.ready)
        before = world.accepted_end()
        world.send([call(n) if n % 7 else b"junk" for n in range(4_000)])
        until(lambda before=before: world.accepted_end() > before)
        process.end(signal.SIGKILL)
    last = start()
    until(world.is_settled)
    assert len(world.raw_offsets()) == 12_000
    assert last.end(signal.SIGTERM) == 0


def test_two_processes_share_the_work(world, start):
    """Each is a member of the group; when one leaves, the other goes on with its partitions."""
    both = [start(), start()]
    for process in both:
        until(process.ready)
    world.send([call(n) for n in range(200)])
    until(world.is_settled)
    assert both[0].end(signal.SIGTERM) == 0
    world.send([call(n) for n in range(200, 400)])
    until(world.is_settled)
    assert both[1].end(signal.SIGTERM) == 0


def test_metrics_and_readiness(world, start):
    """What was settled is counted, by reason; a ready process says what it checked; nobody's number is in a log."""
    world.send([call(1), call(2), b"junk"])
    process = start()
    until(process.ready)
    until(lambda: "chargeline_mediate_records_total 3.0" in process.get("/metrics")[1])
    text = process.get("/metrics")[1]
    assert "chargeline_mediate_accepted_total 2.0" in text
    assert 'chargeline_mediate_dead_letters_total{reason="undecodable"} 1.0' in text
    assert "[+]directory ok" in process.get("/readyz?verbose")[1]
    assert process.end(signal.SIGTERM) == 0
    assert "+86138" not in json.dumps(process.lines)


def test_without_its_topics_it_does_not_start(stack):
    """Exit 1 and a line that says which topic, rather than waiting for a topic that nobody will make."""
    process = Process(stack)
    assert process.process.wait(WAIT_S) == 1
    process.end(signal.SIGTERM)
    assert (process.lines[-1]["event"], process.lines[-1]["level"]) == ("mediate_failed", "error")
    assert "charging." in json.dumps(process.lines[-1])


def test_a_process_told_to_stop_at_once_stops(world):
    """A stop before the first batch is still a clean end."""
    stop = threading.Event()
    stop.set()
    assert mediate.run(world.settings, stop) == 0


def by_hand(record_id: str, msisdn: str, start_time_ms: int, duration_ms: int) -> bytes:
    """Write a usage record as the Avro specification says, with nothing of ours but the published schema."""

    def long(value: int) -> bytes:
        rest = value * 2 if value >= 0 else -value * 2 - 1
        out = b""
        while rest >= 128:
            out += bytes([rest % 128 + 128])
            rest //= 128
        return out + bytes([rest])

    def string(text: str) -> bytes:
        return long(len(text.encode())) + text.encode()

    null, present, false, true = b"\0", b"\2", b"\0", b"\1"
    values = {
        "record_id": string(record_id), "source": string("other-vendor"), "service": long(0), "direction": long(0),
        "msisdn": present + string(msisdn), "start_time": long(start_time_ms), "duration_ms": long(duration_ms),
        "uplink_octets": long(0), "downlink_octets": long(0), "message_count": long(0), "answered": true,
        "retransmission": false,
    }  # fmt: skip
    schema = schemas.read("usage_record.v1")
    body = b"".join(values.get(field["name"], null) for field in schema["fields"])
    return b"\xc3\x01" + schema_fingerprint(schema) + body


def test_a_probe_written_with_another_library_is_accepted(world, start):
    """Another client, another compression, bytes made by hand: the contract is the topic, not our code."""
    now = int(time.time() * 1000)

    async def probe() -> None:
        sender = AIOKafkaProducer(
            bootstrap_servers=world.settings.kafka.bootstrap_servers, compression_type="gzip", acks="all"
        )
        await sender.start()
        try:
            await sender.send_and_wait(
                USAGE_RECEIVED.name,
                by_hand("vendor-1", "0138 0000 0001", now - 5_000, 61_000),
                key=b"whatever",
                headers=[("traceparent", b"00-abc-def-01"), ("ce_id", b"vendor-1"), ("x-vendor", b"7")],
            )
        finally:
            await sender.stop()

    asyncio.run(probe())
    start()
    until(lambda: len(world.settled()) == 1)
    (record,) = world.read(USAGE_ACCEPTED)
    usage = ACCEPTED_USAGE.decode(record.value)
    assert (usage["record_id"], usage["msisdn"], usage["account"]) == ("vendor-1", "+8613800000001", "alice")
    assert now - 60_000 < usage["received_at"] < now + 60_000
    assert (record.key, record.partition) == (b"alice", partition_of("alice", world.partitions))
    assert record.headers == (("traceparent", b"00-abc-def-01"), ("ce_id", b"vendor-1"))
