"""`make bench`: one run with the defaults, its goals met or missed, its figures and chart in bench/results.

python -m deploy.bench [--runs N] [--records N] [--accounts M] [--no-write]

With --runs 3 the runs are committed figures: bench/results/runs.json has each, their median and spread, the chart is
drawn of the median, bench/baseline.json and the tables of the documents are written anew.
"""

import argparse
import sys
from typing import Any

from deploy.bench.chart import chart
from deploy.bench.command import ended
from deploy.bench.goals import OTHERS_MAX, goals, rows
from deploy.bench.report import rewrite
from deploy.bench.results import CHART, RESULTS, RUNS, middle, spread, write, write_baseline
from deploy.bench.run import bench
from deploy.bench.stand import Plan
from deploy.cli.bench import show
from deploy.cli.context import own_settings
from deploy.cli.talk import data, say, table

LATEST = RESULTS / "latest.json"


def main() -> int:
    """Measure, write, say."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1, help="so many runs, and their median")
    parser.add_argument("--records", type=int, default=Plan().records)
    parser.add_argument("--accounts", type=int, default=Plan().accounts)
    parser.add_argument("--anyway", action="store_true", help="write figures of a machine that others used as well")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results and the documents as they are")
    asked = parser.parse_args()
    settings = own_settings()
    if settings.kafka.bootstrap_servers or settings.redis.url:
        say("error: figures to compare are of embedded servers; for your own servers: chargeline bench")
        return 2
    chosen = Plan(records=asked.records, accounts=asked.accounts)
    runs = []
    for number in range(1, asked.runs + 1):
        say(f"run {number} of {asked.runs}")
        runs.append(bench(chosen, settings, None, say))
    figures = middle(runs)
    show(figures)
    data()
    show_goals(figures)
    others = max(stage["cpu_others"] for stage in figures["stages"].values())
    if len(runs) > 1 and others > OTHERS_MAX and not asked.anyway:
        say(f"not written: others took {others:.0%} of the machine, so these figures are not its own (--anyway)")
        return 1
    if not asked.no_write:
        _write(runs, figures)
    return 0


def _write(runs: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    if len(runs) == 1:
        write(LATEST, figures)
        LATEST.with_suffix(".svg").write_text(chart(figures))
        say(f"written: {LATEST} and its chart beside it")
        return
    names = ("records_per_s", "charge_records_per_s", "floor_records_per_s", "ratio_to_floor", "charge_ratio_to_floor")
    spreads = {name: spread([run[name] for run in runs]) for name in names}
    write(RUNS, {"runs": runs, "median": figures, "spread": spreads})
    CHART.write_text(chart(figures))
    write_baseline(figures)
    rewrite()
    say(f"written: {RUNS}, its chart beside it, the baseline of bench-check, and the tables of the documents")


def show_goals(figures: dict[str, Any]) -> None:
    """Write each goal with met or missed, and for a missed one what stops it."""
    found = goals(figures)
    table(("goal", "wanted", "got", ""), rows(found), "<>><")
    for goal in found:
        if goal.met is False:
            data(f"{goal.name}: {goal.why}")


if __name__ == "__main__":
    sys.exit(ended(main))
