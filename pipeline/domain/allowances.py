"""Allowances: included use, drawn on before any money.

A bucket is one period of a plan's allowance (`bucket:PLAN:ALLOWANCE:PERIOD`, value `used/size`), there from the first
draw on, or one that was bought (`grant:N`, value `used/size PLAN ALLOWANCE from_ms to_ms`, to_ms `-` where it never
expires). Quantities are in ms, octets or messages. A bucket serves the records that start inside its validity; parts
of a record draw in time order; lower `priority` number first, then soonest expiry, then id, then the number of the
grant.

Nothing is ever copied from one period into the next. With rollover a bucket lives one period longer: in that period it
gives what is left of it, up to the limit, and `rolled:PLAN:ALLOWANCE:PERIOD` counts what it gave there.

A pack that repeats is a grant of size 0: while it lasts, each period has a bucket, opened and paid for by the first
record that draws on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.domain.account import GRANT, Account
from pipeline.domain.fees import Fee, price_line
from pipeline.domain.ledger import Line
from pipeline.domain.matching import Keys
from pipeline.domain.outcome import Refusal
from pipeline.domain.tariff_time import DAY_MS, TariffTime, civil, day_number, next_month
from pipeline.domain.usage import AcceptedUsage

if TYPE_CHECKING:
    from pipeline.domain.catalogue import Catalogue, Catalogues, Plan

MONTH: Final = "month"
DAY: Final = "day"
_NEVER_MS: Final = 2**62
_PERIODIC: Final = frozenset({"meter", "cap", "spend", "reached"})
_BUCKETS: Final = frozenset({"bucket", "rolled"})
_PERIODS_KEPT: Final = 10_000
"""Days and months whose ends are worked out once."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Included use of a plan. `every` month or day: each period has a bucket; None: only where it was bought.

    `rollover`: how much of a bucket may be left for the next period. `price`: what buying it takes; with `every` it is
    for those alone who bought it, and each period takes the price. `prorate`: a first month by its days.
    """

    id: str
    keys: Keys
    size: int
    every: str | None
    valid_ms: int | None
    priority: int
    rollover: int | None = None
    prorate: bool = False
    price: Fee | None = None


class Grant(NamedTuple):
    """A bucket that was bought, as an account's field says it."""

    used: int
    size: int
    plan: str
    allowance: str
    from_ms: int
    to_ms: int | None


def format_grant(grant_: Grant) -> str:
    """Write a bought bucket's field."""
    end = "-" if grant_.to_ms is None else grant_.to_ms
    return f"{grant_.used}/{grant_.size} {grant_.plan} {grant_.allowance} {grant_.from_ms} {end}"


def parse_grant(text: str) -> Grant:
    """Read a bought bucket's field."""
    level, plan, allowance, begin, end = text.split(" ")
    used, _, size = level.partition("/")
    return Grant(int(used), int(size), plan, allowance, int(begin), None if end == "-" else int(end))


class Draw:
    """What one part took from one bucket."""

    __slots__ = ("allowance", "used")

    def __init__(self, allowance: str, used: int) -> None:
        self.allowance: Final = allowance
        self.used: Final = used


class Bucket:
    """The working copy of one bucket while one record is priced.

    `rolled`: what it gave after its own period, where this record is of the next one; `opening`: the line that pays for
    it, where this record is the first.
    """

    __slots__ = ("allowance", "expires_ms", "field", "grant", "opening", "rolled", "size", "used")

    def __init__(
        self, allowance: Allowance, field: str, used: int, size: int, expires_ms: int, bought: Grant | None
    ) -> None:
        self.allowance = allowance
        self.field = field
        self.used = used
        self.size = size
        self.expires_ms = expires_ms
        self.grant = bought
        self.rolled: int | None = None
        self.opening: Line | None = None

    def left(self) -> int:
        """Return how much it can give to this record."""
        left = self.size - self.used
        if self.rolled is not None:
            left = min(left, (self.allowance.rollover or 0) - self.rolled)
        return left

    def give(self, quantity: int) -> None:
        """Take so much out of it."""
        self.used += quantity
        if self.rolled is not None:
            self.rolled += quantity

    def changes(self) -> dict[str, str | None]:
        """Return its fields with their values after."""
        if self.grant is not None:
            return {self.field: format_grant(self.grant._replace(used=self.used))}
        changes: dict[str, str | None] = {self.field: f"{self.used}/{self.size}"}
        if self.rolled is not None:
            changes[_rolled_field(self.field)] = str(self.rolled)
        return changes


def _rolled_field(field: str) -> str:
    return "rolled:" + field.partition(":")[2]


