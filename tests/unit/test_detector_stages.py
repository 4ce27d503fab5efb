"""The two stages behind the ledger say what one engine says, and go on from what was kept as if nothing had been."""

import json
import random

import pytest
from detector_world import DAY, HOUR, LINE, MINUTE, MONDAY, REFERENCE, SECOND, call, message, mobile, ordinary_days

from pipeline.domain.detectors import Parameters
from pipeline.domain.detectors.engine import LINES, SHARED_VIEWS, Engine, make_parts, part_name
from pipeline.domain.detectors.kept import read_state
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.rows import dead_letter_text, message_text, read_message
from pipeline.domain.detectors.stages import LedgerStage, Rules, SharedStage
from pipeline.domain.detectors.stream import EventStream
from pipeline.domain.ledger import Effects, Event, Position, Positions
from pipeline.domain.usage import AcceptedUsage

RULES = Rules(Parameters(0), DetectorParameters(), REFERENCE)
SHARDS = 3
EVENING = MONDAY + 2 * DAY + 12 * HOUR


def events():
    """Two days, then every burst that many accounts, or one, can make; in the order of their coming."""
    records = ordinary_days(2, imei="35-1") + ordinary_days(2, imei="35-2", msisdn="+8613900000003")
    records += [call(EVENING + n * 2 * SECOND, mobile(n), 2) for n in range(40)]
    records += [call(EVENING + n * MINUTE, f"+2526{n:08d}", 300, msisdn=mobile(n)) for n in range(20)]
    records += [
        call(EVENING + n * MINUTE, f"+23460000000{n % 4}", 1, direction="MT", answered=False, msisdn=mobile(n + 50))
        for n in range(40)
    ]
    records += [message(EVENING + n * SECOND, mobile(n), msisdn="+8613900000007") for n in range(200)]
    records += [call(EVENING + n * MINUTE, mobile(n), 9, imei="35-box", msisdn=mobile(n % 5 + 900)) for n in range(60)]
    records += [call(EVENING + n * HOUR, mobile(n), 3_000, session_id="s1") for n in range(5)]
    records = [
        record._replace(record_id=f"r{n}", source=f"MSC-{n % 2}", sequence=n // 2 + (500 if n > 100 else 0))
        for n, record in enumerate(sorted(records, key=lambda one: one.start_time))
    ]
    nowhere = Position(bytes(16), 0)
    clock, made = 0, []
    for n, record in enumerate(records):
        clock = max(clock, record.start_time + record.duration_ms)
        account = f"acc-{record.msisdn}"
        usage = AcceptedUsage(*record, account, clock, "raw", 0, n, False)
        made.append(
            Event(
                seq=n + 1, kind="CHARGED", event_id=record.record_id, account=account, account_seq=n, usage=usage,
                command=None, digest=bytes(32), reason=None, detail=None, lines=(), amount_micros=10, currency="CNY",
                balance_before_micros=10**9, balance_after_micros=10**9 - 10, effects=Effects({}, {}, None, None),
                clock=clock, late_window_days=35, positions=Positions(nowhere, nowhere, nowhere), epoch=1,
            )
        )  # fmt: skip
    return made


EVENTS = events()


class Stages:
    """Both stages, as detect runs them; `kept` is the topic of their states."""

    def __init__(self):
        self.kept = {}
        self.marks = {}
        self.make()

    def make(self):
        self.ledger = LedgerStage(RULES, 0, SHARDS)
        self.shared = [SharedStage(RULES) for _ in range(SHARDS)]

    @property
    def all(self):
        return {"ledger": self.ledger} | {f"shared-{n}": stage for n, stage in enumerate(self.shared)}

    def take(self, batch, *, quiet=False):
        rows, said, tick = {}, [], None
        for event in batch:
            taken = self.ledger.take(event, quiet=quiet)
            said += [] if quiet else taken.findings
            tick = taken.tick or tick
            for target, bits in taken.targets.items():
                rows.setdefault(target, []).append((bits, taken.text))
        for target, stage in enumerate(self.shared):
            if target in rows or tick:
                text = message_text("ledger-0", tick or 0, rows.get(target, ()))
                said += stage.take(read_message(text.encode(), REFERENCE))
        return said

    def keep(self):
        for name, stage in self.all.items():
            for part, key, state in stage.changes():
                if state is None:
                    self.kept.pop((name, part, key), None)
                else:
                    self.kept[name, part, key] = json.dumps(state)
            self.marks[name] = json.dumps(stage.marks())

    def revive(self):
        self.make()
        for name, stage in self.all.items():
            states = [(part, key, json.loads(value)) for (at, part, key), value in self.kept.items() if at == name]
            stage.restore(states, json.loads(self.marks[name]))


def batches(size=50):
    return [EVENTS[at : at + size] for at in range(0, len(EVENTS), size)]


def straight():
    stages = Stages()
    return [one for batch in batches() for one in stages.take(batch)]


def test_two_stages_say_what_one_engine_says():
    """The same findings, to the byte, whatever partitions the objects are in."""
    engine = Engine(make_parts(RULES.detectors, REFERENCE, priced=True, totals=False))
    stream = EventStream(engine, REFERENCE, arrivals=True)
    offline = [one for event in EVENTS for one in stream.take(event, f"0-{event.seq}")]
    assert sorted(map(repr, offline)) == sorted(map(repr, straight()))
    assert {"call_velocity", "irsf", "wangiri", "sms_flood", "sim_box", "sequence_gap"} <= {f.detector for f in offline}


@pytest.mark.parametrize("seed", range(4))
def test_what_was_kept_goes_on_as_if_nothing_had_been(seed):
    """Killed anywhere, begun again from the last states kept, reading again what came after: the same again."""
    chance, stages, said, kept_at = random.Random(seed), Stages(), {}, 0
    stages.keep()
    at = 0
    while at < len(batches()):
        said[at] = found = stages.take(batches()[at])
        assert said.setdefault(at, found) == found
        at += 1
        if chance.random() < 0.2:
            stages.keep()
            kept_at = at
        if chance.random() < 0.1:
            before = {n: said[n] for n in range(kept_at, at)}
            stages.revive()
            assert {n: stages.take(batches()[n]) for n in range(kept_at, at)} == before
    assert [one for n in sorted(said) for one in said[n]] == straight()


def test_a_state_is_read_as_it_was_written():
    """Of every detector: the same values, and the same types all the way down."""
    engine = Engine(make_parts(RULES.detectors, REFERENCE, priced=True, totals=False), kept=True)
    stream, parts = EventStream(engine, REFERENCE, arrivals=True), set()
    for event in EVENTS:
        stream.take(event, "0-1")
        for part, _, state in engine.changes():
            again = read_state(part, json.loads(json.dumps(state)))
            assert again == state
            assert types(again) == types(state)
            parts.add(part)
    assert parts > {LINES, "irsf/account", "irsf/range", "sequence_gap/source", "long_call/line", "call_velocity/line"}
    for part in make_parts(RULES.detectors, REFERENCE, priced=True, totals=False):
        with pytest.raises((TypeError, ValueError, IndexError)):
            read_state(part_name(part), [])


def types(value):
    return (type(value), tuple(map(types, value))) if isinstance(value, tuple) else type(value)


def test_rows_that_come_again_are_not_counted_again():
    """A worker that wakes, or begins again, hands on what was handed on before: known by its numbers."""
    stages, taken = Stages(), []
    for batch in batches():
        taken += stages.take(batch)
        rows = {}
        for event in batch[-20:]:
            again = LedgerStage(RULES, 0, SHARDS).take(event, quiet=False)
            for target, bits in again.targets.items():
                rows.setdefault(target, []).append((bits, again.text))
        for target, listed in rows.items():
            text = message_text("ledger-0", 0, listed)
            assert stages.shared[target].take(read_message(text.encode(), REFERENCE)) == []
    assert taken == straight()


def test_marks_are_taken_over():
    """Clock, times and numbers: after a restart as before, so rows from before are still known."""
    stages = Stages()
    for batch in batches():
        stages.take(batch)
    stages.keep()
    before = {name: json.loads(json.dumps(stage.marks())) for name, stage in stages.all.items()}
    assert before["shared-0"]["clock"] > EVENING
    stages.revive()
    assert {name: json.loads(json.dumps(stage.marks())) for name, stage in stages.all.items()} == before


def test_of_what_is_history_nothing_is_said():
    """It is remembered all the same: what was open is not opened again by what comes after it."""
    stages = Stages()
    said = [one for batch in batches() for one in stages.take(batch, quiet=True)]
    assert [one for one in said if one.state == "open" and one.detector != "silent_source"] == []
    assert any(LINE in key for _, part, key in self_states(stages) if part)


def self_states(stages):
    stages.keep()
    return stages.kept


def test_dead_letters_count_for_their_source():
    """As rejected, in its share and its numbers; and for nothing else: they may come again, accepted."""
    stage = SharedStage(RULES)
    said = []
    for n in range(200):
        record = EVENTS[n].usage
        usage = record._replace(sequence=n, source="MSC-9")
        text = dead_letter_text(n, type(call(0, "x", 0))(*usage[:22]), MONDAY + n * SECOND, quiet=False)
        said += stage.take(read_message(message_text("dead-letters-0", 0, [(16, text)]).encode(), REFERENCE))
    assert {one.detector for one in said} == {"rejected_share"}
    assert {part for part, _, _ in stage.changes()} == {"rejected_share/source", "sequence_gap/source"}


def test_a_message_of_another_kind_is_refused():
    """Whatever lies on the topic: it is passed over, not believed."""
    for data in (
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"from":"a","clock":1,"rows":[[1]]}',
        b'{"from":1,"clock":1,"rows":[[1,[2]]]}',
    ):
        with pytest.raises(ValueError, match=r"."):
            read_message(data, REFERENCE)


def test_a_detector_that_raises_keeps_the_others():
    """In a worker; offline it raises."""

    class Broken:
        name, view, kept_ms, quiet_ms = "broken", next(iter(SHARED_VIEWS)), DAY, DAY

        def key(self, use):
            return "all"

        def step(self, state, use):
            raise ArithmeticError

    parts = make_parts(RULES.detectors, REFERENCE, priced=True, totals=False)
    whole, broken = (Engine(made, kept=True) for made in (parts, (*parts, Broken())))
    streams = [EventStream(engine, REFERENCE, arrivals=True) for engine in (whole, broken)]
    said = [[one for event in EVENTS for one in stream.take(event, "0-1")] for stream in streams]
    assert said[0] == said[1]
    assert len(broken.faults) == len(EVENTS)
    assert broken.faults[0] == ("broken", "ArithmeticError")
    with pytest.raises(ArithmeticError):
        EventStream(Engine((*parts, Broken())), REFERENCE, arrivals=True).take(EVENTS[0], "0-1")
