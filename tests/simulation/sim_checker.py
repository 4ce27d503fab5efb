"""What must hold when all is calm again: I1 to I11, from what was published, what was answered, and what is shown.

Nothing here is shared with the ledger's fold, with the rules of charging or with the audit: prices are two curves and
a product, the state is the last value of each effect, and the chain is recomputed from the bytes.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sim_expected import Books

from pipeline.adapters import memory_broker
from pipeline.adapters.avro import (
    ACCEPTED_USAGE,
    ACCOUNT_COMMAND,
    SUBSCRIBER_BINDING,
    USAGE_RECORD,
    UndecodableError,
    UnknownSchemaError,
)
from pipeline.adapters.memory_broker import ABORTED, AUDIT_ID, COMMITTED
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import AUDIT, SUBSCRIBER, USAGE_ACCEPTED, USAGE_DEAD_LETTER

if TYPE_CHECKING:
    from sim_world import World


def check(world: "World") -> list[str]:
    """Return every invariant that is broken, each with its place; empty where all hold."""
    found: list[str] = []
    charged: dict[str, list[Any]] = {}
    last_rows: dict[str, dict[str, str]] = {}
    for partition in range(world.partitions):
        found += _ledger(world, partition, charged, last_rows)
    for record_id, times in charged.items():
        if len(times) > 1 and not _of_two_accounts(times, last_rows):
            found.append(f"I3 {record_id} is charged {len(times)} times")
    found += _mediated(world)
    found += _directory(world, last_rows)
    return found


def _of_two_accounts(charged: list[Any], accounts: dict[str, dict[str, str]]) -> bool:
    """Tell whether each was charged to another account, because the number was bound to all of them at that time.

    Where operators let it be so, copies of one record may reach either account while the directory does not yet say
    both; the auditor finds them. Nothing else is an excuse.
    """
    holders = set()
    for name, fields in accounts.items():
        for part in fields.get("identities", "").split():
            identity, _, span = part.rpartition("@")
            begin, _, end = span.partition("-")
            began = int(begin) <= charged[0].start_time
            if identity == f"msisdn-{charged[0].msisdn}" and began and (not end or charged[0].start_time < int(end)):
                holders.add(name.rpartition(":")[2])
    names = [usage.account for usage in charged]
    return len(set(names)) == len(names) and set(names) <= holders


def _records(world: "World", topic: str, partition: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, number of its transaction, value) of what a reader of committed records sees."""
    transaction = 0
    for offset, entry in enumerate(world.broker.logs[topic, partition].entries):
        if entry.marker:
            transaction += 1
        elif entry.transaction is None or entry.transaction.state == COMMITTED:
            yield offset, transaction, entry.value or b""
        elif entry.transaction.state != ABORTED:
            world.violations.append(f"{topic} [{partition}]: a transaction is {entry.transaction.state} after calm")


