"""The tables of docs/performance.md and docs/capacity.md, written from the committed results: never by hand.

python -m deploy.bench.report

A table stands between two comments, `<!-- bench: NAME -->` and `<!-- end -->`. A test holds that what is committed is
what the committed results give.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.bench.capacity import SUBSCRIBERS, Assumed, Measured, measured_of, plan_for
from deploy.bench.goals import goals, rows
from deploy.bench.peer import PEER
from deploy.bench.results import CHECKOUT, RESULTS, RUNS, read

DOCUMENTS: Final = (CHECKOUT / "docs" / "performance.md", CHECKOUT / "docs" / "capacity.md")
SCALE: Final = RESULTS / "scale.json"
_TABLE: Final = re.compile(r"(<!-- bench: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_RATES: Final = ("records_per_s", "charge_records_per_s", "floor_records_per_s")
_PROCESSES: Final = ("publisher", "mediate", "charge", "kafka", "redis")


def rewrite() -> None:
    """Write every table of the documents anew; the same results give the same text."""
    for path in DOCUMENTS:
        path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")


def rendered(text: str) -> str:
    """Return a document with its tables written anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n\n{found[3]}", text)


def _table(name: str) -> str:
    """Return a table, or how to get it where nothing was measured for it: results are made on a quiet machine."""
    path, command = (SCALE, "deploy.bench.scale") if name == "scale" else (RUNS, "deploy.bench --runs 3")
    return TABLES[name]() if name == "assumed" or path.exists() else f"Not measured yet: `python -m {command}`."


def markdown(head: Sequence[str], lines: Sequence[Sequence[object]], numbers_from: int = 1) -> str:
    """Return a table; columns from `numbers_from` on are set to the right."""
    sides = ["---" if n < numbers_from else "---:" for n in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, sides, *lines))


def _runs() -> dict[str, Any]:
    found: dict[str, Any] = read(RUNS)
    return found


def _median() -> dict[str, Any]:
    found: dict[str, Any] = _runs()["median"]
    return found


def _machine() -> str:
    figures = _median()
    machine, plan = figures["machine"], figures["plan"]
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, {machine['python']}, "
        f"{machine['broker']}, {machine['view']}; the core {figures['core']}; {plan['records']:,} records each, "
        f"{plan['accounts']:,} accounts, {plan['partitions']} partitions, {plan['workers']} process of each kind."
    )


def _throughput() -> str:
    found = _runs()
    keys = ("floor_records_per_s", "mediate_records_per_s", "charge_records_per_s", "records_per_s")
    ratios = ("charge_ratio_to_floor", "ratio_to_floor")

    def row(name: str, figures: dict[str, Any]) -> list[str]:
        return [name, *(f"{figures[key]:,}" for key in keys), *(f"{figures[key]:.2f}" for key in ratios)]

    lines = [row(f"run {n}", run) for n, run in enumerate(found["runs"], 1)]
    lines.append(row("**median**", found["median"]))
    shown = [f"{found['spread'][key]:.0%}" if key in found["spread"] else "" for key in (*keys, *ratios)]
    lines.append(["spread", *shown])
    head = (
        "",
        "floor, records/s",
        "mediate",
        "charge",
        "whole path",
        "charge, of the floor",
        "whole path, of the floor",
    )
    return markdown(head, lines)


def _cpu() -> str:
    figures = _median()
    lines = []
    for name in ("mediate", "charge", "whole"):
        cpu = figures["stages"][name]["cpu_us_per_record"]
        lines.append([name, *(f"{cpu[p]:.1f}" if p in cpu else "-" for p in _PROCESSES), f"{sum(cpu.values()):.1f}"])
    floor = figures["floor"]["cpu_us_per_record"]
    lines.append(["floor", "-", "-", f"{sum(floor) / len(floor):.1f}", "not measured", "not measured", "-"])
    return markdown(("µs of CPU a record", *_PROCESSES, "together"), lines)


def _latency() -> str:
    lines = []
    for name, load in _median()["loads"].items():
        waited = load["latency_ms"]
        values = [f"{waited[key]:.1f}" for key in ("p50", "p95", "p99", "max")]
        lines.append([name, f"{load['records_per_s']:,}", *values, f"{load['cpu_busy']:.0%}"])
    return markdown(("load", "records/s", "p50, ms", "p95", "p99", "max", "machine busy"), lines)


