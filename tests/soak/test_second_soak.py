"""The two pricing implementations agree, over as many random records as CHARGELINE_SOAK_CASES says."""

import os

import pytest
import second

CASES = int(os.environ.get("CHARGELINE_SOAK_CASES", "0"))


@pytest.mark.skipif(not CASES, reason="CHARGELINE_SOAK_CASES says how many records (1000000 is a soak)")
@pytest.mark.timeout(0)
def test_both_implementations_agree_on_many_records():
    """No record of so many is priced differently by the two."""
    tally, found = second.soak(CASES, int(os.environ.get("CHARGELINE_SOAK_SEED", "1000000")), os.cpu_count() or 1)
    assert not found, "\n".join(f"python tests/soak/second.py --world {w} --case {n}: {why}" for w, n, why in found[:5])
    assert tally.cases >= CASES
