"""Golden cases as data: our own, and those of the shared folder where it is there."""

import json
import os
from pathlib import Path

import pytest
import yaml
from rating_world import World

from pipeline.adapters.catalogue import compile, load_directory  # noqa: A004
from pipeline.domain.money import parse_micros
from pipeline.domain.outcome import Refusal

OWN = Path(__file__).parents[1] / "vectors"
SHARED = Path(os.environ.get("RATING_VECTORS", Path(__file__).parents[3] / "shared" / "vectors"))
CASES = [case for file in sorted(OWN.glob("cases*.yaml")) for case in yaml.safe_load(file.read_text(encoding="utf-8"))]
SHARED_CASES = (
    [json.loads(line) for line in (SHARED / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    if (SHARED / "cases.jsonl").exists()
    else []
)


@pytest.fixture(scope="module")
def own():
    return compile(load_directory(OWN / "catalogue").document(0))


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_own_cases(own, case):
    """Every case worked by hand costs what it says, to the micro-unit, and its lines add up."""
    world = World(own, case["plan"])
    costs = []
    for record in case["records"]:
        rated = world.charge(**record)
        refused = isinstance(rated, Refusal)
        costs.append(None if refused else rated.amount_micros)
        assert refused or sum(line.amount_micros for line in rated.lines) == rated.amount_micros
    assert costs == [None if cost is None else parse_micros(cost) for cost in case["costs"]]
    if "refused" in case:
        assert rated.reason == case["refused"]
    if "rules" in case:
        assert [line.rule for line in rated.lines] == case["rules"]


@pytest.mark.skipif(not SHARED_CASES, reason="the shared vectors are not on this machine")
def test_shared_cases():
    """Every shared vector costs its amount on a fresh account."""
    catalogue = compile(load_directory(SHARED / "catalogue").document(0))
    wrong = {}
    for case in SHARED_CASES:
        rated = World(catalogue, case["plan"]).rate(
            service=case["service"],
            to=case["other_party"],
            start=case["start_time"],
            ms=case["duration_ms"],
            octets=case["downlink_octets"],
            parts=case["message_count"],
        )
        if isinstance(rated, Refusal) or rated.amount_micros != case["amount_micros"]:
            wrong[case["id"]] = rated
    assert not wrong
