"""What the test files of the simulation share: each takes seeds of its own, so that they run side by side."""

from collections import Counter

import pytest
from sim_coverage import table, wanted
from sim_world import simulate
from simulate import replay_line

SEEDS = 1_000
MET_AT_LEAST = 3


def prove(first: int) -> None:
    """Simulate the seeds from here on; every invariant must hold in each, and every row of the tables be met."""
    rows: Counter[str] = Counter()
    broken = []
    for seed in range(first, first + SEEDS):
        result = simulate(seed)
        rows += result.rows
        if result.violations:
            broken.append(f"{replay_line(seed)}  # {result.violations[0]}")
            if len(broken) == 5:
                break
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)
    print(table(rows, SEEDS))
    unmet = [row for row in wanted() if rows[row] < MET_AT_LEAST]
    assert not unmet, f"met too seldom to prove anything: {unmet}"
