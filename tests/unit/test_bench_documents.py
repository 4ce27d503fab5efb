"""What the documents say of speed and size is what the committed results give, and the arithmetic can be redone."""

import math
import re

import pytest

from deploy.bench import report
from deploy.bench.capacity import SUBSCRIBERS, Assumed, Measured, plan_for
from deploy.bench.results import BASELINE, CHART, CHECKOUT, RUNS, middle, read, spread, write

measured = pytest.mark.skipif(not RUNS.exists(), reason="no runs are committed: python -m deploy.bench --runs 3")
COST = Measured(10, 50, 20, 10, 150, 250, 400, 500, 20, 5)


@pytest.mark.parametrize("path", report.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_committed_results(path):
    """Nobody types a figure: writing the tables anew from bench/results changes nothing."""
    text = path.read_text()
    assert report.rendered(text) == text
    assert set(re.findall(r"<!-- bench: ([a-z-]+) -->", text)) <= set(report.TABLES)


@measured
def test_three_runs_are_committed_with_their_median():
    """The median is that of the runs beside it, the chart is there, and the core was compiled."""
    found = read(RUNS)
    assert len(found["runs"]) >= 3
    assert found["median"] == middle(found["runs"])
    assert found["median"]["core"] == "compiled"
    assert CHART.exists()
    assert set(read(BASELINE)) >= {"ratio_to_floor", "charge_ratio_to_floor"}


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """Results of three runs and of a scale run, as if they had been measured."""
    stage = {
        "records": 1_000,
        "cpu_us_per_record": {"mediate": 12.0, "charge": 48.4, "kafka": 21.0, "redis": 9.0, "publisher": 4.0},
        "cpu_others": 0.01,
    }
    load = {
        "records_per_s": 5_000,
        "latency_ms": {"p50": 4.0, "p95": 9.0, "p99": 20.0, "max": 31.0},
        "batch_ms": {"charge": 3.0},
        "cpu_busy": 0.4,
        "cpu_others": 0.0,
        "publisher_late_ms": 0.4,
    }
    machine = {"cores": 2, "processor": "X", "memory_gib": 8.0, "python": "CPython", "broker": "kafka", "view": "v"}
    runs = [
        {
            "records_per_s": rate,
            "charge_records_per_s": rate + 1_000,
            "mediate_records_per_s": 3 * rate,
            "floor_records_per_s": 40_000,
            "ratio_to_floor": rate / 40_000,
            "charge_ratio_to_floor": (rate + 1_000) / 40_000,
            "core": "compiled",
            "floor": {"records_per_s": [39_000, 41_000], "cpu_us_per_record": [20, 21]},
            "stages": {name: {**stage, "records_per_s": rate} for name in ("whole", "mediate", "charge")},
            "loads": dict.fromkeys(("20%", "50%", "80%", "steady"), load),
            "plan": {"records": 1_000, "accounts": 100, "partitions": 4, "workers": 1},
            "machine": machine,
            "view_bytes": {
                "account": {"keys": 100, "bytes": 410.0},
                "kept": {"keys": 100, "bytes": 150.0},
                "seen": {"keys": 50, "bytes": 400.0},
                "session": {"keys": 10, "bytes": 300.0},
            },
            "seen_bytes_per_record": 20.0,
            "topic_bytes_per_record": {"received": 110.0, "accepted": 140.0, "audit": 290.0},
        }
        for rate in (10_000, 30_000, 20_000)
    ]
    names = ("records_per_s", "charge_records_per_s", "floor_records_per_s", "ratio_to_floor", "charge_ratio_to_floor")
    spreads = {name: spread([run[name] for run in runs]) for name in names}
    write(tmp_path / "runs.json", {"runs": runs, "median": middle(runs), "spread": spreads})
    point = {**runs[0], "axis": "workers", "value": 2, "cpu_us_per_record": stage["cpu_us_per_record"]}
    length = {key: value for key, value in point.items() if key != "charge_records_per_s"}
    write(tmp_path / "scale.json", {"rows": [point, {**length, "axis": "ledger", "value": 10_000}]})
    monkeypatch.setattr(report, "RUNS", tmp_path / "runs.json")
    monkeypatch.setattr(report, "SCALE", tmp_path / "scale.json")


def test_every_table_is_written_from_results(made_up):
    """The figures stand in the text: the median of each column, goals met and missed with what stops them, the peer."""
    text = report.rendered((CHECKOUT / "docs" / "performance.md").read_text())
    assert "Not measured yet" not in text
    assert "| **median** | 40,000 | 60,000 | 21,000 | 20,000 | 0.53 | 0.50 |" in text
    assert "| spread | 0% |" in text
    assert "| whole path, records/s | >= 20,000 | 20,000 | met |" in text
    assert "missed: charge takes 48 us of CPU a record: at most 20,661/s" in text
    assert "| **chargeline, whole path** | 20,000 | **0.50** (0.49-0.51) |" in text
    assert text.count("| CGRateS, ") == 8
    assert "| ledger | 10,000 | 10,000 | - | 40,000 | 0.25 |" in text


def cells(text, name):
    """A table of a document: first cell of each row to the others."""
    table = text.partition(f"<!-- bench: {name} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines() if row.startswith("|")]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def number(text):
    return float(text.replace(",", ""))


def test_the_capacity_table_can_be_redone_by_hand(made_up):
    """From the two tables of inputs as printed, the formulas as written give the table of results as printed."""
    redo_by_hand(report.rendered((CHECKOUT / "docs" / "capacity.md").read_text()))


@measured
def test_the_committed_capacity_table_can_be_redone_by_hand():
    """So does the page as it is committed."""
    redo_by_hand((CHECKOUT / "docs" / "capacity.md").read_text())


def redo_by_hand(capacity):
    cost = {name: number(row[0]) for name, row in cells(capacity, "measured").items()}
    assumed = {name: number(row[0]) for name, row in cells(capacity, "assumed").items()}
    needed = cells(capacity, "needed")
    for column, subscribers in enumerate(SUBSCRIBERS):

        def said(name, column=column):
            return number(needed[name][column])

        a_day = subscribers * assumed["records_a_subscriber_a_day"]
        peak = a_day / 86_400 * assumed["peak_to_mean"]
        assert said("records/s at the peak") == pytest.approx(peak, abs=1)
        for name, us in (("mediate", "mediate, µs of CPU a record"), ("charge", "charge, µs")):
            busy = peak * cost[us] / 1e6 / assumed["core_use_at_peak"]
            assert said(f"cores for {name}") == math.ceil(busy)
        kept = cost["raw record on disk, bytes"] * assumed["raw_days"]
        kept += cost["accepted record on disk, bytes"] * assumed["accepted_days"]
        kept += cost["ledger event on disk, bytes"] * assumed["ledger_days"]
        disk = a_day * kept * assumed["replication"] / 2**40
        assert said("disk of the brokers, TiB") == pytest.approx(disk, rel=0.001, abs=0.06)
        view = subscribers / assumed["subscribers_an_account"] * cost["account in Redis, bytes"]
        seen = cost["numbers seen in Redis, bytes a charged record"]
        seen += cost["sessions' meters in Redis, bytes a charged record"]
        view += a_day * assumed["seen_days"] * seen
        memory = view * assumed["redis_copies"] / assumed["redis_memory_use"] / 2**30
        assert said("memory for Redis, GiB") == pytest.approx(memory, abs=1.01)
        assert said("EUR a month for 1,000 subscribers") == pytest.approx(
            said("EUR a month") / subscribers * 1000, abs=0.01
        )


def test_more_subscribers_need_in_proportion():
    """A hundred times the subscribers need a hundred times of everything, but for what is rounded up."""
    one, hundred = (plan_for(n, COST, Assumed()) for n in (1_000_000, 100_000_000))
    assert hundred.peak_records_per_s == pytest.approx(100 * one.peak_records_per_s, rel=0.001)
    assert hundred.broker_disk_tib == pytest.approx(100 * one.broker_disk_tib, rel=0.01)
    assert hundred.charge_cores <= 100 * one.charge_cores
    assert hundred.charge_partitions >= 2 * hundred.charge_cores


def test_a_small_deployment_still_has_three_brokers_and_a_replica():
    """What keeps data through the loss of a machine is not saved."""
    small = plan_for(1_000, COST, Assumed())
    assert small.brokers == 3
    assert small.redis_nodes == 2
    assert min(small.mediate_cores, small.charge_cores, small.redis_cores) >= 1


def test_half_the_cost_needs_half_the_cores():
    """Cores follow the microseconds measured."""
    halved = COST._replace(charge_us=COST.charge_us / 2)
    whole, half = (plan_for(100_000_000, cost, Assumed()).charge_cores for cost in (COST, halved))
    assert half == pytest.approx(whole / 2, abs=1)
