"""Allowances: included use, drawn on before any money.

A bucket is one period of a plan's allowance (`bucket:PLAN:ALLOWANCE:PERIOD`, value `used/size`), there from the first
draw on, or one that was bought (`grant:N`, value `used/size PLAN ALLOWANCE from_ms to_ms`, to_ms `-` where it never
expires). Quantities are in ms, octets or messages. A bucket serves the records that start inside its validity; parts
of a record draw in time order; lower `priority` number first, then soonest expiry, then id, then the number of the
grant. Nothing is ever copied from one period into the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.domain.matching import Keys
from pipeline.domain.outcome import Refusal
from pipeline.domain.tariff_time import DAY_MS, TariffTime, day_number, next_month
from pipeline.domain.usage import AcceptedUsage

if TYPE_CHECKING:
    from pipeline.domain.catalogue import Catalogue, Catalogues, Plan

MONTH: Final = "month"
DAY: Final = "day"
_NEVER_MS: Final = 2**62
_PERIODIC: Final = ("meter:", "bucket:", "cap:", "spend:", "reached:")


@dataclass(frozen=True, slots=True)
class Allowance:
    """Included use of a plan. `every` month or day: each period has a bucket; None: only where it was bought."""

    id: str
    keys: Keys
    size: int
    every: str | None
    valid_ms: int | None
    priority: int


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


class Draw(NamedTuple):
    """What one part took from one bucket."""

    allowance: str
    used: int


class Bucket:
    """The working copy of one bucket while one record is priced."""

    __slots__ = ("allowance", "expires_ms", "field", "grant", "size", "used")

    def __init__(
        self, allowance: Allowance, field: str, used: int, size: int, expires_ms: int, bought: Grant | None
    ) -> None:
        self.allowance = allowance
        self.field = field
        self.used = used
        self.size = size
        self.expires_ms = expires_ms
        self.grant = bought

    def value(self) -> str:
        """Write the bucket's field."""
        if self.grant is not None:
            return format_grant(self.grant._replace(used=self.used))
        return f"{self.used}/{self.size}"


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
            left = bucket.size - bucket.used
            if left <= 0:
                continue
            band = bucket.allowance.keys.band
            if band is not None:
                moment = self._clock.local(start_ms)
                if not band.active(moment.day, moment.time_of_day_ms):
                    continue
            taken = min(left, quantity)
            bucket.used += taken
            quantity -= taken
            self._touched.append(bucket)
            draws.append(Draw(bucket.allowance.id, taken))
        return tuple(draws)

    def changes(self) -> dict[str, str | None]:
        """Return the fields of the buckets drawn on, with their values after."""
        return {bucket.field: bucket.value() for bucket in self._touched}


def purse_for(usage: AcceptedUsage, fields: Mapping[str, str], catalogue: "Catalogue", plan: "Plan") -> Purse | None:
    """Return the buckets that match the record and hold its start, or None when there are none."""
    start = usage.start_time
    buckets = []
    for allowance in plan.allowances:
        if allowance.every is not None and _matches(allowance, usage):
            periods = catalogue.clock.periods(start)
            monthly = allowance.every == MONTH
            field = f"bucket:{plan.id}:{allowance.id}:{periods.month if monthly else periods.day}"
            used = int(fields.get(field, "0/0").partition("/")[0])
            expires = periods.month_end_ms if monthly else periods.day_end_ms
            buckets.append(Bucket(allowance, field, used, allowance.size, expires, None))
    for field in fields:
        if field.startswith("grant:"):
            bought = parse_grant(fields[field])
            if bought.from_ms <= start and (bought.to_ms is None or start < bought.to_ms):
                source = catalogue.plan_at(bought.plan, start)
                found = None if source is None else source.allowance(bought.allowance)
                if found is not None and _matches(found, usage):
                    expires = _NEVER_MS if bought.to_ms is None else bought.to_ms
                    buckets.append(Bucket(found, field, bought.used, bought.size, expires, bought))
    if not buckets:
        return None
    if len(buckets) > 1:
        buckets.sort(key=_drawing_order)
    return Purse(buckets, catalogue.clock)


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


def grant(
    catalogues: "Catalogues", plan: str, allowance_id: str, from_ms: int, number: int
) -> tuple[str, str] | Refusal:
    """Return the account's field and value of a bucket bought from this moment on.

    It lasts `valid_days` times 24 hours where the catalogue says so, else until the end of that day or month of tariff
    time for an allowance of every day or month, else for ever. `number` tells an account's grants apart.
    """
    catalogue = catalogues.at(from_ms)
    found = None if catalogue is None else catalogue.plan_at(plan, from_ms)
    allowance = None if found is None else found.allowance(allowance_id)
    if catalogue is None or allowance is None:
        version = None if catalogue is None else catalogue.hash
        return Refusal("unknown_allowance", {"plan": plan, "allowance": allowance_id, "catalogue": version})
    end: int | None = None
    if allowance.valid_ms is not None:
        end = from_ms + allowance.valid_ms
    elif allowance.every is not None:
        periods = catalogue.clock.periods(from_ms)
        end = periods.month_end_ms if allowance.every == MONTH else periods.day_end_ms
    return f"grant:{number}", format_grant(Grant(0, allowance.size, plan, allowance_id, from_ms, end))


def stale_fields(fields: Mapping[str, str], clock_ms: int, keep_ms: int) -> list[str]:
    """Name the fields whose period ended more than `keep_ms` before the clock: no record will ask for them again.

    Periods are of tariff time, which is not known here: each is taken to end a day later than in UTC. What never
    expires is never named.
    """
    limit = clock_ms - keep_ms - DAY_MS
    stale = []
    for field, text in fields.items():
        if field.startswith(_PERIODIC):
            if _period_end_ms(field.rpartition(":")[2]) < limit:
                stale.append(field)
        elif field.startswith("grant:"):
            end = parse_grant(text).to_ms
            if end is not None and end < limit:
                stale.append(field)
    return stale


def _period_end_ms(period: str) -> int:
    """Return when a YYYY-MM or YYYY-MM-DD ends in UTC, in ms."""
    year, month, *day = (int(number) for number in period.split("-"))
    return (day_number(year, month, day[0]) + 1 if day else next_month(year, month)) * DAY_MS
