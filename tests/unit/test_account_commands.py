"""What commands do to an account: once each, money to the micro, and no price changed behind what was charged."""

import json
from itertools import pairwise

import pytest
from charging_world import NOW, OPENED, PHONE, WINDOW_DAYS, World, command, opening, usage

from pipeline.domain.commands import parse_event_id
from pipeline.domain.usage import DAY_MS

MICROS = 1_000_000
IMSI = "imsi-460010000000001"
MSISDN = "msisdn-" + PHONE


@pytest.fixture
def world():
    made = World()
    made.one(opening())
    return made


def spans(world, identity, account="a"):
    """The spans of one identity, ends included, as the account has them."""
    found = []
    for part in world.fields(account)["identities"].split():
        name, _, span = part.rpartition("@")
        if name == identity:
            begin, _, end = span.partition("-")
            found.append((int(begin), int(end) if end else None))
    return found


def effective(event):
    assert event.kind == "ACCOUNT_CHANGED", (event.reason, event.detail)
    return json.loads(event.detail)["effective"]


# --- opening ---


def test_opening_books_the_opening_balance():
    """after = before + amount: the opening balance is the amount of the event that opens."""
    world = World()
    event = world.one(opening(opening_balance="12.345678", credit_limit="5"))
    assert (event.kind, event.reason, event.account_seq) == ("ACCOUNT_CHANGED", "opened", 1)
    assert (event.balance_before_micros, event.amount_micros, event.balance_after_micros) == (0, 12_345_678, 12_345_678)
    assert world.fields()["credit_limit"] == "5000000"
    assert world.fields()["currency"] == "CNY"


def test_an_account_may_open_below_its_limit():
    """A debt taken over from elsewhere shows as over the limit at once."""
    world = World()
    world.one(opening(opening_balance="-1"))
    assert world.fields()["over_limit"] == "1"


def test_opening_binds_its_identities_as_far_back_as_its_plan():
    """Identities never bound to the account before may be its own from the past on."""
    world = World()
    world.one(opening(identities=[MSISDN, IMSI], at=NOW, plan_from=OPENED))
    assert spans(world, MSISDN) == spans(world, IMSI) == [(OPENED, None)]
    assert [(b.identity, b.account, b.spans) for b in world.bindings] == [
        (MSISDN, "a", ((OPENED, None),)),
        (IMSI, "a", ((OPENED, None),)),
    ]
    assert world.one(usage("r")).kind == "CHARGED"


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "cny"},
        {"currency": "CN"},
        {"opening_balance": "1,5"},
        {"opening_balance": "0.0000001"},
        {"opening_balance": "9007199254.740992"},
        {"credit_limit": "-1"},
        {"identities": ["+8613900000001"]},
        {"identities": [MSISDN, MSISDN]},
        {"identities": ["imsi-12"]},
        {"plan": None},
        {"account": "a b"},
        {"account": "a@b"},
        {"account": "{0}"},
        {"account": "a|b"},
        {"account": ""},
        {"account": "x" * 129},
    ],
    ids=str,
)
def test_an_opening_out_of_bounds_opens_nothing(wrong):
    """A refused opening leaves no account, and may be sent again under its id."""
    world = World()
    event = world.one(opening(**wrong))
    assert (event.kind, event.reason, event.account_seq) == ("REJECTED", "bad_command", 0)
    assert world.bindings == []
    assert world.one(opening()).reason == "opened"


# --- repeats ---


def test_a_command_is_carried_out_once(world):
    """A repeat is DUPLICATE whatever its `at`; other content under the id is REJECTED; both move nothing."""
    top_up = command("top_up", "t", amount="5", reference="f")
    events = [world.one(top_up), *world.send({**top_up, "at": NOW + 9}, {**top_up, "reference": "g"}, top_up)]
    assert [event.kind for event in events] == ["TOPPED_UP", "DUPLICATE", "REJECTED", "DUPLICATE"]
    assert world.balance() == 105 * MICROS


def test_a_refused_command_may_be_sent_again(world):
    """Only what was carried out is remembered."""
    resume = command("resume", "r")
    assert world.one(resume).reason == "wrong_state"
    world.one(command("suspend", "s"))
    assert world.one(resume).reason == "resumed"
    assert world.one(resume).reason == "duplicate_command"


