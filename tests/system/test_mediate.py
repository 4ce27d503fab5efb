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
from pipeline.adapters.kafka.client import KafkaException, admin, end_offsets, first_offsets, producer
from pipeline.adapters.kafka.intake import GROUP
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics
from pipeline.settings import Settings
from pipeline.topics import (
    SUBSCRIBER,
    TOPICS,
    USAGE_ACCEPTED,
    USAGE_DEAD_LETTER,
    USAGE_RECEIVED,
    partition_of,
)

pytestmark = pytest.mark.system

PARTITIONS = 4
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


@pytest.fixture(scope="module")
def broker() -> str:
    found = os.environ.get("CHARGELINE_KAFKA__BOOTSTRAP_SERVERS")
    if not found:
        pytest.skip("no broker: set CHARGELINE_KAFKA__BOOTSTRAP_SERVERS")
    return found


@pytest.fixture
def settings(broker) -> Settings:
    """Settings of a broker whose topics are empty, with one subscriber in the directory."""
    made = Settings(kafka={"bootstrap_servers": broker, "ledger_partitions": PARTITIONS})
    client = admin(made)
    there = client.list_topics(timeout=WAIT_S).topics
    for future in client.delete_topics([t.name for t in TOPICS if t.name in there] or ["none"]).values():
        future.exception(WAIT_S)
    until(lambda: not {t.name for t in TOPICS} & set(client.list_topics(timeout=WAIT_S).topics))
    create_topics(made)
    until(lambda: leaders_are_known(made))
    client.delete_consumer_groups([GROUP])[GROUP].exception(WAIT_S)
    binding = {"identity": "msisdn-+8613800000001", "account": "alice", "spans": [{"from": 0, "to": None}]}
    charge = producer(made)
    charge.produce(SUBSCRIBER.name, SUBSCRIBER_BINDING.encode(binding), "msisdn-+8613800000001|alice")
    assert charge.flush(WAIT_S) == 0
    return made


def leaders_are_known(settings: Settings) -> bool:
    try:
        first_offsets(settings, [(topic.name, p) for topic in TOPICS for p in range(topic.partitions or PARTITIONS)])
    except KafkaException:
        return False
    return True


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
def start(settings) -> Iterator[Callable[[], Process]]:
    started: list[Process] = []

    def start_one() -> Process:
        started.append(Process(settings))
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


def send(settings: Settings, values: list[bytes]) -> None:
    probe = producer(settings)
    for n, value in enumerate(values):
        probe.produce(USAGE_RECEIVED.name, value, partition=n % 4)
    assert probe.flush(WAIT_S) == 0


def read(settings: Settings, topic: str, partitions: int) -> list:
    with FollowingReader.from_beginning(settings, [(topic, p) for p in range(partitions)]) as reader:
        return list(reader.read_to_end(WAIT_S))


def settled(settings: Settings) -> Counter[tuple[int, int]]:
    """Count what was made of each raw (partition, offset)."""
    accepted = (ACCEPTED_USAGE.decode(r.value) for r in read(settings, USAGE_ACCEPTED.name, PARTITIONS))
    letters = (dict(r.headers) for r in read(settings, USAGE_DEAD_LETTER.name, 1))
    return Counter(
        [(usage["source_partition"], usage["source_offset"]) for usage in accepted]
        + [(int(letter["source_partition"]), int(letter["source_offset"])) for letter in letters]
    )


def raw_offsets(settings: Settings) -> set[tuple[int, int]]:
    ends = end_offsets(settings, [(USAGE_RECEIVED.name, p) for p in range(4)], committed_only=False)
    return {(p, offset) for (_, p), end in ends.items() for offset in range(end)}


def accepted_end(settings: Settings) -> int:
    partitions = [(USAGE_ACCEPTED.name, p) for p in range(PARTITIONS)]
    return sum(end_offsets(settings, partitions, committed_only=False).values())


