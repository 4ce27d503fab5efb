"""The view's promises, kept alike by the one in a dict and the one in Redis."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.adapters.store import Need, OutOfStepError, Store, ViewUnavailableError
from pipeline.adapters.store.dump import Dump, dump_memory, dump_partition
from pipeline.adapters.store.memory import MemoryStore
from pipeline.adapters.store.redis import RedisStore, connect
from pipeline.domain.ledger import Writes
from pipeline.settings import RedisSettings, Settings

_partitions = itertools.count(1_000_000)
"""Far from those that other tests of the same Redis use."""
DAY = 30_000
"""An event day far ahead: 2052, so that nothing expires while a test runs."""


class View:
    """A store, a partition that no other test uses, and ways to see and to spoil what it holds."""

    def __init__(self, store: Any, settings: Settings | None) -> None:
        self.store: Store = store
        self.settings = settings
        self.p = next(_partitions)

    def dump(self, partition: int | None = None) -> Dump:
        p = self.p if partition is None else partition
        if self.settings is None:
            assert isinstance(self.store, MemoryStore)
            return dump_memory(self.store, p)
        return dump_partition(self.settings, p)._replace(expiries_s=None)

    def spoil(self, key: str, **fields: str) -> None:
        """Write some fields past the gate, as a script that ended half way had."""
        if self.settings is None:
            assert isinstance(self.store, MemoryStore)
            self.store.hashes.setdefault(key, {}).update(fields)
            return
        client = connect(self.settings)
        client.hset(key, mapping=fields)
        client.close()

    def apply(self, previous: str, writes: Writes) -> None:
        self.store.apply(self.p, previous, writes)


@pytest.fixture(params=["memory", "redis"])
def view(request: pytest.FixtureRequest) -> Iterator[View]:
    if request.param == "memory":
        yield View(MemoryStore(), None)
        return
    settings: Settings = request.getfixturevalue("redis_settings")
    store = RedisStore(settings)
    yield View(store, settings)
    store.close()


@pytest.fixture
def redis(redis_settings: Settings) -> Iterator[View]:
    store = RedisStore(redis_settings)
    yield View(store, redis_settings)
    store.close()


def writes(first: int, last: int, *, mark: str = "x", **other: Any) -> Writes:
    head = {"seq": str(last), "hash": f"{mark}{last}", "layout": "1", "clock": "7"}
    given: dict[str, Any] = {"accounts": {}, "kept": {}, "sessions": {}, "seen": {}, **other}
    return Writes(first, last, head, **given)


def everything(first: int = 1, last: int = 3) -> Writes:
    return writes(
        first,
        last,
        accounts={"a": {"balance": "9007199254740993", "seq": "2", "plans": "p@0"}, "b": {"balance": "-1", "seq": "1"}},
        kept={"a": {"command:1": "ab", "reference:2": "5"}},
        sessions={"a:s": (DAY + 70, {"1:0:r": "60 0 call", "day": str(DAY)}, False)},
        seen={(DAY, 5): (DAY + 70, [-(2**63), 2**63 - 1]), (DAY, 6): (DAY + 70, [1, 2])},
    )


def need_everything() -> Need:
    return Need(
        ("a", "nobody", "b"),
        (("a", "command:1"), ("a", "command:9"), ("nobody", "command:1")),
        ("a:s", "a:none"),
        ((DAY, 5, -(2**63), 2**63 - 1), (DAY, 5, 2**63 - 1, 4), (DAY, 7, 1, 2)),
    )


def test_a_partition_never_written_has_no_head(view):
    """An empty head says: never written, or wiped; it is loaded from at seq 0 and knows nothing."""
    assert view.store.head(view.p) == {}
    loaded = view.store.load(view.p, 0, need_everything())
    assert loaded.accounts == {}
    assert loaded.kept == {}
    assert loaded.sessions == {"a:s": {}, "a:none": {}}
    assert set(loaded.seen.values()) == {(False, False)}
    assert view.store.account(view.p, "a") == {}


def test_what_was_applied_is_loaded(view):
    """Each thing asked is answered as it was written, exactly: no number passes through a double."""
    view.apply("", everything())
    assert view.store.head(view.p) == everything().head
    loaded = view.store.load(view.p, 3, need_everything())
    assert loaded.accounts == {name: dict(fields) for name, fields in everything().accounts.items()}
    assert loaded.kept == {("a", "command:1"): "ab"}
    assert loaded.sessions == {"a:s": {"1:0:r": "60 0 call", "day": str(DAY)}, "a:none": {}}
    assert list(loaded.seen.values()) == [(True, True), (True, False), (False, False)]
    assert view.store.account(view.p, "a")["balance"] == "9007199254740993"


def test_keys_are_those_of_the_contract(view):
    """`account:{p}:ID` has `balance` and `currency`, `ledger:{p}` seq, hash, layout; all keys share the tag {p}."""
    view.apply("", everything())
    dump = view.dump()
    tag = f"{{{view.p}}}"
    assert dump.before == dump.after == everything().head
    assert set(dump.hashes) == {f"account:{tag}:a", f"account:{tag}:b", f"kept:{tag}:a", f"session:{tag}:a:s"}
    assert set(dump.sets) == {f"seen:{tag}:{DAY}:5", f"seen:{tag}:{DAY}:6"}
    assert not dump.strange


@pytest.mark.parametrize("seq", [0, 2, 4])
def test_loading_at_another_seq_is_refused(view, seq):
    """An owner that believes in another seq gets nothing to decide on."""
    view.apply("", everything())
    with pytest.raises(OutOfStepError):
        view.store.load(view.p, seq, need_everything())


def test_the_same_writes_again_change_nothing(view):
    """A reply may be lost: the repeat is harmless."""
    view.apply("", everything())
    before = view.dump()
    view.apply("", everything())
    assert view.dump() == before


def test_writes_that_the_view_is_beyond_are_left_alone(view):
    """A sleeper's writes come after those of its heir, with whatever content: nothing moves back."""
    view.apply("", everything())
    view.apply("x3", writes(4, 6, accounts={"a": {"balance": "4", "seq": "3"}}))
    before = view.dump()
    view.apply("", everything())
    view.apply("other", writes(4, 5, mark="y", accounts={"a": {"balance": "5", "seq": "9"}}))
    assert view.dump() == before