def test_a_reference_is_booked_once(world):
    """A payment's reference is kept for ever: again is DUPLICATE, with another amount REJECTED."""
    events = world.send(
        command("top_up", "t1", amount="5", reference="f"),
        command("top_up", "t2", amount="5.00", reference="f"),
        command("top_up", "t3", amount="6", reference="f"),
        command("top_up", "t4", amount="5", reference="g"),
    )
    assert [event.reason for event in events] == [
        "topped_up",
        "duplicate_reference",
        "conflicting_reference",
        "topped_up",
    ]
    assert world.balance() == 110 * MICROS


@pytest.mark.parametrize("amount", ["0", "-1", "x", "", "1e3", "0.0000001", "9007199254.740991", None])
def test_a_top_up_is_above_zero_and_in_bounds(world, amount):
    """Money goes in by decimal text, exactly, and never beyond what is held exactly."""
    assert world.one(command("top_up", "t", amount=amount, reference="f")).reason == "bad_command"


# --- adjustments ---


def test_adjustments_of_a_charge_never_return_more_than_it_took(world):
    """Linked adjustments add up: together they return at most what the charge took, in one batch or many."""
    charge = world.one(usage("r", duration_ms=120_000))
    assert charge.amount_micros == 300_000
    link = {"charge_id": f"0-{charge.seq}", "reason": "bad line"}
    events = world.send(
        command("adjust", "1", amount="0.20", **link),
        command("adjust", "2", amount="0.100001", **link),
        command("adjust", "3", amount="0.10", **link),
        command("adjust", "4", amount="0.000001", **link),
    )
    assert [event.reason for event in events] == ["adjusted", "exceeds_charge", "adjusted", "exceeds_charge"]
    assert world.one(command("adjust", "5", amount="0.000001", **link)).reason == "exceeds_charge"
    assert world.one(command("adjust", "6", amount="-0.10", **link)).reason == "adjusted"
    assert world.one(command("adjust", "7", amount="0.10", **link)).reason == "adjusted"
    assert world.balance() == 100 * MICROS


@pytest.mark.parametrize("alias", ["00-2", "0-02", " 0-2", "0-2 ", "+0-2", "0-٢"])
def test_a_charge_has_one_name(world, alias):
    """No other spelling of a charge's id returns it a second time."""
    assert world.one(usage("r")).seq == 2
    assert world.one(command("adjust", "1", amount="0.15", charge_id="0-2", reason="y")).reason == "adjusted"
    assert parse_event_id(alias) is None
    again = command("adjust", "2", amount="0.15", charge_id=alias, reason="y")
    assert world.one(again).reason == "unknown_charge"


def test_an_adjustment_names_a_charge_of_its_own_account(world):
    """Another account's charge, an event that is no charge, an event that is not there: REJECTED."""
    world.one(opening("b", phone="+8613900000002"))
    charge = world.one(usage("r", account="b", msisdn="+8613900000002"))
    for charge_id in (f"0-{charge.seq}", "0-1", "0-99", "1-3", "nonsense"):
        event = world.one(command("adjust", charge_id, amount="0.01", charge_id=charge_id, reason="y"))
        assert event.reason == "unknown_charge"


def test_an_adjustment_without_a_charge_says_why(world):
    """Goodwill is booked with a reason, up or down, by no more than nothing."""
    assert world.one(command("adjust", "1", amount="-7", reason="mistake")).balance_after_micros == 93 * MICROS
    assert world.one(command("adjust", "2", amount="1")).reason == "bad_command"
    assert world.one(command("adjust", "3", amount="0", reason="why")).reason == "bad_command"


def test_a_negative_charge_can_not_be_returned(world):
    """A record that gave money back took nothing."""
    game = {"service": "EVENT", "session_id": "s"}
    world.one(usage("g2", message_count=20, start_time=NOW - 1, **game))
    charge = world.one(usage("g1", message_count=1, start_time=NOW - 2, **game))
    assert charge.amount_micros <= 0
    event = world.one(command("adjust", "x", amount="0.01", charge_id=f"0-{charge.seq}", reason="y"))
    assert event.reason == "exceeds_charge"


