"""The core and the second implementation of the pricing rules agree on random worlds: 20,000 records, charged one by
one. The same with a million is the soak (`tests/soak`)."""

import pytest
from second_cases import RECORDS
from second_compare import Tally, differences

CASES = 20_000
RUNS = 20
WORLDS = CASES // RECORDS // RUNS
REPLAY = "python tests/soak/second.py --world {} --case {}"


@pytest.mark.parametrize("run", range(RUNS))
def test_both_implementations_price_every_record_alike(run):
    """Amounts, refusals, lines with their rules and allowances, and the state afterwards are the same in both."""
    tally = Tally()
    for world in range(run * WORLDS, (run + 1) * WORLDS):
        for number, found in differences(world, tally):
            pytest.fail(f"{REPLAY.format(world, number)}\n{found['differs']}")
    assert tally.cases == WORLDS * RECORDS
    assert tally.cut
    assert tally.drawn
    assert tally.sessions
