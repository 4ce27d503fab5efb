"""The measurements: the whole path, mediate alone, charge alone, the floor, latency at a load."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psutil

from deploy.bench import floor
from deploy.bench.observe import AppliedWatch, Heads, Topics, kinds_of
from deploy.bench.pacing import Latency, due_at, latency
from deploy.bench.stand import STALLED_S, BenchError, Publisher, Stand, Usage
from deploy.bench.traffic import number_of, record_id
from deploy.local.ports import HOST

LOOK_S: Final = 0.005
LATENCY_S: Final = 8.0
"""How long a load is kept up."""
_WATCHED_LOOK_S: Final = 0.1


class Used(NamedTuple):
    """What processes used during a measurement."""

    cpu_us_per_record: dict[str, float]
    """by process, numbers of equal workers left out: mediate, charge, kafka, redis, publisher"""
    cpu_busy: float
    """share of all cores that were at work, whoever's work it was"""
    cpu_others: float
    """share of all cores that worked for nobody of this measurement: above some per cent, the figures are not ours"""
    rss_mib: dict[str, float]
    """memory of each process at the end"""


class Throughput(NamedTuple):
    """Records over time. `batch_ms`, `batch_records`: of the mean batch of each kind of process."""

    records: int
    seconds: float
    used: Used
    batch_ms: dict[str, float]
    batch_records: dict[str, float]

    @property
    def records_per_s(self) -> int:
        return round(self.records / self.seconds)


class Loaded(NamedTuple):
    """Latency at one load. `late_ms`: how far the publisher itself fell behind its schedule, at worst."""

    records_per_s: int
    records: int
    latency: Latency
    late_ms: float
    kinds: dict[str, int]
    used: Used
    batch_ms: dict[str, float]
    batch_records: dict[str, float]


def settle(on: Stand, events: int, what: str) -> None:
    """Wait until the view holds so many events; raises BenchError when nothing moves."""
    heads = Heads(on.settings, on.plan.partitions)
    try:
        _await(heads.total, events, what)
    finally:
        heads.close()


def whole_path(on: Stand, name: str, records: int) -> Throughput:
    """Measure from the first publish to the last balance applied; mediate and charge run already."""
    heads = Heads(on.settings, on.plan.partitions)
    publisher = Publisher(on, name, records)
    try:
        before = heads.total()
        with _using(on, records, publisher) as used:
            publisher.go()
            ended = _await(heads.total, before + records, f"{name}: records applied")
            begun = publisher.done()["begun"]
        return Throughput(records, ended - begun, used.used, used.batch_ms, used.batch_records)
    finally:
        publisher.close()
        heads.close()


def backlog(on: Stand, name: str, records: int) -> None:
    """Publish records that nobody reads yet."""
    publisher = Publisher(on, name, records)
    try:
        publisher.go()
        publisher.done()
    finally:
        publisher.close()


def mediate_alone(on: Stand, records: int) -> Throughput:
    """Let mediate go on before a backlog, charge being held; measure from then to the last record accepted."""
    topics = Topics(on.settings, on.plan.partitions)
    try:
        return _alone(on, "mediate", topics.accepted, records)
    finally:
        topics.close()


def charge_alone(on: Stand, records: int) -> Throughput:
    """Let charge go on before a backlog of accepted records; measure from then to the last balance applied."""
    heads = Heads(on.settings, on.plan.partitions)
    try:
        return _alone(on, "charge", heads.total, records)
    finally:
        heads.close()


def _alone(on: Stand, kind: str, count: Callable[[], int], records: int) -> Throughput:
    with _using(on, records, None, held=True) as used:
        before = count()
        begun = on.resume(kind)
        ended = _await(count, before + records, f"{kind}: records done")
    return Throughput(records, ended - begun, used.used, used.batch_ms, used.batch_records)


def the_floor(on: Stand, records: int) -> floor.Measured:
    """Measure the floor on the same servers; what it leaves there is removed."""
    kafka, redis = on.settings.kafka, on.settings.redis
    return floor.run(
        kafka.bootstrap_servers or "", redis.url or "", records, partitions=on.plan.partitions, prefix="floor."
    )