# --- when things take effect ---


@pytest.mark.parametrize(
    "change",
    [
        {"type": "change_plan", "plan": "basic"},
        {"type": "add_allowance", "allowance": "extra"},
        {"type": "add_identity", "identity": IMSI},
    ],
    ids=lambda change: change["type"],
)
def test_a_change_takes_effect_after_what_was_charged(change):
    """At the later of the time given and the moment after the newest charged start; the event says which."""
    start = NOW - 3_600_000
    for given, expected in (
        (None, NOW),
        (NOW - 7_200_000, start + 1),
        (start, start + 1),
        (start + 1, start + 1),
        (start + 2, start + 2),
        (NOW + DAY_MS, NOW + DAY_MS),
    ):
        world = World()
        world.one(opening(plan="basic"))
        world.one(usage("r", start_time=start))
        world.one(usage("older", start_time=start - 5))
        world.one(usage("refused", start_time=NOW, other_party="+1"))
        kind = change["type"]
        others = {name: value for name, value in change.items() if name != "type"}
        event = world.one(command(kind, "c", from_=given, **others), broker_time=OPENED)
        assert effective(event) == expected


def test_a_plan_changed_later_replaces_what_was_to_come(world):
    """The newest word counts: what a plan change had planned for after its own moment is gone."""
    world.one(command("change_plan", "p1", plan="basic", from_=NOW + 10))
    world.one(command("change_plan", "p2", plan="basic", from_=NOW + 5))
    world.one(command("change_plan", "p3", plan="plain", from_=NOW + 7))
    assert world.fields()["plans"] == f"plain@{OPENED} basic@{NOW + 5} plain@{NOW + 7}"


def test_an_identity_never_bound_may_be_bound_in_the_past(world):
    """A SIM whose use came first: over time never bound to the account, its identity may begin before now."""
    event = world.one(command("add_identity", "i", identity=IMSI, from_=NOW - 5 * DAY_MS), broker_time=NOW)
    assert effective(event) == NOW - 5 * DAY_MS
    assert spans(world, IMSI) == [(NOW - 5 * DAY_MS, None)]
    assert world.bindings[0].spans == ((NOW - 5 * DAY_MS, None),)


def test_an_identity_is_removed_from_the_brokers_time_on(world):
    """A span once bound stays as it was: it never ends before the command's broker time."""
    event = world.one(command("remove_identity", "i", identity=MSISDN, from_=NOW - DAY_MS), broker_time=NOW - 50)
    assert effective(event) == NOW - 50
    assert spans(world, MSISDN) == [(OPENED, NOW - 50)]
    assert world.bindings[0].spans == ((OPENED, NOW - 50),)


def test_an_identity_may_be_removed_in_the_future(world):
    """The time given counts where it is later; it may then be removed sooner, but not again after that."""
    assert effective(world.one(command("remove_identity", "i", identity=MSISDN, from_=NOW + DAY_MS))) == NOW + DAY_MS
    assert effective(world.one(command("remove_identity", "j", identity=MSISDN, from_=NOW + 5))) == NOW + 5
    assert world.one(command("remove_identity", "k", identity=MSISDN, from_=NOW + 9)).reason == "identity_not_bound"
    assert spans(world, MSISDN) == [(OPENED, NOW + 5)]


def test_a_removed_identity_comes_back_from_now_on(world):
    """Over time once bound to the account nothing is bound anew: there, an identity begins at the broker's time."""
    world.one(command("remove_identity", "r", identity=MSISDN), broker_time=NOW)
    event = world.one(command("add_identity", "i", identity=MSISDN, from_=NOW - DAY_MS), broker_time=NOW + 50)
    assert effective(event) == NOW + 50
    assert spans(world, MSISDN) == [(OPENED, NOW), (NOW + 50, None)]


def test_the_gap_after_a_removal_was_never_bound(world):
    """From the end of its span on, the identity was nobody's here: it may be bound again from there."""
    world.one(command("remove_identity", "r", identity=MSISDN), broker_time=NOW)
    event = world.one(command("add_identity", "i", identity=MSISDN, from_=NOW + 10), broker_time=NOW + 50)
    assert effective(event) == NOW + 10
    assert spans(world, MSISDN) == [(OPENED, NOW), (NOW + 10, None)]


