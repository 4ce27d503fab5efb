"""What each input of a partition should have been answered with, in the order of its ledger: told from the published
inputs alone, by rules written a second time and for this tariff only.
"""

from typing import TYPE_CHECKING, Any

from sim_tariff import DAY_MS, call_price, data_curve, game_curve, month_of

from pipeline.topics import partition_of

if TYPE_CHECKING:
    from sim_world import World

Answer = tuple[str, str | None, int]
"""(kind, reason, what it takes from the balance)"""
REVIEWS = {"late", "conflicting_copy", "fault", "quarantined"}
OF_RECORD = (
    "record_id", "source", "sequence", "service", "direction", "msisdn", "imsi", "imei", "other_party", "start_time",
    "duration_ms", "uplink_octets", "downlink_octets", "message_count", "answered", "visited_plmn", "cell",
    "rating_group", "session_id", "partial_number", "cause_for_closing",
)  # fmt: skip


class _Account:
    def __init__(self) -> None:
        self.balance = 0
        self.seq = 0
        self.newest = 0
        self.spans: list[tuple[str, int, int | None]] = []
        self.done: dict[str, dict[str, Any]] = {}
        self.references: dict[str, int] = {}
        self.returned: dict[str, int] = {}
        self.settled: set[str] = set()
        self.octets: dict[str, int] = {}
        self.games: dict[str, int] = {}
        self.charged: dict[tuple[str, int], tuple[Any, ...]] = {}

    def has(self, identity: str, moment: int) -> bool:
        return any(i == identity and a <= moment and (b is None or moment < b) for i, a, b in self.spans)


