"""Every word of the closed list of reasons is reached by an input, with the kind that goes with it, and moves nothing."""

from collections.abc import Callable

import pytest
from charging_world import DOCUMENT, NOW, World, command, opening, usage

from pipeline.domain.batch import CommandInput, UsageInput
from pipeline.domain.catalogue import Catalogues, compile_catalogue
from pipeline.domain.ledger import NO_EFFECTS, Event
from pipeline.domain.outcome import ACCOUNT_CHANGED, ANSWER_REASONS, DUPLICATE, REJECTED, REVIEW, SEAL
from pipeline.domain.usage import DAY_MS

Scenario = tuple[str, Callable[[World], Event]]


def _elsewhere(world: World) -> Event:
    world.elsewhere["b"] = 3
    return world.one(usage("r", account="b"))


def _repeat(**changed: object) -> Callable[[World], Event]:
    return lambda world: world.send(usage("r"), usage("r", **changed))[1]


def _closed(world: World) -> Event:
    world.one(command("close", "c", reason="left"))
    return world.one(usage("r", start_time=NOW))


def _other_catalogue(world: World) -> Event:
    """A session whose first part was priced by a version that is not there any more: a bug, never a wrong price."""
    world.one(usage("g1", service="EVENT", session_id="s"))
    world.catalogues = Catalogues([compile_catalogue({**DOCUMENT, "operator": "Other"})])
    return world.one(usage("g2", service="EVENT", session_id="s"))


def _after(*before: dict[str, object]) -> Callable[[dict[str, object]], Callable[[World], Event]]:
    """The event of a command after some others."""
    return lambda last: lambda world: world.send(*before, last)[-1]


def _settle(decision: str, *, review: str = "0-2", command_id: str = "s") -> dict[str, object]:
    return command("settle_review", command_id, review=review, decision=decision, reason="checked")


def _held(*commands: dict[str, object], clock: int = NOW) -> Callable[[World], Event]:
    """The event of the last command after a record that came late (event 2) and one more at this time (event 3)."""

    def run(world: World) -> Event:
        world.one(usage("old", start_time=NOW - 40 * DAY_MS))
        world.one(usage("clock", start_time=clock - 1_000, received_at=clock))
        return world.send(*commands)[-1]

    return run


def _charged_meanwhile(world: World) -> Event:
    world.one(usage("r"))
    world.one(usage("r", duration_ms=1))
    return world.one(_settle("charge", review="0-3"))


_TOP_UP = command("top_up", "t", amount="5", reference="f")
_ADJUST = command("adjust", "x", amount="0.15", charge_id="0-2", reason="bad line")

