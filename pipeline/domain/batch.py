"""One batch of inputs: what came in, what must be known to decide it, and what comes out."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pipeline.domain import commands
from pipeline.domain.account import Account
from pipeline.domain.commands import Command
from pipeline.domain.ledger import Event, Positions
from pipeline.domain.usage import AcceptedUsage, Seen, digest, seen_of

UNDECODABLE_BYTES_KEPT: Final = 1024


class UsageInput(NamedTuple):
    """A record of the accepted topic: read, or why it could not be. `body` is its bare Avro body.

    `quarantined`: it ended the process three times, so it was not even read.
    """

    offset: int
    usage: AcceptedUsage | None
    body: bytes | None
    value: bytes
    problem: str | None
    quarantined: bool = False


class CommandInput(NamedTuple):
    """A record of the command topic: read, or why it could not be, or quarantined as a usage record is."""

    offset: int
    command: Command | None
    value: bytes
    problem: str | None
    broker_time_ms: int
    quarantined: bool = False


Input = UsageInput | CommandInput


class Head(NamedTuple):
    """Where a partition's ledger stands: what the next event continues."""

    partition: int
    seq: int
    clock: int
    late_window_days: int
    epoch: int
    positions: Positions


class Needed(NamedTuple):
    """What a batch needs to know before it is decided. Orders are those of the inputs; each thing once."""

    accounts: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    sessions: tuple[str, ...]
    seen: tuple[tuple[int, int, int, int], ...]


class State(NamedTuple):
    """What is known of the accounts touched; the batch works on it and leaves it as its last event did."""

    accounts: dict[str, Account]
    kept: dict[tuple[str, str], str]
    sessions: dict[str, dict[str, str]]
    seen_records: set[tuple[int, int, int]]
    """(day, bucket, number) of the records charged"""
    seen_contents: set[tuple[int, int, int]]


class Binding(NamedTuple):
    """A row of the subscriber directory: all spans of one identity for one account."""

    identity: str
    account: str
    spans: tuple[tuple[int, int | None], ...]


class Decided(NamedTuple):
    """One event, the accepted record's body that goes into it, and the directory rows that go with it."""

    event: Event
    usage_body: bytes | None
    bindings: tuple[Binding, ...] = ()


def new_decided(event: Event, usage_body: bytes | None) -> Decided:
    """Return `Decided(event, usage_body)`; see `ledger.new_event`."""
    return tuple.__new__(Decided, (event, usage_body, ()))


class Prepared:
    """An input with what is computed of it once: its digest, its numbers, its session's key.

    `named`: the event that a command names (`settle_review`: the review; `adjust`: the charge).
    """

    __slots__ = ("digest", "input", "named", "seen", "session")

    def __init__(
        self, source: Input, digest: bytes | None, seen: Seen | None, session: str | None, named: Event | None
    ) -> None:
        self.input: Final = source
        self.digest: Final = digest
        self.seen: Final = seen
        self.session: Final = session
        self.named: Final = named


def session_key(usage: AcceptedUsage) -> str | None:
    """Return the key of the record's session within its partition; None where it has no session_id."""
    if usage.session_id is None:
        return None
    name = hashlib.blake2b(f"{usage.service} {usage.session_id}".encode(), digest_size=12).hexdigest()
    return f"{usage.account}:{name}"


def prepare(inputs: Iterable[Input], named: Mapping[str, Event]) -> list[Prepared]:
    """Compute what decisions need of each input alone. `named` holds events by id that commands of the batch name."""
    return [prepare_one(item, named) for item in inputs]


def prepare_one(item: Input, named: Mapping[str, Event]) -> Prepared:
    """Compute what the decision needs of one input alone; see `prepare`."""
    if isinstance(item, UsageInput):
        usage = item.usage
        if usage is None:
            return Prepared(item, None, None, None, None)
        content = digest(usage)
        return Prepared(item, content, seen_of(usage, content), session_key(usage), None)
    command = item.command
    if command is None:
        return Prepared(item, None, None, None, None)
    event = named.get(str(named_event(command)))
    held = event.usage if event is not None and command["type"] == "settle_review" else None
    content = commands.command_digest(command)
    if held is None:
        return Prepared(item, content, None, None, event)
    return Prepared(item, content, seen_of(held, digest(held)), session_key(held), event)


def named_event(command: Command) -> str | None:
    """Return the id of the event that this command names, to be fetched before it is decided; None if it names none."""
    name = {"settle_review": "review", "adjust": "charge_id"}.get(str(command["type"]))
    value = None if name is None else command[name]
    return None if value is None else str(value)


def needed(prepared: Iterable[Prepared]) -> Needed:
    """Return what to load for a batch."""
    accounts: dict[str, None] = {}
    kept: dict[tuple[str, str], None] = {}
    sessions: dict[str, None] = {}
    seen: dict[tuple[int, int, int, int], None] = {}
    for item in prepared:
        source = item.input
        if isinstance(source, CommandInput):
            if source.command is None:
                continue
            account = str(source.command["account"])
            for field in commands.kept_fields(source.command):
                kept[account, field] = None
            accounts[account] = None
        elif source.usage is not None:
            accounts[source.usage.account] = None
        if item.session is not None:
            sessions[item.session] = None
        if item.seen is not None:
            seen[item.seen] = None
    return Needed(tuple(accounts), tuple(kept), tuple(sessions), tuple(seen))


def unread_detail(source: Input) -> tuple[bytes, dict[str, object]]:
    """Return the hash of an input that could not be read, and what its event says of it."""
    whole = hashlib.sha256(source.value).digest()
    return whole, {
        "problem": source.problem,
        "bytes": len(source.value),
        "sha256": whole.hex(),
        "first_bytes": source.value[:UNDECODABLE_BYTES_KEPT].hex(),
    }


def binding_of(account: Account, identity: str) -> Binding:
    """Return the directory's row of one identity of an account, as it stands."""
    spans = tuple((s.from_ms, s.to_ms) for s in account.identities if s.identity == identity)
    return Binding(identity, account.account, spans)
