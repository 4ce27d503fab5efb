"""The auditor finds every way in which the view differs from the ledger, also while the view moves."""

from array import array

import pytest
from audit_ledger import START, LedgerMaker, audited, sample, sha

from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from pipeline.adapters.store import keys
from pipeline.adapters.store.dump import Dump
from pipeline.domain.ledger import SessionEffect
from pipeline.domain.usage import DAY_MS

LAST = len(sample().events)
DAY = START // DAY_MS
KEPT_DAYS = 70


def broken(view: Dump, today: int | None = None):
    breach = audited(sample(), view=view, today=today)
    return None if breach is None else (breach.seq, breach.invariant)


def with_expiries(view: Dump) -> Dump:
    due = keys.expiry_s(DAY + KEPT_DAYS)
    names = [name for name in (*view.hashes, *view.sets) if name.startswith(("session", "seen"))]
    return view._replace(expiries_s=dict.fromkeys(names, due))


def name_of(view: Dump, kind: str) -> str:
    return next(name for name in (*view.hashes, *view.sets) if name.startswith(kind))


def test_the_view_is_met_where_it_stands():
    """A view behind the ledger is compared at its own seq, an empty one at the beginning."""
    for upto in range(LAST + 1):
        assert broken(sample().view(upto)) is None


def test_a_view_ahead_of_its_ledger():
    """A ledger whose tail was cut is behind its view: money would be charged again."""
    made, view = sample(), sample().view()
    breach = audited(made, made.values()[:-2], view=view)
    assert (breach.seq, breach.invariant) == (LAST - 2, "I6")
    assert "ledger ends" in breach.detail


def test_an_empty_ledger_and_a_full_view():
    """The same for a ledger that lost everything."""
    made = sample()
    assert audited(made, [], view=made.view()).invariant == "I6"
    assert audited(made, [], view=made.view(0)) is None


@pytest.mark.parametrize(
    "field", ["hash", "layout", "clock", "epoch", "usage", "command", "catalogue", "late_window_days"]
)
def test_a_head_that_is_another(field):
    """Every field of the head is the ledger's at that seq."""
    view = sample().view(8)
    view.before[field] = view.after[field] = sha("x").hex()
    assert broken(view) == (8, "I6")
    del view.before[field], view.after[field]
    assert broken(view) == (8, "I6")


def test_a_head_that_says_more():
    """A field that nothing wrote is found."""
    view = sample().view()
    view.before["extra"] = view.after["extra"] = "1"
    assert broken(view) == (LAST, "I6")


@pytest.mark.parametrize("kind", ["account", "kept", "session"])
def test_hashes(kind):
    """A field altered, removed or added, a key removed or added: nothing less and nothing more than the ledger."""
    for change in (
        lambda fields: fields.update({next(iter(fields)): "other"}),
        lambda fields: fields.pop(next(iter(fields))),
        lambda fields: fields.update(extra="1"),
        lambda fields: fields.clear(),
    ):
        view = sample().view()
        change(view.hashes[name_of(view, kind)])
        assert broken(view) == (LAST, "I6")
    view = sample().view()
    del view.hashes[name_of(view, kind)]
    assert broken(view) == (LAST, "I6")
    view = sample().view()
    view.hashes[name_of(view, kind) + "x"] = {"balance": "1"}
    assert broken(view) == (LAST, "I6")


def test_numbers_seen():
    """A number missing lets a repeat pass, one too much stops a charge: both are found."""
    name = name_of(sample().view(), "seen")
    for numbers in ([], sample().view().sets[name].tolist()[:-1], [*sample().view().sets[name].tolist(), 7]):
        view = sample().view()
        view.sets[name] = array("q", sorted(numbers))
        assert broken(view) == (LAST, "I6")
    view = sample().view()
    view.sets[keys.seen(0, DAY + 1, 3)] = array("q", [1])
    assert broken(view) == (LAST, "I6")


def test_strange_keys():
    """A key of the partition's tag that is of no known kind is found."""
    view = sample().view()
    view.strange["note:{0}:a"] = "no note is kept in the view"
    assert broken(view) == (LAST, "I6")


def test_keys_without_a_head():
    """Keys left over from a half-done wipe stand at no seq of the ledger."""
    view = sample().view()
    assert broken(view._replace(before={}, after={})) == (0, "I6")


def test_details_name_no_subscriber():
    """A finding names fields, never what they hold: an identity is a subscriber's number."""
    made = LedgerMaker()
    made.opened(identities="msisdn-+8613800000001@0-")
    view = made.view()
    view.hashes[name_of(view, "account")]["identities"] = "msisdn-+8613800000009@0-"
    assert "+86" not in audited(made, view=view).detail


# --- while the owner goes on writing ---


def test_a_view_that_moves_while_it_is_read():
    """Each key may be of any moment between the two heads, in any mixture."""
    early, late = sample().view(2), sample().view(LAST)
    for taken in range(2 ** len(late.hashes)):
        hashes = dict(early.hashes)
        for bit, name in enumerate(sorted(late.hashes)):
            if taken >> bit & 1:
                hashes[name] = late.hashes[name]
        assert broken(Dump(early.before, late.after, hashes, late.sets, {}, None)) is None


