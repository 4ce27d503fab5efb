"""The loop of mediate over edges in memory: nothing is committed before it is delivered, and nothing is dropped."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.avro import ACCEPTED_USAGE, SUBSCRIBER_BINDING, USAGE_RECORD
from pipeline.adapters.intake import NotDeliveredError
from pipeline.adapters.memory_intake import MemoryDirectory, MemoryIntake, MemoryTopics
from pipeline.adapters.registry import RegistryUnreachableError
from pipeline.adapters.usage_codec import UsageDecoder
from pipeline.mediate import Mediator, Settled
from pipeline.settings import MediateSettings
from pipeline.topics import SUBSCRIBER, partition_of

NOW = 1_790_000_000_000
LEDGER_PARTITIONS = 8
SETTINGS = MediateSettings(batch_records=3)


def call(record_id, msisdn="+8613800000001", **fields):
    return USAGE_RECORD.encode(
        {
            "record_id": record_id, "source": "msc", "service": "VOICE", "direction": "MO", "msisdn": msisdn,
            "start_time": NOW, "duration_ms": 1_000, **fields,
        }
    )  # fmt: skip


def binding(identity, account):
    value = {"identity": identity, "account": account, "spans": [{"from": 0, "to": None}]}
    return f"{identity}|{account}".encode(), SUBSCRIBER_BINDING.encode(value)


class World:
    """A broker in memory, and mediates on it that may die."""

    def __init__(self, *rows, decoder=None):
        self.topics = MemoryTopics(2, LEDGER_PARTITIONS)
        for row in rows:
            self.put(*row)
        self.decoder = decoder or UsageDecoder()
        self.start()

    def start(self, directory=None):
        self.intake = MemoryIntake(self.topics)
        self.directory = MemoryDirectory(self.topics.broker) if directory is None else directory
        self.mediator = Mediator(self.intake, self.directory, self.decoder, SETTINGS, LEDGER_PARTITIONS)

    def put(self, key, value):
        self.topics.broker.append(SUBSCRIBER.name, 0, key, value)

    def drain(self):
        while self.mediator.step().records:
            pass

    def accepted(self):
        return [ACCEPTED_USAGE.decode(sent.value) for log in self.topics.accepted for sent in log]

    def reasons(self):
        return [dict(letter.headers)["reason"].decode() for letter in self.topics.dead_letters]


@pytest.fixture
def world():
    return World(binding("msisdn-+8613800000001", "alice"), binding("msisdn-+8613800000002", "bob"))


def test_a_batch_is_settled_whole(world):
    """Each record is on one topic, on its account's partition, and the offsets say so."""
    world.topics.receive(0, NOW, call("r-1"), headers=(("traceparent", b"00-1"),))
    world.topics.receive(0, NOW + 1, b"junk", key=b"k", headers=(("probe", b"7"),))
    world.topics.receive(1, NOW + 2, call("r-2", "+8613800000002"))
    assert world.mediator.step() == Settled(3, 2, {"undecodable": 1}, NOW + 2)
    for account in ("alice", "bob"):
        (sent,) = world.topics.accepted[partition_of(account, LEDGER_PARTITIONS)]
        assert (sent.key, ACCEPTED_USAGE.decode(sent.value)["account"]) == (account.encode(), account)
    assert world.topics.accepted[partition_of("alice", LEDGER_PARTITIONS)][0].headers == (("traceparent", b"00-1"),)
    (letter,) = world.topics.dead_letters
    assert (letter.key, letter.value, letter.headers[0]) == (b"k", b"junk", ("probe", b"7"))
    assert set(world.topics.committed.values()) == {1, 2}
    assert world.mediator.step() == Settled()


class Growing(MemoryDirectory):
    """A directory to which rows are added each time it has been read."""

    def __init__(self, world, *later):
        super().__init__(world.topics.broker)
        self.put = world.put
        self.later = list(later)
        self.readings = 0

    def read_to_end(self):
        super().read_to_end()
        self.readings += 1
        if self.later:
            self.put(*self.later.pop(0))


def test_an_unknown_subscriber_is_looked_up_again_before_he_is_a_dead_letter(world):
    """A row written while the batch was being decided is still found."""
    world.start(Growing(world, binding("msisdn-+8613800000003", "carol")))
    world.topics.receive(0, NOW, call("r-0", "+8613800000009"))
    world.topics.receive(0, NOW, call("r-1", "+8613800000003"))
    world.topics.receive(0, NOW, call("r-2"))
    world.mediator.step()
    assert {usage["record_id"]: usage["account"] for usage in world.accepted()} == {"r-1": "carol", "r-2": "alice"}
    assert (world.reasons(), world.directory.readings) == (["unknown_subscriber"], 2)


