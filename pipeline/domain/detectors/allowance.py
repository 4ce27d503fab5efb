"""allowance_low: included use runs out."""

from typing import Final, NamedTuple

from pipeline.domain.allowances import parse_grant
from pipeline.domain.detectors.finding import INFO, OPEN, WARNING, Finding, account_finding, ratio
from pipeline.domain.ledger import Event

ALLOWANCE_LOW: Final = "allowance_low"
BUCKET_PREFIX: Final = "bucket:"
GRANT_PREFIX: Final = "grant:"
THRESHOLDS_PERCENT: Final = (100, 80)
"""Highest first: what passes both at once is one alert."""


class _Bucket(NamedTuple):
    plan: str
    allowance: str
    period: str
    used: int
    size: int


def allowance_low(event: Event, charge_id: str) -> list[Finding]:
    """Open where a bucket's use passes 80 or 100 per cent by this event; quantities in ms, octets or messages.

    Lines name the allowance, not which of its buckets gave: where one record draws on two buckets of one allowance,
    each is taken to have given all of it, so a crossing is never missed; one that lay before is the same alert again.
    """
    found = []
    for field, value in event.effects.account.items():
        bucket = None if value is None else _bucket(field, value)
        if bucket is None or bucket.size <= 0:
            continue
        given = sum(line.allowance_used for line in event.lines if line.allowance == bucket.allowance)
        before = bucket.used - min(given, bucket.used)
        percent = _crossed(before, bucket.used, bucket.size)
        if percent is not None:
            found.append(_finding(event, charge_id, bucket, before, percent))
    return found


def _bucket(field: str, value: str) -> _Bucket | None:
    if field.startswith(BUCKET_PREFIX):
        _, plan, allowance, period = field.split(":")
        used, _, size = value.partition("/")
        return _Bucket(plan, allowance, period, int(used), int(size))
    if field.startswith(GRANT_PREFIX):
        grant = parse_grant(value)
        return _Bucket(grant.plan, grant.allowance, field.replace(":", "-"), grant.used, grant.size)
    return None


def _crossed(before: int, after: int, size: int) -> int | None:
    """Return the highest threshold that lies between (before excluded from above, after included), or None."""
    for percent in THRESHOLDS_PERCENT:
        if before * 100 < size * percent <= after * 100:
            return percent
    return None


def _finding(event: Event, charge_id: str, bucket: _Bucket, before: int, percent: int) -> Finding:
    used_up = bucket.used >= bucket.size
    figures: dict[str, object] = {
        "plan": bucket.plan,
        "allowance": bucket.allowance,
        "period": bucket.period,
        "service": None if event.usage is None else event.usage.service,
        "percent": percent,
        "used_before": before,
        "used_after": bucket.used,
        "size": bucket.size,
    }
    return account_finding(
        event,
        charge_id,
        ALLOWANCE_LOW,
        OPEN,
        WARNING if used_up else INFO,
        f"{bucket.plan}/{bucket.allowance}/{bucket.period}/{percent}%",
        ratio(bucket.used, bucket.size),
        figures,
        "Tell the customer that the allowance is used up: further use costs money."
        if used_up
        else f"Tell the customer that {percent} % of the allowance is used.",
    )