def test_a_stopped_process_has_settled_each_record_once(settings, start):
    """On SIGTERM it finishes, commits, leaves with 0; the next one finds nothing to do again."""
    values = [call(n) if n % 3 else b"junk" for n in range(300)]
    send(settings, values)
    first = start()
    until(first.ready)
    until(lambda: len(settled(settings)) >= 100)
    assert first.end(signal.SIGTERM) == 0
    second = start()
    until(lambda: set(settled(settings)) == raw_offsets(settings))
    send(settings, [call(1_000)])
    until(lambda: len(settled(settings)) == 301)
    assert set(settled(settings).values()) == {1}
    assert second.end(signal.SIGTERM) == 0
    assert second.lines[-1]["event"] == "mediate_stopped"


def test_killed_processes_lose_nothing(settings, start):
    """Killed again and again in the middle of the work: each raw offset ends on a topic, some more than once."""
    for _ in range(3):
        process = start()
        until(process.ready)
        before = accepted_end(settings)
        send(settings, [call(n) if n % 7 else b"junk" for n in range(4_000)])
        until(lambda before=before: accepted_end(settings) > before)
        process.end(signal.SIGKILL)
    last = start()
    until(lambda: set(settled(settings)) == raw_offsets(settings))
    assert len(raw_offsets(settings)) == 12_000
    assert last.end(signal.SIGTERM) == 0


def test_two_processes_share_the_work(settings, start):
    """Each is a member of the group; when one leaves, the other goes on with its partitions."""
    both = [start(), start()]
    for process in both:
        until(process.ready)
    send(settings, [call(n) for n in range(200)])
    until(lambda: set(settled(settings)) == raw_offsets(settings))
    assert both[0].end(signal.SIGTERM) == 0
    send(settings, [call(n) for n in range(200, 400)])
    until(lambda: set(settled(settings)) == raw_offsets(settings))
    assert both[1].end(signal.SIGTERM) == 0


def test_metrics_and_readiness(settings, start):
    """What was settled is counted, by reason; a ready process says what it checked."""
    send(settings, [call(1), call(2), b"junk"])
    process = start()
    until(process.ready)
    until(lambda: "chargeline_mediate_records_total 3.0" in process.get("/metrics")[1])
    text = process.get("/metrics")[1]
    assert "chargeline_mediate_accepted_total 2.0" in text
    assert 'chargeline_mediate_dead_letters_total{reason="undecodable"} 1.0' in text
    until(lambda: "chargeline_mediate_directory_identities 1.0" in process.get("/metrics")[1])
    assert "[+]directory ok" in process.get("/readyz?verbose")[1]
    assert "+86138" not in json.dumps(process.lines)


def test_without_its_topics_it_does_not_start(settings, start):
    """Exit 1 and a line that says which topic, rather than waiting for a topic that nobody will make."""
    client = admin(settings)
    client.delete_topics([USAGE_DEAD_LETTER.name])[USAGE_DEAD_LETTER.name].result(WAIT_S)
    until(lambda: USAGE_DEAD_LETTER.name not in client.list_topics(timeout=WAIT_S).topics)
    process = start()
    assert process.process.wait(WAIT_S) == 1
    process.end(signal.SIGTERM)
    assert (process.lines[-1]["event"], process.lines[-1]["level"]) == ("mediate_failed", "error")
    assert USAGE_DEAD_LETTER.name in json.dumps(process.lines[-1])


def test_a_process_told_to_stop_at_once_stops(settings):
    """A stop before the first batch is still a clean end."""
    stop = threading.Event()
    stop.set()
    assert mediate.run(settings, stop) == 0


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


def test_a_probe_written_with_another_library_is_accepted(settings, start):
    """Another client, another compression, bytes made by hand: the contract is the topic, not our code."""
    now = int(time.time() * 1000)

    async def probe() -> None:
        sender = AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap_servers, compression_type="gzip", acks="all"
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
    until(lambda: len(settled(settings)) == 1)
    (record,) = read(settings, USAGE_ACCEPTED.name, PARTITIONS)
    usage = ACCEPTED_USAGE.decode(record.value)
    assert (usage["record_id"], usage["msisdn"], usage["account"]) == ("vendor-1", "+8613800000001", "alice")
    assert now - 60_000 < usage["received_at"] < now + 60_000
    assert (record.key, record.partition) == (b"alice", partition_of("alice", PARTITIONS))
    assert record.headers == (("traceparent", b"00-abc-def-01"), ("ce_id", b"vendor-1"))
