"""Charging: a batch of inputs and the state it needs become ledger events, in order, by pure rules.

Every input ends in exactly one event. What repeats, comes late or clashes is answered, never dropped, and never
charged twice; use that has happened is always charged, whatever the balance. Nothing here reads a clock: the
partition's clock is the greatest `received_at` of its records so far.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.domain import commands
from pipeline.domain.account import Account, standing_refusal
from pipeline.domain.allowances import stale_fields
from pipeline.domain.batch import (
    CommandInput,
    Decided,
    Head,
    Prepared,
    State,
    UsageInput,
    binding_of,
    new_decided,
    unread_detail,
)
from pipeline.domain.catalogue import Catalogues
from pipeline.domain.commands import Command, Done, Setting
from pipeline.domain.ledger import (
    NO_EFFECTS,
    Effects,
    Event,
    Position,
    Positions,
    new_effects,
    new_event,
    new_seen,
    next_positions,
)
from pipeline.domain.limits import limit_changes, spend_changes
from pipeline.domain.money import AMOUNT_MICROS_MAX
from pipeline.domain.outcome import ACCOUNT_CHANGED, CHARGED, DUPLICATE, REJECTED, REVIEW, SEAL, Refusal, json_text
from pipeline.domain.rating import Rated, rate
from pipeline.domain.sessions import known_parts, session_effect
from pipeline.domain.usage import DAY_MS, OCTETS_MAX, AcceptedUsage, digest

REVIEW_REASONS: Final = frozenset({"late", "conflicting_copy", "too_large", "fault", "quarantined"})
"""What a person decides on; every other refusal is REJECTED, and decided anew when the record is sent again."""


class Batch:
    """Decides the inputs of one batch one after the other; its `head` is that of the ledger after the last one."""

    def __init__(
        self, head: Head, state: State, catalogues: Catalogues, partition_of_account: Mapping[str, int], *, late: bool
    ) -> None:
        self._partition = head.partition
        self._seq = head.seq
        self._clock = head.clock
        self._late_window_days = head.late_window_days
        self._epoch = head.epoch
        self._positions = head.positions
        self._state = state
        self._catalogues = catalogues
        self._partition_of = partition_of_account
        self._late = late
        """whether the late rule applies: not when records are rated offline"""

    @property
    def head(self) -> Head:
        """Where the ledger stands after the last event decided."""
        return Head(self._partition, self._seq, self._clock, self._late_window_days, self._epoch, self._positions)

    def decide(self, item: Prepared) -> Decided:
        """Return the one event that answers this input; the state and head move on by it."""
        source = item.input
        self._seq += 1  # every input ends in exactly one event
        before = self._positions
        if isinstance(source, UsageInput):
            self._positions = next_positions(before, source.offset + 1)
            usage = source.usage
            if usage is None:
                return self._unread(source, f"usage-{self._partition}-{source.offset}")
            self._clock = max(self._clock, usage.received_at)
            return self._decide_usage(item, source, usage)
        self._positions = Positions(
            before.usage, Position(before.command.topic_id, source.offset + 1), before.catalogue
        )
        if source.command is None:
            return self._unread(source, f"command-{self._partition}-{source.offset}")
        return self._decide_command(item, source, source.command)

    def seal(self, reason: str, detail: dict[str, object]) -> Decided:
        """Return a SEAL event: a fact about the ledger itself, which answers no input."""
        self._seq += 1
        return Decided(self._event(SEAL, f"seal-{self._partition}-{self._seq}", "", reason, detail), None)

    # --- usage ---

    def _decide_usage(self, item: Prepared, source: UsageInput, usage: AcceptedUsage) -> Decided:
        account = self._state.accounts.get(usage.account)
        refusal = self._refusal(item, usage, account)
        if refusal is None:
            assert account is not None
            rated = self._rate(usage, account, item.session)
            if isinstance(rated, Rated):
                assert item.digest is not None
                charged = self._charged(item, usage, account, rated, usage.record_id, None, item.digest, {})
                return new_decided(charged, source.body)
            refusal = rated
        kind = REVIEW if refusal.reason in REVIEW_REASONS else REJECTED
        if refusal.reason == "duplicate":
            kind = DUPLICATE
        event = self._answered(
            kind, usage.record_id, usage.account, account, refusal.reason, refusal.detail, item.digest
        )
        return Decided(event._replace(usage=usage), source.body)

    def _refusal(self, item: Prepared, usage: AcceptedUsage, account: Account | None) -> Refusal | None:
        """Return the first reason, in order of precedence, why the record is not priced."""
        partition = self._partition_of[usage.account]
        if partition != self._partition:
            return Refusal("wrong_partition", {"partition": partition})
        if account is None:
            return Refusal("unknown_account", {"account": usage.account})
        age_ms = self._clock - usage.start_time
        if self._late and age_ms > self._late_window_days * DAY_MS:
            return Refusal("late", {"age_days": age_ms // DAY_MS, "late_window_days": self._late_window_days})
        assert item.seen is not None
        seen = item.seen
        if (seen.day, seen.bucket, seen.record) in self._state.seen_records:
            if (seen.day, seen.bucket, seen.content) in self._state.seen_contents:
                return Refusal("duplicate", {})
            return Refusal("conflicting_copy", {})
        return standing_refusal(usage, account)

    def _rate(self, usage: AcceptedUsage, account: Account, session: str | None) -> Rated | Refusal:
        held = None if session is None else self._state.sessions.get(session)
        known = {} if held is None else known_parts(held, usage, self._late_window_days)
        try:
            rated = rate(usage, account, self._catalogues, known)
        except Exception as error:  # noqa: BLE001 - whatever a record provokes, it is held and the batch goes on
            return Refusal("fault", {"error": type(error).__name__})
        if isinstance(rated, Rated):
            after = account.balance_micros - rated.amount_micros
            if abs(rated.amount_micros) > AMOUNT_MICROS_MAX or abs(after) > AMOUNT_MICROS_MAX:
                return Refusal("too_large", {"amount_micros": str(rated.amount_micros)})
            for line in rated.lines:
                if line.meter_quantity_after > OCTETS_MAX:
                    return Refusal("too_large", {"meter_quantity": str(line.meter_quantity_after)})
        return rated

    def _charged(
        self,
        item: Prepared,
        usage: AcceptedUsage,
        account: Account,
        rated: Rated,
        event_id: str,
        command: Command | None,
        content: bytes,
        kept: dict[str, str],
    ) -> Event:
        window_days = self._late_window_days
        start = usage.start_time
        amount = rated.amount_micros
        before = account.balance_micros
        after = before - amount
        changes = rated.account_changes
        fields = account.fields
        newest = fields.get("newest")
        if newest is None or start > int(newest):
            changes["newest"] = str(start)
        if amount:
            changes.update(spend_changes(fields, rated.month, amount))
            changes.update(limit_changes(fields, after))
        for stale in stale_fields(account, changes, self._clock, 2 * window_days * DAY_MS):
            changes.setdefault(stale, None)
        session = None
        if rated.session_changes:
            assert item.session is not None
            held = self._state.sessions.setdefault(item.session, {})
            session = session_effect(item.session, held, usage, rated.session_changes, window_days)
        seen = item.seen
        assert seen is not None
        day, bucket, record, same = seen
        self._state.seen_records.add((day, bucket, record))
        self._state.seen_contents.add((day, bucket, same))
        mark = new_seen(day, bucket, record, same, day + 2 * window_days)
        account.change(changes, after)
        if kept:
            self._keep(account.account, kept)
        return new_event(
            self._seq,
            CHARGED,
            event_id,
            account.account,
            account.seq,
            usage,
            None if command is None else dict(command),
            content,
            None,
            None,
            rated.lines,
            amount,
            account.currency,
            before,
            after,
            new_effects(changes, kept, session, mark),
            self._clock,
            window_days,
            self._positions,
            self._epoch,
        )

    # --- commands ---

    def _decide_command(self, item: Prepared, source: CommandInput, command: Command) -> Decided:
        name = str(command["account"])
        command_id = str(command["command_id"])
        account = self._state.accounts.get(name)
        assert item.digest is not None
        kept = {
            field: value
            for field in commands.kept_fields(command)
            if (value := self._state.kept.get((name, field))) is not None
        }
        decision: Done | Refusal | None = self._misplaced(name) or commands.repeat_of(command, item.digest, kept)
        if decision is None and command["type"] == "settle_review":
            return self._settle(item, source, command, account, kept)
        if decision is None:
            setting = Setting(self._catalogues, source.broker_time_ms, kept, item.named)
            decision = commands.decide(command, account, setting)
        if isinstance(decision, Refusal):
            kind = DUPLICATE if decision.reason.startswith("duplicate_") else REJECTED
            event = self._answered(kind, command_id, name, account, decision.reason, decision.detail, item.digest)
            return Decided(event._replace(command=dict(command)), None)
        return self._done(item.digest, command, account, decision)

    def _misplaced(self, account: str) -> Refusal | None:
        partition = self._partition_of[account]
        return None if partition == self._partition else Refusal("wrong_partition", {"partition": partition})

    def _done(self, content: bytes, command: Command, account: Account | None, done: Done) -> Decided:
        name = str(command["account"])
        kept = {**done.kept, commands.kept_command(str(command["command_id"])): content.hex()[:32]}
        changes = dict(done.changes)
        if account is None:  # opened by this very event
            fields = {key: value for key, value in changes.items() if value is not None}
            account = Account(name, {**fields, "balance": "0", "seq": "0"})
            self._state.accounts[name] = account
        before = account.balance_micros
        charged = done.kind == CHARGED
        after = before - done.amount_micros if charged else before + done.amount_micros
        changes.update(limit_changes(account.fields, after))
        account.change(changes, after)
        account.first_end_ms = None
        self._keep(name, kept)
        event = Event(
            seq=self._seq,
            kind=done.kind,
            event_id=str(command["command_id"]),
            account=name,
            account_seq=account.seq,
            usage=None,
            command=dict(command),
            digest=content,
            reason=None if charged else done.reason,
            detail=None if charged else json_text(done.detail),
            lines=done.lines,
            amount_micros=done.amount_micros,
            currency=account.currency,
            balance_before_micros=before,
            balance_after_micros=after,
            effects=Effects(changes, kept, None, None),
            clock=self._clock,
            late_window_days=self._late_window_days,
            positions=self._positions,
            epoch=self._epoch,
        )
        return Decided(event, None, tuple(binding_of(account, identity) for identity in done.identities))

    def _settle(
        self, item: Prepared, source: CommandInput, command: Command, account: Account | None, kept: Mapping[str, str]
    ) -> Decided:
        """Settle a review once: charge what it held, or discard it."""
        assert item.digest is not None
        name, command_id = str(command["account"]), str(command["command_id"])
        review_id = str(command["review"])
        review = item.named
        decision = self._settle_refusal(item, command, account, kept, source.broker_time_ms)
        if decision is None:
            assert account is not None
            assert review is not None
            remembered = {commands.kept_review(review_id): str(command["decision"])}
            if command["decision"] == "discard":
                done = Done(ACCOUNT_CHANGED, "discarded", 0, {}, remembered, {"review": review_id})
                return self._done(item.digest, command, account, done)
            usage = review.usage
            assert usage is not None
            rated = self._rate(usage, account, item.session)
            if isinstance(rated, Rated):
                remembered[commands.kept_command(command_id)] = item.digest.hex()[:32]
                event = self._charged(item, usage, account, rated, usage.record_id, command, digest(usage), remembered)
                return Decided(event, None)
            decision = rated
        event = self._answered(REJECTED, command_id, name, account, decision.reason, decision.detail, item.digest)
        return Decided(event._replace(command=dict(source.command or {})), None)

    def _settle_refusal(
        self,
        item: Prepared,
        command: Command,
        account: Account | None,
        kept: Mapping[str, str],
        broker_time_ms: int,
    ) -> Refusal | None:
        review = item.named
        if account is None:
            return Refusal("unknown_account", {"account": command["account"]})
        if command["decision"] not in {"charge", "discard"} or not command["reason"]:
            return Refusal("bad_command", {"decision": "charge or discard", "reason": "a sentence why"})
        if review is None or review.kind != REVIEW or review.account != account.account or review.usage is None:
            return Refusal("unknown_review", {"review": command["review"]})
        before = kept.get(commands.kept_review(str(command["review"])))
        if before is not None:
            return Refusal("already_settled", {"decision": before})
        if command["decision"] == "discard":
            return None
        seen = item.seen
        assert seen is not None
        # the numbers go by the view's own time, and a quiet partition's clock stands still
        if max(self._clock, broker_time_ms) // DAY_MS > seen.day + 2 * self._late_window_days:
            return Refusal("too_old", {"start_time": review.usage.start_time})
        if (seen.day, seen.bucket, seen.record) in self._state.seen_records:
            return Refusal("already_charged", {"record_id": review.usage.record_id})
        return standing_refusal(review.usage, account)

    # --- events ---

    def _unread(self, source: UsageInput | CommandInput, event_id: str) -> Decided:
        kind, reason = (REVIEW, "quarantined") if source.quarantined else (REJECTED, "undecodable")
        whole, detail = unread_detail(source)
        return Decided(self._answered(kind, event_id, "", None, reason, detail, whole), None)

    def _answered(
        self,
        kind: str,
        event_id: str,
        name: str,
        account: Account | None,
        reason: str,
        detail: dict[str, object],
        content: bytes | None,
    ) -> Event:
        """Return an event that says no: it moves no money and changes nothing but the account's running number."""
        event = self._event(kind, event_id, name, reason, detail, content)
        if account is None:
            return event
        account.change({}, account.balance_micros)
        at = account.balance_micros
        return event._replace(
            account_seq=account.seq, currency=account.currency, balance_before_micros=at, balance_after_micros=at
        )

    def _event(
        self,
        kind: str,
        event_id: str,
        account: str,
        reason: str,
        detail: dict[str, object],
        content: bytes | None = None,
    ) -> Event:
        return Event(
            seq=self._seq,
            kind=kind,
            event_id=event_id,
            account=account,
            account_seq=0,
            usage=None,
            command=None,
            digest=content,
            reason=reason,
            detail=json_text(detail),
            lines=(),
            amount_micros=0,
            currency=None,
            balance_before_micros=0,
            balance_after_micros=0,
            effects=NO_EFFECTS,
            clock=self._clock,
            late_window_days=self._late_window_days,
            positions=self._positions,
            epoch=self._epoch,
        )

    def _keep(self, account: str, kept: Mapping[str, str]) -> None:
        for field, value in kept.items():
            self._state.kept[account, field] = value
