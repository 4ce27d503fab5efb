"""`make bench-check`: have charge and the whole path become slower, against the floor, than the committed baseline?

python -m deploy.bench.check [--runs N] [--records N]      exit 1: slower by more than a fifth
python -m deploy.bench.check --accept                      make what is measured now the baseline

Ratios to the floor of the same minute, because machines drift; the median of some short runs, because runs do. To see
it fail: `python -m deploy.bench.planted`.
"""

import argparse
import sys
from typing import Any, Final

from deploy.bench.command import NOT_MEASURED, ended
from deploy.bench.pacing import median
from deploy.bench.results import BASELINE, RATIOS, middle, read, write_baseline
from deploy.bench.run import bench
from deploy.bench.stand import Plan
from deploy.cli.context import own_settings
from deploy.cli.talk import data, say

SLOWER_MAX: Final = 0.20
RUNS: Final = 3


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each ratio."""
    return {name: round(median([run[name] for run in runs]), 3) for name in RATIOS}


def slower(baseline: dict[str, float], now: dict[str, float]) -> list[str]:
    """Return in words which ratios fell by more than is allowed; none: all is well."""
    return [
        f"{name} is {now[name]:.3f}, the baseline {baseline[name]:.3f}: {1 - now[name] / baseline[name]:.0%} slower, "
        f"more than {SLOWER_MAX:.0%}"
        for name in RATIOS
        if now[name] < baseline[name] * (1 - SLOWER_MAX)
    ]


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench.check", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--records", type=int, default=Plan().records)
    parser.add_argument("--accept", action="store_true", help="write the baseline anew")
    asked = parser.parse_args()
    if not asked.accept and not BASELINE.exists():
        say("error: there is no baseline yet: python -m deploy.bench.check --accept")
        return NOT_MEASURED
    chosen = Plan(records=asked.records)
    runs = []
    for number in range(1, asked.runs + 1):
        say(f"run {number} of {asked.runs}")
        runs.append(bench(chosen, own_settings(), None, say, latencies=False))
    now = medians(runs)
    for name in RATIOS:
        data(f"{name:24} {now[name]:.3f}  of {', '.join(f'{run[name]:.3f}' for run in runs)}")
    if asked.accept:
        write_baseline(middle(runs))
        say(f"written: {BASELINE}")
        return 0
    found = slower(read(BASELINE), now)
    for line in found:
        data(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(ended(main))
