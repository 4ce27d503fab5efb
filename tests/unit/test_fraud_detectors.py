"""Fraud: each detector says what it is for, and is silent about what only looks like it."""

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
    message,
    mobile,
    ordinary_days,
    record,
    said,
)

from pipeline.adapters.detector_reference import place
from pipeline.domain.detectors.ranges import block_of, common_prefix, country, range_of

EVENING = MONDAY + 2 * DAY + 12 * HOUR
OBJECT = f"msisdn-{LINE}"


def burst(count, every_ms, begin=EVENING, seconds=3, **fields):
    return [call(begin + n * every_ms, mobile(n + 50), seconds, **fields) for n in range(count)]


def office(days, calls_a_day, seconds, incoming_every, channels=1, **fields):
    """A call centre's or a switchboard's number: all day long in working hours, to ever new numbers."""
    made = []
    for day in range(days):
        step = 9 * HOUR // calls_a_day
        for n in range(calls_a_day):
            incoming = incoming_every and n % incoming_every == 0
            at = MONDAY + day * DAY + HOUR + n * step
            answered = n % 5 < 3
            length = seconds * channels if answered else 22
            direction = "MT" if incoming else "MO"
            other = mobile(day * 10_000 + n)
            made.append(call(at, other, length, direction=direction, answered=answered, **fields))
    return made


def test_a_quiet_life_says_nothing():
    """Five ordinary days of a line raise no alert of any kind."""
    assert alerts(ordinary_days(5)) == []


# call velocity


def test_a_robot_on_a_known_line_is_call_velocity():
    """Ten calls in half a minute from a line that never did that: open, with the calls as evidence."""
    records = ordinary_days(2) + burst(10, 3 * SECOND)
    (alert,) = alerts(records, "call_velocity")
    assert (alert.object_, alert.state) == (OBJECT, "open")
    assert alert.opened_at == EVENING + 7 * 3 * SECOND  # the eighth
    assert {one.record_id for one in records[-10:-2]} <= set(alert.record_ids)


def test_a_slower_robot_is_seen_by_its_ten_minutes():
    """Thirty calls in ten minutes are too many, though no minute has more than four."""
    (alert,) = alerts(ordinary_days(2) + burst(30, 19 * SECOND), "call_velocity")
    assert alert.detail["calls_in_60_s"] < 8


def test_dialling_an_engaged_number_again_is_no_velocity():
    """Tickets are sold by telephone: forty attempts at one number in ten minutes, none answered."""
    tries = [call(EVENING + n * 12 * SECOND, "+8610555501", 5, answered=False) for n in range(40)]
    assert alerts(ordinary_days(2) + tries, "call_velocity") == []


@pytest.mark.parametrize("calls_a_day", [180, 400])
def test_a_call_centre_is_no_velocity_and_no_sim_box(calls_a_day):
    """Day after day it calls hundreds of new numbers, from one place, and is called back by some: it is its life."""
    assert alerts(office(4, calls_a_day, 60, incoming_every=10, cell="c1", imei="35-1")) == []


def test_a_call_centre_that_grows_tenfold_in_a_minute_is_velocity():
    """Its own usual is the measure, not its kind: what is far above it is said."""
    records = office(4, 200, 60, incoming_every=10) + burst(60, SECOND, MONDAY + 3 * DAY + 5 * HOUR)
    assert len(alerts(records, "call_velocity")) == 1


def test_a_dialler_that_dials_thirty_in_ten_minutes_every_day_is_not():
    """It has always done so; the same from a line that never did is velocity."""

    def dialling(day):
        return [call(MONDAY + day * DAY + 3 * HOUR + n * 19 * SECOND, mobile(n), 15) for n in range(30)]

    assert alerts([one for day in range(4) for one in dialling(day)], "call_velocity") == []
    assert len(alerts(ordinary_days(2) + dialling(3), "call_velocity")) == 1


# concurrent calls


def test_a_third_call_at_once_is_concurrent_calls():
    """One active, one on hold, and a third: some other device has the SIM."""
    calls = [call(EVENING + n * MINUTE, mobile(n), 1_800) for n in range(3)]
    (alert,) = alerts(ordinary_days(2) + calls, "concurrent_calls")
    assert alert.detail["calls_at_once"] == 3
    assert set(alert.record_ids) == {one.record_id for one in calls}


