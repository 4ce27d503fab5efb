"""What an owner asks of the broker, kept alike by the one in memory and by Kafka."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from pipeline.adapters.avro import CATALOGUE_VERSION
from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
from pipeline.adapters.kafka.client import KafkaException, TopicPartition, admin, producer, transactional_producer
from pipeline.adapters.kafka.partition import KafkaPartition
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import decode_event, encode_event
from pipeline.adapters.memory_broker import (
    EndNotReachedError,
    InvalidTransactionError,
    MemoryBroker,
    MemoryPartition,
)
from pipeline.adapters.partition import FencedError, LedgerHaltedError, PartitionEdge
from pipeline.domain.catalogue import canonical_bytes, compile_catalogue
from pipeline.domain.ledger import NO_EFFECTS, Event, Position, Positions
from pipeline.settings import ChargeSettings, KafkaSettings, Settings
from pipeline.topics import ACCOUNT_COMMAND, AUDIT, CATALOGUE, SUBSCRIBER, USAGE_ACCEPTED

_partitions = itertools.count()


class Ledger:
    """A broker, a partition that no other test uses, and edges on it that are closed in the end."""

    def __init__(self) -> None:
        self.p = next(_partitions)
        self._edges: list[PartitionEdge] = []
        self._chain: dict[int, bytes] = {}

    def edge(self) -> PartitionEdge:
        edge = self._new_edge()
        self._edges.append(edge)
        return edge

    def fenced(self) -> PartitionEdge:
        edge = self.edge()
        edge.fence()
        return edge

    def close(self) -> None:
        for edge in self._edges:
            edge.close()
            edge.close()

    def events(self, edge: PartitionEdge, first: int, last: int) -> list[tuple[str, bytes]]:
        """Events first..last that follow one another, as values to commit."""
        previous = self._chain.get(first - 1, edge.genesis())
        values = []
        for seq in range(first, last + 1):
            value, previous = encode_event(_event(seq), None, previous)
            self._chain[seq] = previous
            values.append((f"account-{seq}", value))
        return values

    def _new_edge(self) -> PartitionEdge: ...
    def publish_usage(self, *values: bytes) -> None: ...
    def publish_commands(self, *values: bytes) -> None: ...
    def publish_catalogue(self, document: dict[str, Any]) -> None: ...
    def directory_rows(self) -> list[tuple[str, bytes]]: ...
    def open_batch(self, edge: Any, first: int, last: int, rows: tuple[tuple[str, bytes], ...] = ()) -> None: ...
    def end_batch(self, edge: Any) -> None: ...
    def rogue(self, name: str) -> Any: ...
    def expire_usage(self, first: int) -> None: ...


class MemoryLedger(Ledger):
    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()

    def _new_edge(self) -> PartitionEdge:
        return MemoryPartition(self.broker, self.p)

    def publish_usage(self, *values: bytes) -> None:
        for value in values:
            self.broker.append(USAGE_ACCEPTED.name, self.p, b"key", value)

    def publish_commands(self, *values: bytes) -> None:
        now = int(time.time() * 1000)
        for value in values:
            self.broker.append(ACCOUNT_COMMAND.name, self.p, b"key", value, time_ms=now)

    def publish_catalogue(self, document: dict[str, Any]) -> None:
        self.broker.versions.append(compile_catalogue(document))

    def directory_rows(self) -> list[tuple[str, bytes]]:
        rows, _ = self.broker.read(SUBSCRIBER.name, 0, 0, 10_000)
        return [((row.key or b"").decode(), row.value or b"") for _, row in rows]

    def open_batch(self, edge: Any, first: int, last: int, rows: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Send events and rows, and do not commit them: as an owner that is killed there."""
        places = (AUDIT.name, self.p), (SUBSCRIBER.name, 0)
        self.broker.begin(edge._name, edge._epoch, places)
        for account, value in self.events(edge, first, last):
            self.broker.send(edge._name, edge._epoch, places[0], account.encode(), value)
        for key, value in rows:
            self.broker.send(edge._name, edge._epoch, places[1], key.encode(), value)

    def end_batch(self, edge: Any) -> None:
        self.broker.end(edge._name, edge._epoch, commit=True)

    def rogue(self, name: str) -> "MemoryRogue":
        return MemoryRogue(self.broker, f"rogue-{name}")

    def expire_usage(self, first: int) -> None:
        self.broker.logs[USAGE_ACCEPTED.name, self.p].first = first


