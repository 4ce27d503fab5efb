"""Mediate's edges keep the same promises in memory and on a real broker; then what only a broker can do."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

import pytest

from pipeline.adapters.avro import SUBSCRIBER_BINDING
from pipeline.adapters.intake import DirectoryFeed, Intake, NotDeliveredError
from pipeline.adapters.kafka.client import (
    BrokerError,
    ConsumerGroupTopicPartitions,
    NewTopic,
    Producer,
    TopicPartition,
    admin,
    end_offsets,
    producer,
    transactional_producer,
)
from pipeline.adapters.kafka.intake import GROUP, KafkaDirectory, KafkaIntake
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import create_topics, describe_topics
from pipeline.adapters.memory_broker import EndNotReachedError
from pipeline.adapters.memory_intake import MemoryDirectory, MemoryIntake, MemoryTopics, NotMemberError
from pipeline.domain.mediation import RawRecord
from pipeline.settings import MediateSettings, Settings
from pipeline.topics import SUBSCRIBER, USAGE_ACCEPTED, USAGE_DEAD_LETTER, USAGE_RECEIVED

PARTITIONS = 4
WAIT_S = 30


class Written(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class MemoryEdges:
    """A broker in memory."""

    def __init__(self) -> None:
        self.topics = MemoryTopics(PARTITIONS, PARTITIONS)

    def first(self, partition):
        return 0

    def open(self) -> Intake:
        return MemoryIntake(self.topics)

    def directory(self) -> DirectoryFeed:
        return MemoryDirectory(self.topics.broker)

    def receive(self, partition, value, key=None, headers=()):
        self.topics.receive(partition, 1_790_000_000_000, value, key, headers)

    def put(self, key, value):
        self.topics.broker.append(SUBSCRIBER.name, 0, key, value)

    def accepted(self):
        return {p: [Written(*sent) for sent in log] for p, log in enumerate(self.topics.accepted) if log}

    def dead_letters(self):
        return [Written(*sent) for sent in self.topics.dead_letters]

    def send_what_will_fail(self, intake):
        intake.deliver_at_most = 0
        intake.send_accepted(0, b"k", b"v", ())


class KafkaEdges:
    """A real broker: its topics may hold records of others, which the group has read and nobody here counts."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.settings = settings
        self.stack = stack
        self.probe = producer(settings)
        self.opened: Intake | None = None
        create_topics(settings)
        partitions = [(topic, p) for topic, facts in describe_topics(settings).items() for p in range(facts.partitions)]
        self.before = end_offsets(settings, partitions, committed_only=False)
        skip_to_end(settings)

    def first(self, partition):
        return self.before[USAGE_RECEIVED.name, partition]

    def open(self) -> Intake:
        if self.opened is not None:
            self.opened.close()
        self.opened = intake = KafkaIntake(self.settings)
        self.stack.callback(intake.close)
        return intake

    def directory(self) -> DirectoryFeed:
        return self.stack.enter_context(closing(KafkaDirectory(self.settings, 1)))

    def receive(self, partition, value, key=None, headers=()):
        self.probe.produce(USAGE_RECEIVED.name, value, key, partition, headers=list(headers))
        assert self.probe.flush(WAIT_S) == 0

    def put(self, key, value):
        self.probe.produce(SUBSCRIBER.name, value, key)
        assert self.probe.flush(WAIT_S) == 0

    def accepted(self):
        found: dict[int, list[Written]] = {}
        for record in self._read(USAGE_ACCEPTED.name):
            found.setdefault(record.partition, []).append(Written(record.key, record.value, record.headers))
        return found

    def dead_letters(self):
        return [Written(r.key, r.value, r.headers) for r in self._read(USAGE_DEAD_LETTER.name)]

    def _read(self, topic):
        start = {key: offset for key, offset in self.before.items() if key[0] == topic}
        with FollowingReader(self.settings, start) as reader:
            return list(reader.read_to_end(WAIT_S))

    def send_what_will_fail(self, intake):
        intake.send_accepted(0, b"k", os.urandom(20 * 1024 * 1024), ())  # more than any topic takes


