"""Allowances: which buckets a record may draw on, in which order, and what they give."""

from collections.abc import Sequence
from typing import NamedTuple

from consumers.audit.pricing.account import AccountState, Grant, grant_text
from consumers.audit.pricing.catalogue import Published, Section, in_force
from consumers.audit.pricing.choice import matches
from consumers.audit.pricing.exact import counted
from pipeline.domain.usage import AcceptedUsage

FOR_EVER_MS = 10**18


class Draw(NamedTuple):
    """So much of one allowance, for one part."""

    allowance: str
    used: int


class Bucket:
    """One bucket while a record is priced: what it may be used for, how much of it is used, and how much may be."""

    def __init__(self, field: str, definition: Section, used: int, size: int, end: int) -> None:
        self.field = field
        self.definition = definition
        self.used = used
        self.size = size
        self.end = end
        self.number = 0
        """of a bucket that was bought, which purchase it was"""
        self.grant: Grant | None = None
        self.rolled: Rolled | None = None
        self.sold_by: Section | None = None
        """the plan whose price the first draw pays; None where nothing is due"""
        self.drawn = 0

    def order(self) -> tuple[int, int, str, int]:
        """Lower priority number first, then the soonest end, then the id, then the one that was not bought."""
        return int(self.definition["priority"]), self.end, self.definition["id"], self.number

    def draw(self, wanted: int) -> int:
        """Give as much as is wanted and there."""
        there = self.size - self.used - self.drawn
        if self.rolled is not None:
            there = min(there, self.rolled.limit - self.rolled.used - self.drawn)
        given = max(min(wanted, there), 0)
        self.drawn += given
        return given

    def changes(self) -> dict[str, str]:
        """Return its fields afterwards, as the ledger writes them."""
        if not self.drawn:
            return {}
        used = self.used + self.drawn
        if self.grant is not None:
            return {self.field: grant_text(self.grant._replace(used=used))}
        changes = {self.field: f"{used}/{self.size}"}
        if self.rolled is not None:
            changes[self.rolled.field] = f"{self.rolled.used + self.drawn}"
        return changes


class Rolled(NamedTuple):
    """A bucket in the period after its own: what it gave there already, and the most that it gives."""

    field: str
    used: int
    limit: int


def buckets_of(account: AccountState, plan: Section, usage: AcceptedUsage, version: Published) -> list[Bucket]:
    """Return the buckets whose time includes the record's start, in the order in which they are drawn on."""
    start = usage.start_time
    found = []
    for allowance in plan["allowances"]:
        if allowance["every"] is None or allowance.get("price") is not None:
            continue
        found.append(_own_bucket(account, plan, allowance, start, version))
    return found


def buckets_left(
    account: AccountState, plan: Section, usage: AcceptedUsage, version: Published, versions: Sequence[Published]
) -> list[Bucket]:
    """Return the buckets of the period before that roll over: as they were published when their own period ended."""
    found = []
    for every in ("day", "month"):
        begin = version.wall.start_of_period(every, usage.start_time)
        last = begin - 1
        then = in_force(versions, last)
        if then is None or account.plan_at(last) != plan["id"]:
            continue
        plan_then = then.plan(plan["id"], last)
        for allowance in [] if plan_then is None else plan_then["allowances"]:
            if allowance["every"] != every or allowance.get("rollover") is None or allowance.get("price") is not None:
                continue
            assert plan_then is not None
            bucket = _own_bucket(account, plan_then, allowance, last, then)
            bucket.end = version.wall.end_of_period(every, usage.start_time)
            field = bucket.field.replace("bucket:", "rolled:", 1)
            limit = counted(allowance["rollover"], allowance["unit"])
            bucket.rolled = Rolled(field, int(account.fields.get(field, "0")), limit)
            found.append(bucket)
    return found


def buckets_bought(account: AccountState, usage: AcceptedUsage, version: Published) -> list[Bucket]:
    """Return the buckets of what was bought and may be used now."""
    start, wall = usage.start_time, version.wall
    found: dict[str, Bucket] = {}
    for grant in account.grants():
        end = FOR_EVER_MS if grant.to_ms is None else grant.to_ms
        if not grant.from_ms <= start < end:
            continue
        bought_in = version.plan(grant.plan, start)
        allowances = [] if bought_in is None else bought_in["allowances"]
        definition = next((each for each in allowances if each["id"] == grant.allowance), None)
        if definition is None:
            continue
        if repeats(definition):
            period = wall.period(definition["every"], start)
            field = f"bucket:{grant.plan}:{grant.allowance}:{period}"
            bucket = Bucket(field, definition, account.used_of(field), size_of(definition), end)
            bucket.end = min(end, wall.end_of_period(definition["every"], start))
            bucket.sold_by = bought_in if bucket.used == 0 else None
        else:
            bucket = Bucket(grant.field, definition, grant.used, grant.size, end)
            bucket.grant = grant
        bucket.number = int(grant.field.partition(":")[2])
        found.setdefault(bucket.field, bucket)
    return list(found.values())


def repeats(allowance: Section) -> bool:
    """Tell whether a pack has a bucket of its own for each day or month, paid with its first use."""
    return allowance.get("price") is not None and allowance["every"] is not None and allowance["valid_days"] is not None


def _own_bucket(account: AccountState, plan: Section, allowance: Section, moment: int, version: Published) -> Bucket:
    """Return a plan's bucket of the period of this moment."""
    every, wall = allowance["every"], version.wall
    field = f"bucket:{plan['id']}:{allowance['id']}:{wall.period(every, moment)}"
    size = size_of(allowance)
    came = account.came_to_plan(plan["id"], wall.start_of_period("month", moment), moment)
    if allowance.get("prorate") and came is not None:
        days = wall.days_of_month(moment)
        size = size * (days - wall.day(came).day + 1) // days
    end = wall.end_of_period(every, moment)
    if allowance.get("rollover") is not None:
        end = wall.end_of_period(every, end)
    return Bucket(field, allowance, account.used_of(field), size, end)


def size_of(allowance: Section) -> int:
    """Return how much an allowance holds."""
    return counted(allowance["quantity"], allowance["unit"])


def draw_on(
    buckets: Sequence[Bucket], usage: AcceptedUsage, moment: int, wanted: int, version: Published
) -> list[Draw]:
    """Draw for the part that begins at this moment."""
    drawn = []
    for bucket in buckets:
        match = {"direction": "MO", **bucket.definition["match"]}
        if not matches(match, usage, moment, version):
            continue
        given = bucket.draw(wanted)
        if given:
            drawn.append(Draw(bucket.definition["id"], given))
            wanted -= given
    return drawn
