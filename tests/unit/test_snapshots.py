"""Snapshots: a rebuild that begins with one ends where a rebuild from the first event does, or it is not begun."""

import gzip
import json
from pathlib import Path

import pytest
from charging_world import usage
from owner_world import CrashError, Fuse, Partition, small_day

from pipeline.adapters.memory_broker import AUDIT_ID
from pipeline.adapters.snapshots import KEPT, Folded, found, is_whole, load, save
from pipeline.adapters.store.dump import dump_memory
from pipeline.charge.owner import Owner
from pipeline.charge.snapshots import newest, take
from pipeline.domain.ledger import Writes, genesis_hash


def edge_of(partition: Partition):
    edge = partition.edge()
    edge.fence()
    return edge


def taken(partition: Partition, folder: Path):
    return take(folder, partition.partition, edge_of(partition))


def rebuilt(partition: Partition, folder: Path | None) -> Owner:
    """Wipe the view and let an owner take over."""
    partition.store.wipe(partition.partition)
    owner = Owner(0, 1, partition.edge(), partition.store, partition.owner()._settings, folder)
    owner.take_over()
    return owner


@pytest.fixture
def day() -> Partition:
    partition = Partition()
    small_day(partition)
    partition.drain()
    return partition


@pytest.mark.parametrize("more", [0, 1, 7])
def test_from_a_snapshot_and_the_rest_as_from_the_first_event(day, tmp_path, more):
    """Wiped, the view is the same to the byte either way, and only the rest of the ledger is folded."""
    snapshot = taken(day, tmp_path)
    day.publish(*(usage(f"more-{n}", service="EVENT", session_id="s", message_count=1) for n in range(more)))
    day.drain()
    whole = dump_memory(day.store, 0)
    owner = rebuilt(day, tmp_path)
    assert owner.replayed == more
    assert dump_memory(day.store, 0) == whole
    day.check()
    assert rebuilt(day, None).replayed == snapshot.seq + more
    assert dump_memory(day.store, 0) == whole


def test_a_snapshot_begins_with_the_one_before(day, tmp_path):
    """It folds only what came since, to the same file that the whole ledger gives."""
    taken(day, tmp_path / "a")
    day.publish(usage("more"))
    day.drain()
    second = taken(day, tmp_path / "a")
    afresh = taken(day, tmp_path / "b")
    assert second.seq == afresh.seq == len(day.values())
    first, other = load(second), load(afresh)
    assert (first.head, first.accounts, first.kept, first.sessions) == (
        other.head, other.accounts, other.kept, other.sessions,
    )  # fmt: skip
    assert first.seen == other.seen
    assert taken(day, tmp_path / "a") == second, "nothing came since: the same"


def test_an_empty_ledger_has_no_snapshot(tmp_path):
    """There is nothing to keep."""
    assert taken(Partition(), tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_newest_few_are_kept(day, tmp_path):
    """Disk does not fill; one more than the newest is there."""
    for n in range(4):
        day.publish(usage(f"more-{n}"))
        day.drain()
        taken(day, tmp_path)
    assert [snapshot.seq for snapshot in found(tmp_path, 0)] == [len(day.values()), len(day.values()) - 1]
    assert len(list(tmp_path.iterdir())) == KEPT


def test_any_damage_is_seen(day, tmp_path):
    """Cut anywhere, or with any byte changed, a file is not whole; the rebuild reads the ledger instead."""
    snapshot = taken(day, tmp_path)
    whole = dump_memory(day.store, 0)
    data = snapshot.path.read_bytes()
    plain = gzip.decompress(data)
    bad = [data[:at] for at in range(0, len(data) - 1, 97)]
    altered = [plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :] for at in range(0, len(plain) - 1, 29)]
    bad += [gzip.compress(text) for text in altered]
    bad += [gzip.compress(plain[:at]) for at in range(0, len(plain) - 1, 211)]
    bad += [b"", b"rubbish", gzip.compress(b""), gzip.compress(plain + b"more\n"), data[:-8] + bytes(8)]
    assert len(bad) > 50
    for damaged in bad:
        snapshot.path.write_bytes(damaged)
        assert not any(is_whole(one) for one in found(tmp_path, 0)), damaged[:50]
    assert rebuilt(day, tmp_path).replayed == len(day.values())
    assert dump_memory(day.store, 0) == whole


