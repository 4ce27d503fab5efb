"""What the auditor remembers: it goes on after a restart as if it had never stopped, and forgets no breach."""

import json
import sqlite3

import pytest
from audit_ledger import START, LedgerMaker, line_of, sample, usage_of

from consumers.audit.breach import TOTALS, Breach
from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from consumers.audit.repricing import Repricing
from consumers.audit.store import AuditStore, Stand, StoreError
from consumers.audit.totals import ControlTotals
from pipeline.adapters.avro import USAGE_RECORD
from pipeline.domain.usage import DAY_MS, UsageRecord

TODAY = START // DAY_MS


def audit_of(made: LedgerMaker, database: sqlite3.Connection) -> PartitionAudit:
    return PartitionAudit(
        made.partition, 1, made.genesis, Register(database), today=TODAY, keeping=True,
        repricing=Repricing(lambda _: [], keeping=True),
    )  # fmt: skip


def without_prices(made: LedgerMaker) -> LedgerMaker:
    """Only events that nothing is priced for."""
    kept = LedgerMaker()
    kept.opened()
    for n in range(3):
        kept.topped_up(1_000 + n, f"r{n}")
        kept.adjusted(-n)
        kept.answered("REVIEW", "late", f"late{n}")
    kept.sealed()
    return kept


@pytest.mark.parametrize("stop", range(11))
def test_a_restart_goes_on_where_it_was(stop, tmp_path):
    """Stopped behind any event, remembered, read back by a new process: what follows is judged as without the stop."""
    made = without_prices(sample())
    values = made.values()
    store = AuditStore(tmp_path)
    first = audit_of(made, store.database)
    for offset, value in enumerate(values[:stop]):
        assert first.take(value, offset) is None
    checks, rows = first.changes()
    store.keep(0, Stand(made.genesis, stop, first.chain.hash, stop - 1, 7, checks), rows)
    store.close()

    store = AuditStore(tmp_path)
    again = audit_of(made, store.database)
    stand = store.stand(0)
    assert stand is not None
    assert (stand.seq, stand.hash) == (stop, first.chain.hash)
    again.recall(stand.checks, store.rows(0))
    for offset, value in enumerate(values[stop:], stop):
        assert again.take(value, offset) is None
    assert again.close() is None
    assert again.compare(made.view()) is None
    assert sum(again.books.kinds.values()) == len(values)
    whole = audit_of(made, sqlite3.connect(""))
    for offset, value in enumerate(values):
        whole.take(value, offset)
    whole.close()
    assert again.books.figures.as_json() == whole.books.figures.as_json()


def test_only_what_changed_is_written(tmp_path):
    """A round writes the rows it touched, and removes those that are over."""
    made = sample()
    store = AuditStore(tmp_path)
    audit = PartitionAudit(0, 1, made.genesis, Register(store.database), today=TODAY, keeping=True)
    for offset, value in enumerate(made.values()):
        assert audit.take(value, offset) is None
    checks, rows = audit.changes()
    assert {name.partition(":")[0] for name in rows} == {"account", "kept", "session", "seen"}
    assert audit.changes()[1] == {}
    later = LedgerMaker()
    later.events, later._accounts, later._at = list(made.events), dict(made._accounts), dict(made._at)
    later._raw, later._clock, later.epoch = made._raw, made._clock, made.epoch
    later.charged("much-later", start=START + 80 * DAY_MS)
    assert audit.take(later.values()[-1], 99) is None
    gone = [name for name, text in audit.changes()[1].items() if text is None]
    assert sorted(name.partition(":")[0] for name in gone) == ["seen", "session"], "what expired is forgotten here too"
    store.keep(0, Stand(made.genesis, 1, b"", 0, 0, checks), rows)
    store.keep(0, Stand(made.genesis, 1, b"", 0, 0, checks), dict.fromkeys(gone))
    assert {name for name, _ in store.rows(0)} == set(rows) - set(gone)


