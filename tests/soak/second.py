"""The soak of the two pricing implementations: random worlds without end, or one case again.

`python tests/soak/second.py --cases 1000000 --workers 2` runs so many records and reports its rate;
`--world W --case K` replays one record, with the state before it, and shows what differs. Exit 1 on a difference.
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from second_cases import RECORDS  # noqa: E402
from second_compare import Tally, differences  # noqa: E402

SHOWN = 20
_CHUNK = 20


def soak(cases, first=0, workers=1, progress=None):
    """Run so many cases from world `first` on; returns the tally and the (world, case, what differs) found."""
    worlds = range(first, first - (-cases // RECORDS))
    chunks = [worlds[at : at + _CHUNK] for at in range(0, len(worlds), _CHUNK)]
    tally, found = Tally(), []
    with multiprocessing.Pool(workers) as pool:
        for part, differing in pool.imap_unordered(_run, chunks):
            tally.add(part)
            for world, number, differs in differing:
                print(f"python tests/soak/second.py --world {world} --case {number}\n  {differs}", flush=True)
            found += differing
            if progress is not None:
                progress(tally, found)
            if len(found) >= SHOWN:
                break
    return tally, found


def _run(worlds):
    tally, found = Tally(), []
    for world in worlds:
        found += [(world, number, each["differs"]) for number, each in differences(world, tally)]
    return tally, found


def _replay(world, case):
    found = list(differences(world, Tally(), case))
    for _, each in found:
        for name, value in each.items():
            print(f"{name}: {value}\n")
    print("they differ" if found else "they agree")
    return bool(found)


def main():
    """Run as told; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1_000_000, help="the first world")
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--world", type=int)
    options.add_argument("--case", type=int)
    told = options.parse_args()
    if told.world is not None:
        return _replay(told.world, told.case)
    begun = time.monotonic()

    def progress(tally, found):
        if not tally.cases % (_CHUNK * RECORDS * 10):
            rate = tally.cases / (time.monotonic() - begun)
            print(f"{tally.cases} cases, {len(found)} differences, {rate:.0f} a second", file=sys.stderr, flush=True)

    tally, found = soak(told.cases, told.seed, told.workers, progress)
    seconds = time.monotonic() - begun
    print(f"{tally}\n{len(found)} differences, {tally.cases / seconds:.0f} cases a second")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