class MemoryRogue:
    """A producer of transactions that is no owner, with the calls of Kafka's own."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        self._broker, self._name = broker, name
        self._epoch = broker.init_producer(name)

    def produce(self, topic: str, value: bytes, key: str, partition: int) -> None:
        self._broker.begin(self._name, self._epoch, [(topic, partition)])
        self._broker.send(self._name, self._epoch, (topic, partition), key.encode(), value)

    def flush(self, _timeout_s: float) -> int:
        return 0

    def abort_transaction(self, _timeout_s: float) -> None:
        self._broker.end(self._name, self._epoch, commit=False)


class KafkaLedger(Ledger):
    def __init__(self, settings: Settings, feed: CatalogueFeed) -> None:
        super().__init__()
        self.settings = settings
        self.feed = feed
        self.facts = describe_topics(settings)
        self.admin = admin(settings)
        self._rows_from = _end_of(settings, SUBSCRIBER.name)

    def _new_edge(self) -> PartitionEdge:
        return KafkaPartition(self.settings, self.facts, self.p, self.feed)

    def publish_usage(self, *values: bytes) -> None:
        self._publish(USAGE_ACCEPTED.name, values)

    def publish_commands(self, *values: bytes) -> None:
        self._publish(ACCOUNT_COMMAND.name, values)

    def publish_catalogue(self, document: dict[str, Any]) -> None:
        publish_version(self.settings, document)

    def directory_rows(self) -> list[tuple[str, bytes]]:
        with FollowingReader(self.settings, {(SUBSCRIBER.name, 0): self._rows_from}) as reader:
            return [((row.key or b"").decode(), row.value or b"") for row in reader.read_to_end(10)]

    def _publish(self, topic: str, values: tuple[bytes, ...]) -> None:
        out = producer(self.settings)
        for value in values:
            out.produce(topic, value, b"key", self.p)
        assert out.flush(10) == 0

    def open_batch(self, edge: Any, first: int, last: int, rows: tuple[tuple[str, bytes], ...] = ()) -> None:
        out = edge._producer
        out.begin_transaction()
        for account, value in self.events(edge, first, last):
            out.produce(AUDIT.name, value, account, self.p)
        for key, value in rows:
            out.produce(SUBSCRIBER.name, value, key)
        assert out.flush(10) == 0

    def end_batch(self, edge: Any) -> None:
        edge._producer.commit_transaction(10)

    def expire_usage(self, first: int) -> None:
        where = TopicPartition(USAGE_ACCEPTED.name, self.p, first)
        for future in self.admin.delete_records([where]).values():
            future.result(10)

    def rogue(self, name: str) -> Any:
        """A producer of transactions that is no owner."""
        out = transactional_producer(self.settings, f"rogue-{name}-{self.p}")
        out.init_transactions(10)
        out.begin_transaction()
        return out


def publish_version(settings: Settings, document: dict[str, Any]) -> None:
    version = compile_catalogue(document)
    value = {"hash": version.hash, "effective_from": version.effective_from, "published_at": 0}
    encoded = CATALOGUE_VERSION.encode({**value, "document": canonical_bytes(document).decode()})
    out = producer(settings)
    out.produce(CATALOGUE.name, encoded, version.hash)
    assert out.flush(10) == 0


def _end_of(settings: Settings, topic: str) -> int:
    with FollowingReader.from_beginning(settings, [(topic, 0)]) as reader:
        for _ in reader.read_to_end(10):
            pass
        return reader.positions[topic, 0]


def _event(seq: int) -> Event:
    positions = Positions(Position(b"u" * 16, seq), Position(b"c" * 16, 0), Position(b"k" * 16, 0))
    return Event(
        seq, "REJECTED", f"r{seq}", f"account-{seq}", 0, None, None, None, "unknown_account", "{}", (), 0, None, 0, 0,
        NO_EFFECTS, 0, 35, positions, 1,
    )  # fmt: skip


def _document(name: str, effective_from: int) -> dict[str, Any]:
    return {
        "format": 1, "effective_from": effective_from, "operator": name, "currency": "CNY", "timezone": "Asia/Shanghai",
        "rounding": {"decimals": 2, "mode": "half_up"}, "zones": {}, "networks": {}, "calendars": {}, "bands": {},
        "offsets": [[-(10**15), 28800]], "plans": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def feed(kafka_settings: Settings) -> Iterator[CatalogueFeed]:
    made = CatalogueFeed(kafka_settings)
    yield made
    made.close()


def _kafka(request: pytest.FixtureRequest) -> KafkaLedger:
    return KafkaLedger(request.getfixturevalue("kafka_settings"), request.getfixturevalue("feed"))


@pytest.fixture(params=["memory", "kafka"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = MemoryLedger() if request.param == "memory" else _kafka(request)
    yield made
    made.close()


@pytest.fixture
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaLedger]:
    made = _kafka(request)
    yield made
    made.close()


def seqs(edge: PartitionEdge, after: int = 0) -> list[int]:
    return [stored.event.seq for stored in edge.events_after(after)]


def fetch_all(edge: PartitionEdge, count: int, records_max: int = 100) -> list[Any]:
    """Fetch until so many have come; then nothing more may come."""
    found: list[Any] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        some = edge.fetch(records_max)
        assert len(some) <= records_max
        found += some
    assert len(found) == count
    assert edge.fetch(records_max) == []
    return found


# --- the ledger ---


def test_an_empty_ledger_has_no_last_event(ledger):
    """None says: the end was reached, and there is nothing."""
    edge = ledger.fenced()
    assert edge.last() is None
    assert seqs(edge) == []
    assert edge.event(1) is None


def test_nothing_is_read_or_written_before_the_fence(ledger):
    """An owner that shut nobody out has no right to write."""
    edge = ledger.edge()
    with pytest.raises(AssertionError):
        edge.commit(ledger.events(edge, 1, 1), [])
    assert ledger.fenced().last() is None


def test_each_ledger_begins_with_a_hash_of_its_own(ledger):
    """The first previous_hash is the same at every take-over, and another one for another partition."""
    other = MemoryLedger() if isinstance(ledger, MemoryLedger) else KafkaLedger(ledger.settings, ledger.feed)
    assert ledger.edge().genesis() == ledger.edge().genesis() != other.edge().genesis()
    other.close()


def test_what_was_committed_is_the_ledger(ledger):
    """Events are read back in order, byte for byte, by this owner and by the next."""
    edge = ledger.fenced()
    values = ledger.events(edge, 1, 3)
    edge.commit(values, [])
    edge.commit(ledger.events(edge, 4, 5), [])
    for reader in (edge, ledger.fenced()):
        last = reader.last()
        assert last is not None
        assert last.event.seq == 5
        assert seqs(reader) == [1, 2, 3, 4, 5]
        assert list(reader.events_after(0))[:3] == [decode_event(value) for _, value in values]
        assert seqs(reader, 3) == [4, 5]
        assert seqs(reader, 5) == []
        assert seqs(reader, 9) == []


def test_events_are_found_by_their_seq(ledger):
    """Any event of a long ledger is found, however many markers lie between; beyond the end there is none."""
    edge = ledger.fenced()
    at = 1
    for size in (1, 1, 3, 90, 1, 1, 1, 200, 2):
        edge.commit(ledger.events(edge, at, at + size - 1), [])
        at += size
    for seq in (1, 2, 3, 5, 6, 95, 96, 97, 98, 99, 298, at - 1):
        found = edge.event(seq)
        assert found is not None
        assert found.event.seq == seq
    assert edge.event(at) is None
    assert edge.event(10**15) is None
    assert edge.event(0) is None
    assert seqs(edge, 90) == list(range(91, at))
    assert seqs(edge) == list(range(1, at))


def test_events_that_are_not_there_are_no_short_ledger(ledger):
    """Where the events asked for are gone, reading says so and does not begin later."""
    edge = ledger.fenced()
    edge.commit(ledger.events(edge, 3, 4), [])
    with pytest.raises(LedgerHaltedError, match="events 1 to 2 are gone"):
        seqs(edge)
    edge.commit(ledger.events(edge, 6, 6), [])
    with pytest.raises(LedgerHaltedError, match="events 5 to 5 are gone"):
        seqs(edge, 2)


def test_a_large_batch_is_committed_whole(ledger):
    """A transaction holds the largest batch; its rows of the directory come with it."""
    edge = ledger.fenced()
    rows = [(f"msisdn-+{n}|account", b"row %d" % n) for n in range(500)]
    edge.commit(ledger.events(edge, 1, 2_000), rows)
    assert seqs(ledger.fenced()) == list(range(1, 2_001))
    assert ledger.directory_rows() == rows


def test_an_owner_that_was_followed_is_fenced(ledger):
    """Once another owner has fenced, the one before commits nothing: not now and not later."""
    old = ledger.fenced()
    old.commit(ledger.events(old, 1, 1), [])
    new = ledger.fenced()
    with pytest.raises(FencedError):
        old.commit(ledger.events(old, 2, 2), [("row|x", b"row")])
    with pytest.raises(RuntimeError):
        old.commit(ledger.events(old, 2, 2), [("row|x", b"row")])
    last = new.last()
    assert last is not None
    assert last.event.seq == 1
    new.commit(ledger.events(new, 2, 3), [])
    assert seqs(ledger.fenced()) == [1, 2, 3]
    assert ledger.directory_rows() == []


def test_a_fence_is_of_one_partition(ledger):
    """Partitions are owned one by one."""
    other = MemoryLedger() if isinstance(ledger, MemoryLedger) else KafkaLedger(ledger.settings, ledger.feed)
    one, two = ledger.fenced(), other.fenced()
    one.commit(ledger.events(one, 1, 1), [])
    two.commit(other.events(two, 1, 2), [])
    assert (seqs(one), seqs(two)) == ([1], [1, 2])
    other.close()


# --- the inputs ---


def test_inputs_are_fetched_in_their_order(ledger):
    """Each input comes in its own order, with offsets, to the byte; commands are told from use."""
    ledger.publish_usage(*(b"usage %d" % n for n in range(250)))
    ledger.publish_commands(*(b"command %d" % n for n in range(20)))
    edge = ledger.fenced()
    edge.open_inputs(0, 0)
    found = fetch_all(edge, 270)
    for is_command, name, count in ((False, b"usage", 250), (True, b"command", 20)):
        own = [raw for raw in found if raw.is_command is is_command]
        assert [raw.offset for raw in own] == list(range(count))
        assert [raw.value for raw in own] == [b"%s %d" % (name, n) for n in range(count)]
    now = time.time() * 1000
    assert all(abs(raw.timestamp_ms - now) < 60_000 for raw in found if raw.is_command)


def test_reading_begins_where_it_is_told(ledger):
    """A new owner goes on at the ledger's positions, and sees what comes later."""
    ledger.publish_usage(*(b"usage %d" % n for n in range(10)))
    ledger.publish_commands(b"command 0", b"command 1")
    edge = ledger.fenced()
    edge.open_inputs(7, 2)
    assert [raw.value for raw in fetch_all(edge, 3)] == [b"usage 7", b"usage 8", b"usage 9"]
    ledger.publish_commands(b"command 2")
    ledger.publish_usage(b"usage 10")
    assert sorted(raw.value for raw in fetch_all(edge, 2)) == [b"command 2", b"usage 10"]


