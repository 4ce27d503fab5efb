"""The scheduler of periods decides only when a month is begun, and for whom; what is due charge decides."""

import pytest
from charging_world import DOCUMENT, World, command, opening
from charging_world import _plan as plan_of
from rating_world import ms

from consumers.statements.periods import is_after, is_due, month_at, period_command
from pipeline.adapters.command_json import command_from_json
from pipeline.domain.account import Account
from pipeline.domain.catalogue import Catalogues, compile_catalogue


def fee(amount, *, prorate=False):
    return {"id": "fee", "amount": amount, "every": "month", "prorate": prorate}


CATALOGUES = Catalogues(
    [
        compile_catalogue(
            {
                **DOCUMENT,
                "plans": [
                    plan_of("plain"),
                    plan_of("whole", fees=[fee("19.00")]),
                    plan_of("daily", fees=[fee("62.00", prorate=True)]),
                ],
            }
        )
    ]
)


class Scheduled:
    """An account for which the scheduler runs."""

    def __init__(self, plan, plan_from="2026-03-01T00:00:00+08:00"):
        self.world = World(catalogues=CATALOGUES)
        self.world.one(opening(plan=plan, at=ms(plan_from), plan_from=ms(plan_from)))

    def run(self, now):
        """Run once at a moment; returns the event of what was sent, or None."""
        at = ms(now)
        month = month_at(at, CATALOGUES)
        account = Account("a", self.world.store.account(0, "a"))
        if not is_due(account, month, at, CATALOGUES):
            return None
        return self.world.one(command_from_json(period_command("a", month, now, "service-scheduler")))

    def change(self, plan, start):
        event = self.world.one(command("change_plan", f"to-{plan}", plan=plan, from_=ms(start)))
        assert event.reason == "plan_changed"


@pytest.mark.parametrize(
    ("moment", "month"),
    [("2026-10-31T15:59:59.999Z", "2026-10"), ("2026-10-31T16:00:00Z", "2026-11"), ("2026-12-31T16:00:00Z", "2027-01")],
)
def test_a_month_begins_in_tariff_time(moment, month):
    """Shanghai is eight hours ahead: its November begins at 16:00 UTC on 31 October."""
    assert month_at(ms(moment), CATALOGUES) == month


def test_without_a_catalogue_there_is_no_month():
    """Nothing was published, so nothing says what time tariffs are of."""
    assert month_at(0, Catalogues([])) is None


def test_run_twice_charges_once():
    """Whoever has begun the month is left alone; the next month is begun by the first run in it."""
    account = Scheduled("whole")
    event = account.run("2026-10-31T23:59:00+08:00")
    assert (event.kind, event.event_id, event.amount_micros) == ("CHARGED", "period-a-2026-10", 19_000_000)
    assert account.run("2026-10-31T23:59:30+08:00") is None
    event = account.run("2026-11-01T00:00:00+08:00")
    assert (event.kind, event.event_id, event.amount_micros) == ("CHARGED", "period-a-2026-11", 19_000_000)
    assert account.run("2026-11-30T23:59:00+08:00") is None


def test_a_run_that_saw_an_older_view_charges_nothing_twice():
    """Two runs side by side send the same command: the second is a DUPLICATE."""
    account = Scheduled("whole")
    command_twice = command_from_json(period_command("a", "2026-10", "2026-10-01T00:00:00+08:00", "service-scheduler"))
    later = command_from_json(period_command("a", "2026-10", "2026-10-01T00:05:00+08:00", "service-scheduler"))
    events = [account.world.one(each) for each in (command_twice, later)]
    assert [(event.kind, event.amount_micros) for event in events] == [("CHARGED", 19_000_000), ("DUPLICATE", 0)]


def test_who_never_had_a_fee_is_left_alone():
    """No fee, nothing sent; once periods close an account's bills, they go on after its fee is gone."""
    account = Scheduled("plain")
    assert account.run("2026-10-01T00:00:00+08:00") is None
    paying = Scheduled("whole")
    paying.run("2026-10-01T00:00:00+08:00")
    paying.change("plain", "2026-11-01T00:00:00+08:00")
    event = paying.run("2026-11-01T00:00:00+08:00")
    assert (event.kind, event.amount_micros) == ("CHARGED", 0)


def test_a_plan_that_comes_within_a_month_is_begun_by_the_next_run():
    """From 11 October on 62.00 a month by the day: a daily run takes 21 of 31 days, 42.00, in October."""
    account = Scheduled("plain")
    assert account.run("2026-10-10T00:05:00+08:00") is None
    account.change("daily", "2026-10-11T00:00:00+08:00")
    event = account.run("2026-10-11T00:05:00+08:00")
    assert (event.kind, event.amount_micros) == ("CHARGED", 42_000_000)


def test_a_closed_account_is_settled_and_then_left_alone():
    """October paid by the day, closed on the 21st: November gives 11 of 31 days back, 22.00; December is not begun."""
    account = Scheduled("daily")
    account.run("2026-10-01T00:00:00+08:00")
    closed = ms("2026-10-21T00:00:00+08:00")
    account.world.one(command("close", "bye", reason="moved", at=closed), broker_time=closed)
    event = account.run("2026-11-01T00:00:00+08:00")
    assert (event.kind, event.amount_micros) == ("CHARGED", -22_000_000)
    assert account.run("2026-12-01T00:00:00+08:00") is None


def test_what_charge_will_refuse_is_sent():
    """An account left alone for longer than one command settles: somebody has to hear of it."""
    account = Scheduled("whole")
    account.run("2026-10-01T00:00:00+08:00")
    event = account.run("2029-01-01T00:00:00+08:00")
    assert (event.kind, event.reason) == ("REJECTED", "bad_command")


def test_months_are_compared_as_months():
    """December before January of the next year."""
    assert is_after("2027-01", "2026-12")
    assert not is_after("2026-12", "2026-12")
    assert not is_after("2026-12", "2027-01")
