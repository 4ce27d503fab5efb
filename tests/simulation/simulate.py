"""Simulate many seeds, or replay one with its trace: python tests/simulation/simulate.py --seed N
or --seeds N --first S --workers W.

Ends with 1 if an invariant was broken; each broken seed is one line to replay it by.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sim_coverage import table
from sim_mistakes import MISTAKES
from sim_world import Mutation, Result, simulate

CHUNK = 25
REPORT_EVERY_S = 10.0
BROKEN_MAX = 20


def replay_line(seed: int, mistake: str | None = None) -> str:
    """Return the line that runs this seed again."""
    line = f"python tests/simulation/simulate.py --seed {seed}"
    return line if mistake is None else f"{line} --mistake {mistake!r}"


def _mutation(mistake: str | None) -> Mutation:
    return Mutation() if mistake is None else MISTAKES[mistake]()


def some(job: tuple[int, int, str | None]) -> list[Result]:
    """Simulate seeds first..last - 1."""
    first, last, mistake = job
    return [simulate(seed, _mutation(mistake)) for seed in range(first, last)]


def many(first: int, seeds: int, workers: int, mistake: str | None = None) -> Iterable[list[Result]]:
    """Simulate so many seeds in so many processes, a chunk of results at a time."""
    jobs = [(at, min(at + CHUNK, first + seeds), mistake) for at in range(first, first + seeds, CHUNK)]
    if workers == 1:
        yield from map(some, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(some, jobs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with its trace")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--until-broken", action="store_true", help="stop at the first broken seed")
    parser.add_argument("--mistake", choices=sorted(MISTAKES), help="with this deliberate mistake")
    asked = parser.parse_args()
    if asked.seed is not None:
        result = simulate(asked.seed, _mutation(asked.mistake), traced=True)
        print("\n".join(result.trace))
        print("\n".join(result.violations) or "all invariants hold")
        return 1 if result.violations else 0
    begun = said = time.monotonic()
    rows: Counter[str] = Counter()
    done = sent = broken = 0
    for results in many(asked.first, asked.seeds, asked.workers, asked.mistake):
        for result in results:
            rows += result.rows
            sent += result.published
            if result.violations:
                broken += 1
                if broken <= BROKEN_MAX:
                    print(f"{replay_line(result.seed, asked.mistake)}  # {result.violations[0]}", flush=True)
        done += len(results)
        if broken and asked.until_broken:
            break
        if time.monotonic() - said > REPORT_EVERY_S:
            said = time.monotonic()
            print(f"{done} seeds, {broken} broken, {done / (said - begun):.0f} a second", file=sys.stderr, flush=True)
    print(table(rows, done))
    print(f"{done} seeds, {sent} records and commands, {broken} broken, {time.monotonic() - begun:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