def test_ids_are_remembered_over_a_restart(tmp_path):
    """A record charged before the restart, and once more after it on another day, is found."""
    made = LedgerMaker()
    made.opened()
    made.charged("r1")
    made.charged("r1", start=START + 3 * DAY_MS)
    store = AuditStore(tmp_path)
    audit = PartitionAudit(0, 1, made.genesis, Register(store.database), today=TODAY, keeping=True)
    values = made.values()
    assert [audit.take(value, at) for at, value in enumerate(values[:2])] == [None, None]
    checks, rows = audit.changes()
    store.keep(0, Stand(made.genesis, 2, audit.chain.hash, 1, 0, checks), rows)
    store.close()
    store = AuditStore(tmp_path)
    again = PartitionAudit(0, 1, made.genesis, Register(store.database), today=TODAY, keeping=True)
    again.recall(store.stand(0).checks, store.rows(0))
    breach = again.take(values[2], 2)
    assert (breach.seq, breach.invariant) == (3, "I3")
    assert "0-2" in breach.detail


def test_buckets_are_remembered_over_a_restart(tmp_path):
    """What a bucket gave before the restart stays given: a bucket that falls back after it is found."""
    made = LedgerMaker()
    made.opened()
    for used in (40, 10):
        made.charged(f"r{used}", 0, changes={"bucket:b:202601": f"{used}/100"}, lines=(line_of(0, "b", 40),))
    store = AuditStore(tmp_path)
    audit = PartitionAudit(0, 1, made.genesis, Register(store.database), today=TODAY, keeping=True)
    values = made.values()
    assert [audit.take(value, at) for at, value in enumerate(values[:2])] == [None, None]
    checks, rows = audit.changes()
    again = PartitionAudit(0, 1, made.genesis, Register(store.database), today=TODAY, keeping=True)
    again.recall(json.loads(json.dumps(checks)), rows.items())
    breach = again.take(values[2], 2)
    assert breach.invariant == "I5"
    assert "goes from 40 used to 10" in breach.detail


def test_a_round_that_was_not_ended_never_happened(tmp_path):
    """Ids, state and position are of one transaction."""
    store = AuditStore(tmp_path)
    register = Register(store.database)
    made = sample()
    store.begin()
    assert register.follow(0, made.events[1]) is None
    store.keep(0, Stand(made.genesis, 2, b"h", 1, 0, {}), {"a": "b"})
    store.close()
    store = AuditStore(tmp_path)
    assert store.stand(0) is None
    assert list(store.rows(0)) == []
    assert Register(store.database).follow(0, made.events[1]) is None, "its id was not entered"


def test_the_first_breach_stays(tmp_path):
    """A breach is loud after a restart too; a later one of its kind does not take its place."""
    store = AuditStore(tmp_path)
    store.add_breach(Breach(0, 5, "I2", "first"), 77)
    store.add_breach(Breach(0, 9, "I2", "second"), 99)
    store.close()
    assert AuditStore(tmp_path).breaches() == [(Breach(0, 5, "I2", "first"), 77)]


def test_a_file_of_another_release_is_refused(tmp_path):
    """What cannot be understood is not gone on from."""
    store = AuditStore(tmp_path)
    store.database.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match="put it aside"):
        AuditStore(tmp_path)
    with pytest.raises(StoreError, match="no auditor"):
        AuditStore(tmp_path / "elsewhere", read_only=True)


# --- control totals ---


def raw_bytes(source: str, record_id: str = "r") -> bytes:
    usage = usage_of(record_id, source=source)
    return USAGE_RECORD.encode({name: getattr(usage, name) for name in UsageRecord._fields})


def dead(offset: int) -> list[tuple[str, bytes | None]]:
    place = {"source_topic": b"charging.usage.received.v1", "source_partition": b"0", "source_offset": b"%d" % offset}
    return [*place.items()]


@pytest.fixture
def totals():
    made = ControlTotals(sqlite3.connect("", isolation_level=None))
    made.begin(b"t" * 16, {0: 0, -1: 0})
    return made


def answered(totals, kind, reason, offset):
    made = LedgerMaker()
    made.opened()
    made._raw = offset
    event = made.charged("r") if kind == "CHARGED" else made.answered(kind, reason, "r")
    totals.answered(event)


