"""Detectors over one event: each crossing said once, each recovery closed, and the same again the same."""

from typing import Any

import pytest

from pipeline.domain.detectors import DETECTORS, Finding, Parameters, findings
from pipeline.domain.detectors.finding import alert_id, ratio
from pipeline.domain.ledger import NO_EFFECTS, Effects, Event, Line, Position, Positions
from pipeline.domain.outcome import ACCOUNT_CHANGED, ADJUSTED, CHARGED, DUPLICATE, REJECTED, REVIEW, TOPPED_UP
from pipeline.domain.usage import AcceptedUsage

YUAN = 1_000_000
START = 1_793_500_000_000
AT = 1_793_600_000_000
PARAMETERS = Parameters(low_balance_micros=10 * YUAN)
NOWHERE = Position(bytes(16), 0)

USAGE = AcceptedUsage(
    record_id="r-1",
    source="msc",
    sequence=None,
    service="VOICE",
    direction="MO",
    msisdn="+8613800000001",
    imsi=None,
    imei=None,
    other_party="+8613900000002",
    start_time=START,
    duration_ms=60_000,
    uplink_octets=0,
    downlink_octets=0,
    message_count=0,
    answered=True,
    visited_plmn=None,
    cell=None,
    rating_group=None,
    session_id=None,
    partial_number=None,
    cause_for_closing=None,
    retransmission=False,
    account="acc-1",
    received_at=START + 5,
    source_topic="charging.usage.received.v1",
    source_partition=0,
    source_offset=7,
    on_net=False,
)


def event(kind: str, before: int, amount: int, changes: dict[str, str | None] | None = None, **more: Any) -> Event:
    """An event as charge writes it; `amount` is taken by a charge and added by everything else."""
    charged = kind == CHARGED
    fields: dict[str, Any] = {
        "seq": 9,
        "kind": kind,
        "event_id": "r-1" if charged else "c-1",
        "account": "acc-1",
        "account_seq": 4,
        "usage": USAGE if charged else None,
        "command": None if charged else {"type": "top_up", "at": AT},
        "digest": None,
        "reason": None,
        "detail": None,
        "lines": (),
        "amount_micros": amount,
        "currency": "CNY",
        "balance_before_micros": before,
        "balance_after_micros": before - amount if charged else before + amount,
        "effects": Effects(changes or {}, {}, None, None) if changes else NO_EFFECTS,
        "clock": START,
        "late_window_days": 35,
        "positions": Positions(NOWHERE, NOWHERE, NOWHERE),
        "epoch": 1,
    }
    return Event(**{**fields, **more})


def line(allowance: str | None, used: int) -> Line:
    empty: dict[str, Any] = dict.fromkeys(Line._fields)
    return Line(**{**empty, "rule": "call", "allowance": allowance, "allowance_used": used, "quantity": used})


def detect(found: Event) -> list[Finding]:
    return findings(found, f"3-{found.seq}", PARAMETERS)


def test_a_fall_below_the_threshold_opens_low_balance() -> None:
    """The alert opens with the event that takes the balance below, and carries what a person needs."""
    (finding,) = detect(event(CHARGED, 12 * YUAN, 5 * YUAN))
    assert (finding.detector, finding.state, finding.severity) == ("low_balance", "open", "warning")
    assert finding.object_ == "account-acc-1"
    assert finding.opened_at == START
    assert finding.score == "3.00"
    assert (finding.record_ids, finding.charge_ids) == (("r-1",), ("3-9",))
    assert finding.detail == {
        "account_seq": 4,
        "currency": "CNY",
        "balance_before_micros": 12 * YUAN,
        "balance_after_micros": 7 * YUAN,
        "amount_micros": 5 * YUAN,
        "threshold_micros": 10 * YUAN,
    }


@pytest.mark.parametrize(
    ("kind", "before", "amount", "states"),
    [
        (CHARGED, 10 * YUAN + 1, 1, []),  # exactly the threshold is not below it
        (CHARGED, 10 * YUAN, 1, ["open"]),
        (CHARGED, 10 * YUAN - 1, 1, []),  # was below already
        (CHARGED, 9 * YUAN, -YUAN, ["close"]),  # a charge may return money
        (ADJUSTED, 10 * YUAN, -1, ["open"]),
        (TOPPED_UP, 9 * YUAN, YUAN, ["close"]),
        (TOPPED_UP, 8 * YUAN, YUAN, []),  # not enough
        (TOPPED_UP, -50 * YUAN, 70 * YUAN, ["close"]),
        (TOPPED_UP, 10 * YUAN, YUAN, []),  # was never low
        (ACCOUNT_CHANGED, 0, 50 * YUAN, []),  # an account that opens does not come back
    ],
)
def test_low_balance_speaks_only_where_the_threshold_is_passed(
    kind: str, before: int, amount: int, states: list[str]
) -> None:
    """Below is strictly below; the state follows the direction; everything else is silence."""
    assert [finding.state for finding in detect(event(kind, before, amount))] == states


