"""Every worked example of the tariff manager's guide is run, and every key there is has one."""

import json
from pathlib import Path

import pytest
import yaml
from rating_world import load_text
from test_catalogue_docs import DECK, EXAMPLE, GUIDE, keys_of_the_loader

from deploy.cli.offline import OfflineLedger
from pipeline.adapters.command_json import command_from_json
from pipeline.adapters.formats import usage_from_json
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.money import parse_micros
from pipeline.mediate import rules_of
from pipeline.settings import MediateSettings

EXAMPLES = yaml.safe_load(
    (Path(__file__).parents[1] / "vectors" / "guide" / "examples.yaml").read_text(encoding="utf-8")
)
WORDS = " ".join(GUIDE.split())


def catalogue_of(example):
    """The guide's own zones, bands and networks, with the example's plans."""
    plans = [{"id": "basic", **plan} for plan in example["plans"]]
    document = {**yaml.safe_load(EXAMPLE), **example.get("top", {}), "plans": plans}
    return compile_catalogue(load_text(json.dumps(document), world_csv=DECK).document(0))


def command(number, kind, at, **fields):
    return command_from_json(
        {"type": kind, "command_id": f"c{number}", "account": "a", "at": at, "actor": "test", **fields}
    )


def record(number, given):
    return usage_from_json(
        {
            "record_id": f"r{number}",
            "source": "s",
            "service": given["use"],
            "direction": given.get("direction", "MO"),
            "msisdn": "+8618600000000",
            "other_party": given.get("to", "+8613900000000"),
            "start_time": given["at"],
            "duration_ms": given.get("seconds", 0) * 1_000,
            "downlink_octets": given.get("octets", 0),
            "message_count": given.get("parts", 0 if given["use"] in {"VOICE", "DATA"} else 1),
            "visited_plmn": given.get("visited"),
            "session_id": given.get("session"),
            "partial_number": given.get("partial"),
        }
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["says"][-1][:60])
def test_an_example_comes_to_what_the_guide_says(example):
    """The guide has these words; and what they say happens on an account of that plan."""
    for words in example["says"]:
        assert words in WORDS
    ledger = OfflineLedger(Catalogues([catalogue_of(example)]), rules_of(MediateSettings()))
    opened = example.get("opened", "2026-01-01T00:00:00+08:00")
    opening = command(
        0, "open_account", opened, currency="CNY", plan="basic", identities=["msisdn-+8618600000000"],
        opening_balance="0", plan_from=opened,
    )  # fmt: skip
    (event,) = [stored.event for stored in ledger.commands([opening])]
    assert event.reason == "opened", event.detail
    for number, done in enumerate(example["does"], 1):
        if "use" in done:
            (stored,) = ledger.records([record(number, done)])
        else:
            fields = {name: done[name] for name in done.keys() - {"command", "at", "costs", "lines"}}
            (stored,) = ledger.commands([command(number, done["command"], done["at"], **fields)])
        event = stored.event
        assert event.kind in {"CHARGED", "ACCOUNT_CHANGED"}, event.detail
        assert event.amount_micros == parse_micros(done["costs"]), done
        if "lines" in done:
            assert [line.amount_micros for line in event.lines] == [parse_micros(amount) for amount in done["lines"]]


def test_every_key_has_an_example():
    """A key that the loader knows is in an example that is run, or in the guide's own catalogue."""
    found = keys_in([yaml.safe_load(EXAMPLE), *({**e.get("top", {}), "plans": e["plans"]} for e in EXAMPLES)])
    assert not keys_of_the_loader() - found


def keys_in(value):
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    return set().union(*map(keys_in, value)) if isinstance(value, list) else set()
