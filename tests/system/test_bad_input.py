"""Input that is wrong, from end to end: it is named, nothing is lost, and the record behind it is charged."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import pytest
from command_line import CommandLine, running, write_lines

from pipeline.adapters.avro import USAGE_RECORD
from pipeline.adapters.kafka.client import KafkaError, producer
from pipeline.adapters.kafka.dead_letters import DeadLetter, dead_letters
from pipeline.adapters.kafka.ledger_lookup import account_events
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.usage_sender import AnswerWatch
from pipeline.domain.outcome import CHARGED
from pipeline.settings import Settings
from pipeline.topics import USAGE_RECEIVED, partition_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

WAIT_S = 40
PARTITIONS = 2
CALLER = "+8613800000001"
PRICE_MICROS = 200_000
"""of two begun minutes"""
TARIFFS = """\
operator: Example
currency: CNY
timezone: Asia/Shanghai
zones:
  cn: {prefixes: ["+86"]}
plans:
  - id: easy
    valid_from: "2026-01-01T00:00:00+08:00"
    prices:
      - id: call
        match: {service: VOICE, direction: MO, to: cn}
        unit: s
        steps: [{from: 0, price: "0.10", per: 60, increment: 60}]
"""


class Deployment(NamedTuple):
    chargeline: CommandLine
    settings: Settings
    partition: int
    """of alice's account"""
    numbers: Iterator[int]

    def call(self, **changes: Any) -> dict[str, Any]:
        """A call that is charged, but for the changes."""
        return {
            "record_id": f"r-{next(self.numbers)}",
            "source": "MSC-1",
            "service": "VOICE",
            "direction": "MO",
            "msisdn": CALLER,
            "other_party": "+8613800000002",
            "start_time": iso(datetime.now(UTC)),
            "duration_ms": 61_000,
            **changes,
        }

    def send(self, *values: bytes) -> list[tuple[int, int]]:
        """Send bytes as a probe would, one behind the other; returns where they came to lie, once all are answered."""
        places: list[tuple[int, int]] = []

        def landed(error: Any, message: Any) -> None:
            assert error is None, error
            places.append((message.partition(), message.offset()))

        watch = AnswerWatch(self.settings)
        probe = producer(self.settings)
        for value in values:
            probe.produce(USAGE_RECEIVED.name, value, partition=1, on_delivery=landed)
        assert probe.flush(WAIT_S) == 0
        for _ in watch.wait(set(places), WAIT_S):
            pass
        return places

    def letter_of(self, place: tuple[int, int], reason: str) -> DeadLetter:
        """Return the one dead letter of a raw record: it has this reason, and the bytes that lie there."""
        source = f"{USAGE_RECEIVED.name}/{place[0]}/{place[1]}"
        (letter,) = [letter for letter in dead_letters(self.settings, WAIT_S) if letter.source == source]
        assert letter.reason == reason
        with FollowingReader(self.settings, {(USAGE_RECEIVED.name, place[0]): place[1]}) as reader:
            assert next(iter(reader.read_to_end(WAIT_S))).value == letter.value
        return letter

    def assert_charged(self, *calls: dict[str, Any]) -> None:
        """Each has exactly one event: it was charged its price."""
        for call in calls:
            events = [
                stored.event
                for stored in account_events(self.settings, "alice", self.partition, WAIT_S)
                if stored.event.event_id == call["record_id"]
            ]
            assert [(event.kind, event.amount_micros) for event in events] == [(CHARGED, PRICE_MICROS)]

    def assert_set_aside(self, bad: bytes, reason: str) -> dict[str, Any]:
        """A bad record is a dead letter with its bytes, the good one behind it charged; returns the letter's detail."""
        good = self.call()
        place, _ = self.send(bad, avro(good))
        letter = self.letter_of(place, reason)
        assert letter.value == bad
        self.assert_charged(good)
        detail: dict[str, Any] = json.loads(letter.detail)
        return detail


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def avro(call: dict[str, Any]) -> bytes:
    moment = datetime.fromisoformat(call["start_time"])
    return USAGE_RECORD.encode({**call, "start_time": round(moment.timestamp() * 1000)})


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A small deployment with one account; each test leaves its books in balance."""
    folder = tmp_path_factory.mktemp("bad_input")
    with running(folder / "data", KAFKA__LEDGER_PARTITIONS=str(PARTITIONS)) as chargeline:
        tariffs = folder / "tariffs"
        tariffs.mkdir()
        (tariffs / "tariffs.yaml").write_text(TARIFFS)
        chargeline("catalogue", "publish", tariffs)
        chargeline("account", "open", "alice", "--plan", "easy", "--identity", f"msisdn-{CALLER}", "--balance", "100")
        yield Deployment(chargeline, chargeline.settings(), partition_of("alice", PARTITIONS), count(1))


def test_a_truncated_record(deployment):
    """Bytes that end too early are no record."""
    deployment.assert_set_aside(avro(deployment.call())[:-3], "undecodable")


def test_an_unknown_fingerprint(deployment):
    """A schema that nobody published is not guessed at."""
    whole = avro(deployment.call())
    deployment.assert_set_aside(whole[:2] + bytes(8) + whole[10:], "unknown_schema")


def test_a_negative_duration(deployment):
    """Less than nothing is out of bounds, and the letter names the field."""
    detail = deployment.assert_set_aside(avro(deployment.call(duration_ms=-1)), "out_of_bounds")
    assert detail["field"] == "duration_ms"


def test_a_start_in_the_future(deployment):
    """By the broker's time a use cannot start tomorrow: the source's clock is wrong, and nothing is charged."""
    tomorrow = iso(datetime.now(UTC) + timedelta(days=1))
    detail = deployment.assert_set_aside(avro(deployment.call(start_time=tomorrow)), "starts_in_future")
    assert detail["start_time"] > detail["broker_time"] + detail["future_ms"]


def test_a_number_that_is_none(deployment):
    """A subscriber's number of letters is no number; the letter names the field, not the number."""
    assert deployment.assert_set_aside(avro(deployment.call(msisdn="anonymous")), "bad_number") == {"field": "msisdn"}


