# ruff: noqa: RUF001 - full-width punctuation is how Chinese is written
"""Explanations of the money steps, of fees and of caps, in every language."""

import re

import pytest
from charging_world import DOCUMENT, World, command, opening, usage
from charging_world import _plan as plan_of
from charging_world import _rule as rule_of

from consumers.statements.explain import explain
from consumers.statements.reasons import REASONS
from consumers.statements.words import LANGUAGES, MODES
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.money import ROUNDING_MODES

PLAN = plan_of(
    "plain",
    fees=[{"id": "fee", "amount": "31.00", "every": "month", "prorate": True}],
    tax={"rate": "10", "included": False},
    discounts=[{"id": "summer", "match": {}, "rule": None, "percent": "20", "amount": None, "first": None,
                "unit": None, "from": None, "until": None}],
    caps=[{"id": "day", "match": {}, "every": "day", "amount": "2.00"}],
    prices=[
        rule_of("call", {"service": "VOICE"}, "min", "0.10", minimum="1.00", maximum="9.00"),
        rule_of("text", {"service": "SMS"}, "msg", "0.10", tax={"rate": "6", "included": True}),
    ],
)  # fmt: skip


@pytest.fixture
def world():
    world = World(catalogues=Catalogues([compile_catalogue({**DOCUMENT, "plans": [PLAN]})]))
    world.one(opening())
    return world


def test_every_money_step_is_said_in_its_order(world):
    """0.10, never less than 1.00; a fifth off; a tenth added: each with its figures."""
    lines = [line.strip() for line in explain("0-2", world.one(usage("r1")))]
    at = [
        lines.index(step)
        for step in (
            "1 x 1 min at 0.10 per 1 min (from 0 min on) = 0.10",
            "never less than 1.00",
            "never more than 9.00",
            "discount summer 20%: 1.00 - 0.20",
            "tax of 10% added: 0.80 + 0.08",
            "sum of this record: 0.00 before, 0.88 after",
            "rounded to 2 decimals (half_up): 0.88 - 0.00 = 0.88",
        )
    ]
    assert at == sorted(at)


def test_a_tax_in_the_price_is_said(world):
    """Nothing is added; the line says the rate."""
    assert "  tax of 6% is in the price" in explain("0-2", world.one(usage("r1", service="SMS")))


def test_a_cap_says_what_it_took_off(world):
    """30 minutes come to 3.00, 2.64 after discount and tax; the day's cap leaves 2.00."""
    text = "\n".join(explain("0-2", world.one(usage("r1", duration_ms=1_800_000))))
    assert "cap day of 2.00: 0.00 before, 2.64 with this record, so -0.64" in text
    assert "free by this rule" not in text
    assert "together 2.64 + -0.64 = 2.00 CNY" in text


def test_a_fee_is_explained_by_its_days(world):
    """31.00 a month, prorated: all 30 days of November, and the tax."""
    event = world.one(command("begin_period", "period-a-2026-11", period="2026-11"))
    text = "\n".join(explain("0-2", event))
    assert "30 x 1 day at 31.00 per 30 day" in text
    assert "tax of 10% added: 31.00 + 3.10" in text


def test_chinese_says_the_same_figures(world):
    """Another language is another sentence about the same numbers, and names of its own for the modes."""
    event = world.one(usage("r1", duration_ms=1_800_000))
    figures = [re.findall(r"-?\d+\.\d+", "\n".join(explain("0-2", event, language))) for language in ("en", "zh")]
    assert figures[0] == figures[1]
    text = "\n".join(explain("0-2", event, "zh"))
    assert "扣费 0-2：2.00 CNY" in text
    assert "四舍五入" in text
    refused = world.one(usage("r2", service="DATA", downlink_octets=1))
    assert "套餐中没有规则适用" in "\n".join(explain("0-3", refused, "zh"))


def test_every_language_knows_every_reason():
    """A reason that the ledger can give has a sentence in each language, and so has each mode but its own word."""
    assert set(LANGUAGES) == set(REASONS) == set(MODES)
    for language in LANGUAGES:
        assert REASONS[language].keys() == REASONS["en"].keys()
        assert set(MODES[language]) in (set(), set(ROUNDING_MODES))
