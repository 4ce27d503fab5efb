"""How much hardware so many subscribers need, by arithmetic from measured figures and stated assumptions.

Nothing is measured here. `Measured` comes of the committed runs, `Assumed` is what an operator should replace by
numbers of its own; `plan_for` is the arithmetic, and docs/capacity.md shows its results.
"""

import math
from typing import Any, Final, NamedTuple

SUBSCRIBERS: Final = (1_000_000, 100_000_000, 1_000_000_000)
DAY_S: Final = 86_400
GIB: Final = 2**30
TIB: Final = 2**40


class Measured(NamedTuple):
    """What one record, and one account, cost: microseconds of one core, bytes."""

    mediate_us: float
    charge_us: float
    broker_us: float
    redis_us: float
    received_bytes: float
    accepted_bytes: float
    audit_bytes: float
    account_bytes: float
    seen_bytes: float
    sessions_bytes: float
    """of sessions' meters, a charged record"""


class Assumed(NamedTuple):
    """What we took for granted; unit in the name."""

    records_a_subscriber_a_day: float = 30
    subscribers_an_account: float = 1.3
    peak_to_mean: float = 3
    core_use_at_peak: float = 0.5
    """so much of a core is planned for: the rest is for catching up after an outage, and for a lost machine"""
    replication: int = 3
    raw_days: int = 7
    accepted_days: int = 30
    ledger_days: int = 365
    """kept on the brokers' disks; older ledger goes to an archive"""
    seen_days: int = 70
    """twice the late window"""
    redis_copies: int = 2
    """a primary and its replica"""
    redis_node_gib: int = 64
    redis_memory_use: float = 0.6
    """the rest is for the copy while the append-only file is rewritten"""
    broker_cores: int = 16
    worker_cores: int = 16
    core_month_eur: float = 20
    """of a rented core with 4 GiB of memory"""
    memory_gib_month_eur: float = 4
    disk_tib_month_eur: float = 40


class Needed(NamedTuple):
    """What a deployment of this size takes, at its peak."""

    subscribers: int
    peak_records_per_s: int
    mediate_cores: int
    charge_cores: int
    charge_partitions: int
    broker_cores: int
    brokers: int
    broker_disk_tib: float
    redis_cores: int
    redis_memory_gib: int
    redis_nodes: int
    eur_a_month: int
    eur_a_thousand_subscribers: float


def measured_of(figures: dict[str, Any]) -> Measured:
    """Return what a run measured of the whole path."""
    cpu = figures["stages"]["whole"]["cpu_us_per_record"]
    view, topics = figures["view_bytes"], figures["topic_bytes_per_record"]
    accounts = view["account"]["keys"]
    records = view["seen"]["keys"] * view["seen"]["bytes"] / figures["seen_bytes_per_record"]
    own = [view[kind] for kind in ("account", "kept") if kind in view]
    session = view.get("session", {"keys": 0, "bytes": 0})
    return Measured(
        mediate_us=cpu["mediate"],
        charge_us=cpu["charge"],
        broker_us=cpu["kafka"],
        redis_us=cpu["redis"],
        received_bytes=topics["received"],
        accepted_bytes=topics["accepted"],
        audit_bytes=topics["audit"],
        account_bytes=round(sum(one["keys"] * one["bytes"] for one in own) / accounts, 1),
        seen_bytes=figures["seen_bytes_per_record"],
        sessions_bytes=round(session["keys"] * session["bytes"] / records, 1),
    )


def plan_for(subscribers: int, cost: Measured, assumed: Assumed) -> Needed:
    """Return what so many subscribers need. Cores are whole ones, at `core_use_at_peak`."""
    a_day = subscribers * assumed.records_a_subscriber_a_day
    peak = a_day / DAY_S * assumed.peak_to_mean

    def cores(us: float) -> int:
        return math.ceil(peak * us / 1e6 / assumed.core_use_at_peak)

    # followers write what leaders wrote: as much again for each copy, without the clients
    broker_cores = cores(cost.broker_us * (1 + 0.5 * (assumed.replication - 1)))
    brokers = max(math.ceil(broker_cores / assumed.broker_cores), 3)
    disk = a_day * assumed.replication * (
        cost.received_bytes * assumed.raw_days
        + cost.accepted_bytes * assumed.accepted_days
        + cost.audit_bytes * assumed.ledger_days
    )  # fmt: skip
    view = subscribers / assumed.subscribers_an_account * cost.account_bytes
    view += a_day * assumed.seen_days * (cost.seen_bytes + cost.sessions_bytes)
    memory = view * assumed.redis_copies / assumed.redis_memory_use
    redis_cores = cores(cost.redis_us) * assumed.redis_copies
    nodes = max(math.ceil(memory / GIB / assumed.redis_node_gib), redis_cores, assumed.redis_copies)
    mediate, charge = cores(cost.mediate_us), cores(cost.charge_us)
    bought = mediate + charge + broker_cores + max(redis_cores, nodes)
    money = (
        bought * assumed.core_month_eur
        + memory / GIB * assumed.memory_gib_month_eur
        + disk / TIB * assumed.disk_tib_month_eur
    )
    return Needed(
        subscribers=subscribers,
        peak_records_per_s=round(peak),
        mediate_cores=mediate,
        charge_cores=charge,
        # an owner's thread is one partition's; a process is one core's, so partitions are a few times the cores
        charge_partitions=max(8, 2 ** math.ceil(math.log2(charge * 2))),
        broker_cores=broker_cores,
        brokers=brokers,
        broker_disk_tib=round(disk / TIB, 1),
        redis_cores=redis_cores,
        redis_memory_gib=math.ceil(memory / GIB),
        redis_nodes=nodes,
        eur_a_month=math.ceil(money),
        eur_a_thousand_subscribers=round(money / subscribers * 1000, 2),
    )