def test_a_record_too_large_to_accept(deployment, tmp_path):
    """`publish` refuses it with its line and sends the others; sent all the same, it is a dead letter, whole."""
    large, good = deployment.call(cell="x" * 17_000), deployment.call()
    path = write_lines(tmp_path / "large.jsonl", [large, good])
    done = deployment.chargeline("publish", path, "--wait", code=1)
    assert re.search(
        rf"^{re.escape(str(path))}:1: the record is \d+ bytes; at most 16384 are accepted$", done.stderr, re.MULTILINE
    )
    assert done.stdout == "1 records sent: 1 CHARGED\n"
    deployment.assert_charged(good)
    deployment.assert_set_aside(avro(large), "out_of_bounds")


def test_a_record_too_large_for_the_broker(deployment):
    """More than the topic takes is refused by the broker: the probe is told, and nothing half is stored."""
    told = []
    probe = producer(deployment.settings, **{"message.max.bytes": 4_000_000, "compression.type": "none"})
    large = avro(deployment.call(cell="x" * 2_000_000))
    probe.produce(USAGE_RECEIVED.name, large, partition=1, on_delivery=lambda error, _: told.append(error))
    assert probe.flush(WAIT_S) == 0
    assert [error.code() for error in told] == [KafkaError.MSG_SIZE_TOO_LARGE]
    good = deployment.call()
    deployment.send(avro(good))
    deployment.assert_charged(good)


def test_lines_that_are_no_records(deployment, tmp_path):
    """Each is named with its line and everything wrong on it, none is sent; the good line between them is charged."""
    good = deployment.call()
    path = write_lines(
        tmp_path / "lines.jsonl",
        [
            deployment.call(start_time="2026-02-30T08:00:00+08:00"),
            deployment.call(start_time="2026-02-03T08:00:00"),
            good,
            deployment.call(duration_ms="61 s", durations_ms=61_000),
        ],
    )
    done = deployment.chargeline("publish", path, "--wait", code=1)
    told = [line.removeprefix(f"{path}:") for line in done.stderr.splitlines() if line.startswith(str(path))]
    assert [line.partition(":")[0] for line in told] == ["1", "2", "4"]
    assert "start_time: a time like" in told[0]
    assert "with its offset" in told[1]
    assert "duration_ms" in told[2]
    assert "unknown: durations_ms" in told[2]
    assert done.stdout == "1 records sent: 1 CHARGED\n"
    deployment.assert_charged(good)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("        unit: s\n", "        unit: s\n        stesp: []\n", ["tariffs.yaml:13: ", "unknown key 'stesp'"]),
        (
            "      - id: call\n",
            "      - {id: twin, match: {service: VOICE, direction: MO, to: cn}, free: true}\n      - id: call\n",
            ["tariffs.yaml:11: ", "'twin' and 'call'", "(see tariffs.yaml:10)"],
        ),
        ("2026-01-01T", "2026-02-30T", ["tariffs.yaml:8: ", "valid_from is a moment with its offset"]),
    ],
    ids=["an unknown key", "an ambiguity", "a bad date"],
)
def test_tariffs_that_are_wrong(deployment, tmp_path, before, after, told):
    """They are refused with file and line, checked or published alike; what is in force stays in force."""
    assert TARIFFS.count(before) == 1
    (tmp_path / "tariffs.yaml").write_text(TARIFFS.replace(before, after))
    for command in ("check", "publish"):
        done = deployment.chargeline("catalogue", command, tmp_path, code=1)
        assert done.stdout == ""
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("tariffs.yaml:")]
        assert line.startswith(told[0])
        for words in told[1:]:
            assert words in line
    good = deployment.call()
    deployment.send(avro(good))
    deployment.assert_charged(good)


def test_a_command_that_cannot_be_read(deployment, tmp_path):
    """Commands with a bad line are refused as a whole, with the line; nothing was sent, and the good one can be."""
    good = {
        "type": "top_up", "command_id": "pay-1", "account": "alice", "at": iso(datetime.now(UTC)), "actor": "staff-x",
        "amount": "5", "reference": "pay-1",
    }  # fmt: skip
    path = write_lines(tmp_path / "commands.jsonl", [good, {**good, "command_id": "pay-2", "at": "yesterday"}])
    done = deployment.chargeline("account", "apply", path, code=1)
    assert f"{path}:2: at: a time like" in done.stderr
    assert done.stdout == ""
    answer = deployment.chargeline.one("account", "apply", write_lines(path, [good]))
    assert (answer["kind"], answer["amount_micros"]) == ("TOPPED_UP", 5_000_000)


def test_after_all_of_it_the_books_balance(deployment):
    """Whatever was sent, each accepted record has one event and each other one dead letter."""
    report = deployment.chargeline.one("audit", "verify")
    assert report["ok"]
    assert report["dead_letters"] == len(list(dead_letters(deployment.settings, WAIT_S)))
    assert report["rejected"] == report["review"] == report["duplicates"] == 0
