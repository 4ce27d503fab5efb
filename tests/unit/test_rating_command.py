"""`chargeline rate`, as it is typed, prices every golden case: an account a case, its records in their order."""

import json

import pytest
from test_rating_vectors import CASES, OWN, SHARED, SHARED_CASES

from deploy.cli import main
from pipeline.domain.money import parse_micros

OPENED = "2000-01-01T00:00:00Z"
OFFLINE = [case for case in CASES if not any("on_net" in record for record in case["records"])]
"""Whether the other party is one of our own nobody says in a record: the directory knows."""


@pytest.fixture
def rate(capsys, tmp_path):
    """Rate records of accounts, given by plan; returns the events."""

    def rated(catalogue, plans, records):
        accounts, usage = tmp_path / "accounts.jsonl", tmp_path / "usage.jsonl"
        accounts.write_text("".join(json.dumps(opening(n, plan)) + "\n" for n, plan in enumerate(plans)))
        usage.write_text("".join(json.dumps(record) + "\n" for record in records))
        code = main(
            ["rate", "--catalogue", str(catalogue), "--accounts", str(accounts), "--usage", str(usage), "--json"]
        )
        out, talk = capsys.readouterr()
        assert (code, "REJECTED" in talk) == (0, False), talk
        return [json.loads(line) for line in out.splitlines()]

    return rated


def msisdn(number):
    return f"+49170{number:07}"


def opening(number, plan):
    return {
        "type": "open_account",
        "command_id": f"open-{number}",
        "account": f"a-{number}",
        "at": OPENED,
        "actor": "test",
        "currency": "EUR",
        "plan": plan,
        "identities": [f"msisdn-{msisdn(number)}"],
        "opening_balance": "0",
    }


def record_of(number, at, given):
    """Spell a golden case's record as a probe does; what the case does not say is that of `rating_world.usage`."""
    record = {
        "record_id": f"{number}-{at}",
        "source": "s",
        "service": given.get("service", "VOICE"),
        "direction": given.get("direction", "MO"),
        "msisdn": msisdn(number),
        "other_party": given.get("to", "+49151234567"),
        "start_time": given["start"],
        "duration_ms": given.get("seconds", 0) * 1_000,
        "downlink_octets": given.get("octets", 0),
    }
    names = {"parts": "message_count", "answered": "answered", "visited": "visited_plmn",
             "rating_group": "rating_group", "session": "session_id", "partial": "partial_number"}  # fmt: skip
    return record | {name: given[key] for key, name in names.items() if key in given}


def test_own_cases(rate):
    """Each record costs what its case says by hand, or is refused for the reason that it says."""
    plans = [case["plan"] for case in OFFLINE]
    records = [record_of(n, at, given) for n, case in enumerate(OFFLINE) for at, given in enumerate(case["records"])]
    events = iter(rate(OWN / "catalogue", plans, records))
    for case in OFFLINE:
        own = [next(events) for _ in case["records"]]
        found = [event["amount_micros"] if event["kind"] == "CHARGED" else None for event in own]
        assert found == [None if cost is None else parse_micros(cost) for cost in case["costs"]], case["case"]
        if "refused" in case:
            assert own[-1]["reason"] == case["refused"], case["case"]
    assert next(events, None) is None
    assert len(OFFLINE) > 50


@pytest.mark.skipif(not SHARED_CASES, reason="the shared vectors are not on this machine")
def test_shared_cases(rate):
    """Every shared vector costs its amount, on an account of its own."""
    fields = ("service", "other_party", "start_time", "duration_ms", "downlink_octets", "message_count")
    records = [
        {"record_id": case["id"], "source": "s", "direction": "MO", "msisdn": msisdn(n)} | {f: case[f] for f in fields}
        for n, case in enumerate(SHARED_CASES)
    ]
    events = rate(SHARED / "catalogue", [case["plan"] for case in SHARED_CASES], records)
    assert [(event["event_id"], event["kind"], event["amount_micros"]) for event in events] == [
        (case["id"], "CHARGED", case["amount_micros"]) for case in SHARED_CASES
    ]