def test_the_alert_that_closes_is_the_one_that_opened() -> None:
    """A top-up closes under the id, the object and the window of the fall, with its own time and evidence."""
    (fallen,) = detect(event(CHARGED, 12 * YUAN, 5 * YUAN))
    (back,) = detect(event(TOPPED_UP, 7 * YUAN, 20 * YUAN, account_seq=5))
    assert back.alert_id == fallen.alert_id
    assert back.object_ == fallen.object_
    assert (back.state, back.opened_at, back.record_ids, back.detail["account_seq"]) == ("close", AT, (), 5)


def test_credit_limit_follows_what_charge_says() -> None:
    """`over_limit` set opens a critical alert, removed (or 0) closes it, absent says nothing."""
    opened = detect(event(CHARGED, -YUAN, YUAN, {"over_limit": "1", "newest": "1"}))
    removed = detect(event(TOPPED_UP, -2 * YUAN, YUAN, {"over_limit": None}))
    zeroed = detect(event(TOPPED_UP, -2 * YUAN, YUAN, {"over_limit": "0"}))
    silent = detect(event(CHARGED, -2 * YUAN, YUAN, {"newest": "1"}))
    assert [(f.detector, f.state, f.severity, f.score) for f in opened] == [
        ("credit_limit", "open", "critical", "2.00")
    ]
    assert [(f.detector, f.state) for f in removed + zeroed] == [("credit_limit", "close")] * 2
    assert {f.alert_id for f in opened + removed + zeroed} == {opened[0].alert_id}
    assert silent == []


def test_spend_budget_is_raised_where_charge_crossed_a_threshold() -> None:
    """The window names month, threshold and budget; the figures show the spend before and after."""
    changes: dict[str, str | None] = {"spend:2026-11": "40500000", "reached:2026-11": "80@50000000"}
    (finding,) = detect(event(CHARGED, 99 * YUAN, YUAN, changes))
    assert (finding.detector, finding.state, finding.severity) == ("spend_budget", "open", "warning")
    assert finding.window == "2026-11/80%@50000000"
    assert finding.score == "0.8100"
    assert (finding.detail["spend_before_micros"], finding.detail["spend_after_micros"]) == (39_500_000, 40_500_000)


def test_spend_budget_is_critical_when_used_up() -> None:
    """100 per cent and more is another severity, and another alert than 80."""
    changes: dict[str, str | None] = {"spend:2026-11": "50000000", "reached:2026-11": "100@50000000"}
    (finding,) = detect(event(CHARGED, 99 * YUAN, 20 * YUAN, changes))
    assert (finding.severity, finding.window) == ("critical", "2026-11/100%@50000000")


def test_forgetting_an_old_month_raises_nothing() -> None:
    """Charge removes fields of periods long past; a removed threshold was not crossed, a removed bucket not drawn on."""
    changes: dict[str, str | None] = {
        "reached:2025-01": None,
        "spend:2025-01": None,
        "bucket:p:a:2025-01": None,
        "grant:1": None,
    }
    assert detect(event(CHARGED, 99 * YUAN, YUAN, changes)) == []


@pytest.mark.parametrize(
    ("given", "used", "windows"),
    [
        (10, 79, []),
        (1, 80, ["basic/voice/2026-11/80%"]),
        (10, 90, []),  # 80 was reached before
        (10, 89, ["basic/voice/2026-11/80%"]),
        (10, 100, ["basic/voice/2026-11/100%"]),
        (100, 100, ["basic/voice/2026-11/100%"]),  # both at once is one alert
    ],
)
def test_allowance_low_opens_where_a_threshold_is_reached(given: int, used: int, windows: list[str]) -> None:
    """A bucket of 100 speaks at 80 and at 100, with the event that takes it there."""
    changes: dict[str, str | None] = {"bucket:basic:voice:2026-11": f"{used}/100"}
    charged = event(CHARGED, 99 * YUAN, 0, changes, lines=(line("voice", given), line(None, 0), line("other", 7)))
    assert [finding.window for finding in detect(charged)] == windows