def test_one_record_at_a_time_can_be_asked_for(ledger):
    """No more than asked for, ever; what is left comes next."""
    ledger.publish_usage(b"0", b"1", b"2")
    edge = ledger.fenced()
    edge.open_inputs(0, 0)
    assert [raw.value for raw in fetch_all(edge, 3, records_max=1)] == [b"0", b"1", b"2"]


def test_the_inputs_say_what_they_are_and_hold(ledger):
    """Ids tell a topic from another of its name; first and end are the offsets still kept."""
    edge = ledger.fenced()
    before = edge.inputs()
    assert (before.usage_first, before.usage_end, before.command_first, before.command_end) == (0, 0, 0, 0)
    ids = {before.usage_topic_id, before.command_topic_id, before.catalogue_topic_id}
    assert len(ids) == 3
    assert all(len(topic_id) == 16 for topic_id in ids)
    ledger.publish_usage(b"0", b"1", b"2")
    ledger.publish_commands(b"0")
    after = ledger.fenced().inputs()
    assert after == before._replace(usage_end=3, command_end=1)


def test_the_catalogue_is_read_to_its_end(ledger):
    """What was published before a batch is known to it."""
    edge = ledger.fenced()
    _, before = edge.catalogues()
    ledger.publish_catalogue(_document(f"one {ledger.p}", 10_000 + ledger.p))
    catalogues, after = edge.catalogues()
    newest = catalogues.at(10_000 + ledger.p)
    assert newest is not None
    assert newest.operator == f"one {ledger.p}"
    assert after == before + 1
    assert edge.catalogues() == (catalogues, after)


