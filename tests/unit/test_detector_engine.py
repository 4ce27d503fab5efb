"""The engine and its rules of time: the same again is the same, states are small, pure, JSON, and go when they are old."""

import json
import random

import pytest
from detector_world import (
    DAY,
    HOUR,
    LINE,
    MINUTE,
    MONDAY,
    REFERENCE,
    SECOND,
    alerts,
    call,
    make_engine,
    message,
    mobile,
    ordinary_days,
    record,
    said,
)

from pipeline.domain.detectors.alerts import Alerts
from pipeline.domain.detectors.engine import make_parts
from pipeline.domain.detectors.event_time import Clock, Entry, busiest, learned, logged, usual_peak, window_name
from pipeline.domain.detectors.parameters import DetectorParameters, with_values
from pipeline.domain.detectors.stream import Copies, RecordStream
from pipeline.domain.detectors.use import use_of

EVENING = MONDAY + 2 * DAY + 12 * HOUR


def an_attack():
    return [call(EVENING + n * 2 * SECOND, mobile(n), 2) for n in range(40)]


def test_the_same_records_say_the_same():
    """Ids, windows, figures and order are made of the records alone."""
    records = ordinary_days(2) + an_attack()
    assert said(records) == said(records)
    assert said(records)


def test_copies_change_nothing():
    """A record that comes again, at once or a day later, is not counted again."""
    records = ordinary_days(2) + an_attack()
    doubled = [one for record_ in records for one in (record_, record_)] + ordinary_days(1, EVENING + HOUR)
    plain = records + doubled[len(records) * 2 :]
    assert said(doubled + records[-30:]) == said(plain)


def test_an_alert_opens_is_updated_when_it_doubles_and_closes_when_it_is_quiet():
    """One alert for the whole attack: the states follow, the id stays, the closing is said by time."""
    records = ordinary_days(2) + an_attack() + ordinary_days(1, EVENING + 6 * HOUR)
    mine = [one for one in said(records) if one.detector == "call_velocity"]
    assert [one.state for one in mine] == ["open", "update", "close"]
    assert len({one.alert_id for one in mine}) == 1
    assert {one.opened_at for one in mine} == {EVENING + 7 * 2 * SECOND}
    (last,) = alerts(records, "call_velocity")
    assert (last.state, last.severity) == ("close", "critical")
    assert last.detail["closed_at"] > last.detail["last_at"]


def test_steps_are_pure_and_states_are_json():
    """A step changes no state it was given; every state goes through JSON and back and goes on as before."""
    parts = make_parts(DetectorParameters(), REFERENCE, priced=True, totals=True)
    records = sorted(ordinary_days(1) + an_attack(), key=lambda one: one.start_time)
    for part in parts:
        states, revived = {}, {}
        for one in records:
            use = use_of(one, None, one.start_time, REFERENCE)
            key = part.key(use)
            if key is None:
                continue
            before = states.get(key)
            kept = repr(before)
            states[key], found = part.step(before, use)
            assert repr(before) == kept
            assert part.step(before, use) == (states[key], found)
            again = revived.get(key)
            state, found_again = part.step(None if again is None else _revive(again, type(again)), use)
            revived[key] = state
            assert found_again == found
            assert json.loads(json.dumps(state)) == json.loads(json.dumps(states[key]))


def _revive(state, kind):
    """The state after a trip through JSON, as tuples again."""

    def frozen(value):
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    rebuilt = []
    for value, original in zip(json.loads(json.dumps(state)), state, strict=True):
        rebuilt.append(_like(frozen(value), original))
    return kind(*rebuilt)


def _like(value, original):
    if isinstance(original, tuple) and original:
        items = [_like(v, o) for v, o in zip(value, original, strict=True)]
        return type(original)(*items) if hasattr(original, "_fields") else tuple(items)
    return value


def test_states_stay_small_whatever_comes():
    """A line that calls and writes without end, to ever new numbers from ever new phones: some kilobytes each."""
    engine = make_engine()
    stream = RecordStream(engine, REFERENCE)
    for n in range(4_000):
        at = MONDAY + n * 7 * SECOND
        stream.take(
            call(at, f"+2526{n:08d}", 300, imei=f"i{n}", imsi=f"46000{n:010d}", cell=f"c{n}", session_id=f"s{n}")
        )
        stream.take(message(at, mobile(n)))
        stream.take(call(at, mobile(n), 0, direction="MT", answered=False))
    sizes = [len(json.dumps(state)) for _, key, state in engine.states() if LINE in key]
    assert sizes
    assert max(sizes) < 16_000


