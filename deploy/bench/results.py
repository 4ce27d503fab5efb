"""Where results lie in a checkout, and how several runs become one."""

import json
from pathlib import Path
from typing import Any, Final

from deploy.bench.pacing import median

CHECKOUT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = CHECKOUT / "bench" / "results"
BASELINE: Final = CHECKOUT / "bench" / "baseline.json"
RUNS: Final = RESULTS / "runs.json"
CHART: Final = RESULTS / "chart.svg"
RATIOS: Final = (
    "ratio_to_floor",
    "charge_ratio_to_floor",
    "charge_cpu_ratio_to_floor",
    "mediate_cpu_ratio_to_floor",
)
"""What the guard compares: the first two as users see it, the others of processor time, which a busy machine disturbs
least."""


def write(path: Path, value: Any) -> None:
    """Write figures as JSON that a person can read and a diff can show."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Any:
    """Read figures."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_baseline(figures: dict[str, Any]) -> None:
    """Make these figures what later ones are held against."""
    write(BASELINE, {name: figures[name] for name in (*RATIOS, "core", "plan", "machine")})


def spread(values: list[float]) -> float:
    """Return how far values lie apart: greatest less smallest, as a share of the median."""
    middle = median(values)
    return round((max(values) - min(values)) / middle, 3) if middle else 0.0


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every number of several runs; what is no number is that of the first run."""
    merged: dict[str, Any] = _middle(list(runs))
    return merged


def _middle(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _middle([value[key] for value in values if key in value]) for key in first}
    if isinstance(first, list):
        return [_middle(list(column)) for column in zip(*values, strict=False)]
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    found = median([value for value in values if value is not None])
    return round(found) if isinstance(first, int) else round(found, 3)