@pytest.mark.parametrize(
    ("previous", "first", "last"),
    [("x3", 5, 6), ("x3", 3, 5), ("other", 4, 5), ("", 4, 5), ("", 1, 4)],
    ids=["gap", "overlap", "other hash", "no hash", "from the beginning"],
)
def test_writes_that_do_not_follow_are_refused(view, previous, first, last):
    """Only what follows the view's seq and hash is written; what is refused writes nothing at all."""
    view.apply("", everything())
    before = view.dump()
    with pytest.raises(OutOfStepError):
        view.apply(previous, writes(first, last, accounts={"a": {"balance": "0", "seq": "9"}}))
    assert view.dump() == before


def test_writes_into_an_empty_view_begin_at_one(view):
    """A wiped view takes the first events and no others."""
    with pytest.raises(OutOfStepError):
        view.apply("x3", writes(4, 6))
    assert view.store.head(view.p) == {}


def test_a_run_broken_half_way_is_repaired_by_a_repeat(view):
    """Values are absolute and seq is last: whatever part was written before, the repeat leaves the same bytes."""
    view.apply("", everything())
    changes = writes(
        4,
        5,
        accounts={"a": {"balance": "77", "seq": "3", "plans": None, "spend": "1"}},
        kept={"a": {"command:2": "cd"}},
        sessions={"a:s": (DAY + 71, {"2:0:q": "1 0 call", "day": str(DAY + 1)}, False)},
        seen={(DAY, 5): (DAY + 71, [8, 9])},
    )
    tag = f"{{{view.p}}}"
    view.spoil(f"account:{tag}:a", balance="77", spend="1")
    view.spoil(f"kept:{tag}:a", **{"command:2": "cd"})
    view.apply("x3", changes)
    half = view.dump()
    view.store.wipe(view.p)
    view.apply("", everything())
    view.apply("x3", changes)
    assert view.dump() == half
    assert half.hashes[f"account:{tag}:a"] == {"balance": "77", "seq": "3", "spend": "1"}
    assert sorted(half.sets[f"seen:{tag}:{DAY}:5"]) == [-(2**63), 8, 9, 2**63 - 1]


