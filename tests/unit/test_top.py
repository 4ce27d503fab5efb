"""The screen of `chargeline top` says at a glance what flows, what waits and what is wrong."""

import io

from rich.console import Console

from deploy.cli.top_screen import HISTORY, AlertLine, Screen, Stage, draw, spark

CALM = Screen(
    "2026-11-27 10:00:00 UTC",
    "127.0.0.1:9092",
    (
        Stage("mediate", "finds each account", 0, (0, 520), "ready", None),
        Stage("charge", "prices, keeps the books", 0, (0, 519), "ready", None),
        Stage("detect", "looks for the abnormal", None, (), "ready", None),
    ),
    drained=True,
    events=2_961,
    dead_letters={"unknown_subscriber": 3, "undecodable": 2},
    alerts=(),
)


def shown(screen: Screen, width: int = 140) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(draw(screen))
    return out.getvalue()


def test_a_calm_pipeline_says_so():
    """Everything charged, each process with what it does, the ledger, dead letters by reason, no alerts: in words."""
    text = shown(CALM)
    assert "everything sent is charged" in text
    assert "prices, keeps the books" in text
    assert "2,961 events" in text
    assert "dead letters  5: 2 undecodable, 3 unknown_subscriber" in text
    assert "alerts        none" in text


def test_what_waits_and_what_is_wrong_is_named():
    """A process that is not ready is named with its error, and waiting use is said in the first line."""
    broken = CALM.stages[1]._replace(waiting=12_345, state="restarting", error="no broker answers")
    text = shown(CALM._replace(stages=(CALM.stages[0], broken), drained=False))
    assert "use is waiting to be charged" in text
    assert "12,345" in text
    assert "restarting: no broker answers" in text


def test_only_the_latest_alerts_are_shown():
    """The screen stays one screen: the six latest alerts, the newest last."""
    alerts = tuple(AlertLine(f"10:0{n}", "critical", "irsf", f"range-{n}", "open") for n in range(8))
    text = shown(CALM._replace(alerts=alerts))
    assert "range-1 " not in text
    assert text.index("range-2") < text.index("range-7")


def test_bars_are_scaled_by_the_highest():
    """Nothing is blank, little is a low bar, the most is a whole one; only the latest looks are drawn."""
    assert spark([0, 1, 100]) == " ▁█"
    assert spark([]) == ""
    assert len(spark(range(100))) == HISTORY
