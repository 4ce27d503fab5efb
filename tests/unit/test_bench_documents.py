"""What the documents say of speed and size is what the committed results give, and the arithmetic can be redone."""

import math
import re

import pytest

from deploy.bench import report
from deploy.bench.capacity import SUBSCRIBERS, Assumed, Measured, plan_for
from deploy.bench.results import BASELINE, CHART, CHECKOUT, RUNS, middle, read

CAPACITY = (CHECKOUT / "docs" / "capacity.md").read_text()
COST = Measured(10, 50, 20, 10, 150, 250, 400, 500, 20, 5)


@pytest.mark.parametrize("path", report.DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_committed_results(path):
    """Nobody types a figure: writing the tables anew from bench/results changes nothing."""
    text = path.read_text()
    assert report.rendered(text) == text
    assert set(re.findall(r"<!-- bench: ([a-z-]+) -->", text)) <= set(report.TABLES)


def test_three_runs_are_committed_with_their_median():
    """The median is that of the runs beside it, the chart is there, and the core was compiled."""
    found = read(RUNS)
    assert len(found["runs"]) >= 3
    assert found["median"] == middle(found["runs"])
    assert found["median"]["core"] == "compiled"
    assert CHART.exists()
    assert set(read(BASELINE)) >= {"ratio_to_floor", "charge_ratio_to_floor"}


def cells(text, name):
    """A table of a document: first cell of each row to the others."""
    table = text.partition(f"<!-- bench: {name} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines() if row.startswith("|")]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def number(text):
    return float(text.replace(",", ""))


def test_the_capacity_table_can_be_redone_by_hand():
    """From the two tables of inputs as printed, the formulas as written give the table of results as printed."""
    cost = {name: number(row[0]) for name, row in cells(CAPACITY, "measured").items()}
    assumed = {name: number(row[0]) for name, row in cells(CAPACITY, "assumed").items()}
    needed = cells(CAPACITY, "needed")
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