def test_allowance_low_counts_what_all_parts_took() -> None:
    """Two parts of one record drew on the bucket: the level before lies before both."""
    changes: dict[str, str | None] = {"bucket:basic:voice:2026-11": "85/100"}
    charged = event(CHARGED, 99 * YUAN, 0, changes, lines=(line("voice", 4), line("voice", 4)))
    (finding,) = detect(charged)
    assert (finding.detail["used_before"], finding.detail["used_after"], finding.detail["size"]) == (77, 85, 100)
    assert finding.detail["service"] == "VOICE"


def test_a_bought_bucket_runs_out_like_any_other() -> None:
    """A grant is told by its number, so two packs of one allowance are two alerts."""
    changes: dict[str, str | None] = {"grant:2": "900/1000 basic voice 5 -"}
    (finding,) = detect(event(CHARGED, 99 * YUAN, 0, changes, lines=(line("voice", 200),)))
    assert finding.window == "basic/voice/grant-2/80%"


def test_a_pack_just_bought_raises_nothing() -> None:
    """Buying a bucket changes its field as well, but nothing of it is used."""
    changes: dict[str, str | None] = {"grant:2": "0/1000 basic voice 5 -"}
    assert detect(event(ACCOUNT_CHANGED, 99 * YUAN, 0, changes)) == []


def test_a_crossing_is_not_missed_where_two_buckets_of_one_allowance_gave() -> None:
    """Lines do not say which bucket gave: the crossing of the first is seen, and so is that of the second."""
    changes: dict[str, str | None] = {"bucket:basic:voice:2026-11": "100/100", "grant:1": "85/100 basic voice 5 -"}
    charged = event(CHARGED, 99 * YUAN, 0, changes, lines=(line("voice", 30), line("voice", 85)))
    assert [f.window for f in detect(charged)] == ["basic/voice/2026-11/100%", "basic/voice/grant-1/80%"]


@pytest.mark.parametrize("kind", [DUPLICATE, REVIEW, REJECTED, "SEAL"])
def test_events_that_changed_nothing_raise_nothing(kind: str) -> None:
    """Only kinds that change an account are looked at, whatever else an event says."""
    changes: dict[str, str | None] = {"over_limit": "1", "reached:2026-11": "80@5", "spend:2026-11": "4"}
    assert detect(event(kind, 12 * YUAN, -5 * YUAN, changes)) == []


def test_one_event_may_raise_several_alerts_in_a_fixed_order() -> None:
    """Detectors speak in the order of DETECTORS, each once, and the same event gives the same findings again."""
    changes: dict[str, str | None] = {
        "bucket:basic:voice:2026-11": "80/100",
        "over_limit": "1",
        "reached:2026-11": "50@20000000",
        "spend:2026-11": "13000000",
    }
    charged = event(CHARGED, 12 * YUAN, 13 * YUAN, changes, lines=(line("voice", 1),))
    assert tuple(finding.detector for finding in detect(charged)) == DETECTORS
    assert detect(charged) == detect(charged)


def test_an_alert_id_is_made_of_detector_object_and_window() -> None:
    """Each of the three makes another alert; the id is short, stable text (a golden value: it may never change)."""
    base = alert_id("low_balance", "account-a", "below@1")
    others = {
        alert_id("credit_limit", "account-a", "below@1"),
        alert_id("low_balance", "account-b", "below@1"),
        alert_id("low_balance", "account-a", "below@2"),
    }
    assert base == "7023a9107c84a5a5982be13b53854bf1"
    assert len(others | {base}) == 4


def test_a_settled_review_counts_by_the_start_of_its_use() -> None:
    """An event with both use and command happened when the use did."""
    (finding,) = detect(event(CHARGED, 12 * YUAN, 5 * YUAN, command={"type": "settle_review", "at": AT}))
    assert (finding.opened_at, finding.record_ids) == (START, ("r-1",))


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(1, 3, "0.3333"), (2, 1, "2.0000"), (-1, 8, "-0.1250"), (0, 5, "0.0000")]
)
def test_a_ratio_is_four_places_cut_off(part: int, whole: int, text: str) -> None:
    """Scores are decimals made of integers."""
    assert ratio(part, whole) == text
