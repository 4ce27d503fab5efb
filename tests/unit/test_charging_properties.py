"""Any sequence of records and commands, in batches of any size, keeps the books."""

from charging_world import NOW, PHONE, World, command, opening, usage
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.outcome import ADJUSTED, CHARGED, KINDS, TOPPED_UP
from pipeline.domain.usage import DAY_MS

ACCOUNTS = {"a": PHONE, "b": "+8613900000002"}
ids = st.integers(0, 9)
names = st.sampled_from(sorted(ACCOUNTS))
amounts = st.sampled_from(["0.01", "1", "25.5", "-0.02", "0", "100000"])
moments = st.integers(-45, 5).map(lambda days: NOW + days * DAY_MS // 3)


@st.composite
def records(draw):
    account = draw(names)
    service = draw(st.sampled_from(["VOICE", "DATA", "SMS", "EVENT"]))
    return usage(
        f"r{draw(ids)}",
        account=account,
        msisdn=draw(st.sampled_from([ACCOUNTS[account]] * 4 + [ACCOUNTS["a"]])),
        service=service,
        start_time=draw(moments),
        received_at=NOW + draw(st.integers(0, 3)) * DAY_MS,
        duration_ms=draw(st.integers(0, 10**6)) if service == "VOICE" else 0,
        session_id=draw(st.sampled_from([None, "s", "t"])) if service == "EVENT" else None,
    )


@st.composite
def commands(draw):
    account, kind = draw(names), draw(st.sampled_from(sorted(_FIELDS)))
    fields = {name: draw(values) for name, values in _FIELDS[kind].items()}
    return command(kind, f"c{draw(ids)}-{draw(ids)}", account=account, at=draw(moments), reason="why", **fields)


events_by_id = st.integers(1, 30).map(lambda seq: f"0-{seq}")
_FIELDS = {
    "top_up": {"amount": amounts, "reference": ids.map(str)},
    "adjust": {"amount": amounts, "charge_id": st.none() | events_by_id},
    "change_plan": {"plan": st.sampled_from(["basic", "plain", "euro", "later"]), "from_": st.none() | moments},
    "add_allowance": {"allowance": st.sampled_from(["extra", "talk", "none"]), "from_": st.none() | moments},
    "set_budget": {"amount": amounts},
    "add_identity": {"identity": st.sampled_from(["msisdn-" + PHONE, "imsi-460010000000001"]), "from_": moments},
    "remove_identity": {"identity": st.sampled_from(["msisdn-" + PHONE, "imsi-460010000000001"]), "from_": moments},
    "settle_review": {"review": events_by_id, "decision": st.sampled_from(["charge", "charge", "discard"])},
    "suspend": {},
    "resume": {},
    "close": {},
}
batches = st.lists(st.lists(records() | records() | commands(), min_size=1, max_size=8), max_size=8)


@settings(deadline=None)
@given(batches)
def test_the_books_balance_after_anything(batches):
    """Balance = opening + top-ups + adjustments - charges; before and after meet; each input one event; nothing twice.

    That the fold of the events is the state the rules worked on is held by `World` after each batch.
    """
    world = World()
    world.send(opening(), opening("b", phone=ACCOUNTS["b"], plan="basic"))
    for number, batch in enumerate(batches):
        world.send(*batch, broker_time=NOW + number)
    assert len(world.events) == 2 + sum(map(len, batches))
    balances, seqs, clock = dict.fromkeys(ACCOUNTS, 0), dict.fromkeys(ACCOUNTS, 0), 0
    charged: set[tuple[str, str, int]] = set()
    returned: dict[str, int] = {}
    for seq, event in enumerate(world.events, 1):
        assert event.seq == seq
        assert event.kind in KINDS
        assert (event.reason is None) == (event.kind == CHARGED)
        assert event.clock >= clock
        clock = event.clock
        assert event.account_seq == seqs[event.account] + 1
        seqs[event.account] = event.account_seq
        assert event.balance_before_micros == balances[event.account]
        moved = event.balance_after_micros - event.balance_before_micros
        balances[event.account] = event.balance_after_micros
        if event.kind == CHARGED:
            assert moved == -event.amount_micros
            assert sum(line.amount_micros for line in event.lines) == event.amount_micros
            assert event.usage is not None
            # a copy whose start was moved to another day is told by the audit's index of ids, not here
            place = (event.account, event.event_id, event.usage.start_time // DAY_MS)
            assert place not in charged
            charged.add(place)
        elif event.kind in (TOPPED_UP, ADJUSTED) or event.reason == "opened":
            assert moved == event.amount_micros
        else:
            assert moved == event.amount_micros == 0
        if event.kind == ADJUSTED and event.command is not None and event.command["charge_id"] is not None:
            name = str(event.command["charge_id"])
            returned[name] = returned.get(name, 0) + event.amount_micros
            assert event.amount_micros < 0 or returned[name] <= world.events[int(name[2:]) - 1].amount_micros
    for account, balance in balances.items():
        assert world.balance(account) == balance
        assert world.fields(account)["seq"] == str(seqs[account])


@settings(deadline=None)
@given(st.lists(records(), min_size=1, max_size=30), st.data())
def test_batches_do_not_matter(things, data):
    """The same inputs in the same order, cut into batches anywhere, end in the same events and the same view."""
    whole, cut = World(), World()
    for world in (whole, cut):
        world.send(opening(), opening("b", phone=ACCOUNTS["b"], plan="basic"))
    whole.send(*things)
    rest = list(things)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        cut.send(*rest[:size])
        rest = rest[size:]
    assert cut.events == whole.events
    assert (cut.store.hashes, cut.store.sets) == (whole.store.hashes, whole.store.sets)
