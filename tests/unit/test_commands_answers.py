from pipeline.adapters.command_json import command_from_json
from pipeline.adapters.ledger_codec import StoredEvent
from pipeline.commands import Pending
from pipeline.domain.ledger import NO_EFFECTS, Event, Position, Positions


def top_up(command_id, account="alice"):
    return command_from_json(
        {
            "type": "top_up",
            "command_id": command_id,
            "account": account,
            "at": "2026-10-01T00:00:00Z",
            "actor": "staff-x",
            "amount": "5",
            "reference": command_id,
        }
    )


def answer(command, position, *, seq=1, event_id=None):
    nowhere = Position(bytes(16), 0)
    event = Event(
        seq=seq,
        kind="TOPPED_UP",
        event_id=event_id or command["command_id"],
        account=command["account"],
        account_seq=1,
        usage=None,
        command=command,
        digest=None,
        reason="topped_up",
        detail=None,
        lines=(),
        amount_micros=0,
        currency="CNY",
        balance_before_micros=0,
        balance_after_micros=0,
        effects=NO_EFFECTS,
        clock=0,
        late_window_days=35,
        positions=Positions(nowhere, Position(bytes(16), position), nowhere),
        epoch=1,
    )
    return StoredEvent(event, bytes(32), bytes(32))


def pending(*sent):
    found = Pending()
    for index, (command, offset) in enumerate(sent):
        found.sent(command, 0)
        found.delivered(index)(offset)
    return found


def test_an_event_answers_its_command():
    """The event that names the command and stands behind it on the topic is its answer."""
    command = top_up("c1")
    waiting = pending((command, 7))
    stored = answer(command, 8)
    assert waiting.take(stored)
    assert waiting.answers[0].stored is stored
    assert waiting.waiting() == []


def test_an_answer_to_an_earlier_copy_is_not_ours():
    """Somebody's earlier command under the same id has an event of its own, at a position before ours."""
    command = top_up("c1")
    waiting = pending((command, 7))
    assert not waiting.take(answer(command, 7))
    assert waiting.waiting() == [0]


def test_the_same_command_twice_takes_two_events():
    """Two copies sent together are answered in their order: what was done first, then the duplicate."""
    command = top_up("c1")
    waiting = pending((command, 4), (command, 5))
    first, second = answer(command, 5, seq=1), answer(command, 6, seq=2)
    assert waiting.take(first)
    assert waiting.take(second)
    assert [a.stored for a in waiting.answers] == [first, second]


def test_another_accounts_event_is_no_answer():
    """Command ids are unique within an account only."""
    waiting = pending((top_up("c1"), 4))
    assert not waiting.take(answer(top_up("c1", "bob"), 5))


def test_a_settled_review_is_found_by_its_command():
    """The event of a settled review bears the record's id; it still answers the command that settled it."""
    command = top_up("c1")
    waiting = pending((command, 4))
    assert waiting.take(answer(command, 5, event_id="record-1"))


def test_what_was_not_acknowledged_waits_for_nothing():
    """A command that the broker never acknowledged has no place on the topic, so no event is awaited for it."""
    waiting = Pending()
    waiting.sent(top_up("c1"), 0)
    assert waiting.waiting() == []
    assert not waiting.take(answer(top_up("c1"), 5))
