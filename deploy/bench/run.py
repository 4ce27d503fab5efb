"""One run of the benchmark: everything measured on the same servers within the same minutes, as one object."""

import time
from typing import Any, Final

from deploy.bench import measure, storage
from deploy.bench.machine import build, facts
from deploy.bench.measure import Loaded, Throughput
from deploy.bench.observe import Heads, Topics
from deploy.bench.stand import Plan, Say, Stand, stand
from deploy.bench.traffic import REPEATED
from pipeline.settings import Settings

SHARES: Final = (0.2, 0.5, 0.8)
"""of the measured capacity, at which latency is measured"""
HALF: Final = 0.5
STEADY_RECORDS_PER_S: Final = 1_000
"""a load that does not depend on the machine, for comparing latencies"""
WARM_UP_RECORDS: Final = 10_000


def bench(
    chosen: Plan, configured: Settings, rate: float | None, say: Say, *, latencies: bool = True
) -> dict[str, Any]:
    """Measure everything; raises LocalServerError, BenchError, BrokerError, ViewUnavailableError."""
    begun = time.monotonic()
    embedded = not (configured.kafka.bootstrap_servers or configured.redis.url)
    with stand(chosen, configured, say) as on:
        figures = _measure(on, rate, say, latencies=latencies)
        figures["machine"] = facts(on.settings, embedded=embedded)
        figures |= _kept(on, embedded=embedded)
    say(f"measured in {time.monotonic() - begun:.0f} s")
    return figures


def _measure(on: Stand, rate: float | None, say: Say, *, latencies: bool) -> dict[str, Any]:
    records = on.plan.records
    say(f"opening {on.plan.accounts:,} accounts")
    on.prepare()
    on.start("charge")
    measure.settle(on, on.plan.accounts, "accounts opened")
    on.start("mediate")
    measure.whole_path(on, "warm", min(records, WARM_UP_RECORDS))
    say("the floor")
    before = measure.the_floor(on, records)
    say("the whole path")
    whole = measure.whole_path(on, "whole", records)
    loads = _loads(on, whole.records_per_s, rate, say) if latencies else {}
    on.pause("mediate")
    on.pause("charge")
    measure.backlog(on, "alone", records)
    say("mediate alone")
    mediate = measure.mediate_alone(on, records)
    on.pause("mediate")
    say("charge alone")
    charge = measure.charge_alone(on, records)
    say("the floor again")
    after = measure.the_floor(on, records)
    return figures_of(on.plan, whole, mediate, charge, (before, after), loads)


def _loads(on: Stand, capacity: int, rate: float | None, say: Say) -> dict[str, Loaded]:
    asked = {f"{share:.0%}": share * capacity for share in SHARES}
    asked["steady"] = STEADY_RECORDS_PER_S
    if rate is not None:
        asked["asked"] = rate
    found = {}
    for number, (name, records_per_s) in enumerate(asked.items()):
        say(f"latency at {records_per_s:,.0f} records/s")
        records = max(min(round(records_per_s * measure.LATENCY_S), on.plan.records), 1)
        found[name] = measure.latency_at(on, f"load{number}", records_per_s, records)
    return found


def _kept(on: Stand, *, embedded: bool) -> dict[str, Any]:
    """Return what the run left behind, in bytes, and whether anything was set aside that should not have been."""
    partitions = on.plan.partitions
    topics, heads = Topics(on.settings, partitions), Heads(on.settings, partitions)
    try:
        dead, accepted, events = topics.dead_letters(), topics.accepted(), heads.total()
    finally:
        topics.close()
        heads.close()
    view = storage.view_bytes(on.settings, partitions)
    found: dict[str, Any] = {
        "dead_letters": dead,
        "view_bytes": view,
        "seen_bytes_per_record": storage.seen_bytes_per_record(on.settings, partitions, view),
    }
    if embedded:
        counts = {"received": accepted + dead, "accepted": accepted, "audit": events}
        sizes = storage.topic_bytes(on.settings.data_dir)
        found["topic_bytes_per_record"] = {name: round(sizes[name] / counts[name], 1) for name in counts}
    return found


def figures_of(
    chosen: Plan,
    whole: Throughput,
    mediate: Throughput,
    charge: Throughput,
    floors: tuple[Any, Any],
    loads: dict[str, Loaded],
) -> dict[str, Any]:
    """Put together what `--json` prints. The floor is the mean of one before and one after."""
    floor_rate = sum(one.records_per_s for one in floors) / len(floors)
    floor_us = sum(one.cpu_us_per_record for one in floors) / len(floors)
    own_us = {name: stage.used.cpu_us_per_record[name] for name, stage in (("charge", charge), ("mediate", mediate))}
    figures: dict[str, Any] = {
        "records_per_s": whole.records_per_s,
        "charge_records_per_s": charge.records_per_s,
        "mediate_records_per_s": mediate.records_per_s,
        "floor_records_per_s": round(floor_rate),
        "ratio_to_floor": round(whole.records_per_s / floor_rate, 3),
        "charge_ratio_to_floor": round(charge.records_per_s / floor_rate, 3),
        "charge_cpu_ratio_to_floor": round(floor_us / own_us["charge"], 3) if own_us["charge"] else None,
        "mediate_cpu_ratio_to_floor": round(floor_us / own_us["mediate"], 3) if own_us["mediate"] else None,
        "cpu_us_per_record": round(sum(whole.used.cpu_us_per_record.values()), 1),
        "core": build(),
        "plan": {**chosen._asdict(), "repeated": REPEATED},
        "stages": {
            name: {"records_per_s": stage.records_per_s, "records": stage.records, **_used(stage)}
            for name, stage in (("whole", whole), ("mediate", mediate), ("charge", charge))
        },
        "floor": {
            "records_per_s": [one.records_per_s for one in floors],
            "cpu_us_per_record": [one.cpu_us_per_record for one in floors],
        },
        "memory_mib": whole.used.rss_mib,
    }
    if loads:
        half = loads[f"{HALF:.0%}"]
        figures["latency_ms"] = {**half.latency._asdict(), "at_records_per_s": half.records_per_s}
        figures["loads"] = {name: _load(load) for name, load in loads.items()}
    return figures


def _used(stage: Throughput) -> dict[str, Any]:
    return {
        "cpu_us_per_record": stage.used.cpu_us_per_record,
        "cpu_busy": stage.used.cpu_busy,
        "cpu_others": stage.used.cpu_others,
        "batch_ms": stage.batch_ms,
        "batch_records": stage.batch_records,
    }


def _load(load: Loaded) -> dict[str, Any]:
    return {
        "records_per_s": load.records_per_s,
        "records": load.records,
        "latency_ms": load.latency._asdict(),
        "publisher_late_ms": load.late_ms,
        "kinds": load.kinds,
        "batch_ms": load.batch_ms,
        "batch_records": load.batch_records,
        "cpu_us_per_record": load.used.cpu_us_per_record,
        "cpu_busy": load.used.cpu_busy,
        "cpu_others": load.used.cpu_others,
    }