class Purse:
    """The buckets that may serve one record, in the order in which they are drawn on."""

    __slots__ = ("_buckets", "_clock", "_touched")

    def __init__(self, buckets: list[Bucket], clock: TariffTime) -> None:
        self._buckets = buckets
        self._clock = clock
        self._touched: list[Bucket] = []

    def draw(self, quantity: int, start_ms: int) -> tuple[Draw, ...]:
        """Take up to `quantity` for the part that starts then; a bucket never falls below empty."""
        draws = []
        for bucket in self._buckets:
            if quantity == 0:
                break
            left = bucket.size - bucket.used if bucket.rolled is None else bucket.left()
            if left <= 0:
                continue
            band = bucket.allowance.keys.band
            if band is not None:
                moment = self._clock.local(start_ms)
                if not band.active(moment.day, moment.time_of_day_ms):
                    continue
            taken = min(left, quantity)
            bucket.give(taken)
            quantity -= taken
            self._touched.append(bucket)
            draws.append(Draw(bucket.allowance.id, taken))
        return tuple(draws)

    def changes(self) -> dict[str, str | None]:
        """Return the fields of the buckets drawn on, with their values after."""
        changes: dict[str, str | None] = {}
        for bucket in self._touched:
            changes.update(bucket.changes())
        return changes

    def openings(self) -> tuple[Line, ...]:
        """Return the lines that pay for the buckets opened by drawing on them, each once."""
        opened = {bucket.field: bucket.opening for bucket in self._touched if bucket.opening is not None}
        return tuple(line for line in opened.values() if line.amount_micros)


def purse_for(
    usage: AcceptedUsage, account: Account, catalogues: "Catalogues", catalogue: "Catalogue", plan: "Plan"
) -> Purse | None:
    """Return the buckets that match the record, hold its start and are not empty; None when there are none."""
    start = usage.start_time
    fields = account.fields
    buckets: list[Bucket] = []
    for allowance in plan.allowances:
        if allowance.every is not None and allowance.price is None and _matches(allowance, usage):
            bucket = _periodic(allowance, start, fields, catalogue, plan.id)
            if allowance.prorate:
                bucket.size = _prorated(allowance, start, account, catalogue.clock, plan.id)
            if bucket.used < bucket.size:
                buckets.append(bucket)
            if allowance.rollover is not None:
                bucket.expires_ms = _end_of_period(allowance, bucket.expires_ms, catalogue.clock)
                earlier = _rolled_over(allowance, start, account, catalogues, catalogue)
                if earlier is not None:
                    buckets.append(earlier)
    for field in account.grants:
        bought = parse_grant(fields[field])
        if bought.from_ms <= start and (bought.to_ms is None or start < bought.to_ms):
            source = catalogue.plan_at(bought.plan, start)
            found = None if source is None else source.allowance(bought.allowance)
            if found is None or not _matches(found, usage):
                continue
            expires = _NEVER_MS if bought.to_ms is None else bought.to_ms
            if bought.size:
                buckets.append(Bucket(found, field, bought.used, bought.size, expires, bought))
            elif found.every is not None and found.price is not None:
                bucket = _periodic(found, start, fields, catalogue, bought.plan)
                if any(known.field == bucket.field for known in buckets):
                    continue  # bought twice: the period has one bucket
                bucket.expires_ms = min(bucket.expires_ms, expires)
                if bucket.field not in fields:
                    bucket.opening = price_line(found.price, (bought.plan, catalogue.hash), bucket.field)
                buckets.append(bucket)
    if not buckets:
        return None
    if len(buckets) > 1:
        buckets.sort(key=_drawing_order)
    return Purse(buckets, catalogue.clock)


def _periodic(
    allowance: Allowance, start_ms: int, fields: Mapping[str, str], catalogue: "Catalogue", plan: str
) -> Bucket:
    """Return the bucket of the period that holds this moment."""
    periods = catalogue.clock.periods(start_ms)
    monthly = allowance.every == MONTH
    field = f"bucket:{plan}:{allowance.id}:{periods.month if monthly else periods.day}"
    used = int(fields.get(field, "0/0").partition("/")[0])
    return Bucket(allowance, field, used, allowance.size, periods.month_end_ms if monthly else periods.day_end_ms, None)


def _rolled_over(
    allowance: Allowance, start_ms: int, account: Account, catalogues: "Catalogues", catalogue: "Catalogue"
) -> Bucket | None:
    """Return the bucket of the period before, if the account had one: as it was published when that period ended."""
    clock = catalogue.clock
    day = clock.local(start_ms).day
    year, month, _ = civil(day)
    begin = clock.midnight_ms(day_number(year, month, 1) if allowance.every == MONTH else day)
    last = begin - 1
    version = catalogues.at(last)
    plan_id = account.plan_at(last)
    plan = None if version is None or plan_id is None else version.plan_at(plan_id, last)
    if plan is None or version is None or plan.id != account.plan_at(start_ms):
        return None
    earlier = plan.allowance(allowance.id)
    if earlier is None or earlier.rollover is None or earlier.every != allowance.every:
        return None
    bucket = _periodic(earlier, last, account.fields, version, plan.id)
    if earlier.prorate:
        bucket.size = _prorated(earlier, last, account, version.clock, plan.id)
    bucket.rolled = int(account.fields.get(_rolled_field(bucket.field), "0"))
    bucket.expires_ms = _end_of_period(allowance, start_ms, clock)
    return bucket


