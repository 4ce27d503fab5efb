"""Whether memory stays flat: a steady load for a long time, and what each process holds at the end of each minute.

python -m deploy.bench.soak [--minutes 30] [--rate 1000]        exit 1: it grew

The first third is warming up: caches and the servers' buffers fill. Memory is flat where the mean of the last third is
no more than a twentieth above that of the second.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

from deploy.bench import measure
from deploy.bench.command import ended
from deploy.bench.results import RESULTS, write
from deploy.bench.stand import Plan, Publisher, stand
from deploy.cli.context import own_settings
from deploy.cli.talk import data, say, table

SOAK: Final = RESULTS / "soak.json"
GROWTH_MAX: Final = 0.05
MINUTE_S: Final = 60
WATCHED: Final = ("mediate-1", "charge-1")


def growth(samples: Sequence[float]) -> float:
    """Return by how much the mean of the last third is above that of the second, as a share of it."""
    third = len(samples) // 3
    assert third, "three samples at least"
    second, last = samples[third : 2 * third], samples[2 * third :]
    before = sum(second) / len(second)
    return round(sum(last) / len(last) / before - 1, 4)


def main() -> int:
    """Keep a load up and watch."""
    parser = argparse.ArgumentParser(prog="python -m deploy.bench.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--rate", type=float, default=1_000)
    asked = parser.parse_args()
    if asked.minutes < 3:
        parser.error("three minutes at least: two of them are compared")
    minutes: list[dict[str, Any]] = []
    chosen = Plan()
    a_minute = round(asked.rate * MINUTE_S)
    with stand(chosen, own_settings(), say) as on:
        on.prepare()
        on.start("charge")
        measure.settle(on, chosen.accounts, "accounts opened")
        on.start("mediate")
        done = chosen.accounts
        for minute in range(1, asked.minutes + 1):
            publisher = Publisher(on, f"minute{minute}", a_minute, asked.rate)
            try:
                publisher.go()
                publisher.done()
            finally:
                publisher.close()
            done += a_minute
            measure.settle(on, done, f"minute {minute}: records applied")
            held = {name: round(one.rss_bytes / 2**20, 1) for name, one in on.usage().items()}
            minutes.append(held)
            say(f"minute {minute}: " + ", ".join(f"{name} {mib:,.1f} MiB" for name, mib in held.items()))
    grown = {name: growth([held[name] for held in minutes]) for name in minutes[0]}
    write(SOAK, {"records_per_s": asked.rate, "minutes": minutes, "growth": grown, "most": GROWTH_MAX})
    table(("process", "MiB at the end", "grown"), [(n, f"{minutes[-1][n]:,}", f"{g:.1%}") for n, g in grown.items()])
    wrong = [name for name in WATCHED if grown[name] > GROWTH_MAX]
    data(f"memory grew: {', '.join(wrong)}" if wrong else "memory is flat")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(ended(main))
