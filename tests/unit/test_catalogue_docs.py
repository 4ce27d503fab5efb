"""The tariff manager's guide is true: its example loads, and it names every key there is."""

import re
from pathlib import Path

import pytest
from rating_world import World, load_text

from pipeline.adapters import catalogue_money, catalogue_plans, catalogue_shape
from pipeline.adapters.catalogue import compile  # noqa: A004

GUIDE = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```yaml\n(.*?)```", GUIDE, re.DOTALL).group(1)
DECK = re.search(r"```\n(prefix,.*?)```", GUIDE, re.DOTALL).group(1)


@pytest.fixture(scope="module")
def world():
    return World(compile(load_text(EXAMPLE, world_csv=DECK).document(0)), "basic", currency="CNY")


@pytest.mark.parametrize(
    ("record", "rule", "amount"),
    [
        ({"to": "+12025550123", "seconds": 61}, "call-world", 1_200_000),
        ({"to": "+442071234567", "seconds": 31}, "call-world", 230_000),
        ({"to": "+8613900000000", "seconds": 61, "start": "2026-09-30T09:00:00+08:00"}, "call-peak", 300_000),
        ({"to": "+8613900000000", "seconds": 61, "start": "2026-10-01T09:00:00+08:00"}, "call-else", 200_000),
        ({"to": "+8613900000000", "seconds": 61, "start": "2026-10-10T09:00:00+08:00"}, "call-peak", 300_000),
        ({"to": "+8613900000000", "seconds": 61, "start": "2026-09-30T09:00:00+08:00", "on_net": True}, "family", 0),
        ({"direction": "MT", "seconds": 61}, "incoming", 0),
        ({"service": "DATA", "octets": 10**9, "rating_group": 32, "visited": "20801"}, "video", 0),
    ],
)
def test_the_guides_example_costs_what_it_says(world, record, rule, amount):
    """The prices named in the guide are those of its own example, beyond the bundle."""
    world.account.fields.update(
        {f"bucket:basic:basic-voice:2026-{month}": "6000000/6000000" for month in ("06", "09", "10")}
    )
    rated = world.rate(**record)
    assert (rated.lines[0].rule, rated.amount_micros) == (rule, amount)


def keys_of_the_loader():
    source = "".join(
        Path(module.__file__).read_text(encoding="utf-8")
        for module in (catalogue_plans, catalogue_shape, catalogue_money)
    )
    return {
        key
        for names in re.findall(r'\(\s*((?:"[a-z_]+",?\s*)+)(?:\*[A-Z_]+,?)?\s*\)', source)
        for key in re.findall(r'"([a-z_]+)"', names)
    }


def test_every_key_is_in_the_guide():
    """A key that the loader knows and the guide does not name is a lie by silence."""
    keys = keys_of_the_loader()
    assert {"round_up", "valid_days", "holidays", "connect_fee"} <= keys
    assert not {key for key in keys if not re.search(rf"\b{key}\b", GUIDE)}
