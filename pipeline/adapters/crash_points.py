"""Named places where a process can be made to die or to stop, so that anybody can see what becomes of the money.

Off unless the setting `crash_at` names one, which a broker that asks for passwords refuses; then the process says so
loudly at its start. Where it is off, a point costs a call that compares one name with None, some ten times a batch.
"""

import os
import signal
import threading
from typing import Final

from pipeline.adapters.logs import logger
from pipeline.settings import Settings

POINTS: Final = (
    "charge.before_fence",
    "charge.after_fence",
    "charge.after_tail",
    "charge.after_replay_chunk",
    "charge.after_take_over",
    "charge.after_fetch",
    "charge.after_load",
    "charge.after_decide",
    "charge.after_produce",
    "charge.after_commit",
    "charge.after_apply",
    "charge.on_revoke",
    "mediate.after_poll",
    "mediate.after_directory",
    "mediate.after_decide",
    "mediate.after_send",
    "mediate.after_flush",
    "mediate.after_commit",
)
"""In the order in which a process passes them; each is one call of `reached` in the code of that process."""

_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

_log = logger("crash_points")


class CrashPointsRefusedError(RuntimeError):
    """A crash point was asked for where real money may be."""


class _Armed:
    """One point, and how often it is still passed unharmed; owners' threads share it."""

    def __init__(self, crash_at: str) -> None:
        self._point, passes, action = crash_at.split(":")
        if self._point not in POINTS:
            raise CrashPointsRefusedError(f"there is no crash point {self._point}: {', '.join(POINTS)}")
        self._left = int(passes)
        self._signal = _SIGNALS[action]
        self._lock = threading.Lock()

    def reached(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                _log.warning("crash_point_reached", point=point)
                os.kill(os.getpid(), self._signal)  # the whole process, as a power cut or a long pause would


_armed: _Armed | None = None


def arm(settings: Settings) -> None:
    """Arm the point that the settings name, if any; raises CrashPointsRefusedError. Call it once, at the start."""
    global _armed  # noqa: PLW0603 - a process has one such switch
    if settings.crash_at is None:
        _armed = None
        return
    if settings.kafka.security_protocol != "PLAINTEXT":
        raise CrashPointsRefusedError("crash_at is for tests: a broker with passwords or certificates is not one")
    _armed = _Armed(settings.crash_at)
    _log.warning("crash_point_armed", crash_at=settings.crash_at)


def reached(point: str) -> None:
    """Say that the process has come to a point; nothing happens unless it is armed, and then perhaps everything."""
    if _armed is not None:
        _armed.reached(point)
