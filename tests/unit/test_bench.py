"""The benchmark's arithmetic: pacing, percentiles, goals, what comes of several runs, and its traffic."""

import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from deploy.bench import check, traffic
from deploy.bench.chart import Bar, chart, svg
from deploy.bench.goals import goals, slowed_by, stopped_by
from deploy.bench.pacing import due_at, due_count, latency, median, percentile
from deploy.bench.peer import PEER
from deploy.bench.planted import plant
from deploy.bench.results import RATIOS, middle, spread
from deploy.bench.soak import growth
from deploy.cli.rating import compiled, offline_ledger
from pipeline.adapters.avro import ACCOUNT_COMMAND, USAGE_RECORD
from pipeline.adapters.catalogue import FOR_ALL_TIME, load_directory
from pipeline.domain.usage import UsageRecord

NOW_MS = 1_795_000_000_000


def figures(whole=0.60, charge=0.70, rate=25_000, p50=8.0, p99=40.0, account=400.0):
    """A run's figures as far as goals and charts read them."""
    cpu = {"mediate": 10.0, "charge": 40.0, "kafka": 20.0, "redis": 10.0}
    load = {
        "records_per_s": 1_000,
        "latency_ms": {"p50": p50, "p95": p50, "p99": p99, "max": p99},
        "batch_ms": {"mediate": 2.0, "charge": 12.5},
        "cpu_busy": 0.5,
        "cpu_others": 0.0,
        "publisher_late_ms": 0.2,
    }
    stage = {"records_per_s": rate, "cpu_us_per_record": cpu, "cpu_others": 0.0}
    return {
        "records_per_s": rate,
        "ratio_to_floor": whole,
        "charge_ratio_to_floor": charge,
        "floor_records_per_s": 40_000,
        "floor": {"cpu_us_per_record": [20, 22], "records_per_s": [40_000, 40_000]},
        "stages": {"whole": stage, "charge": stage, "mediate": stage},
        "plan": {"workers": 1},
        "machine": {"cores": 2},
        "loads": {"steady": load, "50%": load},
        "view_bytes": {"account": {"keys": 100, "bytes": account}, "kept": {"keys": 100, "bytes": 150.0}},
    }


# --- pacing ---


def test_a_record_is_due_whatever_became_of_those_before():
    """Record n is due n / rate after the beginning; the first at once, and never more than there are."""
    assert [due_count(s, 100, 5) for s in (-0.1, 0.0, 0.0099, 0.0101, 0.03, 1.0)] == [0, 1, 1, 2, 4, 5]
    for number in range(1_000):
        assert due_count(due_at(number, 250) + 1e-9, 250, 10_000) == number + 1


def test_percentiles_are_values_that_were_measured():
    """Nearest rank: at least this share of the values is no greater, and nothing between two values is made up."""
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.01, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 100.0], 0.5) == 1.0


def test_latency_does_not_depend_on_the_order():
    """Percentiles in ms of waiting times in s, however they came in."""
    assert latency([0.004, 0.001, 0.003, 0.002]) == (2.0, 4.0, 4.0, 4.0)


def test_median_and_spread():
    """The middle of several runs, and how far they lie apart as a share of it."""
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert spread([90, 100, 110]) == 0.2


def test_the_middle_of_runs_is_that_of_every_number():
    """Each number is the median of its own; what is no number is the first run's; a lacking value is left out."""
    runs = [{"a": 1, "b": {"c": [1.0, 5.0], "d": "x"}}, {"a": 9, "b": {"c": [3.0, 4.0], "d": "x"}}, {"a": 5, "b": {"c": [2.0, 6.0]}}]  # fmt: skip
    assert middle(runs) == {"a": 5, "b": {"c": [2.0, 5.0], "d": "x"}}


# --- goals ---