# --- transactions ---


def test_an_open_transaction_is_aborted_by_the_fence(ledger):
    """What an owner had sent and not committed never happened, once the next has fenced."""
    old = ledger.fenced()
    old.commit(ledger.events(old, 1, 2), [])
    ledger.open_batch(old, 3, 90, (("row|x", b"row"),))
    new = ledger.fenced()
    last = new.last()
    assert last is not None
    assert last.event.seq == 2
    new.commit(ledger.events(new, 3, 3), [])
    assert seqs(new) == [1, 2, 3]
    assert ledger.directory_rows() == []
    with pytest.raises((KafkaException, FencedError)):
        ledger.end_batch(old)


def test_a_tail_of_aborted_records_hides_no_event(ledger):
    """The last event is found behind any number of aborted records, which use up offsets and are no events."""
    edge = ledger.fenced()
    edge.commit(ledger.events(edge, 1, 3), [])
    for _ in range(3):
        ledger.open_batch(ledger.fenced(), 4, 700)
    edge = ledger.fenced()
    last = edge.last()
    assert last is not None
    assert last.event.seq == 3
    assert edge.event(3) == last
    assert edge.event(4) is None


def test_uncommitted_input_is_not_charged(ledger):
    """Records of a transaction that was aborted are no use, though they use up offsets."""
    rogue = ledger.rogue("usage")
    rogue.produce(USAGE_ACCEPTED.name, b"aborted", "x", ledger.p)
    assert rogue.flush(10) == 0
    rogue.abort_transaction(10)
    ledger.publish_usage(b"real")
    edge = ledger.fenced()
    edge.open_inputs(0, 0)
    (found,) = fetch_all(edge, 1)
    assert (found.value, found.offset) == (b"real", 2)
    assert edge.inputs().usage_end == 3


