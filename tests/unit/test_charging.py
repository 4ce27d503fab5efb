"""What becomes of a usage record: charged once, whatever repeats, comes late or clashes."""

import json

import pytest
from charging_world import CATALOGUE, DOCUMENT, NOW, PHONE, WINDOW_DAYS, World, command, opening, usage

from pipeline.domain.batch import UsageInput
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.usage import DAY_MS, digest, seen_of

MICROS = 1_000_000


@pytest.fixture
def world():
    made = World()
    made.one(opening())
    return made


def kinds(events):
    return [(event.kind, event.reason) for event in events]


def test_a_charge_says_all_of_itself(world):
    """CHARGED holds the record, its digest, its lines, the balance before and after, and every field it changed."""
    record = usage("r", duration_ms=90_000)
    event = world.one(record)
    assert (event.kind, event.reason, event.detail) == ("CHARGED", None, None)
    assert (event.event_id, event.account, event.account_seq, event.currency) == ("r", "a", 2, "CNY")
    assert event.usage == record
    assert event.digest == digest(record)
    assert (event.balance_before_micros, event.amount_micros, event.balance_after_micros) == (
        100 * MICROS,
        300_000,
        100 * MICROS - 300_000,
    )
    assert sum(line.amount_micros for line in event.lines) == event.amount_micros
    assert event.effects.account == {"newest": str(record.start_time), "spend:2026-11": "300000"}
    seen = seen_of(record, digest(record))
    assert event.effects.seen == (*seen, seen.day + 2 * WINDOW_DAYS)
    assert event.clock == NOW


# --- repeats ---


@pytest.mark.parametrize("batches", [1, 2])
def test_a_record_is_charged_once(world, batches):
    """The same record again, in the same batch or days later, is DUPLICATE, even if its source says it was sent before."""
    again = usage("r", retransmission=True, received_at=NOW + DAY_MS, source_offset=9)
    things = [usage("r"), again, usage("r")]
    events = world.send(*things) if batches == 1 else [world.one(thing) for thing in things]
    assert kinds(events) == [("CHARGED", None), ("DUPLICATE", "duplicate"), ("DUPLICATE", "duplicate")]
    assert world.balance() == 100 * MICROS - 150_000
    assert [event.account_seq for event in events] == [2, 3, 4]


@pytest.mark.parametrize("batches", [1, 2])
def test_other_content_under_the_same_id_is_held(world, batches):
    """The same id with other content is REVIEW `conflicting_copy`, in either order, and is never charged."""
    things = [usage("r"), usage("r", duration_ms=61_000), usage("r")]
    events = world.send(*things) if batches == 1 else [world.one(thing) for thing in things]
    assert kinds(events) == [("CHARGED", None), ("REVIEW", "conflicting_copy"), ("DUPLICATE", "duplicate")]


def test_an_id_is_an_accounts_own(world):
    """Probes make ids unique, but an account never answers for another's."""
    world.one(opening("b", phone="+8613900000002"))
    events = world.send(usage("r"), usage("r", account="b", msisdn="+8613900000002"))
    assert kinds(events) == [("CHARGED", None)] * 2


def test_what_was_refused_is_decided_anew(world):
    """REJECTED and REVIEW leave no numbers: sent again after the cause was mended, the record is charged."""
    plain = usage("r", msisdn="+8613900000009")
    assert world.one(plain).reason == "not_bound"
    assert world.one(plain).reason == "not_bound"
    world.one(command("add_identity", "i", identity="msisdn-+8613900000009", from_=NOW - DAY_MS))
    assert world.one(plain).kind == "CHARGED"
    assert world.one(plain).kind == "DUPLICATE"


# --- time ---


@pytest.mark.parametrize(("late_ms", "kind"), [(0, "CHARGED"), (1, "REVIEW")])
def test_the_late_window_has_an_edge(world, late_ms, kind):
    """A record is late when the partition's clock is more than the window behind its start, not when exactly so."""
    event = world.one(usage("r", start_time=NOW - WINDOW_DAYS * DAY_MS - late_ms))
    assert event.kind == kind
    if kind == "REVIEW":
        assert json.loads(event.detail)["late_window_days"] == WINDOW_DAYS


def test_the_clock_is_the_greatest_received_at(world):
    """The clock of the partition never falls, moves by any readable record, and decides for later ones."""
    first = world.one(usage("r1", received_at=NOW + 10 * DAY_MS))
    second = world.one(usage("r2", received_at=NOW))
    nobody = world.one(usage("r3", account="nobody", received_at=NOW + 12 * DAY_MS))
    top_up = world.one(command("top_up", "t", amount="1", reference="f"), broker_time=NOW + 90 * DAY_MS)
    assert [e.clock - NOW for e in (first, second, nobody, top_up)] == [n * DAY_MS for n in (10, 10, 12, 12)]
    start = NOW - (WINDOW_DAYS - 12) * DAY_MS
    assert kinds(world.send(usage("r4", start_time=start), usage("r5", start_time=start - 1))) == [
        ("CHARGED", None),
        ("REVIEW", "late"),
    ]


