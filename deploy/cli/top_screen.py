"""The one screen of `chargeline top`, drawn from figures alone: what flows, what waits, what is wrong."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

BARS: Final = " ▁▂▃▄▅▆▇█"
HISTORY: Final = 20
ALERTS_SHOWN: Final = 6
_GOOD: Final = frozenset({"ready"})


class Stage(NamedTuple):
    """A process of the pipeline: what it does, how much waits for it, how fast it goes, how it is.

    `waiting` None: it has never run. `rates`: records a second of the last looks, the newest last.
    """

    name: str
    does: str
    waiting: int | None
    rates: tuple[int, ...]
    state: str
    error: str | None


class AlertLine(NamedTuple):
    """One alert in a line; times as text."""

    opened_at: str
    severity: str
    detector: str
    object: str
    state: str


class Screen(NamedTuple):
    """All that is shown."""

    time: str
    broker: str
    stages: tuple[Stage, ...]
    drained: bool
    events: int
    dead_letters: dict[str, int]
    alerts: tuple[AlertLine, ...]


def draw(screen: Screen) -> RenderableType:
    """Return the screen as something that rich shows, on a terminal or as plain text."""
    return Group(_head(screen), Text(), _stages(screen.stages), Text(), *_below(screen))


def spark(rates: Sequence[int]) -> str:
    """Return the rates as bars, scaled by the highest; nothing moved is blank."""
    newest = rates[-HISTORY:]
    most = max(newest, default=0)
    return "".join(BARS[0] if not rate else BARS[max(1, rate * (len(BARS) - 1) // most)] for rate in newest)


def _head(screen: Screen) -> Text:
    text = Text(f"chargeline  {screen.time}  broker {screen.broker}\n")
    if screen.drained:
        text.append("everything sent is charged", "green")
    else:
        text.append("use is waiting to be charged", "yellow")
    return text


def _stages(stages: Sequence[Stage]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for name in ("process", "what it does"):
        table.add_column(name)
    for name in ("waiting", "a second"):
        table.add_column(name, justify="right")
    table.add_column("lately", min_width=HISTORY)
    table.add_column("state")
    for stage in stages:
        wrong = stage.state not in _GOOD
        state = Text(stage.state, "red" if wrong else "green")
        if wrong and stage.error:
            state.append(f": {stage.error}")
        table.add_row(
            stage.name,
            stage.does,
            "-" if stage.waiting is None else f"{stage.waiting:,}",
            f"{stage.rates[-1] if stage.rates else 0:,}",
            spark(stage.rates),
            state,
        )
    return table


def _below(screen: Screen) -> list[RenderableType]:
    shown: list[RenderableType] = [Text(f"ledger        {screen.events:,} events")]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(screen.dead_letters.items()))
    shown.append(Text(f"dead letters  {sum(screen.dead_letters.values()):,}" + (f": {reasons}" if reasons else "")))
    if not screen.alerts:
        return [*shown, Text("alerts        none")]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("alerts", "severity", "detector", "object", "state"):
        table.add_column(name)
    for alert in screen.alerts[-ALERTS_SHOWN:]:
        table.add_row(*alert, style="red" if alert.severity == "critical" and alert.state != "close" else None)
    return [*shown, Text(), table]