def test_call_waiting_and_the_slack_of_clocks_are_not():
    """Two calls at once are a handset's; calls that meet within seconds follow one another."""
    waiting = [call(EVENING + n * MINUTE, mobile(n), 1_800) for n in range(2)]
    chain = [call(EVENING + 2 * HOUR + n * 58 * SECOND, mobile(n), 60) for n in range(8)]
    chain += [call(EVENING + 3 * HOUR + at * SECOND, mobile(at), 60) for at in (0, 56, 57)]
    assert alerts(ordinary_days(2) + waiting + chain, "concurrent_calls") == []


def test_a_switchboard_is_not():
    """Its number holds several calls at once every day, from the first day on."""
    assert alerts(office(4, 260, 55, incoming_every=2, channels=7), "concurrent_calls") == []


def test_calls_that_arrive_out_of_order_overlap_all_the_same():
    """A record comes when its call ends: the longest comes last. The figures are the same in any order."""
    calls = [call(EVENING + n * MINUTE, mobile(n), 1_800 - n * 300) for n in range(3)]
    for order in (calls, calls[::-1], [calls[1], calls[2], calls[0]]):
        found = [one for one in said(ordinary_days(2) + order) if one.detector == "concurrent_calls"]
        assert [one.detail["calls_at_once"] for one in found] == [3]


# long call


def test_a_call_of_five_hours_is_long():
    """Also where it comes as partial records of one session, none of which is long by itself."""
    whole = alerts([*ordinary_days(2), call(EVENING, seconds=5 * 3600)], "long_call")
    parts = [call(EVENING + n * 30 * MINUTE, seconds=1_800, session_id="s", partial_number=n + 1) for n in range(10)]
    in_parts = alerts(ordinary_days(2) + parts, "long_call")
    assert [one.object_ for one in whole + in_parts] == [OBJECT, OBJECT]
    assert len(in_parts[0].record_ids) >= 6


def test_lovers_and_leased_lines_are_not():
    """Two hours and a half of talk; and a line whose calls are six hours long every day, after its first."""
    assert alerts([*ordinary_days(2), call(EVENING, seconds=150 * 60)], "long_call") == []
    leased = [call(MONDAY + day * DAY + 2 * HOUR, seconds=6 * 3_600) for day in range(6)]
    assert len(alerts(leased, "long_call")) <= 1


# irsf


@pytest.mark.parametrize("prefix", ["+25263", "+88213", "+37126", "+4479"])
def test_a_burst_from_one_line_to_one_range_abroad_is_irsf(prefix):
    """Twenty calls of two minutes in an hour, to ever other numbers of a range; known as abused or not."""
    calls = [call(EVENING + n * 3 * MINUTE, f"{prefix}{n * 37 % 1000:06d}", 120) for n in range(20)]
    (alert,) = alerts(ordinary_days(2) + calls, "irsf")
    assert alert.object_ == OBJECT
    assert alert.severity == "critical"
    assert alert.detail["range"].startswith(prefix)
    assert set(alert.record_ids) <= {one.record_id for one in calls}


@pytest.mark.parametrize(("prefix", "lines"), [("+25263940", 10), ("+3712681", 16)])
def test_a_burst_from_many_lines_to_one_range_is_irsf(prefix, lines):
    """None of them calls more than twice; together they do what nobody did before. The range is the object."""
    calls = [
        call(EVENING + n * 2 * MINUTE, f"{prefix}{n * 313 % 10_000:04d}", 200, msisdn=mobile(n)) for n in range(lines)
    ]
    (alert,) = alerts(ordinary_days(2) + calls, "irsf")
    assert alert.object_.startswith(f"range-{prefix}")
    assert len(alert.record_ids) >= 6


def test_a_family_abroad_and_a_trader_are_not():
    """A daughter abroad is called every day; a trader calls his eight partners all day, every day."""
    daughter = [call(MONDAY + n * 6 * HOUR, "+61412345678", 1_500) for n in range(20)]
    trader = [
        call(MONDAY + day * DAY + hour * HOUR + n * 4 * MINUTE, f"+91980000{n % 8:04d}", 200, msisdn="+8613911111111")
        for day in range(4)
        for hour in range(2, 10)
        for n in range(5 if day == 0 else 14)
    ]
    assert alerts(daughter + trader, "irsf") == []


