"""Records in few words, and what all detectors make of them."""

from itertools import count

from pipeline.domain.detectors.alerts import Alerts
from pipeline.domain.detectors.engine import Engine, make_parts
from pipeline.domain.detectors.finding import Finding
from pipeline.domain.detectors.parameters import DetectorParameters
from pipeline.domain.detectors.ranges import HOT, Prefixes
from pipeline.domain.detectors.stream import RecordStream
from pipeline.domain.detectors.use import Reference
from pipeline.domain.usage import UsageRecord

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MONDAY = 1_793_577_600_000  # 2026-11-02T00:00Z
LINE = "+8613900000001"
REFERENCE = Reference("+86", frozenset({"46000"}), Prefixes(HOT), {})
_ids = count()


def record(start: int, **fields) -> UsageRecord:
    """A call of LINE to a mobile of its own country, one minute long, unless said otherwise."""
    base = dict.fromkeys(UsageRecord._fields)
    base |= {
        "record_id": f"r{next(_ids)}",
        "source": "msc",
        "service": "VOICE",
        "direction": "MO",
        "msisdn": LINE,
        "other_party": "+8613800000002",
        "start_time": start,
        "duration_ms": MINUTE,
        "uplink_octets": 0,
        "downlink_octets": 0,
        "message_count": 0,
        "answered": True,
        "retransmission": False,
    }
    return UsageRecord(**{**base, **fields})


def call(start: int, other: str = "+8613800000002", seconds: int = 60, **fields) -> UsageRecord:
    return record(start, other_party=other, duration_ms=seconds * SECOND, **fields)


def message(start: int, other: str = "+8613800000002", **fields) -> UsageRecord:
    return record(start, service="SMS", other_party=other, duration_ms=0, **{"message_count": 1, **fields})


def mobile(n: int) -> str:
    """One of very many numbers of the country, far from the one before."""
    return f"+86137{n * 7_919 % 100_000_000:08d}"


def ordinary_days(days: int, begin: int = MONDAY, **fields) -> list[UsageRecord]:
    """A line's quiet life: six calls a day, some in and some out, and a few messages."""
    made = []
    for day in range(days):
        for n, hour in enumerate((1, 3, 5, 8, 10, 13)):
            at = begin + day * DAY + hour * HOUR
            made.append(call(at, mobile(n % 3), 90, direction="MO" if n % 2 else "MT", **fields))
        made.append(message(begin + day * DAY + 4 * HOUR, mobile(1), **fields))
        made.append(message(begin + day * DAY + 9 * HOUR, "10086", direction="MT", **fields))
    return made


def said(records, parameters=None, reference=REFERENCE) -> list[Finding]:
    """Every finding, in the order in which it was said."""
    stream = RecordStream(make_engine(parameters, reference), reference)
    return [finding for one in records for finding in stream.take(one)]


def make_engine(parameters=None, reference=REFERENCE) -> Engine:
    return Engine(make_parts(parameters or DetectorParameters(), reference, priced=False, totals=False))


def alerts(records, detector=None, **more) -> list[Finding]:
    """The alerts in their last state, of one detector or of all, of records by their start."""
    found = Alerts()
    found.take(said(sorted(records, key=lambda one: one.start_time), **more))
    return [one for one in found.by_opening() if detector in (None, one.detector)]
