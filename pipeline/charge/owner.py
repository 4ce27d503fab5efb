"""The owner of one ledger partition: take over, then batch after batch; any error is a take-over again.

| crash or fault | what happens next |
|---|---|
| before the ledger transaction commits | nothing happened; the batch runs again from the ledger's own position |
| commit outcome unknown | the producer is thrown away; the take-over reads the tail: it is there or it is not |
| a late end of the transaction before tears this one | the take-over goes on behind it and writes its rows again |
| after the commit, before the view | the next take-over, here or elsewhere, replays the ledger's tail into the view |
| the view's reply lost, its script stopped half way | absolute values behind a gate on `seq`: a repeat is harmless |
| the view lost its tail, was wiped, or is an old copy | `seq` is behind, or `hash` is another: replay, or rebuild |
| the ledger is behind the view, an input was re-created or lost records | the partition halts, loudly |
| this owner wakes after another took over | its producer is fenced, and the view's gate stands at another `seq` |
| a record ends the process | after two deaths here the batch is one record; after a third that record is set aside |
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from pipeline.adapters.avro import ACCOUNT_COMMAND, UndecodableError, UnknownSchemaError
from pipeline.adapters.crash_points import reached
from pipeline.adapters.ledger_codec import StoredEvent, accepted_usage_of, encode_event, usage_body_of
from pipeline.adapters.partition import Inputs, LedgerHaltedError, PartitionEdge, Raw
from pipeline.adapters.store import Need, OutOfStepError, Store
from pipeline.charge.bindings import binding_row, rows_of
from pipeline.charge.sealing import Sealing
from pipeline.charge.snapshots import restore_newest
from pipeline.domain import commands
from pipeline.domain.account import Account
from pipeline.domain.batch import (
    CommandInput,
    Decided,
    Head,
    Input,
    Prepared,
    State,
    UsageInput,
    named_event,
    needed,
    prepare,
)
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.charging import Batch
from pipeline.domain.ledger import LAYOUT, Event, Position, Positions, fold
from pipeline.domain.usage import START_TIME_MAX
from pipeline.settings import ChargeSettings
from pipeline.topics import partition_of

APPLY_EVENTS_MAX = 2_000
TORN_EVENTS_MAX = 4_000
"""More than any batch writes: how far back directory rows can have been torn from their events."""
PLACES_MAX = 1_000_000
"""Accounts whose partition is remembered: an int a name."""
DEATHS_BEFORE_SINGLE = 2
DEATHS_BEFORE_QUARANTINE = 3
IDLE_STEPS_A_LOOK = 10
QUARANTINED = "ended the process three times"


class Owner:
    """Owns one partition for as long as one edge lives: `take_over`, then `step` until it raises or is let go."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        edge: PartitionEdge,
        store: Store,
        settings: ChargeSettings,
        snapshots: Path | None = None,
    ) -> None:
        self.partition = partition
        self._partitions = partitions
        self._edge = edge
        self._store = store
        self._settings = settings
        self._snapshots = snapshots
        self._sealing = Sealing(edge, settings)
        self._hash = b""
        self._carried: list[Raw] = []
        self._singly = False
        """one record at a time, until what was fetched with the record that may be deadly is answered"""
        self._attempting = False
        self._idle = 0
        self._partition_of: dict[str, int] = {}
        # accounts as the last batch left them: nobody else writes them while this owner's writes go through, and the
        # first error ends owner and memory together
        self._accounts: dict[str, Account] = {}
        self.head: Head | None = None
        self.replayed = 0
        """events written into the view by the take-over"""

    def take_over(self) -> None:
        """Fence, read the tail, bring the view to it, open the inputs. Raises LedgerHaltedError, or whatever failed."""
        partition = self.partition
        view = self._store.head(partition)  # it must answer before anyone is fenced
        reached("charge.before_fence")
        self._edge.fence()
        reached("charge.after_fence")
        last = self._edge.last()
        reached("charge.after_tail")
        self._hash = self._edge.genesis() if last is None else last.hash
        self._check_view(view, last)
        self._mend_directory(view, last)
        self._replay(view, last)
        self._sealing.begin(last)
        head = self._head(last)
        self._edge.open_inputs(head.positions.usage.offset, head.positions.command.offset)
        self.head = head
        reached("charge.after_take_over")
        if last is not None and head.late_window_days != self._settings.late_window_days:
            self._change_late_window(head)

    def step(self) -> int:
        """Do one batch: fetch, decide, write. Returns how many records it answered (0: nothing came)."""
        head = self.head
        assert head is not None, "take over first"
        raw = self._carried or self._edge.fetch(self._settings.batch_records)
        self._carried = []
        if not raw:
            self._look_after_view(head)
            if self._sealing.due(head.seq, head.seq):
                self._seal(head)
            return 0
        self._idle = 0
        reached("charge.after_fetch")
        at = f"{head.positions.usage.offset}:{head.positions.command.offset}"
        self._attempting = True
        deaths = self._store.attempt(self.partition, at) - 1
        if deaths >= DEATHS_BEFORE_SINGLE or self._singly:
            raw, self._carried = raw[:1], raw[1:]
            self._singly = bool(self._carried)
        inputs = [_read(record, quarantined=deaths >= DEATHS_BEFORE_QUARANTINE) for record in raw]
        catalogues, catalogue_offset = self._edge.catalogues()
        prepared = prepare(inputs, self._named_events(inputs))
        state = self._load(head, prepared)
        reached("charge.after_load")
        catalogue = Position(head.positions.catalogue.topic_id, catalogue_offset)
        batch = Batch(
            head._replace(positions=head.positions._replace(catalogue=catalogue)),
            state,
            catalogues,
            self._partition_of,
            late=True,
        )
        self._write(self._decide(batch, prepared, head.seq))
        self._accounts.update(state.accounts)
        self.head = batch.head
        self._store.attempts_ended(self.partition)
        self._attempting = False
        return len(prepared)

    def _decide(self, batch: Batch, prepared: Sequence[Prepared], seq: int) -> Iterator[Decided]:
        """Yield what is decided, one by one, and behind it a seal where one is due."""
        for item in prepared:
            decided = batch.decide(item)
            self._sealing.count(decided.event)
            yield decided
        if self._sealing.due(seq, batch.head.seq):
            yield self._sealing.seal(batch)

    def failed(self) -> None:
        """Say that the batch in hand failed without ending the process, so its deaths are not counted up."""
        if self._attempting:  # a take-over that failed says nothing of the batch that comes after it
            self._store.attempts_ended(self.partition)

    def _look_after_view(self, head: Head) -> None:
        """See now and then, while nothing comes, whether the view still stands: a wiped one is rebuilt without use."""
        self._idle += 1
        if self._idle % IDLE_STEPS_A_LOOK == 0:
            view = self._store.head(self.partition)
            if int(view.get("seq", "0")) != head.seq or (head.seq and view["hash"] != self._hash.hex()):
                raise OutOfStepError(f"the view stands at seq {view.get('seq', '0')}")

    # --- take-over ---

    def _check_view(self, view: Mapping[str, str], last: StoredEvent | None) -> None:
        ledger_seq = 0 if last is None else last.event.seq
        view_seq = int(view.get("seq", "0"))
        if view_seq > ledger_seq:  # whatever its layout: `seq` is in all of them
            raise LedgerHaltedError(
                f"ledger partition {self.partition} ends at event {ledger_seq}, but the view has seen {view_seq}: "
                f"events {ledger_seq + 1} to {view_seq} are gone from the ledger"
            )

    def _mend_directory(self, view: Mapping[str, str], last: StoredEvent | None) -> None:
        """Write the directory rows of the tail again: a late end of a transaction tears the next, rows from events.

        Before the replay, and only for what the view has not seen: a batch reaches the view when all of it, rows
        included, was committed, or here. What was torn is one batch at most.
        """
        ledger_seq = 0 if last is None else last.event.seq
        seen = max(int(view.get("seq", "0")), ledger_seq - TORN_EVENTS_MAX)
        if seen == ledger_seq:
            return
        unseen = [stored.event for stored in self._edge.events_after(seen)]
        rows: dict[str, bytes] = {}
        for seq in [event.seq for event in unseen if "identities" in event.effects.account]:
            whole = self._edge.event(seq)  # with its command, which no replay needs
            assert whole is not None, "it was just read"
            rows.update(rows_of(whole.event))
        if rows:
            self._edge.commit([], list(rows.items()))

    def _replay(self, view: Mapping[str, str], last: StoredEvent | None) -> None:
        """Bring the view to the ledger's last event; wipe it first where it is not of this ledger."""
        if last is None:
            return
        seq = int(view.get("seq", "0"))
        wrong_layout = bool(view) and view.get("layout") != LAYOUT
        if seq == last.event.seq and view.get("hash") == last.hash.hex() and not wrong_layout:
            return
        events: Iterator[StoredEvent] = iter(())
        previous = self._edge.genesis()
        if seq and not wrong_layout:
            # the event at seq comes first: its hash tells whether the view is of this ledger
            events = self._edge.events_after(seq - 1)
            known = next(events, None)
            if known is None or known.hash.hex() != view.get("hash"):
                wrong_layout = True
            else:
                previous = known.hash
        if wrong_layout or not seq:
            self._store.wipe(self.partition)
            seq, previous = restore_newest(self._snapshots, self.partition, self._edge, self._store)
            events = self._edge.events_after(seq)
        chunk: list[StoredEvent] = []
        for stored in events:
            chunk.append(stored)
            if len(chunk) == APPLY_EVENTS_MAX:
                previous = replay_chunk(self._store, self.partition, previous, chunk)
                self.replayed += len(chunk)
                chunk = []
        if chunk:
            replay_chunk(self._store, self.partition, previous, chunk)
            self.replayed += len(chunk)

    def _head(self, last: StoredEvent | None) -> Head:
        found = self._edge.inputs()
        positions = first_positions(found) if last is None else last.event.positions
        for name, position, topic_id, first, end in (
            ("usage", positions.usage, found.usage_topic_id, found.usage_first, found.usage_end),
            ("command", positions.command, found.command_topic_id, found.command_first, found.command_end),
            ("catalogue", positions.catalogue, found.catalogue_topic_id, 0, positions.catalogue.offset),
        ):
            where = f"ledger partition {self.partition}, its {name} input"
            if position.topic_id != topic_id:
                raise LedgerHaltedError(f"{where}: the topic was re-created; offsets mean something else now")
            if position.offset < first:
                raise LedgerHaltedError(
                    f"{where}: offsets {position.offset} to {first - 1} were never charged and are gone"
                )
            if position.offset > end:
                raise LedgerHaltedError(f"{where}: it ends at {end}, but {position.offset - 1} was charged")
        if last is None:
            return Head(self.partition, 0, 0, self._settings.late_window_days, 1, positions)
        event = last.event
        return Head(self.partition, event.seq, event.clock, event.late_window_days, event.epoch + 1, positions)

    def _change_late_window(self, head: Head) -> None:
        """Write into the ledger that another late window holds from here on: a replay must decide the same."""
        before, after = head.late_window_days, self._settings.late_window_days
        batch = _of_no_input(head._replace(late_window_days=after))
        decided = batch.seal("settings_changed", {"late_window_days": {"before": before, "after": after}})
        self._sealing.count(decided.event)
        self._write([decided])
        self.head = batch.head

    def _seal(self, head: Head) -> None:
        """Seal a partition in which nothing comes just now."""
        batch = _of_no_input(head)
        self._write([self._sealing.seal(batch)])
        self.head = batch.head

    # --- a batch ---

    def _named_events(self, inputs: Sequence[Input]) -> dict[str, Event]:
        named: dict[str, Event] = {}
        for item in inputs:
            if not isinstance(item, CommandInput) or item.command is None:
                continue
            name = named_event(item.command)
            place = None if name is None else commands.parse_event_id(name)
            if name is None or place is None or place[0] != self.partition or name in named:
                continue
            stored = self._edge.event(place[1])
            if stored is not None:
                named[name] = stored.event
        return named

    def _load(self, head: Head, prepared: Sequence[Prepared]) -> State:
        wanted = needed(prepared)
        if len(self._partition_of) > PLACES_MAX:
            self._partition_of.clear()
        for account in wanted.accounts:
            if account not in self._partition_of:
                self._partition_of[account] = partition_of(account, self._partitions)
        too_many = len(self._accounts) - self._settings.remembered_accounts
        for name in list(islice(self._accounts, max(too_many, 0))):  # those remembered longest
            del self._accounts[name]
        unknown = tuple(name for name in wanted.accounts if name not in self._accounts)
        loaded = self._store.load(self.partition, head.seq, Need(*wanted._replace(accounts=unknown)))
        self._accounts.update((name, Account(name, fields)) for name, fields in loaded.accounts.items())
        known = [(asked, found[1]) for asked, found in loaded.seen.items() if found[0]]  # few: most are new
        return State(
            {name: self._accounts[name] for name in wanted.accounts if name in self._accounts},
            loaded.kept,
            loaded.sessions,
            {(day, bucket, record) for (day, bucket, record, _), _ in known},
            {(day, bucket, content) for (day, bucket, _, content), same in known if same},
        )

    def _write(self, decided: Iterable[Decided]) -> None:
        """Write the ledger, then the view. Only here does anything become true.

        Each event is encoded and folded as soon as it is decided, and then let go: a batch of them is more than a
        processor's cache holds.
        """
        before = self._hash
        values: list[tuple[str, bytes]] = []
        bindings: list[tuple[str, bytes]] = []
        writes = fold(self._encoded(decided, values, bindings))
        reached("charge.after_decide")
        self._edge.commit(values, bindings)
        reached("charge.after_commit")
        self._hash = bytes.fromhex(writes.head["hash"])
        self._store.apply(self.partition, before.hex(), writes)
        reached("charge.after_apply")

    def _encoded(
        self, decided: Iterable[Decided], values: list[tuple[str, bytes]], bindings: list[tuple[str, bytes]]
    ) -> Iterator[tuple[Event, bytes]]:
        """Yield each event with its hash; its value, and its rows of the directory, go into the lists."""
        previous = self._hash
        for item in decided:
            event, body = item.event, item.usage_body
            if body is None and event.usage is not None:  # a settled review: the record was held as an event
                body = usage_body_of(event.usage)
            value, previous = encode_event(event, body, previous)
            values.append((event.account, value))
            bindings += [binding_row(binding) for binding in item.bindings]
            yield event, previous