def latency_at(on: Stand, name: str, records_per_s: float, records: int) -> Loaded:
    """Publish at a pace; measure from the moment each record was due to the moment its balance was seen applied."""
    publisher = Publisher(on, name, records, records_per_s)
    watch = AppliedWatch(on.settings, on.plan.partitions)
    try:
        before = watch.total()
        with _using(on, records, publisher) as used:
            publisher.go()
            told = publisher.done()
            _await(watch.total, before + records, f"{name}: records applied", look_s=_WATCHED_LOOK_S)
    finally:
        watch.stop()
        publisher.close()
    answers = watch.answers()
    own = [answer for answer in answers if answer.event_id.startswith(record_id(name, 0)[:-9])]
    if len(own) != records:
        raise BenchError(f"{name}: {len(own)} of {records} records have an answer that was seen")
    charged = [answer for answer in own if answer.kind == "CHARGED"]
    due = [told["begun"] + due_at(number_of(answer.event_id), records_per_s) for answer in charged]
    waited = [answer.seen - moment for answer, moment in zip(charged, due, strict=True)]
    return Loaded(
        round(records_per_s),
        records,
        latency(waited),
        round(told["late_s"] * 1000, 2),
        kinds_of(own),
        used.used,
        used.batch_ms,
        used.batch_records,
    )


def _await(count: Callable[[], int], wanted: int, what: str, look_s: float = LOOK_S) -> float:
    """Wait until there are so many; returns when that was seen. Raises BenchError when nothing moves."""
    last, moved = -1, time.monotonic()
    while True:
        found, now = count(), time.monotonic()
        if found >= wanted:
            return now
        if found != last:
            last, moved = found, now
        elif now - moved > STALLED_S:
            raise BenchError(f"{what}: {found} of {wanted}, and nothing moved for {STALLED_S} s")
        time.sleep(look_s)


class _Using:
    """Filled when the block ends."""

    used: Used
    batch_ms: dict[str, float]
    batch_records: dict[str, float]


@contextmanager
def _using(on: Stand, records: int, publisher: Publisher | None, *, held: bool = False) -> Iterator[_Using]:
    """Measure what processes use while in the block; one that is held cannot be asked for its batches."""
    found = _Using()
    me = psutil.Process()
    before = on.usage()
    all_before, batches = psutil.cpu_times(), {} if held else _batches(on)
    begun, own = time.monotonic(), sum(me.cpu_times()[:2])
    yield found
    elapsed = time.monotonic() - begun
    busy = _busy_s(psutil.cpu_times()) - _busy_s(all_before)
    after = on.usage()
    spent = {name: after[name].cpu_s - before[name].cpu_s for name in after if name in before}
    if publisher is not None:
        spent["publisher"] = publisher.cpu_s
    ours = sum(spent.values()) + sum(me.cpu_times()[:2]) - own
    capacity = elapsed * (psutil.cpu_count() or 1)
    found.used = Used(
        {kind: round(seconds / records * 1e6, 1) for kind, seconds in _by_kind(spent).items()},
        round(min(busy / capacity, 1), 3),
        round(max(busy - ours, 0) / capacity, 3),
        _memory(after),
    )
    found.batch_ms, found.batch_records = _mean_batch(batches, {} if held else _batches(on))


def _by_kind(spent: dict[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, seconds in spent.items():
        kind = name.partition("-")[0]
        found[kind] = found.get(kind, 0.0) + seconds
    return found


def _memory(usage: dict[str, Usage]) -> dict[str, float]:
    return {name: round(one.rss_bytes / 2**20, 1) for name, one in usage.items()}


def _busy_s(times: Any) -> float:
    values = times._asdict()
    idle = values["idle"] + values.get("iowait", 0.0)
    guests = values.get("guest", 0.0) + values.get("guest_nice", 0.0)  # counted in user and nice already
    return float(sum(values.values()) - idle - guests)


def _batches(on: Stand) -> dict[str, tuple[float, float, float]]:
    """Return, by kind of process, its batches so far: how many, their seconds, their records."""
    found: dict[str, tuple[float, float, float]] = {}
    for name, port in on.ports.items():
        kind = name.partition("-")[0]
        values = _metrics(port)
        base = f"chargeline_{kind}_batch_seconds"
        if f"{base}_count" in values:
            now = (values[f"{base}_count"], values[f"{base}_sum"], values[f"chargeline_{kind}_records_total"])
            had = found.get(kind, (0.0, 0.0, 0.0))
            found[kind] = (had[0] + now[0], had[1] + now[1], had[2] + now[2])
    return found


def _metrics(port: int) -> dict[str, float]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}  # it was stopped: no batches of it to count
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, _, value in pairs}


def _mean_batch(
    before: dict[str, tuple[float, float, float]], after: dict[str, tuple[float, float, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    milliseconds, records = {}, {}
    for kind, now in after.items():
        had = before.get(kind, (0.0, 0.0, 0.0))
        batches = now[0] - had[0]
        if batches:
            milliseconds[kind] = round((now[1] - had[1]) / batches * 1000, 2)
            records[kind] = round((now[2] - had[2]) / batches, 1)
    return milliseconds, records