def _end_of_period(allowance: Allowance, moment_ms: int, clock: TariffTime) -> int:
    periods = clock.periods(moment_ms)
    return periods.month_end_ms if allowance.every == MONTH else periods.day_end_ms


def _prorated(allowance: Allowance, moment_ms: int, account: Account, clock: TariffTime, plan: str) -> int:
    """Return the size in the month of this moment: less, by days, where the plan came later."""
    year, month, _ = civil(clock.local(moment_ms).day)
    first_day, end_day = day_number(year, month, 1), next_month(year, month)
    begin_ms = clock.midnight_ms(first_day)
    if account.plan_at(begin_ms) == plan:
        return allowance.size
    from_day = min(
        (clock.local(span.from_ms).day for span in account.plans if span.plan == plan and span.from_ms >= begin_ms),
        default=first_day,
    )
    return allowance.size * max(end_day - from_day, 0) // (end_day - first_day)


def _matches(allowance: Allowance, usage: AcceptedUsage) -> bool:
    keys = allowance.keys
    return (
        keys.service == usage.service
        and keys.direction == usage.direction
        and keys.allow(usage)
        and (keys.zone is None or keys.zone.longest(usage.other_party) is not None)
    )


def _drawing_order(bucket: Bucket) -> tuple[int, int, str, int]:
    number = int(bucket.field.partition(":")[2]) if bucket.grant is not None else 0
    return bucket.allowance.priority, bucket.expires_ms, bucket.allowance.id, number


class Granted(NamedTuple):
    """A bucket bought: the account's field and value, and the line that pays for it, if it costs anything."""

    field: str
    value: str
    line: Line | None


def grant(catalogues: "Catalogues", plan: str, allowance_id: str, from_ms: int, number: int) -> Granted | Refusal:
    """Return a bucket bought from this moment on, or a pack that repeats.

    It lasts `valid_days` times 24 hours where the catalogue says so, else until the end of that day or month of tariff
    time for an allowance of every day or month, else for ever. `number` tells an account's grants apart.
    """
    catalogue = catalogues.at(from_ms)
    found = None if catalogue is None else catalogue.plan_at(plan, from_ms)
    allowance = None if found is None else found.allowance(allowance_id)
    if catalogue is None or allowance is None:
        version = None if catalogue is None else catalogue.hash
        return Refusal("unknown_allowance", {"plan": plan, "allowance": allowance_id, "catalogue": version})
    field = f"grant:{number}"
    repeats = allowance.every is not None and allowance.price is not None
    line = None
    if allowance.price is not None and not repeats:
        line = price_line(allowance.price, (plan, catalogue.hash), field)
    end: int | None = None
    if allowance.valid_ms is not None:
        end = from_ms + allowance.valid_ms
    elif allowance.every is not None:
        end = _end_of_period(allowance, from_ms, catalogue.clock)
    size = 0 if repeats else allowance.size
    return Granted(field, format_grant(Grant(0, size, plan, allowance_id, from_ms, end)), line)


def stale_fields(account: Account, changes: Mapping[str, str | None], clock_ms: int, keep_ms: int) -> list[str]:
    """Name the account's fields whose period ended more than `keep_ms` before the clock: none will ask for them again.

    Looked for where a new period begins, which is where `changes` name a field that is not there yet. Periods are of
    tariff time, which is not known here: each is taken to end a day later than in UTC. What never expires is never
    named. A bucket may be asked for one period longer.
    """
    fields = account.fields
    first = account.first_end_ms
    new = False
    for name, after in changes.items():
        if name not in fields:
            new = True
            if first is not None and after is not None:
                first = min(first, _end_ms(name, after))
    if not new:
        return []
    if first is None:
        first = _NEVER_MS
        for name, text in fields.items():
            first = min(first, _end_ms(name, text))
        for name, after in changes.items():
            if after is not None:
                first = min(first, _end_ms(name, after))
    account.first_end_ms = first
    limit = clock_ms - keep_ms - DAY_MS
    if first >= limit:
        return []
    account.first_end_ms = None
    return [name for name, text in fields.items() if _end_ms(name, text) < limit]


def _end_ms(field: str, text: str) -> int:
    """Return from when on no record asks for a field any more, the days kept apart; _NEVER_MS where that never is."""
    kind, colon, _ = field.partition(":")
    if not colon:
        return _NEVER_MS
    if kind in _PERIODIC:
        return _period_end_ms(field.rpartition(":")[2])
    if kind in _BUCKETS:
        period = field.rpartition(":")[2]
        return _period_end_ms(period) + (DAY_MS if period.count("-") == 2 else 31 * DAY_MS)
    if field.startswith(GRANT):
        end = parse_grant(text).to_ms
        return _NEVER_MS if end is None else end
    return _NEVER_MS


@lru_cache(_PERIODS_KEPT)
def _period_end_ms(period: str) -> int:
    """Return when a YYYY-MM or YYYY-MM-DD ends in UTC, in ms."""
    year, month, *day = (int(number) for number in period.split("-"))
    return (day_number(year, month, day[0]) + 1 if day else next_month(year, month)) * DAY_MS
