# ruff: noqa: F811 - fixtures are imported
"""All detectors behind a real ledger: what they say is what they say offline, whatever becomes of the workers."""

import time
from collections import Counter

import pytest
from detect_world import PARTITIONS, alerts, ledger, settings, start, wait_until  # noqa: F401

from pipeline.adapters.avro import ALERT
from pipeline.adapters.detector_reference import reference
from pipeline.adapters.kafka.client import end_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.ledger_codec import decode_used_event
from pipeline.domain.detectors.engine import Engine, make_parts
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.stream import EventStream
from pipeline.domain.usage import UsageRecord
from pipeline.topics import AUDIT

pytestmark = pytest.mark.system

T0 = 1_793_500_000_000
DAY = 86_400_000
HALF = 15
"""Of a burst of 30: neither half is an alert of the line that calls fast, or of the range that rings, by itself."""
BREAK = """
from pipeline.domain.detectors.call_velocity import CallVelocity
step = CallVelocity.step
def broken(self, state, use):
    if use.usage.record_id.endswith("-poison"):
        raise ArithmeticError("on purpose")
    return step(self, state, use)
CallVelocity.step = broken
"""
_made = iter(range(10**9))


def call(line: str, other: str, at: int, seconds: int, direction: str = "MO", answered: bool = True, mark: str = ""):
    number = next(_made)
    return f"acc-{line[1:]}", UsageRecord(
        f"r{number}{mark}", "MSC-1", number, "VOICE", direction, line, None, None, other, at, seconds * 1_000, 0, 0, 0,
        answered, None, None, None, None, None, None, False,
    )  # fmt: skip


def bursts(number: int, at: int, size: int = 30, begin: int = 0) -> list[tuple[str, UsageRecord]]:
    """A line that calls a machine's way, one that calls a dear range, and a range abroad that rings many lines once."""
    fast, dear = f"+86138{number:08d}", f"+86139{number:08d}"
    made = []
    for n in range(begin, size):
        made.append(call(fast, f"+86135{n:08d}", at + n * 2_000, 3))
        made.append(call(dear, f"+2526{number:04d}{n:04d}", at + n * 30_000, 120))
        ringing = f"+2346{number:04d}0{n % 3}01"
        made.append(call(f"+86136{number:04d}{n:04d}", ringing, at + n * 20_000, 1, "MT", answered=False))
    return made


class Said:
    """What detectors say of the whole ledger, offline, in one engine; and what is on the topic of alerts."""

    def __init__(self, settings, ledger, alerts, begin: dict[int, int]) -> None:
        self.settings, self.ledger, self.alerts, self.begin = settings, ledger, alerts, begin

    def offline(self) -> set[tuple[str, str]]:
        known = reference("86", {}, None)
        engine = Engine(make_parts(DetectorParameters(), known, priced=True, totals=False))
        stream = EventStream(engine, known, arrivals=True)
        with FollowingReader(self.settings, {(AUDIT.name, p): at for p, at in self.begin.items()}) as reader:
            read = list(reader.read_to_end(20))
        events = [(decode_used_event(record.value), record.partition) for record in read]
        events.sort(key=lambda one: one[0].clock)
        found = [f for event, p in events for f in stream.take(event, f"{p}-{event.seq}")]
        # which numbers of a range many accounts had called when it opened depends on the order across partitions
        return {
            (one.detector, one.object_)
            for one in found
            if one.state == "open" and (one.detector, one.object_[:6]) != ("irsf", "range-")
        }

    def opened(self) -> set[tuple[str, str]]:
        self.alerts.of()
        read = [ALERT.decode(record.value) for record in self.alerts.records]
        return {(one["detector"], one["object"]) for one in read if one["state"] == "open"} & self.wanted

    def check(self, timeout_s: float = 60) -> None:
        """Wait for all of them; none has two ids, and what came again is the same to the byte."""
        self.wanted = self.offline()
        assert len({detector for detector, _ in self.wanted}) >= 3
        deadline = time.monotonic() + timeout_s
        while self.opened() != self.wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sorted(self.wanted - self.opened()) == []
        time.sleep(2)
        self.alerts.of()
        ids: dict[tuple[str, str], set[str]] = {}
        values: dict[bytes, set[bytes]] = {}
        for record in self.alerts.records:
            one = ALERT.decode(record.value)
            if one["state"] == "open" and (one["detector"], one["object"]) in self.wanted:
                ids.setdefault((one["detector"], one["object"]), set()).add(one["alert_id"])
                values.setdefault(dict(record.headers)["ce_id"], set()).add(record.value)
        assert Counter(map(len, ids.values())) == {1: len(self.wanted)}, "opened twice"
        assert {len(found) for found in values.values()} == {1}, "a repeat differs"