def _goals() -> str:
    found = goals(_median())
    lines = [
        (*row[:3], row[3] if goal.met is not False else f"missed: {goal.why}")
        for goal, row in zip(found, rows(found), strict=True)
    ]
    return markdown(("goal", "wanted", "got", ""), lines)


def _peer() -> str:
    figures = _median()
    floors = figures["floor"]["records_per_s"]
    ours = figures["records_per_s"] / max(floors), figures["ratio_to_floor"], figures["records_per_s"] / min(floors)
    half = figures["loads"]["50%"]["latency_ms"]
    total = sum(figures["stages"]["whole"]["cpu_us_per_record"][p] for p in ("mediate", "charge"))
    lines: list[list[str]] = [
        [
            "**chargeline, whole path**",
            f"{figures['records_per_s']:,}",
            f"**{ours[1]:.2f}** ({ours[0]:.2f}-{ours[2]:.2f})",
            f"{half['p50']:.1f} / {half['p99']:.1f} at half load",
            f"{total:.0f}",
            "record, charge, balance",
        ]
    ]
    for row in PEER:
        low, high = row.ratios
        ratio = f"{row.ratio:.3f} ({low:.3f}-{high:.3f})"
        lines.append(
            [f"CGRateS, {row.name}", f"{row.records_per_s:,}", ratio, row.latency_ms or "-", row.cpu_us, row.durable]
        )
    head = ("", "records/s", "of the floor (range)", "p50 / p99, ms", "engine CPU, µs a record", "survives a crash")
    return markdown(head, lines)


def _measured() -> str:
    names = {
        "mediate_us": "mediate, µs of CPU a record",
        "charge_us": "charge, µs",
        "broker_us": "broker, µs",
        "redis_us": "Redis, µs",
        "received_bytes": "raw record on disk, bytes",
        "accepted_bytes": "accepted record on disk, bytes",
        "audit_bytes": "ledger event on disk, bytes",
        "account_bytes": "account in Redis, bytes",
        "seen_bytes": "numbers seen in Redis, bytes a charged record",
        "sessions_bytes": "sessions' meters in Redis, bytes a charged record",
    }
    cost = measured_of(_median())
    return markdown(("measured", ""), [(names[field], f"{value:.1f}") for field, value in cost._asdict().items()])


def _assumed() -> str:
    return markdown(("assumed", ""), [(f"`{name}`", value) for name, value in Assumed()._asdict().items()])


def _needed() -> str:
    cost: Measured = measured_of(_median())
    plans = [plan_for(subscribers, cost, Assumed()) for subscribers in SUBSCRIBERS]
    names = {
        "peak_records_per_s": "records/s at the peak",
        "mediate_cores": "cores for mediate",
        "charge_cores": "cores for charge",
        "charge_partitions": "ledger partitions, at least",
        "broker_cores": "cores for brokers",
        "brokers": "brokers",
        "broker_disk_tib": "disk of the brokers, TiB",
        "redis_cores": "cores for Redis",
        "redis_memory_gib": "memory for Redis, GiB",
        "redis_nodes": "Redis nodes",
        "eur_a_month": "EUR a month",
        "eur_a_thousand_subscribers": "EUR a month for 1,000 subscribers",
    }
    lines = [(text, *(f"{getattr(plan, name):,}" for plan in plans)) for name, text in names.items()]
    return markdown(("", *(f"{plan.subscribers:,} subscribers" for plan in plans)), lines)


def _scale() -> str:
    lines = []
    for row in read(SCALE)["rows"]:
        ratio = f"{row['records_per_s'] / row['floor_records_per_s']:.2f}"
        cpu = row["cpu_us_per_record"]
        rates = [f"{row[k]:,}" if k in row else "-" for k in _RATES]
        lines.append([row["axis"], f"{row['value']:,}", *rates, ratio, cpu["charge"], cpu["redis"]])
    head = ("what", "how much", "whole path, records/s", "charge", "floor", "whole path, of the floor")
    return markdown((*head, "charge, µs", "Redis, µs"), lines)


def _chart() -> str:
    return "![Throughput and latency](../bench/results/chart.svg)"


TABLES: Final[dict[str, Callable[[], str]]] = {
    "chart": _chart,
    "machine": _machine,
    "throughput": _throughput,
    "cpu": _cpu,
    "latency": _latency,
    "goals": _goals,
    "peer": _peer,
    "scale": _scale,
    "measured": _measured,
    "assumed": _assumed,
    "needed": _needed,
}


def main() -> int:
    """Rewrite the documents."""
    rewrite()
    for path in DOCUMENTS:
        sys.stderr.write(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
