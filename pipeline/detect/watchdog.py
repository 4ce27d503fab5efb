"""Ends a detect process that has records and does not get on."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.adapters.kafka.client import BrokerError, KafkaException, admin, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.progress import DETECT_GROUP, committed_offsets
from pipeline.adapters.stream_types import Place
from pipeline.settings import Settings

STALLED_EXIT_CODE: Final = 3
POLL_S: Final = 0.1
LOOKS_A_TIMEOUT: Final = 12
"""How often the watchdog looks within the time that a stall may last."""

_log = logger("detect")

Where = tuple[str, int]


def end_process(event: str, code: int, **why: object) -> None:
    """End the process at once: its threads may hang, and would keep the interpreter from ending."""
    _log.error(event, **why)
    sys.stderr.flush()
    os._exit(code)


class StallClock:
    """Says which partition has had records for too long without getting on; time is given to it, in seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since: dict[Where, tuple[int, float]] = {}

    def stalled(self, now_s: float, waiting: Mapping[Where, int]) -> Where | None:
        """Return a partition that stands where it stood `timeout_s` ago, or None.

        `waiting` has, of each partition in which records wait, a number that grows with progress; a partition not in it
        begins anew.
        """
        self._since = {
            partition: before if (before := self._since.get(partition)) and before[0] == offset else (offset, now_s)
            for partition, offset in waiting.items()
        }
        return next((p for p, (_, since_s) in self._since.items() if now_s - since_s > self._timeout_s), None)


class Watchdog(threading.Thread):
    """Ends the process when the group's offsets stand still though records wait, or a balance never ends.

    It asks the broker, on a thread and a connection of its own: what hangs may be Faust, its client or the event loop.
    While the broker does not answer, no time passes: a new process could do no better.
    """

    def __init__(
        self,
        settings: Settings,
        assigned: Callable[[], frozenset[Place] | None],
        positions: Callable[[], Mapping[Place, int] | None],
        metrics: Metrics,
    ) -> None:
        """`positions`: the next offset that is to be handled of each partition; None: states are being read."""
        super().__init__(name="watchdog", daemon=True)
        self._settings = settings
        self._assigned = assigned
        self._positions = positions
        self._timeout_s = settings.detect.stall_timeout_s
        self._balancing_s = self._timeout_s + settings.detect.session_timeout_ms / 1000
        """longest sound balance: the group first waits out the session of a member that was killed"""
        self._ended = threading.Event()
        self._admin = admin(settings)
        self._clock = StallClock(self._timeout_s)
        self._balancing_since_s: float | None = None
        self._broker: str | None = "not asked yet"
        self._before: dict[Where, int] = {}
        self._partitions = metrics.gauge("chargeline_detect_partitions")
        self._lag = metrics.gauge("chargeline_detect_lag_records")

    def checks(self) -> dict[str, str | None]:
        """Return what readiness depends on: the broker, and that the group has said which partitions are ours."""
        return {"broker": self._broker, "group": "being balanced" if self._assigned() is None else None}

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._ended.wait(self._timeout_s / LOOKS_A_TIMEOUT):
            try:
                problem = self._look(time.monotonic())
                self._broker = None
            except (KafkaException, BrokerError, TimeoutError) as error:
                self._broker = f"did not answer: {type(error).__name__}"
                self._clock.stalled(0, {})
                self._balancing_since_s = None
                continue
            if problem is not None and not self._ended.is_set():
                end_process("worker_stalled", STALLED_EXIT_CODE, problem=problem, timeout_s=self._timeout_s)

    def _look(self, now_s: float) -> str | None:
        """Return what is wrong; raises what a broker that does not answer raises."""
        mine, positions = self._assigned(), self._positions()
        wanted = [(place.topic, place.partition) for place in sorted(mine or ())]
        done = first_offsets(self._settings, wanted)
        done |= committed_offsets(self._settings, self._admin, DETECT_GROUP, wanted) if wanted else {}
        ends = end_offsets(self._settings, wanted, committed_only=True)
        behind = {where: offset for where, offset in done.items() if offset < ends[where]}
        still = {where: offset for where, offset in behind.items() if self._before.get(where) == offset}
        self._before = behind.copy()
        for where in still.keys() - self._with_records(still, ends):
            del behind[where]
        self._partitions.set(len(wanted))
        self._lag.set(sum(ends[where] - offset for where, offset in behind.items()))
        if mine is None:
            if positions is None:  # a large memory takes its time; what hangs there raises by itself
                self._balancing_since_s = now_s
            self._balancing_since_s = self._balancing_since_s or now_s
            return "the group was being balanced" if now_s - self._balancing_since_s > self._balancing_s else None
        self._balancing_since_s = None
        # while a worker reads again what was handled before it, offsets stand and positions move
        moved = {where: offset + (positions or {}).get(Place(*where), 0) for where, offset in behind.items()}
        stalled = self._clock.stalled(now_s, moved)
        return None if stalled is None else f"{stalled[0]} {stalled[1]} stands at offset {behind[stalled]}"

    def _with_records(self, still: Mapping[Where, int], ends: Mapping[Where, int]) -> set[Where]:
        """Return those partitions that hold a record at or behind these offsets: an end may lie behind markers only."""
        if not still:
            return set()
        found: set[Where] = set()
        deadline = time.monotonic() + self._settings.kafka.request_timeout_ms / 1000
        with FollowingReader(self._settings, dict(still)) as reader:
            while any(where not in found and reader.positions[where] < ends[where] for where in still):
                found.update((record.topic, record.partition) for record in reader.poll(100, POLL_S))
                if time.monotonic() > deadline:
                    raise BrokerError("the topics were not readable")
        return found