def _ledger(
    world: "World", partition: int, charged: dict[str, list[Any]], last_rows: dict[str, dict[str, str]]
) -> list[str]:
    found: list[str] = []
    previous = hashlib.sha256(f"{AUDIT_ID.hex()}:{partition}".encode()).digest()
    usage_at = command_at = catalogue_at = clock = epoch = 0
    books = Books(world, partition)
    view = _View(partition)
    inputs = {
        True: list(world.broker.logs[COMMANDS.name, partition].entries),
        False: list(world.broker.logs[USAGE_ACCEPTED.name, partition].entries),
    }
    event = None
    for seq, (_, transaction, value) in enumerate(_records(world, AUDIT.name, partition), 1):
        stored = memory_broker.decode_event(value)
        event = stored.event
        where = f"p{partition} seq {seq} ({event.kind} {event.event_id})"
        if event.seq != seq:
            found.append(f"I1 {where}: seq is {event.seq}")
            return found
        recomputed = hashlib.sha256(value[2:10] + value[10:-32]).digest()
        if stored.previous_hash != previous or recomputed != value[-32:]:
            found.append(f"I2 {where}: the chain breaks")
        previous = recomputed
        if event.epoch < epoch:
            found.append(f"I7 {where}: epoch falls from {epoch} to {event.epoch}")
        epoch = event.epoch
        moved = event.positions.usage.offset - usage_at, event.positions.command.offset - command_at
        if moved not in ({(0, 0)} if event.kind == "SEAL" else {(0, 1), (1, 0)}):
            found.append(f"I4 {where}: the positions move by {moved}")
            return found
        if event.positions.catalogue.offset < catalogue_at:
            found.append(f"{where}: the catalogue's position falls")
        usage_at, command_at = event.positions.usage.offset, event.positions.command.offset
        catalogue_at = event.positions.catalogue.offset
        if event.kind != "SEAL":
            is_command = moved[1] == 1
            offset = (command_at if is_command else usage_at) - 1
            topic = COMMANDS.name if is_command else USAGE_ACCEPTED.name
            if event.positions.catalogue.offset < world.versions_at[topic, partition, offset]:
                found.append(f"{where}: decided with fewer catalogues than were published before it came")
            entry = inputs[is_command][offset]
            if is_command:
                why = books.command(event, _decoded(ACCOUNT_COMMAND, entry.value), entry.time_ms, transaction)
            else:
                record = _decoded(ACCEPTED_USAGE, entry.value)
                if record is not None and event.reason != "quarantined":
                    clock = max(clock, record["received_at"])
                why = books.usage(event, record, clock)
            if why is not None:
                found.append(f"{where}: {why}")
        if event.clock != clock:
            found.append(f"{where}: the clock is {event.clock}, but {clock} is due")
        if event.kind == "CHARGED" and event.usage is not None:
            charged.setdefault(event.event_id, []).append(event.usage)
        world.rows["answer: " + (event.reason or event.kind)] += 1
        books.transactions[seq] = transaction
        view.follow(event)
    found += view.differences(world, event, previous)
    last_rows.update({name: fields for name, fields in view.hashes.items() if name.startswith("account:")})
    return found


@lru_cache(20_000)
def _decoded(contract: Any, value: bytes | None) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = contract.decode(value or b"")
    except (UndecodableError, UnknownSchemaError):
        return None
    return record


class _View:
    """I6: the view is the last value after of each effect."""

    def __init__(self, partition: int) -> None:
        self.hashes: dict[str, dict[str, str]] = {}
        self.sets: dict[str, set[int]] = {}
        self._partition = partition
        self._tag = f"{{{partition}}}"

    def follow(self, event: Any) -> None:
        effects, tag = event.effects, self._tag
        if event.account_seq:
            self._put(f"account:{tag}:{event.account}", effects.account)
            balance = {"balance": str(event.balance_after_micros), "seq": str(event.account_seq)}
            self._put(f"account:{tag}:{event.account}", balance)
        self._put(f"kept:{tag}:{event.account}", effects.kept)
        session, seen = effects.session, effects.seen
        if session is not None:
            if session.begins:
                self.hashes.pop(f"session:{tag}:{session.key}", None)
            self._put(f"session:{tag}:{session.key}", session.fields)
        if seen is not None:
            self.sets.setdefault(f"seen:{tag}:{seen.day}:{seen.bucket}", set()).update((seen.record, seen.content))

    def _put(self, key: str, changes: dict[str, Any]) -> None:
        if not changes:
            return
        fields = self.hashes.setdefault(key, {})
        fields.update(changes)
        for name, value in changes.items():
            if value is None:
                del fields[name]

    def differences(self, world: "World", last: Any, last_hash: bytes) -> list[str]:
        if last is None:
            return []
        positions = last.positions
        self.hashes[f"ledger:{self._tag}"] = {
            "seq": str(last.seq), "hash": last_hash.hex(), "layout": "1", "clock": str(last.clock),
            "late_window_days": str(last.late_window_days), "epoch": str(last.epoch),
            "usage": f"{positions.usage.topic_id.hex()}@{positions.usage.offset}",
            "command": f"{positions.command.topic_id.hex()}@{positions.command.offset}",
            "catalogue": f"{positions.catalogue.topic_id.hex()}@{positions.catalogue.offset}",
        }  # fmt: skip
        found = []
        for shown, followed in ((world.store.hashes, self.hashes), (world.store.sets, self.sets)):
            own = {name: held for name, held in shown.items() if f":{self._tag}" in name}
            due = {name: held for name, held in followed.items() if held}
            found += [
                f"I6 {name} is {own.get(name)}, but {due.get(name)} is due"
                for name in sorted(own.keys() | due.keys())
                if own.get(name) != due.get(name)
            ]
        return found


