"""What pricing needs to know of an account: the last value after of each effect, and nothing else."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from consumers.audit.pricing.exact import exact, written
from consumers.audit.pricing.walk import Meter
from pipeline.domain.ledger import Event
from pipeline.domain.usage import AcceptedUsage

_NEEDED: Final = ("currency", "plans", "meter:", "bucket:", "grant:", "cap:", "rolled:")
"""The fields that prices depend on; the others are not kept."""


class Grant(NamedTuple):
    """A bucket that was bought: what for, when it may be used (`to_ms` None: for ever), and how much of it is used."""

    field: str
    used: int
    size: int
    plan: str
    allowance: str
    from_ms: int
    to_ms: int | None


class SessionPart(NamedTuple):
    """A part of a session that is on its path: what was recorded, what allowances took of it, and what prices it."""

    start: int
    partial_number: int
    record_id: str
    recorded: int
    taken: int
    rule: str
    plan: str
    valid_from: int
    prefix: str | None
    catalogue: str
    discount: str | None


class AccountState:
    """One account as its events left it so far."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self.fields: dict[str, str] = dict(fields or {})
        self.sessions: dict[tuple[str, str], dict[str, str]] = {}
        """the fields of each session, by service and session_id"""
        self.expires_day: dict[tuple[str, str], int] = {}

    def follow(self, event: Event) -> None:
        """Take over what an event of this account changed."""
        _put(self.fields, {name: value for name, value in event.effects.account.items() if name.startswith(_NEEDED)})
        session = event.effects.session
        if session is not None and event.usage is not None and event.usage.session_id is not None:
            key = (event.usage.service, event.usage.session_id)
            _put(self.sessions.setdefault(key, {}), session.fields)
            self.expires_day[key] = session.expires_day

    def without_session(self, usage: AcceptedUsage) -> "AccountState":
        """Return the account as it is when the record's session is known no more."""
        other = AccountState(self.fields)
        other.sessions = {**self.sessions, (usage.service, str(usage.session_id)): {}}
        return other

    def forget_session(self, key: tuple[str, str], day: int) -> None:
        """Drop a session whose last day was this one, unless more came of it since."""
        if self.expires_day.get(key) == day:
            del self.expires_day[key], self.sessions[key]

    @property
    def currency(self) -> str:
        """The account's one currency."""
        return self.fields["currency"]

    def plan_at(self, moment: int) -> str | None:
        """Return the plan whose span began last; None before the first."""
        found = None
        for span in self.fields["plans"].split():
            plan, _, begin = span.rpartition("@")
            if int(begin) <= moment:
                found = plan
        return found

    def came_to_plan(self, plan: str, since: int, moment: int) -> int | None:
        """Return when the account first came to a plan between two moments; None where it had it at the first."""
        if self.plan_at(since) == plan:
            return None
        spans = [span.rpartition("@") for span in self.fields["plans"].split()]
        return next((int(begin) for name, _, begin in spans if name == plan and since < int(begin) <= moment), None)

    def meter(self, plan: str, rule: str, period: str) -> Meter:
        """Return a day's or a month's meter; a fresh one where nothing was used yet."""
        text = self.fields.get(f"meter:{plan}:{rule}:{period}")
        if text is None:
            return Meter()
        return read_meter(text)

    def used_of(self, field: str) -> int:
        """Return how much of a period's bucket is used; its size is the plan's own, as published for the record."""
        return int(self.fields.get(field, "0/0").partition("/")[0])

    def grants(self) -> list[Grant]:
        """Return the buckets that were bought, in the order they were."""
        found = []
        for field, text in self.fields.items():
            if field.startswith("grant:"):
                amounts, plan, allowance, from_ms, to_ms = text.split()
                used, size = amounts.split("/")
                end = None if to_ms == "-" else int(to_ms)
                found.append(Grant(field, int(used), int(size), plan, allowance, int(from_ms), end))
        return sorted(found, key=lambda grant: int(grant.field.partition(":")[2]))

    def session(self, service: str, session_id: str) -> list[SessionPart]:
        """Return the parts known of a session."""
        parts = []
        for field, text in self.sessions.get((service, session_id), {}).items():
            if field == "day":
                continue
            start, partial_number, record_id = field.split(":", 2)
            recorded, taken, rule, plan, valid_from, prefix, catalogue, *discount = text.split()
            parts.append(
                SessionPart(
                    int(start),
                    int(partial_number),
                    record_id,
                    int(recorded),
                    int(taken),
                    rule,
                    plan,
                    int(valid_from),
                    None if prefix == "-" else prefix,
                    catalogue,
                    discount[0] if discount else None,
                )
            )
        return parts


def grant_text(grant: Grant) -> str:
    """Write a bought bucket as the ledger does."""
    end = "-" if grant.to_ms is None else f"{grant.to_ms}"
    return f"{grant.used}/{grant.size} {grant.plan} {grant.allowance} {grant.from_ms} {end}"


def read_meter(text: str) -> Meter:
    """Read a meter; the short form is that of a path with no minimum, discount or added tax."""
    quantity, paid, bought, decimals, mode, *more = text.split()
    meter = Meter(int(quantity), int(paid), exact(bought), int(decimals), mode)
    if not more:
        return meter._replace(lifted=meter.bought, net=meter.bought, gross=meter.bought)
    floor, lifted, taken, net, gross = map(exact, more)
    return meter._replace(floor=floor, lifted=lifted, taken=taken, net=net, gross=gross)


def meter_text(meter: Meter) -> str:
    """Write a meter as the ledger does."""
    text = f"{meter.quantity} {meter.paid} {written(meter.bought)} {meter.decimals} {meter.mode}"
    if read_meter(text) == meter:
        return text
    return " ".join([text, *map(written, (meter.floor, meter.lifted, meter.taken, meter.net, meter.gross))])


def canonical(field: str, text: str) -> str:
    """Write a field's value in one way: a meter's short form and its long form may say the same."""
    return meter_text(read_meter(text)) if field.startswith("meter:") else text


def part_field(part: SessionPart) -> tuple[str, str]:
    """Write a session's part as the ledger does: its field and the field's value."""
    prefix = part.prefix or "-"
    value = f"{part.recorded} {part.taken} {part.rule} {part.plan} {part.valid_from} {prefix} {part.catalogue}"
    if part.discount is not None:
        value += f" {part.discount}"
    return f"{part.start}:{part.partial_number}:{part.record_id}", value


def _put(fields: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