def test_states_go_when_they_are_old():
    """Ninety days later nothing is left of a line that was never heard again."""
    engine = make_engine()
    stream = RecordStream(engine, REFERENCE)
    for one in ordinary_days(2, imei="35-1") + an_attack():
        stream.take(one)
    for n in range(400):
        stream.take(call(MONDAY + 90 * DAY + n * HOUR, mobile(n), msisdn="+8613900000009"))
    assert not [key for _, key, _ in engine.states() if LINE in key]


def test_the_order_of_arrival_does_not_change_what_is_found():
    """Shuffled within half an hour, an attack gives the same alerts with the same windows."""
    records = ordinary_days(2) + an_attack()
    straight = {(one.detector, one.object_) for one in alerts(records)}
    for seed in range(5):
        chance = random.Random(seed)
        mixed = [one for _, one in sorted((one.start_time + chance.randrange(30 * MINUTE), one) for one in records)]
        found = Alerts()
        found.take(said(mixed))
        assert {(one.detector, one.object_) for one in found.by_opening()} == straight


def test_no_single_record_moves_the_clock():
    """The clock is the median of the last five starts, and never goes back."""
    clock = Clock()
    for n in range(10):
        clock.see(MONDAY + n * SECOND)
    before = clock.now
    assert before <= clock.see(MONDAY + 900 * DAY) <= MONDAY + 9 * SECOND
    before = clock.now
    assert clock.see(0) == before
    assert clock.see(MONDAY + 20 * SECOND) <= MONDAY + 20 * SECOND


def test_a_window_keeps_what_lies_within_it_in_its_place():
    """What is out of order is put in order, what is too old is left out, and there are never too many."""
    log = ()
    for start in (100, 300, 200, 50):
        log = logged(log, Entry(start, start, "", str(start)), 200, 10)
    assert [one.start for one in log] == [200, 300]
    for n in range(400, 420):
        log = logged(log, Entry(n, n, "", ""), 10_000, 5)
    assert [one.start for one in log] == [415, 416, 417, 418, 419]


@pytest.mark.parametrize(("start", "most"), [(0, 1), (1_000, 3), (1_050, 3), (1_099, 3), (5_000, 1)])
def test_the_busiest_stretch_holds_the_record(start, most):
    """However the stretch is laid, the record is in it."""
    log = tuple(Entry(at, at, "", "") for at in (0, 1_000, 1_050, 1_099, 5_000))
    assert busiest(log, start, 100) == most


def test_one_bad_stretch_is_not_usual():
    """The second highest of the earlier panes is; the pane that is going on does not count."""
    usual = None
    for pane, peak in enumerate((3, 4, 90, 5, 70)):
        usual = learned(usual, pane * 6 * HOUR, peak)
    assert usual_peak(usual) == 5


def test_windows_have_names_that_people_read():
    """The stretch that holds the moment, in UTC."""
    assert window_name(MONDAY + 8 * HOUR + 25 * MINUTE, HOUR) == "2026-11-02T08:00Z/60min"
    assert window_name(MONDAY + 8 * HOUR + 25 * MINUTE, 10 * MINUTE) == "2026-11-02T08:20Z/10min"


def test_ids_are_remembered_for_a_day_at_least():
    """A copy within a day of the clock is known as one; two days later nobody knows."""
    copies = Copies()
    assert not copies.is_copy("a", MONDAY)
    assert copies.is_copy("a", MONDAY + 23 * HOUR)
    assert copies.is_copy("a", MONDAY + 47 * HOUR)
    assert not copies.is_copy("a", MONDAY + 80 * HOUR)


def test_parameters_are_checked():
    """A group, a name or a value that does not exist is refused by its name; the others stay."""
    assert with_values({"irsf": {"calls": 5}}).irsf.calls == 5
    for wrong in ({"nothing": {}}, {"irsf": {"nothing": 1}}, {"irsf": {"calls": -1}}, {"irsf": {"calls": True}}):
        with pytest.raises(ValueError, match=r"nothing|calls"):
            with_values(wrong)


def test_a_record_without_a_number_is_its_imsi():
    """The object is the msisdn where there is one, else the imsi."""
    use = use_of(record(MONDAY, msisdn=None, imsi="460010000000001"), None, MONDAY, REFERENCE)
    assert (use.line, use.account) == ("imsi-460010000000001",) * 2