def test_a_script_stopped_half_way_does_not_call_itself_done(redis):
    """The server refuses in the middle of an apply: `seq` still says that nothing came, and a repeat makes it whole."""
    client = connect(redis.settings)
    try:
        client.execute_command("ACL", "SETUSER", "default", "-sadd")
        with pytest.raises(ViewUnavailableError):
            redis.apply("", everything())
        half = redis.dump()
        assert half.hashes, "it was not stopped half way, but before it began"
        assert not half.sets
        assert redis.store.head(redis.p) == {}
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+sadd")
        client.close()
    redis.apply("", everything())
    again = redis.dump()
    redis.store.wipe(redis.p)
    redis.apply("", everything())
    assert redis.dump() == again


def test_fields_that_are_removed_are_gone(view):
    """None removes a field; a hash without fields is no key."""
    view.apply("", everything())
    gone = {"balance": None, "seq": None}
    view.apply("x3", writes(4, 4, accounts={"a": {"plans": None}, "b": gone}))
    loaded = view.store.load(view.p, 4, Need(("a", "b")))
    assert loaded.accounts == {"a": {"balance": "9007199254740993", "seq": "2"}}
    assert f"account:{{{view.p}}}:b" not in view.dump().hashes


def test_a_session_that_begins_anew_has_nothing_of_the_one_before(view):
    """A session's id is used again long after: what its key held goes, in the same write, and a repeat is harmless."""
    view.apply("", everything())
    begun = writes(4, 4, sessions={"a:s": (DAY + 99, {"9:0:z": "1 0 call", "day": "9"}, True)})
    for _ in range(2):
        view.apply("x3", begun)
        assert view.store.load(view.p, 4, Need((), (), ("a:s",))).sessions == {"a:s": {"9:0:z": "1 0 call", "day": "9"}}


def test_many_values_are_written_whole(view):
    """One event may change thousands of fields, one batch thousands of accounts: no limit of a script shows."""
    fields = {f"bucket:{n}": str(n) for n in range(9_000)}
    many = writes(
        1,
        2_000,
        accounts={"big": {**fields, "balance": "1"}, **{f"a{n}": {"balance": str(n)} for n in range(2_000)}},
        seen={(DAY, 1): (DAY, list(range(-5_000, 5_000)))},
    )
    view.apply("", many)
    removed: dict[str, str | None] = dict.fromkeys(fields)
    loaded = view.store.load(view.p, 2_000, Need(tuple(many.accounts), (), (), ((DAY, 1, -5_000, 4_999),)))
    assert len(loaded.accounts) == 2_001
    assert loaded.accounts["big"] == {**fields, "balance": "1"}
    assert loaded.accounts["a1999"] == {"balance": "1999"}
    assert list(loaded.seen.values()) == [(True, True)]
    view.apply("x2000", writes(2_001, 2_001, accounts={"big": removed}))
    assert view.store.account(view.p, "big") == {"balance": "1"}


def test_names_may_be_anything_printable(view):
    """Accounts are named by operators, in any script."""
    names = ("账户", "a:b", "*", "[a-z]", "a?c", "-", "x" * 128)
    view.apply("", writes(1, 1, accounts={name: {"balance": name} for name in names}))
    assert view.store.load(view.p, 1, Need(names)).accounts == {name: {"balance": name} for name in names}
    view.store.wipe(view.p)
    assert not view.dump().hashes


def test_a_wipe_removes_the_partition_and_nothing_else(view):
    """Wiped, a partition is as it was before its first event; its neighbours stand."""
    neighbours = [View(view.store, view.settings) for _ in range(11)]
    for other in (view, *neighbours):
        other.apply("", everything())
    before = [other.dump() for other in neighbours]
    view.store.wipe(view.p)
    assert view.store.head(view.p) == {}
    assert not view.dump().hashes
    assert not view.dump().sets
    assert [other.dump() for other in neighbours] == before
    view.apply("", everything())
    assert view.dump().hashes.keys() == {
        key.replace(f"{{{neighbours[0].p}}}", f"{{{view.p}}}") for key in before[0].hashes
    }