def test_an_open_transaction_ends_what_is_read_and_not_what_there_is(ledger):
    """Behind a transaction that is still open nothing is read, and the latest offset counts it all the same."""
    rogue = ledger.rogue("open")
    ledger.publish_usage(b"before")
    rogue.produce(USAGE_ACCEPTED.name, b"never committed", "x", ledger.p)
    assert rogue.flush(10) == 0
    ledger.publish_usage(b"behind")
    edge = ledger.fenced()
    edge.open_inputs(0, 0)
    assert [raw.value for raw in fetch_all(edge, 1)] == [b"before"]
    assert edge.inputs().usage_end == 3
    rogue.abort_transaction(10)
    assert [raw.value for raw in fetch_all(edge, 1)] == [b"behind"]


def test_an_offset_that_is_gone_is_an_error(ledger):
    """Reading never skips to what is left: the loss is seen, and named by the take-over."""
    ledger.publish_usage(b"0", b"1", b"2")
    ledger.expire_usage(2)
    edge = ledger.fenced()
    assert (edge.inputs().usage_first, edge.inputs().usage_end) == (2, 3)
    edge.open_inputs(0, 0)
    with pytest.raises((KafkaException, IndexError)):
        fetch_all(edge, 1)


def test_an_end_that_is_not_reached_is_no_empty_ledger_in_memory():
    """The twin cannot wait, so it says at once that another's transaction hides the end."""
    ledger = MemoryLedger()
    ledger.rogue("stuck").produce(AUDIT.name, b"never committed", "x", ledger.p)
    with pytest.raises(EndNotReachedError, match="before the end"):
        ledger.fenced().last()