def test_an_airlines_hotline_is_not():
    """Snow: travellers call one number abroad all day, more than on other days, a few an hour."""
    calls = [call(EVENING + n * 5 * MINUTE, "+442087541234", 300, msisdn=mobile(n)) for n in range(60)]
    assert alerts(ordinary_days(2) + calls, "irsf") == []


def test_new_year_calls_to_one_country_are_not():
    """At midnight very many call relatives in a neighbouring country: one range, but no block of it."""
    calls = [
        call(EVENING + n * 20 * SECOND, f"+8529{n * 6_151_777 % 10_000_000:07d}", 120, msisdn=mobile(n))
        for n in range(25)
    ]
    assert alerts(ordinary_days(3) + calls, "irsf") == []


# wangiri


@pytest.mark.parametrize("ring_ms", [0, 1_500])
@pytest.mark.parametrize("callers", [1, 4])
def test_short_rings_of_few_numbers_to_many_are_wangiri(callers, ring_ms):
    """Forty of our lines ring once within an hour; the source may not say for how long."""
    calls = [
        record(
            EVENING + n * 80 * SECOND,
            msisdn=mobile(n),
            direction="MT",
            other_party=f"+2246012340{n % callers}",
            duration_ms=ring_ms,
            answered=False,
        )
        for n in range(40)
    ]
    (alert,) = alerts(ordinary_days(2) + calls, "wangiri")
    assert alert.object_ == ("msisdn-+22460123400" if callers == 1 else "range-+2246012340")
    assert set(alert.record_ids) <= {one.record_id for one in calls}
    assert alert.opened_at == calls[19].start_time


def test_wangiri_from_one_of_our_own_lines_is_seen_too():
    """The caller is the served party then: calls of seconds to ever other numbers, never picked up."""
    calls = [call(EVENING + n * 80 * SECOND, mobile(n), 2, answered=False) for n in range(30)]
    (alert,) = alerts(ordinary_days(2) + calls, "wangiri")
    assert (alert.object_, alert.account) == (OBJECT, OBJECT)


def test_call_backs_make_it_critical():
    """Some victims call back: then it costs money, and the next word says so."""
    calls = [
        record(
            EVENING + n * 40 * SECOND,
            msisdn=mobile(n),
            direction="MT",
            other_party="+22460123400",
            duration_ms=0,
            answered=False,
        )
        for n in range(60)
    ]
    back = call(EVENING + 25 * MINUTE, "+22460123400", 60, msisdn=mobile(3))
    (alert,) = alerts(ordinary_days(2) + calls + [back], "wangiri")
    assert alert.severity == "critical"


def test_a_dialler_with_many_unanswered_calls_is_not():
    """It rings for long, reaches half, and talks to them: short rings are what makes a wangiri."""
    assert alerts(office(3, 700, 60, incoming_every=12), "wangiri") == []


def test_a_warning_to_everybody_is_not():
    """A school calls two hundred parents; half of them listen to the message, the others are busy."""
    calls = [call(EVENING + n * 15 * SECOND, mobile(n), 18 if n % 2 else 0, answered=n % 2 == 1) for n in range(200)]
    assert alerts(ordinary_days(2) + calls, "wangiri") == []


# SIM box