# --- a snapshot is put in ---


def parts() -> list[Writes]:
    """The same state as `everything`, cut in parts of one key each; the last one has the head."""
    whole = everything()
    empty = whole._replace(head={}, accounts={}, kept={}, sessions={}, seen={})
    cut = [empty._replace(accounts={name: fields}) for name, fields in whole.accounts.items()]
    cut += [empty._replace(kept={name: fields}) for name, fields in whole.kept.items()]
    cut += [empty._replace(sessions={key: held}) for key, held in whole.sessions.items()]
    cut += [empty._replace(seen={bucket: held}) for bucket, held in whole.seen.items()]
    return [*cut, empty._replace(head=whole.head)]


def test_a_restored_view_is_the_one_that_was_folded(view):
    """Put in in parts, it is the same to the byte; before the last part it has no seq."""
    seqs = []

    def watched() -> Iterator[Writes]:
        for part in parts():
            seqs.append(view.store.head(view.p).get("seq"))
            yield part

    view.store.restore(view.p, watched())
    restored = view.dump()
    assert set(seqs) == {None}
    view.apply("x3", writes(4, 4, accounts={"a": {"balance": "1"}}))
    view.store.wipe(view.p)
    view.apply("", everything())
    assert view.dump() == restored


def test_a_view_that_stands_is_not_restored_over(view):
    """Only a wiped view takes a snapshot."""
    view.apply("", everything())
    before = view.dump()
    with pytest.raises(OutOfStepError):
        view.store.restore(view.p, parts())
    assert view.dump() == before


def test_nobody_writes_while_a_snapshot_is_put_in(view):
    """Half way, neither the first events nor another snapshot get in; a wipe ends it, and then they do."""

    def interrupted() -> Iterator[Writes]:
        for part in parts():
            with pytest.raises(OutOfStepError):
                view.apply("", everything())
            with pytest.raises(OutOfStepError):
                view.store.restore(view.p, parts())
            yield part

    view.store.restore(view.p, interrupted())
    whole = view.dump()
    view.store.wipe(view.p)

    def wiped() -> Iterator[Writes]:
        first, *rest = parts()
        yield first
        view.store.wipe(view.p)
        view.apply("", everything())
        yield from rest

    with pytest.raises(OutOfStepError):
        view.store.restore(view.p, wiped())
    assert view.dump() == whole, "what the other folded stands"


