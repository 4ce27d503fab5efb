"""The tests are tested: every deliberate mistake on the path of money is found by one of them."""

import pytest
from mutants import hunt, mutants, mutated, table

MUTANTS_MIN = 25


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mistake_can_be_made(mutant):
    """The place of each mistake is there, once: a list that has aged would prove nothing."""
    assert mutated(mutant)
    assert mutant.costs
    assert mutant.kills


def test_there_are_enough_of_them():
    """No name twice, and a good two dozen."""
    names = [mutant.name for mutant in mutants()]
    assert len(set(names)) == len(names) >= MUTANTS_MIN


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_every_mistake_is_found(tmp_path, pytestconfig):
    """A mistake that no test sees is a test that is missing."""
    outcomes = hunt(mutants(), tmp_path)
    with pytestconfig.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print("", *table(outcomes), sep="\n")
    assert not [outcome for outcome in outcomes if outcome.killer is None]