@pytest.fixture
def said(settings, ledger, alerts) -> Said:
    """From where the ledger ends now."""
    ends = end_offsets(settings, [(AUDIT.name, p) for p in range(PARTITIONS)], committed_only=True)
    return Said(settings, ledger, alerts, {p: offset for (_, p), offset in ends.items()})


def test_an_old_ledger_raises_alerts_if_that_is_asked(start, ledger, said):
    """The very first worker, told to say what is old as well: all that is said offline, across accounts too."""
    ledger.commit_uses(bursts(1, T0), days_ago=3)
    worker = start(replay_raises=1)
    said.check()
    assert worker.stop() == 0


@pytest.mark.faults
def test_no_alert_is_lost_or_opened_twice_when_detect_is_killed_in_a_burst(start, ledger, said):
    """kill -9 while records come, four times; half of what decides an alert lies before each kill, in kept states."""
    at = T0 + DAY
    for round_ in range(4):
        halves = range(10 + round_ * 10, 15 + round_ * 10)
        worker = start(batch_records=10, keep_events=10, commit_interval_ms=100)
        for number in halves:
            ledger.commit_uses(bursts(number, at + number * 60_000, HALF))
        dear = {f"msisdn-+86139{number:08d}".encode() for number in halves}  # these open in the first half
        wait_until(lambda dear=dear: said.alerts.of() == [] and dear <= {one.key for one in said.alerts.records})
        time.sleep(1)
        for number in range(15 + round_ * 10, 20 + round_ * 10):
            ledger.commit_uses(bursts(number, at + number * 60_000))
        worker.kill()
        for number in halves:
            ledger.commit_uses(bursts(number, at + number * 60_000, begin=HALF))
    start()
    said.check()


@pytest.mark.faults
def test_a_second_worker_takes_over_in_a_burst(start, ledger, said):
    """It joins, takes partitions with their states, and has all of them when the first one leaves."""
    at = T0 + 3 * DAY
    first = start(keep_events=50)
    whole = [one for number in range(60, 68) for one in bursts(number, at + number * 60_000)]
    whole.sort(key=lambda one: one[1].start_time)
    third = len(whole) // 3
    ledger.commit_uses(whole[:third])
    start(keep_events=50)
    for part in range(third, 2 * third, 20):
        ledger.commit_uses(whole[part : min(part + 20, 2 * third)])
        time.sleep(0.2)
    assert first.stop() == 0
    ledger.commit_uses(whole[2 * third :])
    said.check()


@pytest.mark.faults
def test_alerts_go_on_with_a_worker_killed_and_another_one_there(start, ledger, said):
    """The second one has the first one's partitions once its session is over."""
    at = T0 + 5 * DAY
    first = start(keep_events=50)
    start(keep_events=50)
    ledger.commit_uses([one for number in range(70, 76) for one in bursts(number, at + number * 60_000)])
    wait_until(lambda: said.alerts.of() == [] and len(said.alerts.records) > 3)
    first.kill()
    ledger.commit_uses([one for number in range(76, 80) for one in bursts(number, at + number * 60_000)])
    said.check()


def test_an_event_that_breaks_a_detector_has_the_others_alerts(start, ledger, said):
    """A detector that raises is counted by its name and place; the other detectors, and the next events, have theirs."""
    line = "+8613700000001"
    at = T0 + 8 * DAY
    worker = start(fault=BREAK)
    ledger.commit_uses(
        [call(line, f"+2526990{n:05d}", at + n * 2_000, 120, mark="-poison") for n in range(12)] + bursts(90, at)
    )
    wanted = {("irsf", f"msisdn-{line}"), ("call_velocity", "msisdn-+8613800000090")}
    said.wanted = wanted
    wait_until(lambda: said.opened() == wanted)
    lines = worker.log.read_text()
    assert lines.count('"event":"detector_failed"') >= 12
    assert '"detector":"call_velocity"' in lines
    assert "on purpose" not in lines


@pytest.mark.faults
def test_alerts_are_there_within_two_seconds(start, settings, ledger, alerts):
    """From the commit of the deciding record to the alert on the topic, with other records all the time."""
    at = T0 + 10 * DAY
    start()
    delays = []
    for number in range(100, 140):
        line = f"+86138{number:08d}"
        ledger.commit_uses([one for n in range(5) for one in bursts(1_000 + number * 5 + n, at + number * 60_000, 7)])
        ledger.commit_uses([call(line, f"+86135{n:08d}", at + number * 60_000 + n * 2_000, 3) for n in range(20)])
        began = time.monotonic()
        while not any(record.key == f"msisdn-{line}".encode() for record in alerts.records):
            alerts.records += alerts.reader.poll(100, 0.02)
            assert time.monotonic() - began < 20
        if number > 105:  # the first ones wait for the worker
            delays.append(time.monotonic() - began)
    assert max(delays) <= 2, sorted(delays)[-5:]