def test_a_batch_without_strangers_reads_the_directory_once(world):
    """The second reading is for those who need it; a batch of nothing reads nothing."""
    world.start(Growing(world))
    world.mediator.step()
    assert world.directory.readings == 0
    world.topics.receive(0, NOW, call("r-1"))
    world.topics.receive(0, NOW, b"junk")
    world.mediator.step()
    assert world.directory.readings == 1


@pytest.mark.parametrize("delivered", range(4))
def test_nothing_is_committed_before_all_is_delivered(world, delivered):
    """A failed delivery ends the process; the next one sends the whole batch again and loses nothing."""
    for n in range(3):
        world.topics.receive(0, NOW, call(f"r-{n}") if n else b"junk")
    world.intake.deliver_at_most = delivered
    if delivered < 3:
        with pytest.raises(NotDeliveredError):
            world.mediator.step()
        assert not any(world.topics.committed.values())
        world.start()
    world.drain()
    assert {usage["record_id"] for usage in world.accepted()} == {"r-1", "r-2"}
    assert set(world.reasons()) == {"undecodable"}
    assert world.topics.committed["charging.usage.received.v1", 0] == 3


class Waiting(UsageDecoder):
    """A decoder whose registry is silent for a while."""

    silent = 2

    def prepare(self, values):
        if self.silent:
            self.silent -= 1
            raise RegistryUnreachableError("silence")
        super().prepare(values)


def test_a_silent_registry_is_a_wait():
    """No record is set aside, skipped or committed because something else did not answer."""
    world = World(binding("msisdn-+8613800000001", "alice"), decoder=Waiting())
    world.topics.receive(0, NOW, call("r-1"))
    world.topics.receive(1, NOW, call("r-2"))
    for _ in range(2):
        assert world.mediator.step() == Settled(waiting_for="silence")
        assert (world.topics.committed, world.topics.dead_letters) == ({}, [])
    assert world.mediator.step().accepted == 2


class Breaking(UsageDecoder):
    """A decoder with a bug that one value brings out."""

    def decode(self, value):
        if value == b"bug":
            raise ZeroDivisionError
        return super().decode(value)


def test_a_bug_that_one_value_brings_out_is_that_values_dead_letter():
    """The process does not die of the same record for ever, and its neighbours are accepted."""
    world = World(binding("msisdn-+8613800000001", "alice"), decoder=Breaking())
    for value in (call("r-1"), b"bug", call("r-2")):
        world.topics.receive(0, NOW, value)
    world.drain()
    assert [usage["record_id"] for usage in world.accepted()] == ["r-1", "r-2"]
    assert world.reasons() == ["undecodable"]
    assert b"ZeroDivisionError" in dict(world.topics.dead_letters[0].headers)["detail"]


class Unreachable(MemoryDirectory):
    """A directory whose end is not reached."""

    def read_to_end(self):
        raise TimeoutError


def test_an_unread_directory_stops_everything(world):
    """Without the directory's end nobody can be called a stranger: the process ends, nothing is sent."""
    world.start(Unreachable(world.topics.broker))
    world.topics.receive(0, NOW, call("r-1"))
    with pytest.raises(TimeoutError):
        world.mediator.step()
    assert not any(world.topics.committed.values())
    assert (world.accepted(), world.topics.dead_letters) == ([], [])


class Death(BaseException):
    """The process is gone: nothing of it runs any more, no handler, no commit."""