def test_a_copy_outside_the_window_is_held_not_charged(world):
    """A copy that comes when its numbers may have gone is REVIEW, never charged and never dropped."""
    world.one(usage("r"))
    world.one(usage("clock", received_at=NOW + 36 * DAY_MS, start_time=NOW + 36 * DAY_MS))
    assert kinds([world.one(usage("r"))]) == [("REVIEW", "late")]


def test_offline_the_late_rule_is_off():
    """Rating files of any age: nothing is late."""
    world = World(late=False)
    world.one(opening(at=0, plan_from=0))
    assert world.one(usage("r", start_time=NOW - 400 * DAY_MS, received_at=NOW)).kind == "CHARGED"


# --- standing ---


def test_use_is_charged_whatever_the_balance(world):
    """Use that has happened is always CHARGED: neither balance, credit limit nor suspension changes kind or amount."""
    world.one(opening("poor", phone="+8613900000003", opening_balance="0"))
    world.one(command("suspend", "s", account="poor"))
    event = world.one(usage("r", account="poor", msisdn="+8613900000003"))
    assert (event.kind, event.amount_micros, event.balance_after_micros) == ("CHARGED", 150_000, -150_000)


def test_use_from_the_close_on_is_rejected(world):
    """Use that starts before the close is charged however late it comes; at the close or after it is REJECTED."""
    world.one(command("close", "c", at=NOW - 1_000, reason="left"))
    closed = int(world.fields()["closed_at"])
    assert closed == NOW - 1_000
    events = world.send(usage("r1", start_time=closed - 1), usage("r2", start_time=closed), usage("r3", start_time=NOW))
    assert kinds(events) == [("CHARGED", None), ("REJECTED", "after_close"), ("REJECTED", "after_close")]


def test_identities_are_held_against_their_spans(world):
    """A start inside one of the account's own spans of msisdn or imsi is charged, the end of a span excluded."""
    world.one(command("remove_identity", "i", identity="msisdn-" + PHONE), broker_time=NOW)
    found = kinds(
        world.send(
            usage("before", start_time=NOW - 1),
            usage("after", start_time=NOW),
            usage("imsi", msisdn=None, imsi="460010000000001"),
        )
    )
    assert found == [("CHARGED", None), ("REJECTED", "not_bound"), ("REJECTED", "not_bound")]


def test_reasons_have_an_order(world):
    """Of several reasons the first of the list is given."""
    old = {"start_time": NOW - 40 * DAY_MS}
    assert world.one(usage("r", account="nobody", **old)).reason == "unknown_account"
    world.one(usage("r", msisdn="+8613900000009"))
    assert world.one(usage("r2", msisdn="+8613900000009", **old)).reason == "late"
    world.one(usage("r3"))
    assert world.one(usage("r3", msisdn="+8613900000009")).reason == "conflicting_copy"
    assert world.one(usage("r4", msisdn="+8613900000009", other_party="+1")).reason == "not_bound"


# --- trouble ---


def test_a_fault_of_one_record_holds_that_record_alone(world):
    """The rating core raises on one record: it is REVIEW `fault`, and the batch goes on."""
    world.one(usage("g1", service="EVENT", session_id="s"))
    world.catalogues = Catalogues([compile_catalogue({**DOCUMENT, "operator": "Other"})])
    events = world.send(usage("r1"), usage("g2", service="EVENT", session_id="s"), usage("r2"))
    assert kinds(events) == [("CHARGED", None), ("REVIEW", "fault"), ("CHARGED", None)]
    assert json.loads(events[1].detail) == {"error": "AssertionError"}
    world.catalogues = Catalogues([CATALOGUE])
    assert world.one(usage("g2", service="EVENT", session_id="s")).kind == "CHARGED"


def test_amounts_out_of_bounds_are_held(world):
    """No amount and no balance ever leaves what every client holds exactly: beyond 2^53 it is REVIEW `too_large`."""
    assert world.one(usage("r1", service="MMS", message_count=2)).reason == "too_large"
    assert world.one(usage("r2", service="MMS")).kind == "CHARGED"
    event = world.one(usage("r3", service="MMS"))
    assert (event.kind, event.reason) == ("REVIEW", "too_large")
    assert world.one(usage("r4")).kind == "CHARGED"


def test_an_unread_record_has_no_account(world):
    """What could not be read answers its offset, with its SHA-256, and touches no account."""
    event = world.one(UsageInput(0, None, None, b"rubbish", "not a record"))
    assert (event.event_id, event.account, event.account_seq) == ("usage-0-0", "", 0)
    assert json.loads(event.detail)["first_bytes"] == b"rubbish".hex()
    assert event.positions.usage.offset == 1


# --- sessions ---


def test_a_sessions_parts_cost_the_same_in_any_order(world):
    """A session is one path by its own time: in any order of arrival its records come to the same sum."""
    parts = [
        usage(f"g{n}", service="EVENT", session_id="s", start_time=NOW - n * 1_000, message_count=4) for n in range(4)
    ]
    sums = set()
    for order in (parts, parts[::-1], [parts[2], parts[0], parts[3], parts[1]]):
        fresh = World()
        fresh.one(opening())
        events = [fresh.one(part) for part in order]
        assert {event.kind for event in events} == {"CHARGED"}
        sums.add(sum(event.amount_micros for event in events))
    assert sums == {12 * MICROS}, "10 x 1.00, 6 x 0.50 and 0.20, but never more than 12.00"


