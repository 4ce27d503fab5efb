"""Alerts with a life: each change once, and what it makes of the alert; silences, acknowledgements, the queue."""

import json
from pathlib import Path

import pytest

from consumers.alerts.alertmanager import as_told
from consumers.alerts.change import EVERY, Change, Rule, change_of, rule_of
from consumers.alerts.correct import Charge, by_hand, commands, waived
from consumers.alerts.life import CLOSED, DAY_MS, EXPIRED, OPEN, Life
from consumers.alerts.queue import DELIVERED, FAILED, Queue, Subscription
from consumers.alerts.store import AlertStore, StoreError
from consumers.alerts.webhook import message
from consumers.statements.rerate import Correction
from pipeline.adapters.avro import ALERT, UndecodableError
from pipeline.adapters.kafka.client import Fetched

NOW = 1_800_000_000_000


def record(account="alice", state="open", order=1, detector="low_balance", severity="warning", ce_id=None) -> Fetched:
    """A record of the topic."""
    name = f"{detector}-{account}"
    value = ALERT.encode(
        {
            "alert_id": name, "state": state, "detector": detector, "severity": severity,
            "object": f"account-{account}", "account": account, "opened_at": NOW - 5_000 + order, "window": "w",
            "score": "1", "record_ids": [], "charge_ids": [f"0-{order}"],
            "detail": json.dumps({"account_seq": order}), "action": "Look.",
        }
    )  # fmt: skip
    said = (ce_id or f"{name}/{state}/0-{order}").encode()
    return Fetched("t", 0, order, NOW, None, value, (("ce_id", said),))


def change(*args, **fields) -> Change:
    return change_of(record(*args, **fields))


@pytest.fixture
def store(tmp_path):
    made = AlertStore(tmp_path)
    yield made
    made.close()


@pytest.fixture
def take(store):
    """Take changes in as the process does, one transaction each; tells which were news."""

    def taken(*changes: Change, now=NOW) -> list[bool]:
        news = []
        for item in changes:
            with store.transaction():
                news.append(Life(store).take(item, now))
                if news[-1]:
                    Queue(store).enqueue(item, now)
        return news

    return taken


def statuses(store) -> dict[str, str]:
    return {a["account"]: a["status"] for a in Life(store).alerts(statuses=(OPEN, CLOSED, EXPIRED))}


def test_the_same_again_is_no_news(store, take):
    """A change raised or read twice is taken in once; the alert is what its last change made it."""
    first, last = change(), change(state="close", order=2)
    assert take(first, first, last, first, last) == [True, False, True, False, False]
    assert statuses(store) == {"alice": CLOSED}
    assert [c["state"] for c in Life(store).changes("low_balance-alice")] == ["open", "close"]


def test_an_older_change_is_no_news(store, take):
    """By the account's running number, whatever order they come in."""
    assert take(change(state="close", order=5), change(order=3)) == [True, False]
    assert statuses(store) == {"alice": CLOSED}


def test_it_opens_again_and_is_nobodys(store, take):
    """Acknowledged stays through updates and the close, not when it opens again; it then begins anew."""
    life = Life(store)
    take(change())
    life.acknowledge("low_balance-alice", "staff-lin", "called", NOW)
    take(change(state="update", order=2))
    (alert,) = life.alerts()
    assert alert["acknowledged"]["by"] == "staff-lin"
    assert alert["opened_at"].endswith(":55.001Z"), "it began when it opened"
    take(change(state="close", order=3), change(order=4))
    (alert,) = life.alerts()
    assert alert["acknowledged"] is None
    assert alert["opened_at"].endswith(":55.004Z")
    assert alert["changes"] == 4