SCENARIOS: dict[str, Scenario] = {
    "quarantined": (REVIEW, lambda w: w.one(UsageInput(0, None, None, b"value", "it kills", quarantined=True))),
    "undecodable": (REJECTED, lambda w: w.one(CommandInput(0, None, b"value", "no command", NOW))),
    "wrong_partition": (REJECTED, _elsewhere),
    "unknown_account": (REJECTED, lambda w: w.one(usage("r", account="nobody"))),
    "late": (REVIEW, lambda w: w.one(usage("r", start_time=NOW - 36 * DAY_MS))),
    "duplicate": (DUPLICATE, _repeat(retransmission=True)),
    "conflicting_copy": (REVIEW, _repeat(duration_ms=1)),
    "not_bound": (REJECTED, lambda w: w.one(usage("r", msisdn="+8613900000009"))),
    "after_close": (REJECTED, _closed),
    "no_plan": (REJECTED, lambda w: w.send(opening("b", plan="later"), usage("r", account="b"))[1]),
    "no_tariff": (REJECTED, lambda w: w.one(usage("r", other_party="+14155550100"))),
    "currency_mismatch": (REJECTED, lambda w: w.one(opening("b", plan="euro"))),
    "too_large": (REVIEW, lambda w: w.one(usage("r", service="MMS", message_count=2))),
    "fault": (REVIEW, _other_catalogue),
    "duplicate_command": (DUPLICATE, _after(_TOP_UP)({**_TOP_UP, "at": NOW + 1})),
    "conflicting_command": (REJECTED, _after(_TOP_UP)({**_TOP_UP, "amount": "6"})),
    "duplicate_reference": (DUPLICATE, _after(_TOP_UP)({**_TOP_UP, "command_id": "t2"})),
    "conflicting_reference": (REJECTED, _after(_TOP_UP)({**_TOP_UP, "command_id": "t2", "amount": "6"})),
    "bad_command": (REJECTED, lambda w: w.one({**_TOP_UP, "amount": "-1"})),
    "unsupported": (REJECTED, lambda w: w.one(command("hold", "h", amount="1", case="c"))),
    "account_exists": (REJECTED, lambda w: w.one({**opening(), "command_id": "again"})),
    "account_closed": (REJECTED, _after(command("close", "c"))(command("suspend", "s"))),
    "unknown_plan": (REJECTED, lambda w: w.one(command("change_plan", "p", plan="none"))),
    "unknown_allowance": (REJECTED, lambda w: w.one(command("add_allowance", "l", allowance="none"))),
    "identity_bound": (REJECTED, lambda w: w.one(command("add_identity", "i", identity="msisdn-+8613900000001"))),
    "identity_not_bound": (REJECTED, lambda w: w.one(command("remove_identity", "i", identity="imsi-460010000000001"))),
    "unknown_charge": (REJECTED, lambda w: w.one({**_ADJUST, "charge_id": "0-1"})),
    "exceeds_charge": (REJECTED, lambda w: w.send(usage("r"))[0] and w.one({**_ADJUST, "amount": "0.16"})),
    "unknown_review": (REJECTED, lambda w: w.one(_settle("charge", review="0-1"))),
    "already_settled": (REJECTED, _held(_settle("discard"), _settle("charge", command_id="s2"))),
    "already_charged": (REJECTED, _charged_meanwhile),
    "too_old": (REJECTED, _held(_settle("charge"), clock=NOW + 31 * DAY_MS)),
    "period_begun": (
        REJECTED,
        lambda w: w.send(
            command("begin_period", "b1", period="2026-11"), command("begin_period", "b2", period="2026-10")
        )[-1],
    ),
    "wrong_state": (REJECTED, lambda w: w.one(command("resume", "r"))),
    "opened": (ACCOUNT_CHANGED, lambda w: w.one(opening("b"))),
    "identity_added": (ACCOUNT_CHANGED, lambda w: w.one(command("add_identity", "i", identity="imsi-460010000000001"))),
    "identity_removed": (
        ACCOUNT_CHANGED,
        lambda w: w.one(command("remove_identity", "i", identity="msisdn-+8613900000001")),
    ),
    "topped_up": ("TOPPED_UP", lambda w: w.one(_TOP_UP)),
    "adjusted": ("ADJUSTED", lambda w: w.one(command("adjust", "x", amount="-1", reason="y"))),
    "plan_changed": (ACCOUNT_CHANGED, lambda w: w.one(command("change_plan", "p", plan="basic"))),
    "allowance_added": (
        ACCOUNT_CHANGED,
        lambda w: w.send(command("change_plan", "p", plan="basic"), command("add_allowance", "l", allowance="extra"))[1],
    ),
    "budget_set": (ACCOUNT_CHANGED, lambda w: w.one(command("set_budget", "b", amount="10"))),
    "suspended": (ACCOUNT_CHANGED, lambda w: w.one(command("suspend", "s"))),
    "resumed": (ACCOUNT_CHANGED, _after(command("suspend", "s"))(command("resume", "r"))),
    "closed": (ACCOUNT_CHANGED, lambda w: w.one(command("close", "c"))),
    "discarded": (ACCOUNT_CHANGED, _held(_settle("discard"))),
}  # fmt: skip
BY_THE_OWNER = {"seal": SEAL, "settings_changed": SEAL, "accepted_loss": SEAL}
"""Facts about the ledger itself, tested with its owner."""


@pytest.mark.parametrize("reason", [reason for reason in ANSWER_REASONS if reason not in BY_THE_OWNER])
def test_each_reason_is_reached(reason):
    """The list is closed, and each of its words is what some input ends in; a `no` moves no money and no state."""
    kind, scenario = SCENARIOS[reason]
    world = World()
    world.one(opening())
    event = scenario(world)
    assert (event.kind, event.reason) == (kind, reason)
    assert event.detail is not None
    if kind in (REJECTED, REVIEW, DUPLICATE):
        assert event.amount_micros == 0
        assert event.effects == NO_EFFECTS
        assert event.lines == ()
        assert event.balance_before_micros == event.balance_after_micros
    assert world.fields()["seq"] == str(sum(e.account == "a" and e.account_seq > 0 for e in world.events))


def test_no_reason_is_unknown():
    """Nothing is tested that the list does not have."""
    assert SCENARIOS.keys() | BY_THE_OWNER.keys() == ANSWER_REASONS.keys()
