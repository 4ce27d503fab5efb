"""A chart of a run as SVG: written by hand, for two kinds of bars need no library."""

from collections.abc import Sequence
from html import escape
from typing import Any, Final, NamedTuple

from deploy.bench.peer import PEER

WIDTH: Final = 760
LABEL: Final = 330
ROW: Final = 24
BAR: Final = 15
MARGIN: Final = 16
OURS, THEIRS, QUIET = "#1f6f8b", "#c9703d", "#8a8f98"
FONT: Final = "font-family='ui-sans-serif, system-ui, sans-serif' font-size='12'"


class Bar(NamedTuple):
    """A labelled value; `low` and `high` are drawn as a whisker where they are given."""

    label: str
    value: float
    colour: str
    low: float | None = None
    high: float | None = None


def chart(figures: dict[str, Any]) -> str:
    """Return the chart of a run: throughput as ratio to the floor beside the peer's, latency by load."""
    stages, floor = figures["stages"], figures["floor_records_per_s"]
    ours = [
        Bar(f"chargeline, {label}", stages[name]["records_per_s"] / floor, OURS)
        for name, label in (("whole", "whole path, all durable"), ("charge", "charge alone, all durable"))
    ]
    theirs = [Bar(f"CGRateS, {row.name}", row.ratio, THEIRS, *row.ratios) for row in PEER]
    waits = []
    for name, load in figures.get("loads", {}).items():
        for key, colour in (("p50", OURS), ("p99", QUIET)):
            waits.append(Bar(f"{name} ({load['records_per_s']:,}/s) {key}", load["latency_ms"][key], colour))
    return svg((("Throughput, as a ratio to the floor of the same hour", ours + theirs, "{:.2f}"),
                ("Latency, publish to balance applied, ms", waits, "{:.1f}")))  # fmt: skip


def svg(panels: Sequence[tuple[str, Sequence[Bar], str]]) -> str:
    """Return panels of horizontal bars, one under the other; a panel without bars is left out."""
    drawn, y = [], MARGIN
    for title, bars, form in panels:
        if bars:
            part, y = _panel(title, bars, form, y)
            drawn += part
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y}' viewBox='0 0 {WIDTH} {y}' {FONT}>\n"
        f"<rect width='{WIDTH}' height='{y}' fill='#ffffff'/>\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _panel(title: str, bars: Sequence[Bar], form: str, y: int) -> tuple[list[str], int]:
    most = max(max(bar.value, bar.high or 0) for bar in bars) or 1
    scale = (WIDTH - LABEL - 4 * MARGIN) / most
    drawn = [f"<text x='{MARGIN}' y='{y + 14}' font-weight='bold'>{escape(title)}</text>"]
    y += ROW + 4
    for bar in bars:
        end = LABEL + bar.value * scale
        drawn.append(f"<text x='{LABEL - 8}' y='{y + 12}' text-anchor='end'>{escape(bar.label)}</text>")
        width = max(bar.value * scale, 1)
        drawn.append(f"<rect x='{LABEL}' y='{y}' width='{width:.1f}' height='{BAR}' fill='{bar.colour}'/>")
        if bar.low is not None and bar.high is not None:
            middle = y + BAR / 2
            left, end = LABEL + bar.low * scale, max(end, LABEL + bar.high * scale)
            drawn.append(f"<line x1='{left:.1f}' y1='{middle}' x2='{end:.1f}' y2='{middle}' stroke='#333333'/>")
        drawn.append(f"<text x='{end + 6:.1f}' y='{y + 12}'>{escape(form.format(bar.value))}</text>")
        y += ROW
    return drawn, y + MARGIN