def test_a_session_is_an_accounts_and_a_services_own(world):
    """The connect fee is charged once a session; another account's session of that id is another session."""
    world.one(opening("b", phone="+8613900000002"))
    game = {"service": "EVENT", "session_id": "s"}
    events = world.send(
        usage("g1", **game),
        usage("g2", **game),
        usage("g3", account="b", msisdn="+8613900000002", **game),
        usage("g4", service="EVENT", session_id=None),
        usage("g5", service="EVENT", session_id="other"),
    )
    assert [event.amount_micros for event in events] == [1_200_000, 1_000_000, 1_200_000, 1_200_000, 1_200_000]


def test_a_session_id_used_again_after_the_window_is_a_new_session(world):
    """Ids of sessions are reused, but only after the late window: what comes then owes a connect fee again."""
    game = {"service": "EVENT", "session_id": "s"}
    world.one(usage("g1", **game))
    later = NOW + (WINDOW_DAYS + 2) * DAY_MS
    event = world.one(usage("g2", start_time=later, received_at=later, **game))
    assert event.amount_micros == 1_200_000
    assert world.one(usage("g3", start_time=later + 1, received_at=later, **game)).amount_micros == 1_000_000


def test_a_session_expires_after_its_latest_part(world):
    """A session's key goes twice the late window after the day of its latest part, whichever part came last."""
    game = {"service": "EVENT", "session_id": "s"}
    days = []
    for n, back in enumerate((3, 1, 2)):
        start = NOW - back * DAY_MS
        event = world.one(usage(f"g{n}", start_time=start, **game))
        days.append(event.effects.session.expires_day - 2 * WINDOW_DAYS - NOW // DAY_MS)
    assert days == [-3, -1, -1]


# --- limits ---


def test_each_threshold_of_a_budget_is_reached_once(world):
    """A crossing is in the event that crosses, once a month and budget: falling back and rising again says nothing."""
    world.one(command("set_budget", "b", amount="1.00", thresholds=[50, 80, 100]))
    reached = []
    for n in range(9):
        event = world.one(usage(f"r{n}"))
        reached.append(event.effects.account.get("reached:2026-11"))
    assert reached == [None, None, None, "50@1000000", None, "80@1000000", "100@1000000", None, None]
    world.one(command("set_budget", "b2", amount="2.00"))
    assert world.one(usage("more")).effects.account["reached:2026-11"] == "50@2000000"
    assert world.one(command("set_budget", "b3", amount="0")).effects.account == {"budget": None}
    assert "reached:2026-11" not in world.one(usage("even more")).effects.account


def test_spend_is_counted_in_the_month_of_the_start(world):
    """Tariff time decides the month: one hour before midnight in Shanghai is still the month before."""
    october_end = 1_793_462_400_000  # 2026-11-01T00:00+08:00
    for n, start in enumerate((october_end - 1, october_end)):
        world.one(usage(f"r{n}", start_time=start))
    fields = world.fields()
    assert (fields["spend:2026-10"], fields["spend:2026-11"]) == ("150000", "150000")


def test_passing_the_credit_limit_shows_once(world):
    """`over_limit` comes with the charge that passes the limit and goes with the money that brings it back above."""
    phone = "+8613900000004"
    world.one(opening("c", phone=phone, opening_balance="0.10", credit_limit="0.20"))
    over = [
        world.one(usage(f"r{n}", account="c", msisdn=phone)).effects.account.get("over_limit", "same") for n in range(4)
    ]
    assert over == ["same", "same", "1", "same"]
    top_up = world.one(command("top_up", "t", account="c", amount="0.10", reference="f"))
    assert "over_limit" not in top_up.effects.account
    assert world.one(command("top_up", "t2", account="c", amount="9", reference="g")).effects.account == {
        "over_limit": None
    }


@pytest.mark.parametrize("service", ["DATA", "VOICE"])
def test_fields_that_nobody_will_ask_for_are_removed(world, service):
    """Meters, spends and thresholds of periods beyond twice the late window go when a new period begins."""
    world.one(command("set_budget", "b", amount="0.10"))
    world.one(usage("r1", service=service))
    later = NOW + 130 * DAY_MS
    event = world.one(usage("r2", service=service, start_time=later, received_at=later))
    assert event.effects.account["spend:2026-11"] is None
    assert event.effects.account["reached:2026-11"] is None
    old = [name for name in world.fields() if name.endswith("2026-11")]
    assert old == []
    assert "newest" in world.fields()


def test_fields_of_the_window_stay(world):
    """What a late record may still ask for stays."""
    world.one(usage("r1", service="DATA"))
    later = NOW + 60 * DAY_MS
    world.one(usage("r2", service="DATA", start_time=later, received_at=later))
    assert "meter:plain:data:2026-11" in world.fields()
