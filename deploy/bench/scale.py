"""How the rates move with size: workers, partitions, accounts, the ledger's length, allowances, the deck.

python -m deploy.bench.scale [AXIS ...] [--records N]

One axis is moved at a time, everything else as in `Plan`; each point has servers of its own and a floor of its own
minute. What is measured is written to bench/results/scale.json in place of what stood there for the same axis.
"""

import argparse
import sys
from typing import Any, Final

from deploy.bench import measure
from deploy.bench.command import ended
from deploy.bench.results import RESULTS, read, write
from deploy.bench.run import bench
from deploy.bench.stand import Plan, Say, stand
from deploy.cli.context import own_settings
from deploy.cli.talk import say, table
from pipeline.settings import Settings

SCALE: Final = RESULTS / "scale.json"
RECORDS: Final = 40_000
LEDGER_STEPS: Final = 5
LEDGER: Final = "ledger"
AXES: Final[dict[str, tuple[int, ...]]] = {
    "workers": (1, 2, 3),
    "partitions": (1, 4, 16, 64),
    "accounts": (1_000, 100_000, 1_000_000),
    "allowances": (0, 2, 8, 32),
    "deck": (100, 12_000, 100_000),
}
KEPT: Final = ("records_per_s", "charge_records_per_s", "mediate_records_per_s", "floor_records_per_s")


def point(axis: str, value: int, records: int, settings: Settings, told: Say) -> dict[str, Any]:
    """Measure one point of one axis."""
    moved: Any = {axis: value}
    figures = bench(Plan(records=records)._replace(**moved), settings, None, told, latencies=False)
    return {
        "axis": axis,
        "value": value,
        **{name: figures[name] for name in KEPT},
        "cpu_us_per_record": _charge_and_redis(figures["stages"]["whole"]["cpu_us_per_record"]),
        "memory_mib": figures["memory_mib"],
        "cpu_others": figures["stages"]["whole"]["cpu_others"],
    }


def ledger_lengths(records: int, settings: Settings, told: Say) -> list[dict[str, Any]]:
    """Measure the whole path again and again on one ledger, which grows meanwhile."""
    chosen, found = Plan(records=records), []
    with stand(chosen, settings, told) as on:
        on.prepare()
        on.start("charge")
        measure.settle(on, chosen.accounts, "accounts opened")
        on.start("mediate")
        measure.whole_path(on, "warm", 10_000)
        floor = measure.the_floor(on, records)
        length = chosen.accounts + 10_000
        for step in range(LEDGER_STEPS):
            whole = measure.whole_path(on, f"step{step}", records)
            found.append(
                {
                    "axis": LEDGER,
                    "value": length,
                    "records_per_s": whole.records_per_s,
                    "floor_records_per_s": floor.records_per_s,
                    "cpu_us_per_record": _charge_and_redis(whole.used.cpu_us_per_record),
                    "memory_mib": whole.used.rss_mib,
                    "cpu_others": whole.used.cpu_others,
                }
            )
            length += records
    return found


def _charge_and_redis(cpu: dict[str, float]) -> dict[str, float]:
    return {name: cpu[name] for name in ("charge", "redis", "kafka", "mediate")}


def main() -> int:
    """Measure the axes asked for (all of them), one after the other."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench.scale", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=f"of: {', '.join((*AXES, LEDGER))}")
    parser.add_argument("--records", type=int, default=RECORDS)
    asked = parser.parse_args()
    wrong = set(asked.axes) - {*AXES, LEDGER}
    if wrong:
        parser.error(f"there is no axis {', '.join(sorted(wrong))}")
    for axis in asked.axes or (*AXES, LEDGER):
        settings = own_settings()
        if axis == LEDGER:
            found = ledger_lengths(asked.records, settings, say)
        else:
            found = []
            for value in AXES[axis]:
                say(f"{axis} {value:,}")
                found.append(point(axis, value, asked.records, settings, say))
        _keep(axis, found)
        rows = [(axis, f"{row['value']:,}", f"{row['records_per_s']:,}", str(row["cpu_others"])) for row in found]
        table(("axis", "value", "whole path, records/s", "others"), rows, "<>>>")
    return 0


def _keep(axis: str, found: list[dict[str, Any]]) -> None:
    before = read(SCALE)["rows"] if SCALE.exists() else []
    order = (*AXES, LEDGER)
    rows = [row for row in before if row["axis"] != axis] + found
    write(SCALE, {"rows": sorted(rows, key=lambda row: (order.index(row["axis"]), row["value"]))})


if __name__ == "__main__":
    sys.exit(ended(main))