def test_a_span_that_never_began_is_taken_back_whole(world):
    """An identity added for later and removed before: it is as if it had never been added."""
    world.one(command("add_identity", "i", identity=IMSI, from_=NOW + 5 * DAY_MS))
    world.one(command("remove_identity", "r", identity=IMSI, from_=NOW + DAY_MS))
    assert spans(world, IMSI) == []
    assert world.bindings == [(IMSI, "a", ())]


def test_a_past_span_never_changes(world):
    """Whatever is sent, a moment of the past that was the account's stays the account's."""
    moments = [OPENED, NOW - DAY_MS, NOW - 1]
    for n, (kind, given, broker) in enumerate(
        [
            ("remove_identity", 0, NOW),
            ("add_identity", 0, NOW + 1),
            ("remove_identity", NOW, NOW + 2),
            ("add_identity", NOW + 1, NOW + 5),
            ("add_identity", NOW, NOW + 6),
        ]
    ):
        world.one(command(kind, f"c{n}", identity=MSISDN, from_=given), broker_time=broker)
        held = spans(world, MSISDN)
        assert all(any(begin <= at and (end is None or at < end) for begin, end in held) for at in moments)
        for (_, end), (begin, _) in pairwise(held):
            assert end is not None
            assert end <= begin, "spans of one identity overlap"


def test_a_close_comes_after_what_was_charged(world):
    """An account is closed at the later of `at` and the moment after its newest charged start."""
    world.one(usage("r", start_time=NOW - 5))
    assert effective(world.one(command("close", "c", at=NOW - DAY_MS))) == NOW - 4
    for kind in ("suspend", "resume", "close", "set_budget", "change_plan", "add_identity", "remove_identity"):
        event = world.one(command(kind, kind, amount="1", plan="basic", identity=IMSI))
        assert event.reason == "account_closed"
    assert world.one(command("top_up", "t", amount="1", reference="f")).kind == "TOPPED_UP"
    assert world.one(command("adjust", "x", amount="-100.85", reason="paid out")).balance_after_micros == 0


# --- allowances, budgets ---


def test_a_bought_allowance_serves_from_then_on():
    """A bucket that is bought is drawn on before the plan's own, by its priority, until it is empty or expires."""
    world = World()
    world.one(opening(plan="basic"))
    world.one(command("add_allowance", "l", allowance="extra", from_=NOW - DAY_MS))
    event = world.one(usage("r", duration_ms=15 * 60_000))
    assert [(line.allowance, line.allowance_used) for line in event.lines] == [("extra", 600_000), ("talk", 300_000)]
    assert event.amount_micros == 0
    assert set(event.effects.account) == {"newest", "grant:1", "bucket:basic:talk:2026-11"}
    world.one(command("add_allowance", "m", allowance="extra", from_=NOW))
    assert "grant:2" in world.fields()


@pytest.mark.parametrize("wrong", [{"amount": "-1"}, {"amount": None}, {"thresholds": [0]}, {"thresholds": [1001]}])
def test_a_budget_out_of_bounds_is_refused(world, wrong):
    """Thresholds are percents of the budget, one to twenty of them."""
    assert world.one(command("set_budget", "b", **{"amount": "1", **wrong})).reason == "bad_command"
    assert "budget" not in world.fields()


def test_a_budget_has_default_thresholds(world):
    """50, 80 and 100 percent, unless told otherwise; each once, in order."""
    assert world.one(command("set_budget", "b", amount="10")).effects.account == {"budget": "10000000@50,80,100"}
    event = world.one(command("set_budget", "c", amount="10", thresholds=[90, 20, 90]))
    assert event.effects.account == {"budget": "10000000@20,90"}


# --- reviews ---


def settle(review, decision="charge", command_id="s"):
    return command("settle_review", command_id, review=f"0-{review.seq}", decision=decision, reason="checked")


@pytest.fixture
def review(world):
    return world.one(usage("old", start_time=NOW - 40 * DAY_MS))


