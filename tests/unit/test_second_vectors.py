"""The second implementation prices the golden cases as they were worked by hand, and reads amounts as people do."""

from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from rating_world import usage

from consumers.audit.pricing import AccountState, Priced, Published, Refused, price
from consumers.audit.pricing.exact import rounded
from consumers.audit.pricing.walk import Discount, Meter, Step, Tariff, walk
from pipeline.adapters.catalogue import load_directory

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = [case for file in sorted(VECTORS.glob("*.yaml")) for case in yaml.safe_load(file.read_text(encoding="utf-8"))]
VERSION = Published(load_directory(VECTORS / "catalogue").document(0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_golden_case(case):
    """A case's records cost what the file says, in its order; its last record has these rules, or this refusal."""
    account = AccountState({"currency": "EUR", "plans": f"{case['plan']}@0"})
    costs, last = [], None
    for number, given in enumerate(case["records"], 1):
        record = usage(record_id=f"r{number}", **given)
        last = price(record, account, [VERSION])
        if isinstance(last, Refused):
            costs.append(None)
            continue
        costs.append(last.amount_micros)
        account.fields.update(last.changes)
        account.sessions.setdefault((record.service, str(record.session_id)), {}).update(last.session_changes)
    assert costs == [None if cost is None else int(Fraction(cost) * 1_000_000) for cost in case["costs"]]
    if "refused" in case:
        assert last == Refused(case["refused"])
    if "rules" in case:
        assert isinstance(last, Priced)
        assert [line.rule for line in last.lines] == case["rules"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("half_up", (2, 2, 1, -2)), ("half_even", (2, 2, 0, -2)), ("up", (2, 2, 1, -2)), ("down", (1, 1, 0, -1))],
)
def test_rounding_looks_at_the_magnitude(mode, expected):
    """0.0151, 0.015, 0.005 and -0.015 at two decimals: the sign changes nothing."""
    sums = (Fraction(15_100), Fraction(15_000), Fraction(5_000), Fraction(-15_000))
    assert tuple(rounded(each, 2, mode) // 10_000 for each in sums) == expected


def test_what_is_bought_in_one_go_is_what_is_bought_one_by_one(monkeypatch):
    """A long part costs the same with no patience at all as with patience for each increment."""
    tariff = Tariff(
        (Step(0, 7, Fraction(1, 3)), Step(100, 9, Fraction(1, 7))),
    )
    discount = Discount(Fraction(1, 10), None, 103)
    for quantity in (1, 99, 100, 101, 105, 106, 5_000):
        found = set()
        for patience in (0, 10, 10_000):
            monkeypatch.setattr("consumers.audit.pricing.walk.PATIENCE", patience)
            found.add(walk(Meter(), tariff, quantity, discount, connects=True))
        assert len(found) == 1