class Deadly(UsageDecoder):
    """A decoder that values of one kind kill; it remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.read = []

    def decode(self, value):
        self.read.append(value)
        if value.startswith(b"deadly"):
            raise Death
        return super().decode(value)


def deaths_until_drained(world, at_most=40):
    """Start mediate again after each death, as a supervisor does; return how often it died."""
    deaths = 0
    while True:
        try:
            world.drain()
        except Death:
            deaths += 1
            assert deaths <= at_most, "it dies of the same record for ever"
            world.start()
        else:
            return deaths


@pytest.mark.parametrize("place", range(7))
def test_a_deadly_record_is_set_aside_after_it_killed_alone(place):
    """Two deaths with others in hand, one alone, then it is a dead letter unread; everybody else is accepted once."""
    world = World(binding("msisdn-+8613800000001", "alice"), decoder=Deadly())
    for n in range(7):
        world.topics.receive(n % 2, NOW, b"deadly" if n == place else call(f"r-{n}"))
    deaths = deaths_until_drained(world)
    assert 3 <= deaths <= 4, "a batch that is not the first of a life is not noted: one death more"
    assert world.reasons() == ["quarantined"]
    assert sorted({usage["record_id"] for usage in world.accepted()}) == [f"r-{n}" for n in range(7) if n != place]
    world.decoder.read.clear()
    world.topics.receive(0, NOW, call("r-8"))
    world.start()
    world.drain()
    assert len(world.decoder.read) == 1, "the suspicion ends with the batch that caused it"
    assert not any(world.topics.notes.values())


@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=12))
def test_deadly_records_anywhere_stop_nobody(received):
    """However many there are: each is one dead letter, each other record is accepted, and the deaths end."""
    world = World(binding("msisdn-+8613800000001", "alice"), decoder=Deadly())
    for n, (partition, deadly) in enumerate(received):
        world.topics.receive(partition, NOW, b"deadly" if deadly else call(f"r-{n}"))
    deaths = deaths_until_drained(world)
    deadly = sum(kind for _, kind in received)
    assert deaths <= 4 * deadly
    assert world.reasons() == ["quarantined"] * deadly
    assert {usage["record_id"] for usage in world.accepted()} == {
        f"r-{n}" for n, (_, kind) in enumerate(received) if not kind
    }


def test_an_error_is_no_death(world):
    """A broker that fails again and again makes no record deadly: an attempt that ended in an error is taken back."""
    world.topics.receive(0, NOW, call("r-1"))
    for _ in range(5):
        world.intake.deliver_at_most = 0
        with pytest.raises(NotDeliveredError):
            world.mediator.step()
        world.start()
    world.drain()
    assert [usage["record_id"] for usage in world.accepted()] == ["r-1"]
    assert world.reasons() == []


def test_a_broker_that_cannot_be_told_counts_as_a_death(world):
    """The error under way is the one that is raised; that the attempt could not be taken back is said beside it."""
    world.topics.receive(0, NOW, call("r-1"))
    world.intake.deliver_at_most = 0
    noted = world.intake.commit

    def silent_from_now_on(*said):
        noted(*said)
        world.intake.commit = refuse

    def refuse(*_):
        raise TimeoutError

    world.intake.commit = silent_from_now_on
    with pytest.raises(NotDeliveredError) as raised:
        world.mediator.step()
    assert raised.value.__notes__ == ["the attempt stays counted as a death: TimeoutError"]
    assert set(world.topics.notes.values()) == {"1/0/1"}


def test_an_innocent_behind_a_vanished_record_is_read(world):
    """What lies at another offset than the deadly record is another record."""
    raw = world.topics.receive(0, NOW, call("r-1"))
    place = raw.topic, raw.partition
    world.topics.notes[place] = "3/7/9"
    world.start()
    world.drain()
    assert [usage["record_id"] for usage in world.accepted()] == ["r-1"]


@pytest.mark.parametrize("note", ["", "hello", "1/2", "-1/0/0", "3/0/1 ", "9999999999/0/0"])
def test_a_note_of_somebody_else_says_nothing(world, note):
    """Offsets that another tool committed bring no note of ours, and no suspicion."""
    raw = world.topics.receive(0, NOW, call("r-1"))
    world.topics.notes[raw.topic, raw.partition] = note
    world.start()
    world.drain()
    assert [usage["record_id"] for usage in world.accepted()] == ["r-1"]


VALUES = st.one_of(st.just(b"junk"), st.just(None), st.integers(1, 4).map(lambda n: call("r", f"+861380000000{n}")))
RECEIVED = st.lists(st.tuples(st.integers(0, 1), VALUES), max_size=20)
DEATHS = st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=20)


@given(RECEIVED, DEATHS)
def test_every_raw_offset_ends_on_a_topic_whatever_dies(received, deaths):
    """Through any deaths, at the end each raw offset is an accepted record or a dead letter, and never both."""
    world = World(binding("msisdn-+8613800000001", "alice"), binding("msisdn-+8613800000002", "bob"))
    raws = {(raw.partition, raw.offset) for raw in (world.topics.receive(p, NOW, value) for p, value in received)}
    for death in deaths:
        world.intake.deliver_at_most = death
        try:
            world.mediator.step()
        except NotDeliveredError:
            world.start()
        world.intake.deliver_at_most = None
    world.drain()
    accepted = Counter((usage["source_partition"], usage["source_offset"]) for usage in world.accepted())
    letters = Counter(
        (int(headers["source_partition"]), int(headers["source_offset"]))
        for headers in (dict(letter.headers) for letter in world.topics.dead_letters)
    )
    assert accepted.keys() | letters.keys() == raws
    assert not accepted.keys() & letters.keys()
    assert world.intake.lag() == 0