def test_a_decided_transaction_is_finished_by_the_fence_in_memory():
    """Its markers are still to be written when the next owner fences: it is committed, and read by that owner."""
    ledger = MemoryLedger()
    ledger.broker.markers_wait = True
    old = ledger.fenced()
    old.commit(ledger.events(old, 1, 2), [])
    assert ledger.broker.last(AUDIT.name, ledger.p) is None
    last = ledger.fenced().last()
    assert last is not None
    assert last.event.seq == 2


def test_a_late_end_tears_the_next_transaction_in_memory():
    """As a real broker does with a client of today (KIP-890): the half that was sent is committed, the rest refused."""
    ledger = MemoryLedger()
    edge = ledger.fenced()
    edge.commit(ledger.events(edge, 1, 1), [])
    ledger.open_batch(edge, 2, 3)
    ledger.end_batch(edge)  # the late one, of the transaction before
    with pytest.raises(InvalidTransactionError):
        ledger.broker.send(edge._name, edge._epoch, (AUDIT.name, ledger.p), b"account", b"rest")
    assert seqs(ledger.fenced()) == [1, 2, 3]


# --- what only a broker can do ---


def test_an_open_transaction_of_another_is_waited_for(kafka):
    """An end hidden by an open transaction is no end: the tail is read once it is closed, and never taken as short."""
    edge = kafka.fenced()
    edge.commit(kafka.events(edge, 1, 1), [])
    rogue = kafka.rogue("open")
    rogue.produce(AUDIT.name, b"never committed", "x", kafka.p)
    assert rogue.flush(10) == 0
    edge.commit(kafka.events(edge, 2, 3), [])
    closing = threading.Timer(1.0, rogue.abort_transaction, [10])
    closing.start()
    last = kafka.fenced().last()
    closing.join()
    assert last is not None
    assert last.event.seq == 3


def test_an_end_that_is_not_reached_is_an_error(kafka):
    """An unread tail is never an empty ledger."""
    hasty = Settings(
        kafka=KafkaSettings(bootstrap_servers=kafka.settings.kafka.bootstrap_servers, request_timeout_ms=1_000),
        charge=ChargeSettings(),
    )
    rogue = kafka.rogue("stuck")
    rogue.produce(AUDIT.name, b"never committed", "x", kafka.p)
    assert rogue.flush(10) == 0
    with closing(KafkaPartition(hasty, kafka.facts, kafka.p, kafka.feed)) as edge:
        edge.fence()
        with pytest.raises(RuntimeError, match="before the end"):
            edge.last()
    rogue.abort_transaction(10)


def test_a_slow_reader_of_a_long_ledger_is_no_error(kafka):
    """Only silence of the broker ends a reading: how long the reader takes for what it was given does not."""
    edge = kafka.fenced()
    edge.commit(kafka.events(edge, 1, 1_000), [])
    edge.commit(kafka.events(edge, 1_001, 2_500), [])
    with FollowingReader(kafka.settings, {(AUDIT.name, kafka.p): 0}) as reader:
        count = 0
        for _ in reader.read_to_end(0.5):
            count += 1
            if count in {1, 2_000}:
                time.sleep(0.7)
    assert count == 2_500


def test_a_catalogue_read_in_part_is_read_again(kafka, monkeypatch, request):
    """A broker that fails between two versions costs none of them: what was read is not taken as rated with."""
    request.addfinalizer((feed := CatalogueFeed(kafka.settings)).close)
    feed.read_to_end()
    for number in range(2):
        publish_version(kafka.settings, _document(f"part {number}", 900_000 + number))
    reader = feed._reader
    real_poll, calls = reader.poll, []

    def poll(records_max: int, timeout_s: float) -> Any:
        found = real_poll(1, timeout_s)
        calls.extend(found)
        if len(calls) == 2:
            raise KafkaException("the broker went away")
        return found

    monkeypatch.setattr(reader, "poll", poll)
    with pytest.raises(KafkaException):
        feed.read_to_end()
    monkeypatch.undo()
    catalogues, _ = feed.read_to_end()
    found = [catalogues.at(900_000 + number) for number in range(2)]
    assert [version and version.operator for version in found] == ["part 0", "part 1"]