def test_what_is_not_heard_of_expires_and_is_forgotten(store, take):
    """Open without news: expired; ended long ago: gone, with its changes. What is open and heard of stays."""
    take(change(account="old"))
    take(change(account="new"), now=NOW + 30 * DAY_MS)
    with store.transaction():
        Life(store).expire(20 * DAY_MS, 90 * DAY_MS, NOW + 30 * DAY_MS)
    assert statuses(store) == {"old": EXPIRED, "new": OPEN}
    take(change(account="new", state="update", order=2), now=NOW + 115 * DAY_MS)
    with store.transaction():
        Life(store).expire(20 * DAY_MS, 90 * DAY_MS, NOW + 121 * DAY_MS)
    assert statuses(store) == {"new": OPEN}
    assert Life(store).changes("low_balance-old") == []
    assert len(Life(store).changes("low_balance-new")) == 2


def test_an_id_may_be_shortened_where_one_begins_so(store, take):
    """None and several are no answer."""
    take(change(account="ab"), change(account="ac"))
    life = Life(store)
    found = life.alert("low_balance-ab")
    assert found is not None
    assert found["account"] == "ab"
    assert life.alert("low_balance-a") is None
    assert life.alert("") is None


@pytest.mark.parametrize(
    ("rule", "meant"),
    [
        (EVERY, True),
        (Rule(detectors=("irsf", "low_balance")), True),
        (Rule(detectors=("irsf",)), False),
        (Rule(severity="info"), True),
        (Rule(severity="warning"), True),
        (Rule(severity="critical"), False),
        (Rule(accounts=("alice",), objects=("account-alice",)), True),
        (Rule(accounts=("alice",), objects=("account-bob",)), False),
        (Rule(alert_ids=("low_balance-alice",)), True),
    ],
)
def test_a_rule_means_what_all_its_fields_mean(rule, meant):
    """A field without values asks nothing; severity is the least; a rule is the same after it was kept."""
    assert rule.matches(change().body) is meant
    assert rule_of(json.loads(json.dumps(rule.as_json()))) == rule


def test_bytes_that_are_no_alert_are_refused():
    """Nothing is guessed."""
    with pytest.raises(UndecodableError):
        change_of(record()._replace(value=record().value[:-1]))


@pytest.mark.parametrize(
    "detail", ["[" * 100_000, '{"account_seq": 1e3, "x": "\\ud800"}', f'{{"account_seq": {10**30}}}', "no JSON"]
)
def test_any_detail_is_taken_in(store, take, detail):
    """Whatever another writer put there is shown, and ends nothing."""
    alert = ALERT.decode(record().value)
    assert take(change_of(record()._replace(value=ALERT.encode({**alert, "detail": detail})))) == [True]
    (shown,) = Life(store).alerts()
    assert message("alert.open", NOW, shown)


def test_a_file_of_another_release_is_refused(tmp_path):
    """It is not read as what it is not."""
    made = AlertStore(tmp_path)
    made.database.execute("PRAGMA user_version = 99")
    made.close()
    with pytest.raises(StoreError, match="another release"):
        AlertStore(tmp_path)


def test_a_close_is_not_silenced_where_the_open_was_told(store, take):
    """Somebody waits for it; where the open was held, the close is held as well and both are dropped."""
    queue, life = Queue(store), Life(store)
    queue.subscribe(Subscription("desk", "https://desk.example", "f", EVERY))
    take(change(account="told"))
    life.silence(EVERY, NOW + 1_000, "r", "a", NOW)
    take(change(account="told", state="close", order=2), change(account="held"))
    take(change(account="held", state="close", order=2))
    assert queue.counts() == {("desk", "waiting"): 2, ("desk", "held"): 2}
    queue.release(NOW + 2_000)
    assert queue.counts() == {("desk", "waiting"): 2, ("desk", "dropped"): 2}