class Books:
    """The accounts of one partition as their inputs make them."""

    def __init__(self, world: "World", partition: int) -> None:
        self._world = world
        self._partition = partition
        self._accounts: dict[str, _Account] = {}
        self._events: dict[int, Any] = {}
        self.transactions: dict[int, int] = {}
        """number of the transaction of each event, by seq"""

    # --- use ---

    def usage(self, event: Any, record: dict[str, Any] | None, clock: int) -> str | None:
        """Return what is wrong with the answer to a record; None (after following it) where nothing is."""
        self._events[event.seq] = event
        if event.reason == "quarantined":
            return self._same(event, ("REVIEW", "quarantined", 0))
        if record is None:
            return self._same(event, ("REJECTED", "undecodable", 0))
        if event.usage is None or event.usage._asdict() != record:
            return "the record is not the one that came"
        if record["cell"] == "deadly":
            return "a record that ends the process was read"
        answer = self._usage_answer(event, record, clock)
        why = self._same(event, answer) or self._balance(event, record["account"], -answer[2])
        if why is None and answer[0] == "CHARGED":
            self._charge(record)
        if answer[1] in {"unknown_account", "not_bound"} and not self._explained(record):
            why = why or f"mediate knew the subscriber, charge does not: {answer[1]}"
        return why

    def _explained(self, record: dict[str, Any]) -> bool:
        """Tell why mediate may accept what charge refuses: it is not mediate's, or the number was taken away since."""
        account = self._accounts.get(record["account"])
        identity, start = "msisdn-" + str(record["msisdn"]), record["start_time"]
        taken = account is not None and any(i == identity and b is not None and b <= start for i, _, b in account.spans)
        return taken or record["source_topic"] == "direct"

    def _usage_answer(self, event: Any, record: dict[str, Any], clock: int) -> Answer:
        account = self._accounts.get(record["account"])
        reason = None
        if partition_of(record["account"], self._world.partitions) != self._partition:
            reason = "wrong_partition"
        elif account is None:
            reason = "unknown_account"
        elif clock - record["start_time"] > event.late_window_days * DAY_MS:
            reason = "late"
        else:
            return self._priced(record, account, event.positions.catalogue.offset)
        return "REVIEW" if reason in REVIEWS else "REJECTED", reason, 0

    def _priced(self, record: dict[str, Any], account: _Account, versions: int) -> Answer:
        known = account.charged.get((record["record_id"], record["start_time"] // DAY_MS))
        if known is not None:
            if known == _content(record):
                return "DUPLICATE", "duplicate", 0
            return "REVIEW", "conflicting_copy", 0
        return self._price(record, account, versions)

    def _price(self, record: dict[str, Any], account: _Account, versions: int) -> Answer:
        start = record["start_time"]
        if not account.has("msisdn-" + str(record["msisdn"]), start):
            return "REJECTED", "not_bound", 0
        if record["service"] == "MMS":
            return "REVIEW", "fault", 0
        if start < account.spans[0][1]:
            return "REJECTED", "no_plan", 0
        return "CHARGED", None, self._cost(record, account, start, versions)

    def _cost(self, record: dict[str, Any], account: _Account, start: int, versions: int) -> int:
        service = record["service"]
        if service == "VOICE":
            known = self._world.broker.versions[:versions]
            newest = max(n for n, version in enumerate(known) if version.effective_from <= start)
            return call_price(record["duration_ms"], newest)
        if service == "DATA":
            before = account.octets.get(month_of(start), 0)
            return data_curve(before + record["downlink_octets"] + record["uplink_octets"]) - data_curve(before)
        if service == "EVENT":
            before = account.games.get(record["session_id"] or "", 0) if record["session_id"] is not None else 0
            return game_curve(before + record["message_count"]) - game_curve(before)
        return int(record["message_count"]) * 100_000

    def _charge(self, record: dict[str, Any]) -> None:
        account = self._accounts[record["account"]]
        start = record["start_time"]
        account.charged[record["record_id"], start // DAY_MS] = _content(record)
        account.newest = max(account.newest, start)
        if record["service"] == "DATA":
            octets = record["downlink_octets"] + record["uplink_octets"]
            account.octets[month_of(start)] = account.octets.get(month_of(start), 0) + octets
        elif record["service"] == "EVENT" and record["session_id"] is not None:
            account.games[record["session_id"]] = account.games.get(record["session_id"], 0) + record["message_count"]

    # --- commands ---

    def command(self, event: Any, command: dict[str, Any] | None, broker_time: int, transaction: int) -> str | None:
        """Return what is wrong with the answer to a command; None (after following it) where nothing is."""
        self._events[event.seq] = event
        if event.reason == "quarantined":
            return self._same(event, ("REVIEW", "quarantined", 0))
        if command is None:
            return self._same(event, ("REJECTED", "undecodable", 0))
        if command["actor"] == "deadly":
            return "a command that ends the process was read"
        if event.command != command:
            return "the command is not the one that came"
        name = command["account"]
        if partition_of(name, self._world.partitions) != self._partition:
            return self._same(event, ("REJECTED", "wrong_partition", 0))
        account = self._accounts.get(name)
        done = None if account is None else account.done.get(command["command_id"])
        if done is not None:
            same = {**done, "at": 0} == {**command, "at": 0}
            answer: Answer = ("DUPLICATE", "duplicate_command", 0) if same else ("REJECTED", "conflicting_command", 0)
        else:
            found = self._decide(event, command, account, broker_time, transaction)
            if isinstance(found, str):
                return found
            answer = found
        why = self._same(event, answer)
        if why is not None:
            return why
        if answer[0] not in {"DUPLICATE", "REJECTED"}:
            self._accounts.setdefault(name, _Account()).done[command["command_id"]] = command
        return self._balance(event, name, -answer[2])

    def _decide(
        self, event: Any, command: dict[str, Any], account: _Account | None, broker_time: int, transaction: int
    ) -> Answer | str:
        kind, name = command["type"], command["account"]
        if kind == "open_account":
            if account is not None:
                return "REJECTED", "account_exists", 0
            opened = self._accounts[name] = _Account()
            opened.spans = [(identity, command["at"], None) for identity in command["identities"]]
            return "ACCOUNT_CHANGED", "opened", -_micros(command["opening_balance"])
        if account is None:
            return "REJECTED", "unknown_account", 0
        if kind == "top_up":
            amount = _micros(command["amount"])
            known = account.references.get(command["reference"])
            if known is not None:
                same = known == amount
                return ("DUPLICATE", "duplicate_reference", 0) if same else ("REJECTED", "conflicting_reference", 0)
            account.references[command["reference"]] = amount
            return "TOPPED_UP", "topped_up", -amount
        if kind == "adjust":
            return self._adjust(event, command, account, transaction)
        if kind == "settle_review":
            return self._settle(event, command, account, broker_time, transaction)
        return self._identity(event, command, account, broker_time)

    def _named(self, name: str, event: Any, transaction: int) -> tuple[Any, bool]:
        """Return the event named, and whether the owner may not have seen it yet: it is of the same batch."""
        partition, _, seq = name.partition("-")
        found = self._events.get(int(seq)) if int(partition) == self._partition and int(seq) < event.seq else None
        return found, found is not None and self.transactions[found.seq] == transaction

    def _adjust(self, event: Any, command: dict[str, Any], account: _Account, transaction: int) -> Answer:
        amount, charge_id = _micros(command["amount"]), command["charge_id"]
        if charge_id is None:
            return "ADJUSTED", "adjusted", -amount
        charge, unsure = self._named(charge_id, event, transaction)
        if charge is None or charge.kind != "CHARGED" or charge.account != command["account"]:
            return "REJECTED", "unknown_charge", 0
        if unsure and event.reason == "unknown_charge":
            return "REJECTED", "unknown_charge", 0
        returned = account.returned.get(charge_id, 0) + amount
        if returned > max(charge.amount_micros, 0):
            return "REJECTED", "exceeds_charge", 0
        account.returned[charge_id] = returned
        return "ADJUSTED", "adjusted", -amount

    def _settle(
        self, event: Any, command: dict[str, Any], account: _Account, broker_time: int, transaction: int
    ) -> Answer | str:
        review, unsure = self._named(command["review"], event, transaction)
        known = review is not None and review.kind == "REVIEW" and review.usage is not None
        if not known or review.account != command["account"] or (unsure and event.reason == "unknown_review"):
            return "REJECTED", "unknown_review", 0
        if command["review"] in account.settled:
            return "REJECTED", "already_settled", 0
        if command["decision"] == "discard":
            account.settled.add(command["review"])
            return "ACCOUNT_CHANGED", "discarded", 0
        record = review.usage._asdict()
        day = record["start_time"] // DAY_MS
        if max(event.clock, broker_time) // DAY_MS > day + 2 * event.late_window_days:
            return "REJECTED", "too_old", 0
        if (record["record_id"], day) in account.charged:
            return "REJECTED", "already_charged", 0
        answer = self._price(record, account, event.positions.catalogue.offset)
        if answer[0] == "REVIEW":  # what the core cannot rate it cannot rate now either
            return "REJECTED", answer[1], 0
        if answer[0] == "CHARGED":
            if event.event_id != record["record_id"]:
                return "the charge does not answer the record held"
            account.settled.add(command["review"])
            self._charge(record)
        return answer

    def _identity(self, event: Any, command: dict[str, Any], account: _Account, broker_time: int) -> Answer | str:
        """Identities: the event says since when; it must be after the newest charge and, mostly, the broker's time."""
        if event.kind == "REJECTED":
            wanted = "identity_bound" if command["type"] == "add_identity" else "identity_not_bound"
            return "REJECTED", wanted, 0
        before, identity = account.spans, command["identity"]
        account.spans = [_span(part) for part in (event.effects.account.get("identities") or "").split()]
        changed = set(before) ^ set(account.spans)
        if not changed or any(span[0] != identity for span in changed):
            return f"identities change from {before} to {account.spans}"
        effective = max(moment for span in changed for moment in span[1:] if moment is not None)
        again = command["type"] == "remove_identity"
        if effective < command["at"] or effective <= account.newest or (again and effective < broker_time):
            return f"the change takes effect at {effective}, before {account.newest} or {broker_time}"
        lost = [span for span in before if span[0] == identity]
        kept = [span for span in account.spans if span[0] == identity]
        if any(not any(k[1] == s[1] for k in kept) for s in lost if s[1] < effective):
            return "time that was bound is bound no more"
        return "ACCOUNT_CHANGED", "identity_added" if command["type"] == "add_identity" else "identity_removed", 0

    # --- money ---

    def _same(self, event: Any, answer: Answer) -> str | None:
        kind, reason, taken = answer
        amount = taken if kind == "CHARGED" else -taken
        if (event.kind, event.reason, event.amount_micros) != (kind, reason, amount):
            return f"answered {event.kind} {event.reason} {event.amount_micros}, but {kind} {reason} {amount} is due"
        return None

    def _balance(self, event: Any, name: str, moved: int) -> str | None:
        """I5: before and after meet, and move by the amount."""
        account = self._accounts.get(name)
        if account is None or event.account_seq == 0:
            return None if account is None and moved == 0 else self._unknown(event)
        account.seq += 1
        before, account.balance = account.balance, account.balance + moved
        said = event.account_seq, event.balance_before_micros, event.balance_after_micros
        due = account.seq, before, account.balance
        return None if said == due else f"I5 (account_seq, before, after) is {said}, but {due} is due"

    def _unknown(self, event: Any) -> str | None:
        return None if event.reason == "wrong_partition" else f"I5 the account's running number is {event.account_seq}"


def _content(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in OF_RECORD)


def _span(text: str) -> tuple[str, int, int | None]:
    identity, _, span = text.rpartition("@")
    begin, _, end = span.partition("-")
    return identity, int(begin), int(end) if end else None


def _micros(text: str) -> int:
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    units, _, decimals = text.partition(".")
    return sign * (int(units) * 1_000_000 + int((decimals + "000000")[:6]))