def skip_to_end(settings: Settings) -> None:
    """Let the group, once it has no members, read on from the end of the raw topic."""
    partitions = [(USAGE_RECEIVED.name, p) for p in range(describe_topics(settings)[USAGE_RECEIVED.name].partitions)]
    ends = end_offsets(settings, partitions, committed_only=False)
    wanted = [TopicPartition(topic, p, offset) for (topic, p), offset in ends.items()]
    client = admin(settings)

    def skipped() -> bool:
        asked = client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP, wanted)])
        return asked[GROUP].exception(WAIT_S) is None

    until(skipped)


@pytest.fixture
def kafka(kafka_settings) -> Iterator[KafkaEdges]:
    with ExitStack() as stack:
        yield KafkaEdges(kafka_settings, stack)


@pytest.fixture(params=["memory", "kafka"])
def edges(request) -> MemoryEdges | KafkaEdges:
    return MemoryEdges() if request.param == "memory" else request.getfixturevalue("kafka")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def polled(intake: Intake, count: int, records_max: int = 100) -> list[RawRecord]:
    """Poll until so many records have come; no more may come with them."""
    found: list[RawRecord] = []
    deadline = time.monotonic() + WAIT_S
    while len(found) < count:
        batch = intake.poll(records_max, 0.2)
        assert len(batch) <= records_max
        found += batch
        assert time.monotonic() < deadline, f"{len(found)} of {count} came"
    assert len(found) == count
    return found


def positions(records):
    return {(r.topic, r.partition): r.offset + 1 for r in records}


def row(identity, account, begin=0, end=None):
    value = {"identity": identity, "account": account, "spans": [{"from": begin, "to": end}]}
    return f"{identity}|{account}".encode(), SUBSCRIBER_BINDING.encode(value)


def test_a_raw_record_comes_as_it_lies(edges):
    """Key, value (none is none), headers in order, offset and the broker's own time."""
    headers = (("traceparent", b"00-1"), ("empty", None), ("traceparent", b"00-2"))
    edges.receive(1, b"one", b"key", headers)
    edges.receive(1, None)
    one, none = polled(edges.open(), 2)
    assert (one.topic, one.partition, one.offset) == (USAGE_RECEIVED.name, 1, edges.first(1))
    assert (one.key, one.value, one.headers) == (b"key", b"one", headers)
    assert (none.offset, none.key, none.value, none.headers) == (one.offset + 1, None, None, ())
    assert one.broker_time_ms > 1_700_000_000_000


def test_order_within_a_partition_is_kept_and_a_batch_is_bounded(edges):
    """At most as many as asked, in order of offsets within each partition."""
    for n in range(20):
        edges.receive(n % 2, b"%d" % n)
    records = polled(edges.open(), 20, records_max=3)
    for partition in (0, 1):
        first = edges.first(partition)
        assert [r.offset for r in records if r.partition == partition] == list(range(first, first + 10))


def test_nothing_there_is_nothing(edges):
    """An empty poll is an answer, not an error."""
    intake = edges.open()
    edges.receive(0, b"x")
    polled(intake, 1)
    assert intake.poll(10, 0.05) == []


def test_what_was_not_committed_comes_again(edges):
    """To the next process: at least once; and what was committed does not."""
    for n in range(6):
        edges.receive(n % 2, b"%d" % n)
    first = polled(edges.open(), 6)
    intake = edges.open()
    again = polled(intake, 6)
    assert sorted(again) == sorted(first)
    intake.commit(positions(r for r in again if r.partition == 0))
    assert sorted(polled(edges.open(), 3)) == sorted(r for r in first if r.partition == 1)