def test_goals_are_met_by_good_figures():
    """Figures at the goals meet them all."""
    found = goals(figures(whole=0.55, charge=0.60, rate=20_000, p50=10.0, p99=50.0, account=450.0))
    assert {goal.name: goal.met for goal in found} == {goal.name: True for goal in found}
    assert not any(goal.why for goal in found)


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("charge alone, of the floor", {"charge": 0.59}),
        ("whole path, of the floor", {"whole": 0.54}),
        ("whole path, records/s", {"rate": 19_999}),
        ("whole path, past each row of the peer", {"whole": 0.36}),
        ("p50 at 1,000 records/s, ms", {"p50": 10.1}),
        ("p50 at half load, ms", {"p50": 15.1}),
        ("p99 at half load, ms", {"p99": 50.1}),
        ("Redis, bytes an account", {"account": 451.0}),
    ],
)
def test_a_goal_just_missed_is_missed_and_says_why(name, worse):
    """A figure beyond its goal is missed, with what stops it by the run's own figures."""
    found = {goal.name: goal for goal in goals(figures(**worse))}
    assert found[name].met is False
    assert found[name].why


def test_what_was_not_measured_is_neither_met_nor_missed():
    """A run without latencies says nothing of them."""
    short = figures()
    del short["loads"], short["view_bytes"]
    assert [goal.met for goal in goals(short)[-4:]] == [None] * 4


def test_the_peer_is_compared_at_its_kindest():
    """To be past a row is to be past its ratio to the slowest floor of its hour."""
    fastest = max(PEER, key=lambda row: row.records_per_s)
    assert fastest.records_per_s == 11_184
    assert fastest.ratios[0] < fastest.ratio < fastest.ratios[1]
    assert fastest.ratios[1] == pytest.approx(11_184 / 31_000)


def test_what_stops_a_rate_is_said_in_figures():
    """The busiest process bounds the rate on one core, all of them on all cores; others' work is told."""
    busy = figures()
    busy["stages"]["charge"] = {**busy["stages"]["charge"], "cpu_others": 0.3}
    said = stopped_by("charge", busy)
    assert "charge takes 40 us of CPU a record: at most 25,000/s" in said
    assert "all processes 80 us: at most 25,000/s on 2 cores" in said
    assert "the floor's process takes 21 us" in said
    assert "others took 30%" in said


def test_what_slows_a_record_is_said_in_figures():
    """A late publisher and a busy machine are told beside the batches."""
    load = {**figures()["loads"]["50%"], "publisher_late_ms": 12.0, "cpu_others": 0.2}
    said = slowed_by(load)
    assert "a mean batch of charge took 12.5 ms" in said
    assert "20% of it with others' work" in said
    assert "12 ms late" in said


# --- the guard ---

BASELINE = dict.fromkeys(RATIOS, 0.5)


def test_a_slow_down_of_30_per_cent_is_seen():
    """A ratio that fell by 30 % fails the check and is named; the others are not."""
    now = {**BASELINE, "charge_ratio_to_floor": 0.35}
    (said,) = check.slower(BASELINE, now)
    assert said.startswith("charge_ratio_to_floor is 0.350")
    assert "30% slower" in said


@pytest.mark.parametrize("ratio", [0.401, 0.5, 0.9])
def test_a_fifth_is_allowed(ratio):
    """Within a fifth of the baseline, and above it, nothing is said."""
    assert check.slower(BASELINE, dict.fromkeys(RATIOS, ratio)) == []


def test_one_bad_run_of_three_does_not_fail():
    """The median decides."""
    runs = [dict.fromkeys(RATIOS, ratio) for ratio in (0.1, 0.49, 0.51)]
    assert check.slower(BASELINE, check.medians(runs)) == []


def test_the_planted_slow_down_is_where_it_should_be(tmp_path):
    """The copy differs from the checkout in charge's loop alone, and that is still Python."""
    plant(tmp_path)
    slowed = (tmp_path / "pipeline" / "charge" / "worker.py").read_text()
    assert "thread_time" in slowed
    done = subprocess.run([sys.executable, "-m", "py_compile", tmp_path / "pipeline/charge/worker.py"], check=False)
    assert done.returncode == 0


def test_memory_that_grows_is_told_from_memory_that_warms_up():
    """Growth compares the last third with the second: what the first did is warming up."""
    assert growth([10, 50, 90, 100, 100, 100, 100, 100, 100]) == 0
    assert growth([100, 100, 100, 110, 120, 130]) == pytest.approx(0.19, abs=0.01)


# --- the chart ---


def test_the_chart_is_a_picture():
    """It is well-formed, has a bar for each value, and text from outside cannot break it."""
    drawn = ET.fromstring(chart(figures()))
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert len([t for t in texts if t and t.startswith("CGRateS")]) == len(PEER)
    ET.fromstring(svg([("a < b & c", [Bar("<script>", 1.0, "#000000")], "{:.1f}")]))