def _of_no_input(head: Head) -> Batch:
    return Batch(head, State({}, {}, {}, set(), set()), Catalogues(()), {}, late=True)


def first_positions(found: Inputs) -> Positions:
    """Return where an empty ledger begins: at the very first offsets, so that what expired before is seen as a loss."""
    return Positions(
        Position(found.usage_topic_id, 0), Position(found.command_topic_id, 0), Position(found.catalogue_topic_id, 0)
    )


def replay_chunk(store: Store, partition: int, previous: bytes, chunk: Sequence[StoredEvent]) -> bytes:
    """Apply stored events to the view, their chain checked; returns the hash of the last one."""
    first_previous = previous
    for stored in chunk:
        if stored.previous_hash != previous:
            raise LedgerHaltedError(f"ledger partition {partition}: the chain is broken at event {stored.event.seq}")
        previous = stored.hash
    store.apply(partition, first_previous.hex(), fold((stored.event, stored.hash) for stored in chunk))
    reached("charge.after_replay_chunk")
    return previous


def _read(record: Raw, *, quarantined: bool) -> Input:
    if record.is_command:
        if quarantined:
            return CommandInput(record.offset, None, record.value, QUARANTINED, record.timestamp_ms, quarantined=True)
        if len(record.value) > commands.COMMAND_BYTES_MAX:
            return CommandInput(record.offset, None, record.value, "larger than 64 KiB", record.timestamp_ms)
        try:
            command = ACCOUNT_COMMAND.decode(record.value)
        except (UndecodableError, UnknownSchemaError) as error:
            return CommandInput(record.offset, None, record.value, str(error), record.timestamp_ms)
        return CommandInput(record.offset, command, record.value, None, record.timestamp_ms)
    if quarantined:
        return UsageInput(record.offset, None, None, record.value, QUARANTINED, quarantined=True)
    try:
        usage, body = accepted_usage_of(record.value)
    except (UndecodableError, UnknownSchemaError) as error:
        return UsageInput(record.offset, None, None, record.value, str(error))
    if not (0 <= usage.start_time <= START_TIME_MAX and 0 <= usage.received_at <= START_TIME_MAX):
        # mediate writes none, but whoever else does must not move the partition's clock to the end of time
        return UsageInput(record.offset, None, None, record.value, "a time that no record has")
    return UsageInput(record.offset, usage, body, record.value, None)