def test_a_note_outlives_its_process(edges):
    """Who takes over is told the notes beside the positions, once; a commit without a note leaves none."""
    for n in range(4):
        edges.receive(n % 2, b"%d" % n)
    intake = edges.open()
    first = polled(intake, 4)
    taken = intake.taken_over()
    assert taken is not None
    assert set(taken.values()) == {""}
    assert {(r.topic, r.partition) for r in first} <= taken.keys()
    assert intake.taken_over() is None
    begun = {(r.topic, r.partition): r.offset for r in reversed(first)}
    place, other = begun
    intake.commit(begun, {place: "1/0/2", other: "x"})
    intake = edges.open()
    assert sorted(polled(intake, 4)) == sorted(first), "a note moves no position"
    taken = intake.taken_over()
    assert taken is not None
    assert {place: taken[place], other: taken[other]} == {place: "1/0/2", other: "x"}
    intake.commit({place: begun[place]})
    intake = edges.open()
    polled(intake, 4)
    taken = intake.taken_over()
    assert taken is not None
    assert (taken[place], taken[other]) == ("", "x")


def test_what_is_given_back_comes_again_to_the_same_process(edges):
    """All of it, in order, and before what follows."""
    for n in range(8):
        edges.receive(n % 2, b"%d" % n)
    intake = edges.open()
    first = polled(intake, 8)
    later = [r for r in first if r.value not in {b"0", b"1"}]
    intake.give_back(later)
    edges.receive(0, b"new")
    again = polled(intake, 7)
    assert [r.value for r in again if r.partition == 0] == [b"2", b"4", b"6", b"new"]
    assert [r.value for r in again if r.partition == 1] == [b"3", b"5", b"7"]


def test_what_was_flushed_is_there(edges):
    """Accepted records on the partition asked for and in order, dead letters untouched, nothing left out."""
    intake = edges.open()
    headers = (("reason", b"undecodable"), ("empty", None))
    for n in range(3):
        intake.send_accepted(2, b"alice", b"%d" % n, headers[:n])
    intake.send_accepted(0, b"bob", b"x", ())
    intake.send_dead_letter(None, None, headers)
    intake.send_dead_letter(b"k", b"junk", ())
    intake.flush()
    assert edges.accepted() == {
        2: [Written(b"alice", b"%d" % n, headers[:n]) for n in range(3)],
        0: [Written(b"bob", b"x", ())],
    }
    assert sorted(edges.dead_letters(), key=str) == sorted(
        [Written(None, None, headers), Written(b"k", b"junk", ())], key=str
    )


def test_a_failed_delivery_fails_the_flush(edges):
    """Nobody commits what did not arrive."""
    intake = edges.open()
    edges.send_what_will_fail(intake)
    with pytest.raises(NotDeliveredError):
        intake.flush()


def test_lag_is_what_was_not_polled(edges):
    """Before the first record, between, and at the end."""
    for n in range(10):
        edges.receive(n % 2, b"%d" % n)
    intake = edges.open()
    records = polled(intake, 4, records_max=1)
    assert intake.lag() == 6
    intake.commit(positions(records))
    polled(intake, 6)
    assert intake.lag() == 0
    assert edges.open().lag() in {0, 6}  # a member without partitions yet has none


@pytest.fixture
def identity() -> str:
    """Return an identity that no other test gives to anyone."""
    return f"imsi-{uuid.uuid4().int % 10**15:015}"


def test_the_directory_is_what_its_topic_says(edges, identity):
    """Rows, replaced rows and removed ones, each after the next reading."""
    directory = edges.directory()
    directory.read_to_end()
    known = len(directory)
    edges.put(*row(identity, "alice"))
    edges.put(*row(identity + "x", "alice"))
    assert directory.accounts_at(identity, 5) == ()
    directory.read_to_end()
    assert (directory.accounts_at(identity, 5), len(directory)) == (("alice",), known + 2)
    edges.put(*row(identity, "alice", 0, 5))
    edges.put(f"{identity}x|alice".encode(), None)
    directory.read_to_end()
    assert (directory.accounts_at(identity, 5), len(directory)) == ((), known + 1)


