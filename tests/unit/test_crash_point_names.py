"""Crash points: each is in the code once, the documentation names them all, and none is armed by accident."""

import os
import re
import signal
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.adapters import crash_points
from pipeline.adapters.crash_points import POINTS, CrashPointsRefusedError, arm, reached
from pipeline.settings import KafkaSettings, Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def signals(monkeypatch):
    """What the process would have done to itself; disarmed again in the end."""
    got = []
    monkeypatch.setattr(os, "kill", lambda pid, number: got.append((pid, number)))
    yield got
    arm(Settings())


def test_every_point_is_in_the_code_once():
    """A name in the list is a call in the code, and the reverse."""
    calls = re.compile(r'reached\("([^"]+)"\)')
    found = [name for path in (ROOT / "pipeline").rglob("*.py") for name in calls.findall(path.read_text("utf-8"))]
    assert sorted(found) == sorted(POINTS)
    assert len(POINTS) >= 12


def test_the_documentation_names_every_point():
    """What can be armed is written down, and nothing else is."""
    text = (ROOT / "docs" / "faults.md").read_text("utf-8")
    assert re.findall(r"^\| `((?:charge|mediate)\.\w+)`", text, re.MULTILINE) == list(POINTS)


def test_an_unarmed_process_passes_them_all(signals):
    """Off is the default, and off does nothing."""
    arm(Settings())
    for point in POINTS:
        reached(point)
    assert not signals


@pytest.mark.parametrize(("action", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_an_armed_point_acts_at_its_pass_and_only_then(signals, action, number):
    """The third pass of this point, no other point, and never again."""
    arm(Settings(crash_at=f"charge.after_commit:3:{action}"))
    for _ in range(5):
        reached("charge.after_apply")
        reached("charge.after_commit")
    assert signals == [(os.getpid(), number)]


def test_a_process_that_is_armed_says_so(signals, capsys):
    """At the start, and again where it happens."""
    from pipeline.adapters.logs import configure

    configure("info")
    arm(Settings(crash_at="mediate.after_poll:1:kill"))
    assert "crash_point_armed" in capsys.readouterr().err
    reached("mediate.after_poll")
    assert "crash_point_reached" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_a_real_broker_refuses_it(protocol):
    """Where the broker asks who is there, real money may be: the process does not start."""
    settings = Settings(crash_at="charge.after_commit:1:kill", kafka=KafkaSettings(security_protocol=protocol))
    with pytest.raises(CrashPointsRefusedError):
        arm(settings)


def test_an_unknown_point_is_refused():
    """A misspelt name would be a proof of nothing."""
    with pytest.raises(CrashPointsRefusedError, match="there is no crash point"):
        arm(Settings(crash_at="charge.after_comit:1:kill"))
    with pytest.raises(ValidationError):
        Settings(crash_at="charge.after_commit")


def test_an_unarmed_point_costs_next_to_nothing():
    """One look at a name: nothing is called, nothing is locked."""
    assert crash_points._armed is None
    assert reached.__code__.co_names == ("_armed", "reached")