def test_a_key_between_the_heads_is_still_checked():
    """A value that was the ledger's before the first head, or of no moment at all, is found."""
    old, early, late = sample().view(1), sample().view(3), sample().view(LAST)
    name = name_of(late, "account")
    wrong = {**late.hashes, name: old.hashes[name]}
    assert broken(Dump(early.before, late.after, wrong, late.sets, {}, None)) == (LAST, "I6")
    mixed = {**late.hashes, name: {**late.hashes[name], "balance": "1"}}
    assert broken(Dump(early.before, late.after, mixed, late.sets, {}, None)) == (LAST, "I6")
    altered = {**late.after, "hash": "00"}
    assert broken(Dump(early.before, altered, late.hashes, late.sets, {}, None)) == (LAST, "I6")


# --- what expires ---


@pytest.mark.parametrize(
    ("today", "expected"), [(DAY, (LAST, "I6")), (DAY + KEPT_DAYS, None), (DAY + KEPT_DAYS + 1, None)]
)
def test_what_may_be_gone(today, expected):
    """Sessions and numbers may be gone from their last day on, and not before."""
    view = with_expiries(sample().view())
    for kind, held in (("session", view.hashes), ("seen", view.sets)):
        del held[name_of(view, kind)]
    assert broken(view, today) == expected


def test_an_account_is_never_gone():
    """Accounts and what is kept for ever do not expire, however late it is."""
    for kind in ("account", "kept"):
        view = with_expiries(sample().view())
        del view.hashes[name_of(view, kind)]
        assert broken(view, DAY + 10_000) == (LAST, "I6")


@pytest.mark.parametrize("kind", ["session", "seen", "account", "kept"])
def test_when_a_key_expires(kind):
    """A key expires when the ledger says, an account never: else repeats would become unknown too early."""
    assert broken(with_expiries(sample().view()), DAY) is None
    view = with_expiries(sample().view())
    name = name_of(view, kind)
    view.expiries_s[name] = view.expiries_s.get(name, 0) - 1
    assert broken(view, DAY) == (LAST, "I6")
    if kind in ("session", "seen"):
        del view.expiries_s[name]
        assert broken(view, DAY) == (LAST, "I6")


def long_ledger() -> LedgerMaker:
    """A session and its day's numbers, and 80 days later a session of the same name."""
    made = LedgerMaker()
    made.opened()
    first = SessionEffect("a:s", DAY + KEPT_DAYS, {"old": "1"})
    made.charged("r1", session=first)
    second = SessionEffect("a:s", DAY + 80 + KEPT_DAYS, {"new": "1"}, begins=True)
    made.charged("r2", start=START + 80 * DAY_MS, session=second)
    return made


def test_a_name_used_again_after_its_time():
    """What expired does not come back: a session that is named again begins empty."""
    made = long_ledger()
    view = made.view()
    name = name_of(view, "session")
    view = view._replace(
        hashes={**view.hashes, name: {"new": "1"}},
        sets={key: held for key, held in view.sets.items() if f":{DAY}:" not in key},
        expiries_s={},
    )
    due = keys.expiry_s(DAY + 80 + KEPT_DAYS)
    view.expiries_s.update(dict.fromkeys([name, *view.sets], due))
    assert audited(made, view=view, today=DAY + 80) is None
    both = {**view.hashes, name: {"old": "1", "new": "1"}}
    assert audited(made, view=view._replace(hashes=both), today=DAY + 80).invariant == "I6"


def test_memory_is_bounded_by_the_late_window():
    """The auditor forgets what the view has forgotten."""
    made = LedgerMaker()
    made.opened()
    for n in range(0, 400, 10):
        made.charged(f"r{n}", start=START + n * DAY_MS)
    audit = PartitionAudit(0, 1, made.genesis, Register(), today=DAY + 400)
    for offset, value in enumerate(made.values()):
        assert audit.take(value, offset) is None
    assert len(audit._state.sets) <= 9
    assert len(audit._state.days) <= 9


# --- comparing at the end, as a simulation does ---


def test_compare_at_the_end():
    """`compare` demands a view that stands exactly where the ledger does."""
    made = sample()
    audit = PartitionAudit(0, 1, made.genesis, Register(), today=None)
    assert audit.compare(made.view(0)) is None
    for offset, value in enumerate(made.values()):
        assert audit.take(value, offset) is None
    assert audit.compare(made.view()) is None
    assert audit.compare(made.view(5)).invariant == "I6"
    ahead = sample()
    ahead.charged("r99")
    assert audit.compare(ahead.view()).invariant == "I6"
    altered = made.view()
    altered.hashes[name_of(altered, "account")]["balance"] = "1"
    assert "balance is 1, by the ledger 14699000" in audit.compare(altered).detail


def test_fields_that_go():
    """A field set to nothing is no field, and a key without fields no key."""
    made = LedgerMaker()
    made.opened(budget="5@50")
    made.charged("r1", changes={"budget": None}, session=SessionEffect("a:s", DAY + KEPT_DAYS, {"p": "1"}))
    made.charged("r2", changes={}, session=SessionEffect("a:s", DAY + KEPT_DAYS, {"p": None}))
    for upto in range(4):
        assert audited(made, view=made.view(upto)) is None
    view = made.view()
    view.hashes[name_of(view, "account")]["budget"] = "5@50"
    assert "budget is too much" in audited(made, view=view).detail
    view = made.view()
    view.hashes[keys.session(0, "a:s")] = {"p": "1"}
    assert "no event left it" in audited(made, view=view).detail
