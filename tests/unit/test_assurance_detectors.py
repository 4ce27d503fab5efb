"""Revenue assurance: what sources send is complete, in time, plausible, and priced; and money that goes too fast."""

import pytest
from detector_world import DAY, HOUR, MINUTE, MONDAY, REFERENCE, SECOND, alerts, call, message, record, said
from test_detectors import USAGE, line
from test_detectors import event as ledger_event

from pipeline.domain.detectors.alerts import Alerts
from pipeline.domain.detectors.control_total import ControlTotal, Declared, Totals
from pipeline.domain.detectors.engine import Engine, make_parts
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.stream import EventStream
from pipeline.domain.detectors.use import use_of
from pipeline.domain.outcome import CHARGED, REJECTED

GIB = 1024**3
YUAN = 1_000_000


def numbered(count, begin=MONDAY, every=10 * SECOND, first=1, source="msc"):
    """Records of one source, numbered one by one; each of another line."""
    return [
        call(
            begin + n * every,
            msisdn=f"+86139{n:08d}",
            sequence=first + n,
            source=source,
            record_id=f"{source}-{first + n}",
        )
        for n in range(count)
    ]


def arriving(records, detector):
    """Alerts of records in the order given."""
    found = Alerts()
    found.take(said(records))
    return [one for one in found.by_opening() if one.detector == detector]


# sequence


def test_a_run_of_numbers_that_never_comes_is_a_gap():
    """Said once it has been missing for half an hour, with the numbers and the records on both sides of it."""
    records = numbered(600)
    kept = records[:200] + records[220:]
    (alert,) = arriving(kept, "sequence_gap")
    assert (alert.object_, alert.detail["runs"]) == ("source-msc", [[201, 220]])
    assert alert.record_ids == ("msc-200", "msc-221")
    assert alert.opened_at - kept[200].start_time >= 26 * MINUTE


def test_a_file_that_comes_within_half_an_hour_is_no_gap():
    """Twenty records come ten minutes after those behind them."""
    records = numbered(600)
    assert arriving(records[:200] + records[220:280] + records[200:220] + records[280:], "sequence_gap") == []


def test_single_late_records_and_a_new_count_are_no_gap():
    """One in a hundred comes hours later; and the switch is restarted and counts from 1."""
    records = numbered(1_200)
    late = [one for n, one in enumerate(records) if n % 100 == 7]
    rest = [one for n, one in enumerate(records) if n % 100 != 7]
    again = [one._replace(record_id="again-" + one.record_id) for one in numbered(600, MONDAY + 4 * HOUR)]
    found = rest + late + again
    assert arriving(found, "sequence_gap") == []
    assert arriving(found, "sequence_repeat") == []


def test_numbers_that_come_twice_on_other_records_are_repeats():
    """The same numbers under other ids: records were made twice. A copy of a record is none."""
    records = numbered(400)
    twice = [one._replace(record_id="x" + one.record_id, start_time=one.start_time) for one in records[100:140:5]]
    (alert,) = arriving(records[:300] + twice + records[300:], "sequence_repeat")
    assert set(alert.record_ids) <= {one.record_id for one in twice}
    assert arriving(records[:300] + records[100:140] + records[300:], "sequence_repeat") == []


def test_what_a_source_says_it_may_have_sent_before_is_no_repeat():
    """`retransmission` is an honest word."""
    records = numbered(400)
    twice = [one._replace(record_id="x" + one.record_id, retransmission=True) for one in records[100:140]]
    assert arriving(records[:300] + twice + records[300:], "sequence_repeat") == []


# late, silent, season


def test_a_burst_of_late_records_is_late_share():
    """A third of an hour's records are from ten hours before; one in two hundred is what always comes."""
    base = numbered(6_000)
    old = [one._replace(record_id="o" + one.record_id, sequence=None) for one in base[:120]]
    records = base[:4_000] + [one for pair in zip(base[4_000:4_120], old, strict=True) for one in pair] + base[4_120:]
    (alert,) = arriving(records, "late_share")
    assert alert.object_ == "source-msc"
    assert set(alert.record_ids) <= {one.record_id for one in old}
    few = base[:4_000] + old[:2] + base[4_000:]
    assert arriving(few, "late_share") == []


