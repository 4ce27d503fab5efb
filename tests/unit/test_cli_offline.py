from deploy.cli.rating import compiled, offline_ledger
from deploy.sample.story import catalogue_dir
from pipeline.adapters.command_json import command_from_json
from pipeline.adapters.formats import usage_from_json

OPENED = {
    "type": "open_account",
    "command_id": "c1",
    "account": "alice",
    "at": "2026-01-01T00:00:00Z",
    "actor": "staff-x",
    "currency": "CNY",
    "plan": "basic",
    "identities": ["msisdn-+8613800000001"],
    "opening_balance": "50",
}


def call(record_id, start, minutes):
    return usage_from_json(
        {
            "record_id": record_id,
            "source": "msc",
            "service": "VOICE",
            "direction": "MO",
            "msisdn": "+8613800000001",
            "other_party": "+8613512345678",
            "start_time": start,
            "duration_ms": minutes * 60_000,
        }
    )


def rated(*records):
    ledger = offline_ledger(compiled(catalogue_dir()))
    list(ledger.commands([command_from_json(OPENED)]))
    return [stored.event for stored in ledger.records(records)]


def test_no_order_of_a_file_gives_an_allowance_twice():
    """What a month's allowance gave stays given, even where the file goes on to later months and comes back."""
    events = rated(
        call("r1", "2026-03-02T03:00:00Z", 100),
        call("r2", "2026-10-02T03:00:00Z", 1),
        call("r3", "2026-03-03T03:00:00Z", 10),
    )
    assert [event.kind for event in events] == ["CHARGED"] * 3
    assert [event.amount_micros for event in events] == [0, 0, 2_000_000]


def test_nothing_is_late_and_everything_is_remembered():
    """A record older than any late window is charged, and its copy after later records is still a duplicate."""
    old, new = call("r1", "2026-01-02T03:00:00Z", 1), call("r2", "2026-12-02T03:00:00Z", 1)
    assert [event.kind for event in rated(new, old, new, old)] == ["CHARGED", "CHARGED", "DUPLICATE", "DUPLICATE"]


def test_what_mediate_would_refuse_has_an_event_of_its_own():
    """A record of nobody is REJECTED with the dead letter's reason, moves nothing and has its place in the chain."""
    stranger = call("r1", "2026-03-02T03:00:00Z", 1)._replace(msisdn="+8613800000009")
    event, after = rated(stranger, call("r2", "2026-03-02T03:00:00Z", 1))
    assert (event.kind, event.reason, event.account, event.amount_micros) == ("REJECTED", "unknown_subscriber", "", 0)
    assert event.usage.record_id == "r1"
    assert after.seq == event.seq + 1