def _mediated(world: "World") -> list[str]:
    """I10: every raw offset ends as accepted or as a dead letter, and a dead letter says the truth."""
    found: list[str] = []
    accepted: set[tuple[int, int]] = set()
    for partition in range(world.partitions):
        for entry in world.broker.logs[USAGE_ACCEPTED.name, partition].entries:
            record = _decoded(ACCEPTED_USAGE, entry.value)
            if record is not None and record["source_topic"] != "direct":
                accepted.add((record["source_partition"], record["source_offset"]))
                raw = world.broker.logs[record["source_topic"], record["source_partition"]].entries
                if raw[record["source_offset"]].time_ms != record["received_at"]:
                    found.append(f"{record['record_id']} was not received at {record['received_at']}")
    letters: dict[tuple[int, int], set[str]] = {}
    rows = [(offset, SUBSCRIBER_BINDING.decode(value)) for offset, _, value in _records(world, SUBSCRIBER.name, 0)]
    for at, entry in enumerate(world.broker.logs[USAGE_DEAD_LETTER.name, 0].entries):
        said = {name: (value or b"").decode() for name, value in entry.headers}
        source = int(said["source_partition"]), int(said["source_offset"])
        raw = world.broker.logs[said["source_topic"], source[0]].entries[source[1]]
        letters.setdefault(source, set()).add(said["reason"])
        world.rows["dead letter: " + said["reason"]] += 1
        if raw.value != entry.value:
            found.append(f"dead letter {at} has other bytes than its record")
        if said["reason"] == "unknown_subscriber":
            found += _stranger(raw.value or b"", rows, world.letters_knew[at], source)
    for topic, partition in world.topics.received:
        for offset, entry in enumerate(world.broker.logs[topic, partition].entries):
            source = partition, offset
            readable = len(entry.value or b"") > 20
            if source not in accepted and source not in letters:
                found.append(f"raw {source} is neither accepted nor a dead letter")
            if readable == ("undecodable" in letters.get(source, ()) or "unknown_schema" in letters.get(source, ())):
                found.append(f"I10 raw {source} is {letters.get(source)}")
            if not readable and source in accepted:
                found.append(f"I10 raw {source} cannot be read, and was accepted")
    return found


def _stranger(raw: bytes, rows: list[tuple[int, Any]], knew: tuple[int, int], source: tuple[int, int]) -> list[str]:
    """A subscriber whose row was written before the record was polled, in a transaction open or not, is no stranger.

    Rows written between then and the dead letter may have been read, or not: each state between is an excuse.
    """
    record = USAGE_RECORD.decode(raw)
    spans: dict[str, list[Any]] = {}
    polled, written = knew
    known = True
    for offset, row in [*rows, (written, None)]:
        if polled <= offset <= written:
            known = known and _had(spans, record["start_time"])
        if row is not None and offset < written and row["identity"] == "msisdn-" + str(record["msisdn"]):
            spans[row["account"]] = row["spans"]
    return [f"raw {source} is called a stranger's, but its number had an account then"] if known else []


def _had(spans: dict[str, list[Any]], moment: int) -> bool:
    return any(
        span["from"] <= moment and (span["to"] is None or moment < span["to"])
        for held in spans.values()
        for span in held
    )


def _directory(world: "World", accounts: dict[str, dict[str, str]]) -> list[str]:
    """The directory says in the end what the accounts say."""
    said: dict[tuple[str, str], list[tuple[int, int | None]]] = {}
    for _, _, value in _records(world, SUBSCRIBER.name, 0):
        row = SUBSCRIBER_BINDING.decode(value)
        said[row["identity"], row["account"]] = [(span["from"], span["to"]) for span in row["spans"]]
    due: dict[tuple[str, str], list[tuple[int, int | None]]] = {}
    for name, fields in accounts.items():
        account = name.rpartition(":")[2]
        for part in fields.get("identities", "").split():
            identity, _, span = part.rpartition("@")
            begin, _, end = span.partition("-")
            due.setdefault((identity, account), []).append((int(begin), int(end) if end else None))
    return [
        f"the directory says {said.get(key)} of {key}, the account {due.get(key)}"
        for key in sorted(said.keys() | due.keys())
        if said.get(key, []) != due.get(key, [])
    ]