def two_sources(silent_from, silent_to, days=3):
    records = []
    for n in range(days * 24 * 60):
        at = MONDAY + n * MINUTE
        records.append(call(at, msisdn=f"+86139{n:08d}", source="a"))
        if not silent_from <= at < silent_to:
            records.append(call(at, msisdn=f"+86138{n:08d}", source="b"))
    return records


def test_a_source_that_stops_is_silent_and_closes_when_it_is_back():
    """Said half an hour after its last record, while the others go on; closed by its next."""
    begin = MONDAY + 2 * DAY + 5 * HOUR
    (alert,) = arriving(two_sources(begin, begin + 3 * HOUR), "silent_source")
    assert (alert.object_, alert.state) == ("source-b", "close")
    assert 28 * MINUTE <= alert.opened_at - begin <= 32 * MINUTE


def test_a_source_that_sleeps_every_night_is_not_silent():
    """Pauses of these hours are known after the first day."""
    records = [one for one in two_sources(0, 0, days=4) if one.source == "a" or 1 <= one.start_time % DAY // HOUR < 15]
    assert arriving(records, "silent_source") == []


def hours_of(counts_by_day):
    """A source's records, so many in each hour of each day, by its season."""
    return [
        message(MONDAY + day * DAY + hour * HOUR + n * HOUR // count, msisdn=f"+86139{n:08d}", source="smsc")
        for day, factor in enumerate(counts_by_day)
        for hour in range(24)
        for count in [max(int((150 if 1 <= hour < 14 else 20) * factor(hour)), 1)]
        for n in range(count)
    ]


def usual(hour):
    return 1.0


def test_traffic_far_below_its_season_is_said():
    """For three hours of the eighth day a fifth of what is usual then; a weekend's three quarters are not."""
    weekend = [usual] * 5 + [lambda hour: 0.75] * 2
    drop = [lambda hour: 0.2 if 5 <= hour < 8 else 1.0, usual]
    (alert,) = arriving(hours_of(weekend + drop), "traffic_season")
    assert alert.object_ == "source-smsc"
    assert alert.detail["records_in_the_hour"] < alert.detail["usual"] // 3
    assert arriving(hours_of([*weekend, usual, usual]), "traffic_season") == []


# implausible


@pytest.mark.parametrize(
    ("why", "fields"),
    [
        ("duration_ms", {"duration_ms": 25 * HOUR}),
        ("duration_ms", {"answered": False, "duration_ms": HOUR}),
        ("octets", {"service": "DATA", "duration_ms": SECOND, "downlink_octets": 10**11}),
        ("message_count", {"service": "SMS", "message_count": 4_000}),
        ("start_time", {"start_time": MONDAY + 90 * DAY}),
        ("start_time", {"start_time": 0}),
    ],
)
def test_what_cannot_be_is_implausible(why, fields):
    """Each is evidence of one alert of its source and day; and a wild date moves no clock."""
    records = numbered(50)
    odd = (
        record(MONDAY + 500 * SECOND, record_id="odd", **{"source": "msc", **fields})
        if "start_time" not in fields
        else None
    )
    odd = odd or record(fields["start_time"], record_id="odd", source="msc")
    found = arriving([*records, odd, *numbered(50, MONDAY + HOUR, first=51)], "implausible")
    assert [(one.object_, one.detail["why"], one.record_ids) for one in found] == [("source-msc", why, ("odd",))]


# control totals


def test_control_totals_that_agree_say_nothing_and_any_difference_does():
    """Records, durations, octets and messages of whole hours, counted against what is declared."""
    engine = Engine(make_parts(DetectorParameters(), REFERENCE, priced=False, totals=True))
    records = numbered(360)
    for one in records:
        engine.observe(use_of(one, None, one.start_time, REFERENCE))
    right = Totals(360, 360 * MINUTE, 0, 0)
    assert engine.declare(Declared("msc", MONDAY, MONDAY + HOUR, right)) == []
    (alert,) = engine.declare(Declared("msc", MONDAY, MONDAY + HOUR, right._replace(records=361)))
    assert (alert.detector, alert.object_) == ("control_total", "source-msc")
    (missing,) = engine.declare(Declared("other", MONDAY, MONDAY + HOUR, right))
    assert missing.detail["came"]["records"] == 0


def test_control_totals_count_out_of_order():
    """An hour's sum is the same in any order."""
    part = ControlTotal()
    state = None
    for one in numbered(720)[::-1]:
        state, _ = part.step(state, use_of(one, None, one.start_time, REFERENCE))
    assert [hour[1].records for hour in state.hours] == [360, 360]


# money


def events(uses, **more):
    """Findings about events of a ledger: (start, amount in yuan, fields of the use, more of the event)."""
    engine = Engine(make_parts(DetectorParameters(), REFERENCE, priced=True, totals=False))
    stream = EventStream(engine, REFERENCE, arrivals=False)
    found = Alerts()
    for n, (start, yuan, fields, event_fields) in enumerate(uses):
        usage = USAGE._replace(record_id=f"r{n}", start_time=start, **fields)
        kind = event_fields.get("kind", CHARGED)
        one = ledger_event(CHARGED, 10**9, yuan * YUAN, usage=usage, seq=n + 1)._replace(**event_fields)
        assert one.kind == kind
        found.take(stream.take(one, f"0-{n + 1}"))
    return found.by_opening()


def test_a_day_far_above_the_accounts_own_days_is_spend_baseline():
    """Nine days of about three yuan, then sixty: said with the day's records and the median."""
    quiet = [(MONDAY + day * DAY + n * HOUR, 1, {}, {}) for day in range(9) for n in range(3)]
    dear = [(MONDAY + 9 * DAY + n * HOUR, 20, {}, {}) for n in range(3)]
    (alert,) = events(quiet + dear)
    assert (alert.detector, alert.object_) == ("spend_baseline", "account-acc-1")
    assert alert.detail["median_micros"] == 3 * YUAN
    assert alert.charge_ids


def test_a_new_account_and_a_spender_who_varies_are_not():
    """Without a week there is no baseline; and who spends 10 to 60 by turns may spend 70."""
    assert events([(MONDAY + n * HOUR, 30, {}, {}) for n in range(5)]) == []
    assert (
        events(
            [(MONDAY + day * DAY, (10, 35, 60)[day % 3], {}, {}) for day in range(12)]
            + [(MONDAY + 12 * DAY, 70, {}, {})]
        )
        == []
    )


def test_the_cap_abroad_speaks_at_80_and_at_100_per_cent():
    """Of the month's spend in networks that are not home; the windows are told apart."""
    away = {"visited_plmn": "20801"}
    found = events([(MONDAY + n * HOUR, 100, away, {}) for n in range(4)])
    caps = [one for one in found if one.detector == "roaming_cap"]
    assert [one.window for one in caps] == ["2026-11/80%@300000000"] or [one.detail["percent"] for one in caps] == [100]
    small = [
        one for one in events([(MONDAY + n * HOUR, 50, away, {}) for n in range(8)]) if one.detector == "roaming_cap"
    ]
    assert [one.detail["percent"] for one in small] == [80, 100]
    home = events([(MONDAY + n * HOUR, 100, {"visited_plmn": "46000"}, {}) for n in range(4)])
    assert [one for one in home if one.detector == "roaming_cap"] == []


def test_a_tunnel_through_a_free_rule_is_zero_rated_leak():
    """Gigabytes that a free rule let through in a day; what an allowance covers is something else."""
    use = {"service": "DATA", "duration_ms": HOUR, "downlink_octets": GIB, "rating_group": 900}
    free = {"lines": (line(None, GIB),)}
    (alert,) = events([(MONDAY + n * HOUR, 0, use, free) for n in range(6)])
    assert (alert.detector, alert.detail["group"]) == ("zero_rated_leak", 900)
    covered = {"lines": (line("data", GIB),)}
    assert events([(MONDAY + n * HOUR, 0, use, covered) for n in range(6)]) == []


def test_a_share_of_rejected_records_is_said():
    """A tariff is missing: one in five of a source's records is rejected in an hour; one in a hundred is life."""

    def hour_of(every):
        return [
            (MONDAY + n * 10 * SECOND, 0, {"account": f"a{n}", "msisdn": f"+86139{n:08d}"},
             {"kind": REJECTED, "amount_micros": 0} if n % every == 0 else {})
            for n in range(300)
        ]  # fmt: skip

    (alert,) = [one for one in events(hour_of(5)) if one.detector == "rejected_share"]
    assert alert.object_ == "source-msc"
    assert [one for one in events(hour_of(100)) if one.detector == "rejected_share"] == []


def test_a_fraud_without_an_account_is_seen_in_a_ledger_too():
    """What was rejected happened all the same."""
    assert alerts([call(MONDAY + n * SECOND, f"+8613700{n:06d}", 2) for n in range(20)], "call_velocity")