# --- the traffic ---


def test_traffic_is_the_same_every_time_and_other_under_another_name():
    """The name decides everything."""
    first, again = (traffic.traffic("a", 500, 100, NOW_MS) for _ in range(2))
    assert first == again
    assert first != traffic.traffic("b", 500, 100, NOW_MS)


def test_traffic_is_what_the_documents_say():
    """Five services, 2 % repeats unchanged, one account in ten a family of lines with one balance."""
    sent = traffic.traffic("mix", 20_000, 1_000, NOW_MS)
    distinct = {one.value for one in sent}
    assert 1 - len(distinct) / len(sent) == pytest.approx(0.02, abs=0.004)
    records = [USAGE_RECORD.decode(value) for value in distinct]
    assert set(Counter(record["service"] for record in records)) == {"VOICE", "DATA", "SMS", "MMS", "EVENT"}
    assert {traffic.number_of(record["record_id"]) for record in records} <= set(range(20_000))
    families = [n for n in range(1_000) if traffic.lines_of(n) > 1]
    assert len(families) == 100
    command = ACCOUNT_COMMAND.decode(traffic.opening(families[0], NOW_MS))
    assert len(command["identities"]) == 2 * traffic.FAMILY_LINES
    assert len({traffic.line(n, i).msisdn for n in range(1_000) for i in range(4)}) == 4_000


def test_the_realistic_tariff_is_what_the_documents_say(tmp_path):
    """Twenty rules with bands, two allowances, a deck of 12,000 prefixes."""
    traffic.write_catalogue(tmp_path / "c", traffic.REALISTIC)
    document = load_directory(tmp_path / "c").document(FOR_ALL_TIME)
    (plan,) = document["plans"]
    assert len(plan["prices"]) == 20
    assert len(plan["allowances"]) == 2
    assert len((tmp_path / "c" / "decks" / "world.csv").read_text().splitlines()) == 12_001


@pytest.mark.parametrize("count", [0, 1, 8])
def test_a_tariff_with_other_allowances_is_still_a_tariff(tmp_path, count):
    """For the scale runs: as many allowances as asked, and everything else as it is."""
    traffic.write_catalogue(tmp_path / "c", traffic.REALISTIC, deck=100, allowances=count)
    (plan,) = load_directory(tmp_path / "c").document(FOR_ALL_TIME)["plans"]
    assert len(plan.get("allowances", [])) == count
    assert len(plan["prices"]) == 20


def test_the_flat_tariff_is_flat(tmp_path):
    """No allowance, no band, no zone."""
    traffic.write_catalogue(tmp_path / "c", traffic.FLAT)
    document = load_directory(tmp_path / "c").document(FOR_ALL_TIME)
    (plan,) = document["plans"]
    assert not plan.get("allowances")
    assert not document.get("bands")


@pytest.mark.parametrize("plans", traffic.PLANS)
def test_every_record_of_the_traffic_is_charged(tmp_path, plans):
    """By both tariffs: nothing is set aside, refused or held, so a rate is a rate of charges. Copies are repeats."""
    traffic.write_catalogue(tmp_path / "c", plans)
    ledger = offline_ledger(compiled(tmp_path / "c"))
    opened = [ACCOUNT_COMMAND.decode(traffic.opening(number, NOW_MS)) for number in range(50)]
    assert {stored.event.kind for stored in ledger.commands(opened)} == {"ACCOUNT_CHANGED"}
    records = [USAGE_RECORD.decode(one.value) for one in traffic.traffic("all", 2_000, 50, NOW_MS)]
    events = [s.event for s in ledger.records(UsageRecord(**record) for record in records)]
    kinds = Counter((event.kind, event.reason) for event in events)
    assert set(kinds) == {("CHARGED", None), ("DUPLICATE", "duplicate")}
    rules = {line.rule for event in events for line in event.lines}
    if plans == traffic.REALISTIC:
        used = sum(line.allowance_used > 0 for event in events for line in event.lines)
        paid = sum(line.amount_micros > 0 for event in events for line in event.lines)
        assert len(rules) >= 18
        assert used > 100
        assert paid > 500