def in_transaction(settings: Settings, key: bytes, value: bytes) -> Producer:
    """Return a producer whose transaction holds this row and is still open."""
    charge = transactional_producer(settings, "charge-of-this-test")
    charge.init_transactions(WAIT_S)
    charge.begin_transaction()
    charge.produce(SUBSCRIBER.name, value, key)
    assert charge.flush(WAIT_S) == 0
    return charge


def test_the_directory_waits_for_an_open_transaction(kafka, identity):
    """A row about to be committed is not missed: its subscriber would be called a stranger."""
    directory = kafka.directory()
    directory.read_to_end()
    charge = in_transaction(kafka.settings, *row(identity, "alice"))
    read = threading.Thread(target=directory.read_to_end)
    read.start()
    read.join(0.5)
    assert read.is_alive()
    charge.commit_transaction(WAIT_S)
    read.join(WAIT_S)
    assert directory.accounts_at(identity, 1) == ("alice",)


def test_an_aborted_row_is_not_in_the_directory(kafka, identity):
    """What charge took back never was; and the reading does not wait for it for ever."""
    directory = kafka.directory()
    charge = in_transaction(kafka.settings, *row(identity, "alice"))
    charge.abort_transaction(WAIT_S)
    directory.read_to_end()
    assert directory.accounts_at(identity, 1) == ()


def test_a_directory_whose_end_is_not_reached_says_so(kafka, identity):
    """A transaction that stays open past the time-out ends the process rather than making strangers."""
    kafka.directory().read_to_end()  # by now nobody else's is open
    kafka.settings = kafka.settings.model_copy(update={"mediate": MediateSettings(directory_timeout_ms=1_000)})
    directory = kafka.directory()
    charge = in_transaction(kafka.settings, *row(identity, "alice"))
    with pytest.raises(BrokerError, match="no progress"):
        directory.read_to_end()
    charge.abort_transaction(WAIT_S)


def test_the_directory_in_memory_waits_for_no_open_transaction_and_says_so():
    """The twin has nobody to wait for: an end hidden by an open transaction is an error, never a short directory."""
    edges = MemoryEdges()
    directory, broker = edges.directory(), edges.topics.broker
    epoch = broker.init_producer("charge-0")
    broker.begin("charge-0", epoch, [(SUBSCRIBER.name, 0)])
    key, value = row("imsi-460010000000001", "alice")
    broker.send("charge-0", epoch, (SUBSCRIBER.name, 0), key, value)
    with pytest.raises(EndNotReachedError):
        directory.read_to_end()
    broker.end("charge-0", epoch, commit=False)
    directory.read_to_end()
    assert directory.accounts_at("imsi-460010000000001", 1) == ()


def test_a_member_that_lost_its_partition_commits_nothing_in_memory():
    """The group gave it to another: what this one settled is settled again there."""
    edges = MemoryEdges()
    edges.receive(0, b"0")
    edges.receive(1, b"1")
    old = edges.open()
    records = polled(old, 2)
    new = MemoryIntake(edges.topics, (1,))
    with pytest.raises(NotMemberError):
        old.commit(positions(records))
    assert edges.topics.committed == {}
    assert polled(new, 1) == [record for record in records if record.partition == 1]


def test_a_probes_own_clock_is_refused(stack):
    """Where the topic keeps the time that probes claim, mediate stops: one of them could make all use late."""
    client = admin(stack)
    client.create_topics([NewTopic(USAGE_RECEIVED.name, 1, 1)])[USAGE_RECEIVED.name].result(WAIT_S)
    with ExitStack() as edges:
        kafka = KafkaEdges(stack, edges)
        kafka.receive(0, b"x")
        with pytest.raises(BrokerError, match="LogAppendTime"):
            polled(kafka.open(), 1)


