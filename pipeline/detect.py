"""Detect: alerts from the ledger's events. At least once: the same alert may be raised again, under the same id.

| crash or fault | what happens next |
|---|---|
| before an event's alerts are acknowledged | its offset is not committed; it is handled again, to the same ids |
| after that, before the commit | the same |
| an event cannot be read | it is counted and logged by its place; the next one is handled |
| the broker refuses an alert | it is sent again until it is acknowledged; nothing behind it is handled meanwhile |
| records but no progress (a hung agent, a balance that never ends) | the watchdog ends the process; a new one goes on |
| Faust skipped events | the numbers show it: the process ends and a new one reads them |
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from pipeline.adapters import health
from pipeline.adapters.avro import ALERT, UndecodableError, UnknownSchemaError
from pipeline.adapters.faust_app import Handled, Incoming, LedgerStream, Outgoing
from pipeline.adapters.kafka.client import BrokerError, KafkaException, admin, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.ledger_codec import decode_event, iso_time
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.progress import DETECT_GROUP, committed_offsets
from pipeline.domain.detectors import DETECTORS, Finding, Parameters, findings
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED, AUDIT

STALLED_EXIT_CODE: Final = 3
POLL_S: Final = 0.1
LOOKS_A_TIMEOUT: Final = 12
"""How often the watchdog looks within the time that a stall may last."""
_UNREADABLE: Final = ("undecodable", "unknown_schema", "fault")
_STATES: Final = ("open", "close")

_log = logger("detect")


def run(settings: Settings, stop: threading.Event) -> int:
    """Raise alerts until `stop` is set, then drain; returns the process's exit code: 0 drained, 1 it must be replaced.

    Call it in the main thread, of which it needs no signals. A worker that stalls or cannot drain ends the process
    itself, without a commit. Raises BrokerError where topics or the broker are not there.
    """
    metrics = Metrics("detect")
    describe_topics(settings)
    return asyncio.run(_work(settings, stop, metrics))


async def _work(settings: Settings, stop: threading.Event, metrics: Metrics) -> int:
    alerts = AlertMaker(Parameters(settings.detect.low_balance_micros), metrics)
    failed = metrics.counter("chargeline_detect_failed_deliveries_total")
    stream = LedgerStream(settings, DETECT_GROUP, alerts.handle, failed.inc)
    watchdog = Watchdog(settings, lambda: stream.assigned, metrics)
    server = health.serve(
        settings.http.host, settings.http.detect_port, watchdog.checks, metrics, settings.http.request_timeout_s
    )
    _log.info("detect_started", http_port=server.port)
    watchdog.start()
    try:
        starting = asyncio.create_task(stream.start())
        while not (stop.is_set() or stream.ended or _failed(starting)):  # noqa: ASYNC110 - `stop` is a thread's
            await asyncio.sleep(POLL_S)
        clean = stop.is_set() and not stream.ended
        server.drain()
        drained = asyncio.create_task(stream.stop())
        await asyncio.wait({drained}, timeout=settings.detect.stop_timeout_s)
        if not drained.done() or _failed(drained):
            _end_process("worker_did_not_drain", 1)  # its threads would keep the interpreter from ending
        starting.cancel()
        _log.info("detect_ended", clean=clean)
        return 0 if clean else 1
    finally:
        watchdog.stop()
        server.close()


def _failed(task: "asyncio.Task[None]") -> bool:
    if not task.done() or task.cancelled() or task.exception() is None:
        return False
    _log.error("worker_failed", exc_info=task.exception())
    return True


def _end_process(event: str, code: int, **why: object) -> None:
    _log.error(event, **why)
    sys.stderr.flush()
    os._exit(code)


class AlertMaker:
    """Turns records of the ledger into records for the topic of alerts, and counts them."""

    def __init__(self, parameters: Parameters, metrics: Metrics) -> None:
        self._parameters = parameters
        self._events = metrics.counter("chargeline_detect_events_total")
        self._raised = {
            (detector, state): metrics.counter("chargeline_detect_alerts_total", detector=detector, state=state)
            for detector in DETECTORS
            for state in _STATES
        }
        self._unreadable = {
            reason: metrics.counter("chargeline_detect_unreadable_total", reason=reason) for reason in _UNREADABLE
        }

    def handle(self, record: Incoming) -> Handled:
        """Return the alerts of one record, the same ones each time; a record that cannot be read has none."""
        self._events.inc()
        try:
            event = decode_event(record.value or b"").event
            found = findings(event, f"{record.partition}-{event.seq}", self._parameters)
            messages = tuple(alert_record(finding, record.headers) for finding in found)
        except UnknownSchemaError:
            return self._passed_over(record, "unknown_schema", None)
        except UndecodableError:
            return self._passed_over(record, "undecodable", None)
        except Exception as error:  # noqa: BLE001 - whatever one event provokes, the next ones have alerts too
            return self._passed_over(record, "fault", error)
        for finding in found:
            self._raised[finding.detector, finding.state].inc()
        return Handled(event.seq, messages)

    def _passed_over(self, record: Incoming, reason: str, error: Exception | None) -> Handled:
        self._unreadable[reason].inc()
        name = None if error is None else type(error).__name__
        _log.error("event_passed_over", partition=record.partition, offset=record.offset, reason=reason, error=name)
        return Handled(None, ())


def alert_record(finding: Finding, headers: Mapping[str, bytes]) -> Outgoing:
    """Return a finding as it goes onto the topic; the deciding event's `traceparent` goes with it."""
    alert_id = finding.alert_id
    value = ALERT.encode(
        {
            "alert_id": alert_id,
            "state": finding.state,
            "detector": finding.detector,
            "severity": finding.severity,
            "object": finding.object_,
            "account": finding.account,
            "opened_at": finding.opened_at,
            "window": finding.window,
            "score": finding.score,
            "record_ids": list(finding.record_ids),
            "charge_ids": list(finding.charge_ids),
            "detail": json.dumps(finding.detail, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
            "action": finding.action,
        }
    )
    outgoing = {
        "ce_specversion": b"1.0",
        "ce_id": f"{alert_id}/{finding.state}/{'/'.join(finding.charge_ids)}".encode(),
        "ce_source": b"/chargeline/detect",
        "ce_type": ALERT_RAISED.name.encode(),
        "ce_time": iso_time(finding.opened_at).encode(),
        "content-type": b"application/avro",
    }
    if "traceparent" in headers:
        outgoing["traceparent"] = headers["traceparent"]
    return Outgoing(finding.object_.encode(), value, outgoing)


class StallClock:
    """Says which partition has had records for too long without getting on; time is given to it, in seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._since: dict[int, tuple[int, float]] = {}

    def stalled(self, now_s: float, waiting: Mapping[int, int]) -> int | None:
        """Return a partition that stands where it stood `timeout_s` ago, or None.

        `waiting` has the next offset of each partition in which records wait; a partition not in it begins anew.
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

    def __init__(self, settings: Settings, assigned: Callable[[], frozenset[int] | None], metrics: Metrics) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._settings = settings
        self._assigned = assigned
        self._timeout_s = settings.detect.stall_timeout_s
        self._balancing_s = self._timeout_s + settings.detect.session_timeout_ms / 1000
        """longest sound balance: the group first waits out the session of a member that was killed"""
        self._ended = threading.Event()
        self._admin = admin(settings)
        self._clock = StallClock(self._timeout_s)
        self._balancing_since_s: float | None = None
        self._broker: str | None = "not asked yet"
        self._before: dict[int, int] = {}
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
                _end_process("worker_stalled", STALLED_EXIT_CODE, problem=problem, timeout_s=self._timeout_s)

    def _look(self, now_s: float) -> str | None:
        """Return what is wrong; raises what a broker that does not answer raises."""
        mine = self._assigned()
        wanted = [(AUDIT.name, partition) for partition in sorted(mine or ())]
        done = first_offsets(self._settings, wanted)
        done |= committed_offsets(self._settings, self._admin, DETECT_GROUP, wanted) if wanted else {}
        ends = end_offsets(self._settings, wanted, committed_only=True)
        behind = {partition: offset for (topic, partition), offset in done.items() if offset < ends[topic, partition]}
        still = {partition: offset for partition, offset in behind.items() if self._before.get(partition) == offset}
        self._before = behind
        for partition in still.keys() - self._with_records(still, ends):
            del behind[partition]
        self._partitions.set(len(wanted))
        self._lag.set(sum(ends[AUDIT.name, partition] - offset for partition, offset in behind.items()))
        if mine is None:
            self._balancing_since_s = self._balancing_since_s or now_s
            return "the group was being balanced" if now_s - self._balancing_since_s > self._balancing_s else None
        self._balancing_since_s = None
        stalled = self._clock.stalled(now_s, behind)
        return None if stalled is None else f"partition {stalled} stands at offset {behind[stalled]}"

    def _with_records(self, still: Mapping[int, int], ends: Mapping[tuple[str, int], int]) -> set[int]:
        """Return those partitions that hold a record at or behind these offsets: an end may lie behind markers only."""
        if not still:
            return set()
        found: set[int] = set()
        deadline = time.monotonic() + self._settings.kafka.request_timeout_ms / 1000
        with FollowingReader(self._settings, {(AUDIT.name, p): offset for p, offset in still.items()}) as reader:
            while any(p not in found and reader.positions[AUDIT.name, p] < ends[AUDIT.name, p] for p in still):
                found.update(record.partition for record in reader.poll(100, POLL_S))
                if time.monotonic() > deadline:
                    raise BrokerError("the ledger was not readable")
        return found