def box(lines, calls_a_line, hours=12, imei="35-9", **fields):
    return [
        call(EVENING + n * hours * HOUR // calls_a_line + line, mobile(line * 999 + n), 60, imei=imei, cell="c9", **who)
        for line in range(lines)
        for n in range(calls_a_line)
        for who in [{"msisdn": f"+86157000000{line:02d}", **fields}]
    ]


def test_several_sims_of_one_device_that_only_call_out_are_a_sim_box():
    """Four SIMs, each with few calls: together they are a gateway. The device is the object, the lines are named."""
    (alert,) = alerts(ordinary_days(2) + box(4, 15), "sim_box")
    assert (alert.object_, alert.severity) == ("imei-35-9", "critical")
    assert len(alert.detail["lines"]) == 4


def test_a_sim_that_calls_out_day_and_night_is_a_sim_box():
    """Alone on its device it is told by never resting and never being called."""
    night = MONDAY + 2 * DAY
    calls = [call(night + n * 13 * MINUTE, mobile(n), 60, cell="c9", imei="35-8") for n in range(108)]
    (alert,) = alerts(calls, "sim_box")
    assert alert.object_ == OBJECT


def test_a_call_centre_that_nobody_calls_back_is_not():
    """It only calls out, from one place, hundreds of numbers a day; but it goes home in the evening."""
    assert alerts(office(4, 200, 60, incoming_every=0, cell="c1", imei="35-1"), "sim_box") == []


def test_a_repair_shop_and_a_shared_fake_imei_are_not():
    """A shop tries many SIMs in one phone; cheap phones share an IMEI, and their owners are called as well."""
    shop = box(8, 2, imei="35-7")
    clones = [
        call(EVENING + n * MINUTE, mobile(n), 60, imei="00-0", msisdn=mobile(n % 40), direction="MT" if n % 3 else "MO")
        for n in range(300)
    ]
    assert alerts(ordinary_days(2) + shop + clones, "sim_box") == []


def test_a_courier_is_not():
    """A hundred calls to strangers from morning to night, but he moves, is called back, and reads his mails."""
    calls = [
        call(
            EVENING - 8 * HOUR + n * 8 * MINUTE, mobile(n), 20, cell=f"c{n % 9}", direction="MT" if n % 6 == 0 else "MO"
        )
        for n in range(100)
    ]
    assert alerts(ordinary_days(2) + calls, "sim_box") == []


# messages


def test_a_flood_of_messages_is_sms_flood():
    """Two hundred in half an hour, to anybody."""
    sent = [message(EVENING + n * 9 * SECOND, mobile(n)) for n in range(200)]
    (alert,) = alerts(ordinary_days(2) + sent, "sms_flood")
    assert (alert.object_, alert.detail["direction"]) == (OBJECT, "MO")


def test_numbers_tried_one_after_the_other_are_sms_flood_sooner():
    """Pumping: few messages, but through one block of numbers."""
    sent = [message(EVENING + n * 90 * SECOND, f"+37126{100_000 + n}") for n in range(25)]
    (alert,) = alerts(ordinary_days(2) + sent, "sms_flood")
    assert alert.detail["numbers_of_one_block"] == 20


def test_a_line_that_is_flooded_is_sms_flood_too():
    """What it is sent counts by itself."""
    sent = [message(EVENING + n * 9 * SECOND, "10690", direction="MT") for n in range(200)]
    (alert,) = alerts(ordinary_days(2) + sent, "sms_flood")
    assert (alert.object_, alert.detail["direction"]) == (OBJECT, "MT")


def test_new_years_messages_are_not():
    """Fifty friends within half an hour, some of them twice."""
    sent = [message(EVENING + n * 26 * SECOND, mobile(n % 50)) for n in range(70)]
    assert alerts(ordinary_days(2) + sent, "sms_flood") == []


def test_a_banks_messages_are_not():
    """It sends two hundred an hour by day, and did so on all days before."""
    sent = [
        message(MONDAY + day * DAY + hour * HOUR + n * 17 * SECOND, mobile(day * 5_000 + hour * 210 + n))
        for day in range(3)
        for hour in range(1, 12)
        for n in range(200)
    ]
    assert alerts(sent, "sms_flood") == []


# travel

BEIJING, SHANGHAI, PARIS = place(39.9, 116.4), place(31.2, 121.5), place(48.9, 2.4)
PLACES = REFERENCE._replace(positions={"bj": BEIJING, "bj2": place(39.9, 117.3), "sh": SHANGHAI, "paris": PARIS})


def test_two_cities_within_minutes_are_impossible_travel():
    """A thousand kilometres in a quarter of an hour: two devices have the SIM. Both records are the evidence."""
    calls = [call(EVENING, cell="bj"), call(EVENING + 15 * MINUTE, cell="sh")]
    (alert,) = alerts(calls, "impossible_travel", reference=PLACES)
    assert alert.record_ids == tuple(one.record_id for one in calls)
    assert 1_000_000 < alert.detail["distance_m"] < 1_150_000


def test_a_flight_and_the_next_mast_are_not():
    """Three hours later in another city; and a neighbouring cell within a second."""
    calls = [
        call(EVENING, cell="bj"),
        call(EVENING + 30 * SECOND, cell="bj2"),
        call(EVENING + 3 * HOUR, cell="sh"),
        call(EVENING + 16 * HOUR, cell="paris", visited_plmn="20801"),
    ]
    assert alerts(calls, "impossible_travel", reference=PLACES) == []


def test_a_late_record_is_held_against_both_of_its_neighbours_in_time():
    """It lies between two calls at home, and comes after both."""
    home = [call(EVENING, cell="bj"), call(EVENING + 40 * MINUTE, cell="bj")]
    away = call(EVENING + 20 * MINUTE, cell="sh")
    found = said([*home, away], reference=PLACES)
    assert [one.detector for one in found] == ["impossible_travel"]


def test_without_places_two_parts_of_the_world_tell():
    """China and France within an hour, or calls that overlap in two countries; a holiday with its flight does not."""
    sim = {"imsi": "460010000000001"}
    clone = [call(EVENING, **sim), call(EVENING + 20 * MINUTE, visited_plmn="20801", **sim)]
    overlap = [
        call(EVENING, seconds=600, visited_plmn="26201", **sim),
        call(EVENING + MINUTE, seconds=600, visited_plmn="20801", **sim),
    ]
    holiday = [call(EVENING, **sim), call(EVENING + 12 * HOUR, visited_plmn="20801", **sim)]
    border = [call(EVENING, visited_plmn="26201", **sim), call(EVENING + 5 * MINUTE, visited_plmn="20801", **sim)]
    assert [len(alerts(one, "impossible_travel")) for one in (clone, overlap, holiday, border)] == [1, 1, 0, 0]


# new device


def test_a_moved_number_that_calls_dear_ranges_is_new_device():
    """Another SIM and another phone, and within hours two calls to a satellite network."""
    own = {"imei": "35-1", "imsi": "460010000000001"}
    stolen = {"imei": "86-6", "imsi": "460010000000999"}
    calls = [call(EVENING + n * HOUR, f"+88213000000{n}", 200, **stolen) for n in range(3)]
    (alert,) = alerts(ordinary_days(2, **own) + calls, "new_device")
    assert alert.record_ids[:2] == tuple(one.record_id for one in calls[:2])
    assert alert.detail["changed_at"] == EVENING


def test_a_new_phone_a_ported_number_and_a_traveller_are_not():
    """A new phone's owner calls home and a friend abroad whom he always called; a ported number changes its SIM alone."""
    own = {"imei": "35-1", "imsi": "460010000000001"}
    friend = [call(MONDAY + n * 6 * HOUR, "+61412345678", 300, **own) for n in range(8)]
    phone = ordinary_days(2, EVENING, imei="86-6", imsi=own["imsi"])
    same = [call(EVENING + n * HOUR, "+61412345678", 900, imei="86-6", imsi=own["imsi"]) for n in range(6)]
    ported = ordinary_days(2, EVENING + 2 * DAY, imei="86-6", imsi="460990000000001")
    abroad = [
        call(EVENING + 3 * DAY + n * HOUR, f"+3361234567{n}", 60, imei="86-6", imsi="460990000000001") for n in range(4)
    ]
    assert alerts(ordinary_days(2, **own) + friend + phone + same + ported + abroad, "new_device") == []


# numbers


@pytest.mark.parametrize(
    ("number", "code", "range_"),
    [
        ("+8613812345678", "+86", "+8613"),
        ("+12025550143", "+1", "+1202"),
        ("+79161234567", "+7", "+7916"),
        ("+252634567890", "+252", "+25263"),
        ("+88213123456", "+882", "+88213"),
    ],
)
def test_countries_and_ranges_follow_e164(number, code, range_):
    """One digit for +1 and +7, two for the list of them, three for all others."""
    assert (country(number), range_of(number)) == (code, range_)


def test_blocks_and_prefixes_of_numbers():
    """A block is ten thousand numbers; numbers share what they begin with; a short code has no country."""
    assert block_of("+25263940123") == "+2526394"
    assert common_prefix(("+25263940123", "+25263948888")) == "+2526394"
    assert common_prefix(("+25263940123",)) == "+25263940123"
    assert country("10086") == ""