def test_a_review_is_charged_once(world, review):
    """Settled by `charge`, the held record is priced then, CHARGED under its own id, and known as charged."""
    event = world.one(settle(review))
    assert (event.kind, event.event_id, event.reason) == ("CHARGED", "old", None)
    assert event.usage == review.usage
    assert event.command["command_id"] == "s"
    assert event.digest == review.digest
    assert event.effects.seen is not None
    assert event.balance_after_micros == 100 * MICROS - 150_000
    assert world.one(settle(review)).kind == "DUPLICATE"
    again = world.one(settle(review, command_id="s2"))
    assert (again.kind, again.reason) == ("REJECTED", "already_settled")
    assert world.balance() == 100 * MICROS - 150_000


def test_a_review_is_discarded_for_good(world, review):
    """Settled by `discard`, it is never charged, in the same batch or later."""
    events = world.send(settle(review, "discard"), settle(review, command_id="s2"))
    assert [event.reason for event in events] == ["discarded", "already_settled"]
    assert (events[0].amount_micros, events[0].effects.account) == (0, {})
    assert world.one(settle(review, command_id="s3")).reason == "already_settled"
    assert world.balance() == 100 * MICROS


def test_two_reviews_of_one_record_charge_it_once(world, review):
    """The same record held twice: once one is charged, the other is `already_charged`."""
    second = world.one(usage("old", start_time=NOW - 40 * DAY_MS))
    assert world.one(settle(review)).kind == "CHARGED"
    assert world.one(settle(second, command_id="s2")).reason == "already_charged"
    assert world.one(settle(second, "discard", "s3")).reason == "discarded"


def test_a_conflicting_copy_is_charged_already(world):
    """What clashes with a charged record can only be discarded."""
    world.one(usage("r"))
    review = world.one(usage("r", duration_ms=1))
    assert world.one(settle(review)).reason == "already_charged"


@pytest.mark.parametrize(("days", "reason"), [(30, None), (31, "too_old")])
@pytest.mark.parametrize("by", ["use", "command"])
def test_a_review_is_too_old_once_its_numbers_may_be_gone(world, review, days, reason, by):
    """Twice the late window after its day nobody can tell whether it was charged: by the partition's clock, or by the
    broker's time of the command where the partition is quiet."""
    now = NOW + days * DAY_MS
    assert review.usage.start_time // DAY_MS + 2 * WINDOW_DAYS == (NOW + 30 * DAY_MS) // DAY_MS
    if by == "use":
        world.one(usage("clock", start_time=now, received_at=now))
    event = world.one(settle(review), broker_time=now)
    assert event.reason == reason


def test_a_settled_review_is_still_held_against_the_account(world):
    """Identity and close are asked when a review is charged; what is refused may be settled again."""
    review = world.one(usage("old", start_time=NOW - 40 * DAY_MS, msisdn="+8613900000009"))
    event = world.one(settle(review))
    assert (event.kind, event.reason, event.event_id) == ("REJECTED", "not_bound", "s")
    world.one(command("add_identity", "i", identity="msisdn-+8613900000009", from_=OPENED))
    assert world.one(settle(review)).kind == "CHARGED"


@pytest.mark.parametrize("wrong", [{"decision": "maybe"}, {"decision": None}, {"reason": None}, {"reason": ""}])
def test_a_settlement_says_what_and_why(world, review, wrong):
    """`charge` or `discard`, and a sentence why."""
    assert world.one({**settle(review), **wrong}).reason == "bad_command"


def test_a_review_has_one_name_and_one_account(world, review):
    """Another spelling of its id, another account's review, an event that is none: REJECTED."""
    world.one(opening("b", phone="+8613900000002"))
    for n, (account, name) in enumerate((("a", "0-02"), ("b", "0-2"), ("a", "0-1"), ("a", "0-77"), ("a", ""))):
        event = world.one({**settle(review, command_id=f"s{n}"), "account": account, "review": name})
        assert event.reason == "unknown_review"


@pytest.mark.parametrize("kind", ["hold", "release"])
def test_what_is_not_carried_out_yet_is_refused(world, kind):
    """A command of a type that this release does not carry out is REJECTED, never ignored."""
    assert world.one(command(kind, "c", amount="1", period="2026-11")).reason == "unsupported"
