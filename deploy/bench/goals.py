"""The goals, held against a run's figures: met or missed, and for a missed one what stops it, by the same figures."""

from typing import Any, Final, NamedTuple

from deploy.bench.peer import PEER

CHARGE_RATIO: Final = 0.60
WHOLE_RATIO: Final = 0.55
WHOLE_RECORDS_PER_S: Final = 20_000
STEADY_P50_MS: Final = 10
HALF_P50_MS: Final = 15
HALF_P99_MS: Final = 50
ACCOUNT_BYTES: Final = 600
OTHERS_MAX: Final = 0.10
"""Share of the machine that others may take before the figures are not the machine's."""


class Goal(NamedTuple):
    """One goal. `met` None: this run did not measure it. `why`: what stops a missed one."""

    name: str
    wanted: str
    got: str
    met: bool | None
    why: str = ""


def goals(figures: dict[str, Any]) -> list[Goal]:
    """Return every goal and whether this run met it."""
    charge, whole = figures["charge_ratio_to_floor"], figures["ratio_to_floor"]
    rate = figures["records_per_s"]
    found = [
        _goal(
            "charge alone, of the floor", charge, f">= {CHARGE_RATIO:.2f}", charge >= CHARGE_RATIO, "charge", figures
        ),
        _goal("whole path, of the floor", whole, f">= {WHOLE_RATIO:.2f}", whole >= WHOLE_RATIO, "whole", figures),
        _goal(
            "whole path, records/s", rate, f">= {WHOLE_RECORDS_PER_S:,}", rate >= WHOLE_RECORDS_PER_S, "whole", figures
        ),
    ]
    fastest = max(PEER, key=lambda row: row.records_per_s)
    best = fastest.ratios[1]
    found.append(_goal("whole path, past each row of the peer", whole, f"> {best:.2f}", whole > best, "whole", figures))
    found += _latency_goals(figures)
    return [*found, _account_goal(figures)]


def _goal(name: str, got: float, wanted: str, met: bool, stage: str, figures: dict[str, Any]) -> Goal:
    shown = f"{got:,}" if isinstance(got, int) else f"{got:.2f}"
    return Goal(name, wanted, shown, met, "" if met else stopped_by(stage, figures))


def stopped_by(stage: str, figures: dict[str, Any]) -> str:
    """Return what bounds a stage's rate: the busiest process on one core, or all of them on all cores."""
    found, cores, workers = figures["stages"][stage], figures["machine"]["cores"], figures["plan"]["workers"]
    cpu: dict[str, float] = found["cpu_us_per_record"]
    own = {name: us for name, us in cpu.items() if name in ("mediate", "charge") and us}
    said = []
    if own:
        busiest = max(own, key=lambda name: own[name])
        alone = workers * 1e6 / own[busiest]
        said.append(f"{busiest} takes {own[busiest]:.0f} us of CPU a record: at most {alone:,.0f}/s")
    total = sum(cpu.values())
    if total:
        said.append(f"all processes {total:.0f} us: at most {cores * 1e6 / total:,.0f}/s on {cores} cores")
    floor = figures["floor"]["cpu_us_per_record"]
    said.append(f"the floor's process takes {sum(floor) / len(floor):.0f} us")
    if found["cpu_others"] > OTHERS_MAX:
        said.append(f"others took {found['cpu_others']:.0%} of the machine meanwhile")
    return "; ".join(said)


def _latency_goals(figures: dict[str, Any]) -> list[Goal]:
    wanted = (
        ("p50 at 1,000 records/s, ms", "steady", "p50", STEADY_P50_MS),
        ("p50 at half load, ms", "50%", "p50", HALF_P50_MS),
        ("p99 at half load, ms", "50%", "p99", HALF_P99_MS),
    )
    found = []
    for name, load, key, most in wanted:
        measured = figures.get("loads", {}).get(load)
        if measured is None:
            found.append(Goal(name, f"<= {most}", "-", None))
            continue
        got = measured["latency_ms"][key]
        met = got <= most
        found.append(Goal(name, f"<= {most}", f"{got:.1f}", met, "" if met else slowed_by(measured)))
    return found


def slowed_by(load: dict[str, Any]) -> str:
    """Return what a record waits for at a load, by the mean batches of the stages."""
    batches = load["batch_ms"]
    said = [f"a mean batch of {kind} took {ms:.1f} ms" for kind, ms in batches.items()]
    said.append(f"the machine was {load['cpu_busy']:.0%} busy")
    if load["cpu_others"] > OTHERS_MAX:
        said.append(f"{load['cpu_others']:.0%} of it with others' work")
    if load["publisher_late_ms"] > 1:
        said.append(f"the publisher itself was up to {load['publisher_late_ms']:.0f} ms late")
    return "; ".join(said)


def _account_goal(figures: dict[str, Any]) -> Goal:
    name = "Redis, bytes an account"
    view = figures.get("view_bytes", {})
    if "account" not in view:
        return Goal(name, f"<= {ACCOUNT_BYTES}", "-", None)
    kinds = [kind for kind in ("account", "kept") if kind in view]
    parts = {kind: view[kind]["bytes"] * view[kind]["keys"] / view["account"]["keys"] for kind in kinds}
    got = sum(parts.values())
    met = got <= ACCOUNT_BYTES
    why = ", ".join(f"its {kind} key takes {size:.0f}" for kind, size in parts.items())
    return Goal(name, f"<= {ACCOUNT_BYTES}", f"{got:.0f}", met, "" if met else why)


def rows(found: list[Goal]) -> list[tuple[str, str, str, str]]:
    """Return goals as rows of a table: name, wanted, got, met or missed."""
    words = {True: "met", False: "missed", None: "not measured"}
    return [(goal.name, goal.wanted, goal.got, words[goal.met]) for goal in found]