def test_one_alerts_changes_wait_for_one_another(store, take):
    """Other alerts do not; a failed one waits its pause, and its receiver is asked with one webhook."""
    queue = Queue(store)
    queue.subscribe(Subscription("desk", "https://desk.example", "f", EVERY))
    take(change(account="a"), change(account="a", state="close", order=2), change(account="b"), change(account="c"))
    due = queue.due(NOW, 10)
    asked = [(d.alert["account"], d.state, d.attempt) for d in due]
    assert asked == [("a", "open", 1), ("b", "open", 1), ("c", "open", 1)]
    queue.failed(due[0], "answered 500", NOW + 5_000, NOW + 2_000, NOW)
    assert queue.due(NOW, 10) == [], "the receiver is left alone"
    (probe,) = queue.due(NOW + 2_000, 10)
    assert probe.alert["account"] == "b"
    queue.delivered(probe, NOW + 2_000)
    (rest,) = queue.due(NOW + 2_001, 10)
    assert rest.alert["account"] == "c"
    queue.delivered(rest, NOW + 2_001)
    (again,) = queue.due(NOW + 5_000, 10)
    assert (again.change_id, again.attempt) == (due[0].change_id, 2)
    queue.failed(again, "answered 500", None, NOW, NOW + 5_000)
    (close,) = queue.due(NOW + 5_000, 10)
    assert close.state == "close"
    assert queue.replay(["desk"], NOW, failed_only=True, now_ms=NOW) == 1
    assert queue.counts() == {("desk", "waiting"): 2, ("desk", DELIVERED): 2}
    assert FAILED not in {status for _, status in queue.counts()}


def test_a_receiver_that_is_gone_gets_nothing(store, take):
    """Neither what waits nor what comes."""
    queue = Queue(store)
    queue.subscribe(Subscription("desk", "https://desk.example", "f", EVERY))
    take(change())
    queue.gone("desk", "answered 410")
    take(change(account="bob"))
    assert queue.due(NOW, 10) == []
    assert queue.counts() == {("desk", "waiting"): 1}


def test_alertmanager_is_told_an_end_that_is_one(store, take):
    """Open: an end some intervals ahead. Closed: when it closed, and never before it began. No number is a label."""
    take(change())
    (alert,) = Life(store).alerts()
    told = as_told(alert, NOW, 60)
    assert (told["startsAt"], told["endsAt"]) == ("2027-01-15T07:59:55.001Z", "2027-01-15T08:04:00.000Z")
    assert not any("alice" in value for key, value in told["labels"].items() if key != "alert_id")
    take(change(state="close", order=2), now=NOW - 60_000)
    (alert,) = Life(store).alerts(statuses=(CLOSED,))
    told = as_told(alert, NOW, 60)
    assert told["startsAt"] < told["endsAt"] < "2027-01-15T08:00:00.000Z"


def test_a_charge_is_waived_as_far_as_it_was_not_returned():
    """What was returned stays out; nothing left: nothing to do. The same again has the same ids."""
    charges = [Charge("0-7", NOW, "CNY", 900_000, 400_000), Charge("0-8", NOW, "CNY", 5, 5)]
    alert = change().body
    made = commands(alert, waived(charges), None)
    assert [(c["amount"], c["charge_id"]) for c in made] == [("0.50", "0-7")]
    assert made == commands(alert, waived(charges), None)
    assert "low_balance" in made[0]["reason"]


def test_what_somebody_returned_by_hand_is_left_to_a_person():
    """A correction knows what rerate posted, not what hands did."""
    charge = Charge("0-7", NOW, "CNY", 900_000, 300_000)
    found = Correction("alice", "0-7", NOW, "CNY", 900_000, 600_000, 100_000, 1, 300_000)
    assert not by_hand(charge, found)
    assert by_hand(charge._replace(returned_micros=900_000), found)
    made = commands(change().body, [found], "f" * 64)
    assert [(c["command_id"], c["amount"]) for c in made] == [(f"rerate-{'f' * 16}-0-7-1", "0.50")]


def test_no_secret_is_in_the_file(store, tmp_path):
    """Of a subscription's secret only the place is kept."""
    (tmp_path / "s").write_text("whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n")
    Queue(store).subscribe(Subscription("desk", "https://desk.example", str(tmp_path / "s"), EVERY))
    store.close()
    kept = b"".join(path.read_bytes() for path in Path(tmp_path).glob("alerts.sqlite*"))
    assert b"desk.example" in kept
    assert b"c2VjcmV0" not in kept
