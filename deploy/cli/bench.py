# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline bench`: how fast this machine charges, end to end, against the floor of the same minute."""

import os
import sys
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import Json, ended_by_signal, own_settings
from deploy.cli.talk import RefusedError, data, data_json, misused, say, table

if TYPE_CHECKING:
    from pipeline.settings import Settings

NAMESPACE_VARIABLE: Final = "CHARGELINE_NAMESPACE"


def bench(
    records: Annotated[int, typer.Option("--records", min=100, help="Records of each measurement.")] = 100_000,
    accounts: Annotated[int, typer.Option("--accounts", min=10, help="Accounts; one in ten is a family.")] = 20_000,
    plans: Annotated[str, typer.Option("--plans", metavar="KIND", help="realistic or flat tariffs.")] = "realistic",
    rate: Annotated[
        float | None, typer.Option("--rate", min=1, metavar="R", help="Measure latency at R records/s as well.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes of mediate and of charge.")] = 1,
    partitions: Annotated[int, typer.Option("--partitions", min=1, max=256, help="Ledger partitions.")] = 4,
    json: Json = False,
) -> None:
    """Measure how fast this machine charges.

    Throughput, latency, CPU and memory, from the first publish to the last balance applied, with full durability. On
    servers of its own, which are gone afterwards; on configured ones under names of its own, which are removed: their
    other data are not touched.

    \b
    Examples:
      chargeline bench
      chargeline bench --records 200000 --rate 1000 --json
      CHARGELINE_KAFKA__BOOTSTRAP_SERVERS=broker:9092 CHARGELINE_REDIS__URL=redis://view:6379 chargeline bench
    """
    from deploy.bench.stand import BenchError, Plan
    from deploy.bench.traffic import PLANS

    if plans not in PLANS:
        misused(f"there are no {plans[:40]!r} plans: {', '.join(PLANS)}")
    settings = own_settings()
    _under_own_names(settings)
    from deploy.bench.run import bench as measured

    chosen = Plan(records, accounts, partitions, workers, plans)
    try:
        with ended_by_signal():
            figures = measured(chosen, settings, rate, say)
    except BenchError as error:
        raise RefusedError(str(error)) from None
    if json:
        data_json(figures)
    else:
        show(figures)


def _under_own_names(settings: "Settings") -> None:
    """Where servers are given, become the same command again, with a namespace: names are made when it starts."""
    from deploy.bench.stand import OWN_NAMES

    given = settings.kafka.bootstrap_servers or settings.redis.url
    if not given or OWN_NAMES.fullmatch(os.environ.get(NAMESPACE_VARIABLE, "")):
        return
    os.environ[NAMESPACE_VARIABLE] = f"bench-{uuid.uuid4().hex}."  # never one that a deployment lives under
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "deploy.cli", *sys.argv[1:]])  # noqa: S606 - ourselves


def show(figures: dict[str, Any]) -> None:
    """Write the figures as tables."""
    plan, machine = figures["plan"], figures["machine"]
    data(f"core        {figures['core']}")
    data(
        f"machine     {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['python']}"
    )
    data(f"servers     {machine['broker']}, {machine['view']}")
    data(
        f"load        {plan['records']:,} records, {plan['accounts']:,} accounts, {plan['plans']} plans, "
        f"{plan['partitions']} partitions, {plan['workers']} worker(s)"
    )
    data()
    _show_rates(figures)
    data()
    _show_latencies(figures.get("loads", {}))
    data()
    data("memory, MiB   " + ", ".join(f"{name} {mib:,.0f}" for name, mib in figures["memory_mib"].items()))
    others = max(stage["cpu_others"] for stage in figures["stages"].values())
    data(f"processor time taken by others meanwhile: up to {others:.0%}")


def _show_rates(figures: dict[str, Any]) -> None:
    stages, floor = figures["stages"], figures["floor_records_per_s"]
    processes = ("publisher", "mediate", "charge", "kafka", "redis")
    rows = []
    for name in ("mediate", "charge", "whole"):
        stage = stages[name]
        cpu = stage["cpu_us_per_record"]
        used = [f"{cpu[process]:.1f}" if process in cpu else "-" for process in processes]
        rows.append((name, f"{stage['records_per_s']:,}", f"{stage['records_per_s'] / floor:.2f}", *used))
    own = sum(figures["floor"]["cpu_us_per_record"]) / len(figures["floor"]["cpu_us_per_record"])
    rows.append(("floor", f"{floor:,}", "1.00", "-", "-", f"{own:.1f}", "-", "-"))
    table(("", "records/s", "of floor", *(f"{process} µs" for process in processes)), rows, "<" + ">" * 7)


def _show_latencies(loads: dict[str, Any]) -> None:
    rows = []
    for name, load in loads.items():
        waited = load["latency_ms"]
        values = [f"{waited[key]:.1f}" for key in ("p50", "p95", "p99", "max")]
        rows.append((name, f"{load['records_per_s']:,}", *values))
    if rows:
        table(("load", "records/s", "p50 ms", "p95 ms", "p99 ms", "max ms"), rows, "<" + ">" * 5)