def test_a_restore_that_broke_is_wiped(view):
    """The next one begins anew: a half of a snapshot is no view."""

    def broken() -> Iterator[Writes]:
        yield parts()[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        view.store.restore(view.p, broken())
    assert "seq" not in view.store.head(view.p)
    view.store.wipe(view.p)
    view.store.restore(view.p, parts())
    restored = view.dump()
    view.store.wipe(view.p)
    view.apply("", everything())
    assert view.dump() == restored


def test_attempts_are_counted_at_one_place(view):
    """How often a batch was begun at a place since the last one that ended; places only move on."""
    attempt: Callable[[int, str], int] = view.store.attempt
    assert [attempt(view.p, "5:0"), attempt(view.p, "5:0"), attempt(view.p, "5:0")] == [1, 2, 3]
    assert attempt(view.p, "6:0") == 1
    view.store.attempts_ended(view.p)
    view.store.attempts_ended(view.p)
    assert attempt(view.p, "5:0") == 1
    other = next(_partitions)
    assert attempt(other, "5:0") == 1
    assert view.dump().hashes == {}, "the count is no part of the folded state"


# --- what only a server can do ---


def test_expiries_are_those_of_the_events(redis):
    """Numbers and sessions go at the end of their last day; accounts and what is kept never."""
    redis.apply("", everything())
    assert redis.settings is not None
    expiries = dump_partition(redis.settings, redis.p).expiries_s
    tag = f"{{{redis.p}}}"
    due = (DAY + 71) * 86_400
    assert expiries == {f"seen:{tag}:{DAY}:5": due, f"seen:{tag}:{DAY}:6": due, f"session:{tag}:a:s": due}
    later = writes(4, 4, sessions={"a:s": (DAY + 90, {"day": "1"}, False)}, seen={(DAY, 5): (DAY + 80, [3])})
    redis.apply("x3", later)
    expiries = dump_partition(redis.settings, redis.p).expiries_s
    assert expiries is not None
    assert expiries[f"session:{tag}:a:s"] == (DAY + 91) * 86_400
    assert expiries[f"seen:{tag}:{DAY}:5"] == (DAY + 81) * 86_400


def test_what_expired_long_ago_is_not_kept(redis):
    """A replay of old events leaves what they would have left by now: no numbers, no sessions."""
    today = int(time.time()) // 86_400
    old = {"sessions": {"a:s": (today - 1, {"day": "1"}, False)}, "seen": {(today - 71, 5): (today - 1, [1, 2])}}
    redis.apply("", writes(1, 2, accounts={"a": {"balance": "1"}}, **old))
    assert redis.store.head(redis.p)["seq"] == "2"
    dump = redis.dump()
    assert set(dump.hashes) == {f"account:{{{redis.p}}}:a"}
    assert not dump.sets


def test_a_wipe_never_removes_what_was_rebuilt_meanwhile(redis):
    """Two wipe one partition, and one of them rebuilds first: the other's wipe stops at the gate."""
    assert redis.settings is not None
    redis.apply("", everything())
    slow, quick = RedisStore(redis.settings), RedisStore(redis.settings)
    whole = slow.keys_of

    def keys_of(partition: int) -> Iterator[str]:
        names = list(whole(partition))
        quick.wipe(partition)
        quick.apply(partition, "", everything())
        yield from names

    slow.keys_of = keys_of  # type: ignore[method-assign]
    slow.wipe(redis.p)
    rebuilt = redis.dump()
    slow.close()
    quick.close()
    redis.store.wipe(redis.p)
    redis.apply("", everything())
    assert redis.dump() == rebuilt


def test_a_server_that_forgot_its_scripts_is_told_again(redis):
    """A restarted server knows no script: nothing ran, so the call is made once more."""
    redis.apply("", everything())
    client = connect(redis.settings)
    client.script_flush()
    redis.apply("x3", writes(4, 4))
    client.script_flush()
    client.close()
    redis.store.load(redis.p, 4, need_everything())


def test_no_answer_is_an_unknown_outcome(redis):
    """A time-out is no failure: the caller is told that it does not know, and reads no late reply as another's."""
    redis.apply("", everything())
    client = connect(redis.settings)
    client.execute_command("CLIENT", "PAUSE", "1600", "ALL")
    client.close()
    with pytest.raises(ViewUnavailableError):
        redis.apply("x3", writes(4, 4))
    time.sleep(0.8)
    assert redis.store.head(redis.p)["seq"] in {"3", "4"}
    redis.apply("x3", writes(4, 4))
    assert redis.store.head(redis.p)["seq"] == "4"
    assert redis.store.account(redis.p, "b") == {"balance": "-1", "seq": "1"}


def test_a_server_that_is_not_there_is_unavailable():
    """Every call says so in one word, without the address."""
    store = RedisStore(Settings(redis=RedisSettings(url="redis://:secret@127.0.0.1:1/0", socket_timeout_s=1)))
    calls: list[Callable[[], object]] = [
        lambda: store.head(0),
        lambda: store.load(0, 0, Need()),
        lambda: store.apply(0, "", writes(1, 1)),
        lambda: store.wipe(0),
        lambda: store.attempt(0, "0:0"),
        lambda: store.attempts_ended(0),
        lambda: store.account(0, "a"),
        store.check,
    ]
    for call in calls:
        with pytest.raises(ViewUnavailableError) as caught:
            call()
        assert "secret" not in str(caught.value)
    store.close()


def test_a_server_that_may_evict_balances_is_refused(redis):
    """charge runs on `noeviction` only."""
    client = connect(redis.settings)
    store = RedisStore(redis.settings)
    store.check()
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ViewUnavailableError, match="noeviction"):
            store.check()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
        store.close()