def test_a_bad_one_is_passed_over_for_the_one_before(day, tmp_path):
    """The newest is damaged: the one before it and more of the ledger do."""
    first = taken(day, tmp_path)
    day.publish(usage("more"))
    day.drain()
    taken(day, tmp_path).path.write_bytes(b"rubbish")
    whole = dump_memory(day.store, 0)
    assert newest(tmp_path, 0, edge_of(day)) == first
    assert rebuilt(day, tmp_path).replayed == 1
    assert dump_memory(day.store, 0) == whole


def test_a_snapshot_of_another_ledger_is_not_believed(day, tmp_path):
    """Another partition's, another topic's, or of an event that the ledger does not have: whole, and passed over."""
    state = load(taken(day, tmp_path / "own"))
    genesis = genesis_hash(AUDIT_ID.hex(), 0)
    save(tmp_path / "a", 0, b"another topic".ljust(32), state)
    assert newest(tmp_path / "a", 0, edge_of(day)) is None
    state.head["hash"] = "00" * 32
    save(tmp_path / "b", 0, genesis, state)
    assert newest(tmp_path / "b", 0, edge_of(day)) is None
    state.head["seq"] = "999"
    save(tmp_path / "c", 0, genesis, state)
    assert newest(tmp_path / "c", 0, edge_of(day)) is None
    own = taken(day, tmp_path / "own")
    own.path.rename(own.path.with_name(own.path.name.replace("0-", "1-", 1)))
    assert found(tmp_path / "own", 1) == []


def test_a_snapshot_of_another_layout_is_not_believed(day, tmp_path):
    """Its keys are of another shape."""
    snapshot = taken(day, tmp_path)
    lines = gzip.decompress(snapshot.path.read_bytes()).splitlines(keepends=True)
    first = json.loads(lines[0])
    first[1]["layout"] = "0"
    snapshot.path.write_bytes(gzip.compress(json.dumps(first).encode() + b"\n" + b"".join(lines[1:])))
    assert found(tmp_path, 0) == []


@pytest.mark.parametrize("calls", range(4, 14))
@pytest.mark.parametrize("acts", [False, True])
def test_a_rebuild_that_is_killed_is_begun_anew(day, tmp_path, calls, acts, monkeypatch):
    """Killed at any call of the take-over, with a snapshot half in the view: the next owner comes to the same view."""
    monkeypatch.setattr("pipeline.adapters.snapshots.PART_VALUES", 3)
    taken(day, tmp_path)
    day.publish(usage("more"))
    day.drain()
    whole = dump_memory(day.store, 0)
    day.store.wipe(0)
    fuse = Fuse(calls, acts=acts)
    store = day.store
    put, store.write = store.write, fuse.guard(store.write)
    try:
        Owner(0, 1, day.edge(), store, day.owner()._settings, tmp_path).take_over()
        assert fuse.calls >= 0
    except CrashError:
        assert store.head(0).get("seq") != whole.before["seq"] or acts
    store.write = put
    owner = Owner(0, 1, day.edge(), store, day.owner()._settings, tmp_path)
    owner.take_over()
    assert dump_memory(store, 0) == whole


def test_a_session_that_begins_anew_has_nothing_of_the_one_before():
    """Its id came back after the late window: the state has the new one's parts alone."""
    state = Folded()
    for fields, begins in (({"old": "1"}, False), ({"more": "2"}, False), ({"new": "3"}, True)):
        state.take(Writes(1, 1, {}, {}, {}, {"a:s": (9, fields, begins)}, {}))  # type: ignore[dict-item]
    assert state.sessions == {"a:s": (9, {"new": "3"})}


def test_what_is_over_is_not_kept(day):
    """Numbers and sessions that the view has dropped by now are not put in again."""
    state = Folded()
    state.head = {"seq": "1", "clock": str(100 * 86_400_000)}
    state.sessions = {"over": (98, {"a": "1"}), "last": (99, {"a": "1"})}
    state.seen = {(28, 1): (98, [1]), (29, 1): (99, [2])}  # type: ignore[assignment]
    (part,) = state.parts()
    assert set(part.sessions) == {"last"}
    assert set(part.seen) == {(29, 1)}
