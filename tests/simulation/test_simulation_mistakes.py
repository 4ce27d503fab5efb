"""The simulation has teeth: a mistake in the protocol breaks an invariant within few seeds."""

import pytest
from sim_mistakes import MISTAKES
from sim_world import simulate

SEEDS_MAX = 2_000


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found(name):
    """What each of these leaves out is what keeps the money right, and its absence is seen."""
    for seed in range(SEEDS_MAX):
        result = simulate(seed, MISTAKES[name]())
        if result.violations:
            print(f"{name}: seed {seed}: {result.violations[0]}")
            return
    pytest.fail(f"{name} was not found in {SEEDS_MAX} seeds")


def test_a_seed_is_one_run():
    """The same seed does the same things in the same order, so that what was found can be seen again."""
    for seed in range(20):
        first, again = simulate(seed, traced=True), simulate(seed, traced=True)
        assert first.trace == again.trace
        assert first == again
