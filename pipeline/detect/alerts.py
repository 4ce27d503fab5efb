"""Findings to records for the topic of alerts; what could not be read, or was too much for a detector, is counted."""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.adapters.avro import ALERT
from pipeline.adapters.ledger_codec import iso_time
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Counter, Metrics
from pipeline.adapters.stream_types import Outgoing
from pipeline.domain.detectors.engine import Fault
from pipeline.domain.detectors.finding import Finding
from pipeline.topics import ALERT_RAISED

UNDECODABLE: Final = "undecodable"
UNKNOWN_SCHEMA: Final = "unknown_schema"
FAULT: Final = "fault"

_log = logger("detect")


class AlertMaker:
    """Makes the records, and counts them: alerts by detector and state, faults by detector."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.events = metrics.counter("chargeline_detect_events_total")
        self._raised: dict[tuple[str, str], Counter] = {}
        self._faults: dict[str, Counter] = {}
        self._unreadable = {
            reason: metrics.counter("chargeline_detect_unreadable_total", reason=reason)
            for reason in (UNDECODABLE, UNKNOWN_SCHEMA, FAULT)
        }

    def records(self, found: Iterable[Finding], headers: Mapping[str, bytes]) -> list[Outgoing]:
        """Return the alerts of one event, the same ones each time."""
        made = []
        for finding in found:
            made.append(alert_record(finding, headers))
            name = finding.detector, finding.state
            counter = self._raised.get(name)
            if counter is None:
                counter = self._raised[name] = self._metrics.counter(
                    "chargeline_detect_alerts_total", detector=name[0], state=name[1]
                )
            counter.inc()
        return made

    def passed_over(self, topic: str, partition: int, offset: int, reason: str, error: Exception | None = None) -> None:
        """Count an event that cannot be read, and name its place."""
        self._unreadable[reason].inc()
        name = None if error is None else type(error).__name__
        _log.error("event_passed_over", topic=topic, partition=partition, offset=offset, reason=reason, error=name)

    def faults(self, faults: Iterable[Fault], topic: str, partition: int, offset: int) -> None:
        """Count what detectors raised on an event, and name its place."""
        for fault in faults:
            counter = self._faults.get(fault.detector)
            if counter is None:
                counter = self._faults[fault.detector] = self._metrics.counter(
                    "chargeline_detect_faults_total", detector=fault.detector
                )
            counter.inc()
            _log.error(
                "detector_failed", topic=topic, partition=partition, offset=offset,
                detector=fault.detector, error=fault.error,
            )  # fmt: skip


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
    return Outgoing(ALERT_RAISED.name, finding.object_.encode(), value, outgoing)