def test_records_in_are_what_became_of_them(totals):
    """Of each source and hour: received = charged + duplicate + review + rejected + dead-lettered."""
    for offset, source in enumerate(("msc1", "msc1", "msc2", "msc1", "msc2")):
        totals.received(0, offset, 3_600_000 * (10 + offset // 3), raw_bytes(source))
    totals.received(0, 5, 3_600_000 * 11, b"rubbish")
    answered(totals, "CHARGED", None, 0)
    answered(totals, "DUPLICATE", "duplicate", 1)
    answered(totals, "REVIEW", "late", 2)
    answered(totals, "REJECTED", "no_tariff", 3)
    totals.dead(dead(4))
    totals.dead(dead(5))
    assert totals.settle({0: 6}) is None
    assert [tuple(total) for total in totals.totals()] == [
        ("?", 11, 1, 0, 0, 0, 0, 1),
        ("msc1", 10, 2, 1, 1, 0, 0, 0),
        ("msc1", 11, 1, 0, 0, 0, 1, 0),
        ("msc2", 10, 1, 0, 0, 1, 0, 0),
        ("msc2", 11, 1, 0, 0, 0, 0, 1),
    ]
    assert totals.outcomes() == {
        "received": 6, "charged": 1, "duplicate": 1, "review": 1, "rejected": 1, "dead_letter": 2,
    }  # fmt: skip


def test_a_lost_record_is_found(totals):
    """Mediate has committed it, everything it made is read: a record with no outcome was lost on the way."""
    for offset in range(3):
        totals.received(0, offset, 0, raw_bytes("msc1"))
    answered(totals, "CHARGED", None, 0)
    answered(totals, "CHARGED", None, 2)
    assert totals.settle({0: 1}) is None
    breach = totals.settle({0: 3})
    assert breach.invariant == TOTALS
    assert "record 1 of" in breach.detail


def test_one_offset_counts_once(totals):
    """Handed on twice after a crash, before or after it was counted: one record in, one outcome."""
    totals.received(0, 0, 0, raw_bytes("msc1"))
    answered(totals, "CHARGED", None, 0)
    answered(totals, "DUPLICATE", "duplicate", 0)
    assert totals.settle({0: 1}) is None
    answered(totals, "DUPLICATE", "duplicate", 0)
    totals.dead(dead(0))
    assert totals._database.execute("SELECT count(*) FROM pending").fetchone() == (0,), "it waits for nothing"
    assert totals.settle({0: 1}) is None
    assert totals.outcomes() == {
        "received": 1, "charged": 1, "duplicate": 0, "review": 0, "rejected": 0, "dead_letter": 0,
    }  # fmt: skip


def test_an_answer_may_be_read_before_its_record(totals):
    """Ledger and raw topic are read side by side, in no order."""
    answered(totals, "CHARGED", None, 0)
    totals.received(0, 0, 0, raw_bytes("msc1"))
    assert totals.settle({0: 1}) is None
    assert totals.outcomes()["charged"] == 1


def test_a_raw_topic_made_anew_counts_from_its_own_beginning(totals):
    """Its offsets mean other records: what was under way is dropped, what was counted stays."""
    totals.received(0, 0, 0, raw_bytes("msc1"))
    totals.read_to(0, 1)
    assert totals.begin(b"t" * 16, {0: 0}) == {0: 1}
    assert totals.begin(b"n" * 16, {0: 0}) == {0: 0}
    assert totals.settle({0: 1}) is None
    assert totals.outcomes()["received"] == 0


def test_a_record_that_was_set_aside_unread_has_its_outcome(totals):
    """REVIEW `quarantined` holds the record's bytes, not the record; it counts as review all the same."""
    from pipeline.adapters.avro import ACCEPTED_USAGE

    made = LedgerMaker()
    made.unread()
    body = ACCEPTED_USAGE.encode(usage_of("r1", offset=0)._asdict())
    event = made.events[0]._replace(
        kind="REVIEW", reason="quarantined", event_id="usage-0-0", detail=json.dumps({"first_bytes": body.hex()})
    )
    totals.received(0, 0, 0, raw_bytes("msc1"))
    totals.answered(event)
    assert totals.settle({0: 1}) is None
    assert totals.outcomes()["review"] == 1