@pytest.mark.parametrize(
    "value", [os.urandom(1024 * 1024 - 200), bytes(8 * 1024 * 1024)], ids=["as long as may be", "longer, compressed"]
)
def test_the_longest_record_fits_the_dead_letter_topic(kafka, value):
    """Whatever the source topic takes can be set aside, with its reason beside it."""
    probe = Producer(
        {
            "bootstrap.servers": kafka.settings.kafka.bootstrap_servers,
            "compression.type": "zstd",
            "message.max.bytes": 16 * 1024 * 1024,
        }
    )
    probe.produce(USAGE_RECEIVED.name, value, partition=0)
    assert probe.flush(WAIT_S) == 0
    intake = kafka.open()
    (raw,) = polled(intake, 1)
    intake.send_dead_letter(raw.key, raw.value, (("detail", b"x" * 1_000),))
    intake.flush()
    assert [letter.value for letter in kafka.dead_letters()] == [value]


def test_a_dead_letter_that_its_topic_does_not_take_is_cut(kafka):
    """Packed better than we can, a record passes its topic and not that of the dead letters: its beginning is kept.

    With size and SHA-256 of the whole, and with it whatever else is in the batch: mediate would die of it for ever.
    """
    block = os.urandom(100_000)  # its copies are farther apart than lz4 looks back, and not than zstd does
    value, key, header = block * 100, b"k" * 100_000, ("probe", block)
    probe = Producer(
        {
            "bootstrap.servers": kafka.settings.kafka.bootstrap_servers,
            "compression.type": "zstd",
            "compression.level": 12,
            "message.max.bytes": 16 * 1024 * 1024,
        }
    )
    told = []
    probe.produce(USAGE_RECEIVED.name, value, key[:10], 0, headers=[header], on_delivery=lambda e, _: told.append(e))
    assert probe.flush(WAIT_S) == 0
    assert told == [None], str(told[0])
    intake = kafka.open()
    polled(intake, 1)
    intake.send_dead_letter(b"k", b"small", ())
    intake.send_dead_letter(key, value, (header, ("reason", b"undecodable"), ("detail", b'{"problem":"x"}')))
    intake.send_dead_letter(b"k", b"last", ())
    intake.send_accepted(0, b"alice", b"behind", ())
    intake.flush()
    letters = {letter.value: letter for letter in kafka.dead_letters()}
    cut = letters.pop(value[:65_536])
    assert sorted(letters) == [b"last", b"small"]
    assert (cut.key, cut.headers[0]) == (None, ("reason", b"undecodable"))
    assert json.loads(dict(cut.headers)["detail"]) == {
        "problem": "x",
        "bytes": len(value),
        "sha256": hashlib.sha256(value).hexdigest(),
        "kept_bytes": 65_536,
    }
    assert kafka.accepted() == {0: [Written(b"alice", b"behind", ())]}


HOSTILE_PROBE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name:
    def encode(self, *_):
        return b"\\xff\\xfe"

async def send(server, topic):
    probe = AIOKafkaProducer(bootstrap_servers=server)
    await probe.start()
    good, bad = (b"good", [("x", b"1")]), (b"bad", [(Name(), b"1"), ("traceparent", None)])
    for value, headers in [*[good] * 100, bad, good, bad]:
        await probe.send_and_wait(topic, value, partition=1, headers=headers)
    await probe.stop()

asyncio.run(send(*sys.argv[1:]))
"""


def test_headers_that_are_no_text_are_no_headers(kafka):
    """The client cannot read a header whose name is not UTF-8: the record comes all the same, without headers.

    No client of Python sends such a name, but probes speak other languages: aiokafka without its C code can be made to.
    """
    server = kafka.settings.kafka.bootstrap_servers
    subprocess.run(
        [sys.executable, "-c", HOSTILE_PROBE, server, USAGE_RECEIVED.name],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}, check=True, timeout=WAIT_S,
    )  # fmt: skip
    found = [(record.value, record.headers) for record in polled(kafka.open(), 103)]
    good, bad = (b"good", (("x", b"1"),)), (b"bad", ())
    assert found == [*[good] * 100, bad, good, bad]
