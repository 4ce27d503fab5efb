"""`chargeline run audit`: the auditor as a process. It follows the ledger, and is loud at the first breach.

Broker, Redis or the store away: it begins again from what it remembers, after a pause. A breach is an alert, raised
again and again under one id, `chargeline_audit_breach` 1, and `/readyz` that names it, also after a restart.
"""

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

from consumers.audit.breach import Breach
from consumers.audit.follow import Follower
from consumers.audit.signing import SealKey
from consumers.audit.store import AuditStore
from pipeline.adapters.avro import ALERT
from pipeline.adapters.health import serve
from pipeline.adapters.kafka.client import BrokerError, KafkaException
from pipeline.adapters.kafka.delivery import Delivery, Outgoing
from pipeline.adapters.ledger_codec import iso_time
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.store import ViewUnavailableError
from pipeline.adapters.store.redis import RedisError
from pipeline.domain.detectors.finding import CRITICAL, OPEN, alert_id
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED

DETECTOR: Final = "control_total"
ACTION: Final = "Stop, keep the topics as they are, and read what the breach names: docs/guide-auditor.md."
_ALERT_S: Final = 10
_FIGURES: Final = {
    "opening": "opening",
    "topped_up": "topped_up",
    "adjusted": "adjusted",
    "charged": "charged",
    "balance": "balances",
}
_log = logger("audit")


def folder_of(settings: Settings) -> Path:
    """Return where the auditor of this deployment keeps what it remembers."""
    return settings.audit.folder or settings.data_dir / "audit"


def key_file_of(settings: Settings) -> Path:
    """Return where its private key is."""
    return settings.audit.key_file or folder_of(settings) / "seal_key.pem"


def run(settings: Settings, stop: threading.Event) -> int:
    """Audit until `stop` is set; returns the process's exit code."""
    metrics = Metrics("audit")
    store = AuditStore(folder_of(settings))
    auditor = Auditor(settings, store, SealKey.of_file(key_file_of(settings)), metrics)
    server = serve(settings.http.host, settings.http.audit_port, auditor.checks, metrics)
    try:
        auditor.run(stop)
    finally:
        server.close()
        store.close()
    return 0


class _Done(NamedTuple):
    """What was counted so far."""

    events: int
    repriced: int
    views: int
    seals: int


class Auditor:
    """Follows, exports, and raises the alarm."""

    def __init__(self, settings: Settings, store: AuditStore, key: SealKey, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._key = key
        self._metrics = metrics
        self._events = metrics.counter("chargeline_audit_events_total")
        self._repriced = metrics.counter("chargeline_audit_repriced_total")
        self._views = metrics.counter("chargeline_audit_views_total")
        self._seals = metrics.counter("chargeline_audit_seals_total")
        self._breach = metrics.gauge("chargeline_audit_breach")
        self._lag = metrics.gauge("chargeline_audit_lag_records")
        self._lag_s = metrics.gauge("chargeline_audit_lag_seconds")
        self._wrong: str | None = "not asked yet"
        self._view_wrong: str | None = None
        self._breaches = [breach for breach, _ in store.breaches()]
        self._alerted: dict[Breach, float] = {}

    def checks(self) -> dict[str, str | None]:
        """Return what readiness depends on: broker and Redis answer, and no promise was found broken."""
        found = [f"{b.invariant} is broken at {b.partition}-{b.seq}: {b.detail}" for b in self._breaches]
        return {"ledger": self._wrong, "redis": self._view_wrong, "books": "; ".join(found) or None}

    def run(self, stop: threading.Event) -> None:
        """Follow until told to stop; what does not answer is asked again, from what is remembered."""
        while not stop.is_set():
            follower: Follower | None = None
            try:
                follower = Follower(self._settings, self._store, self._key)
                _log.info("audit_goes_on", seqs={p: audit.chain.seq for p, audit in follower.audits.items()})
                self._follow(follower, stop)
            except (KafkaException, BrokerError, ViewUnavailableError, RedisError, sqlite3.OperationalError) as error:
                self._wrong = f"{type(error).__name__}: {str(error)[:200]}"
                _log.warning("audit_begins_again", why=self._wrong)
                stop.wait(self._settings.audit.backoff_ms / 1000)
            finally:
                if follower is not None:
                    follower.close()

    def _follow(self, follower: Follower, stop: threading.Event) -> None:
        done = _Done(0, 0, 0, 0)
        while not stop.is_set():
            follower.round()
            self._wrong = None
            self._breaches, self._view_wrong = list(follower.breaches), follower.view_wrong
            done = self._count(follower, done)
            self._export(follower)
            for breach in self._breaches:
                self._alarm(breach)

    def _count(self, follower: Follower, done: _Done) -> _Done:
        repriced = sum(audit.repriced for audit in follower.audits.values())
        now = _Done(follower.events, repriced, follower.views, follower.seals)
        for counter, after, before in zip(
            (self._events, self._repriced, self._views, self._seals), now, done, strict=True
        ):
            counter.inc(after - before)
        return now

    def _export(self, follower: Follower) -> None:
        positions = follower.positions
        behind = {p: max(end - positions[p], 0) for p, end in follower.ends.items()}
        self._lag.set(sum(behind.values()))
        last = [ms for p, count in behind.items() if count and (ms := follower.last_ms(p)) is not None]
        self._lag_s.set(max(time.time() - min(last) / 1000, 0) if last else 0)
        self._breach.set(1 if self._breaches else 0)
        sums: dict[tuple[str, str], int] = {}
        for partition, audit in follower.audits.items():
            self._metrics.gauge("chargeline_audit_last_seq", partition=str(partition)).set(audit.chain.seq)
            audit.books.close()
            for figure, name in _FIGURES.items():
                for currency, micros in getattr(audit.books.figures, name).items():
                    sums[figure, currency] = sums.get((figure, currency), 0) + micros
        for (figure, currency), micros in sums.items():
            self._metrics.gauge("chargeline_audit_books_micros", figure=figure, currency=currency).set(micros)
        for outcome, count in follower.outcomes().items():
            self._metrics.gauge("chargeline_audit_records", outcome=outcome).set(count)

    def _alarm(self, breach: Breach) -> None:
        """Raise the alert of a breach, now and then again: the same one each time."""
        now = time.monotonic()
        if breach in self._alerted and now - self._alerted[breach] < self._settings.audit.alert_interval_s:
            return
        self._alerted[breach] = now
        clock = next((clock for known, clock in self._store.breaches() if known == breach), 0)
        object_ = f"source-ledger-{breach.partition}"
        window = f"{breach.invariant}@{breach.seq}"
        name = alert_id(DETECTOR, object_, window)
        value = ALERT.encode(
            {
                "alert_id": name, "state": OPEN, "detector": DETECTOR, "severity": CRITICAL, "object": object_,
                "account": None, "opened_at": clock, "window": window, "score": "1", "record_ids": [],
                "charge_ids": [f"{breach.partition}-{breach.seq}"], "action": ACTION,
                "detail": json.dumps(breach._asdict(), ensure_ascii=False, sort_keys=True),
            }
        )  # fmt: skip
        headers = {
            "ce_specversion": "1.0", "ce_id": f"{name}/{OPEN}", "ce_source": "/chargeline/audit",
            "ce_type": ALERT_RAISED.name, "ce_time": iso_time(clock), "content-type": "application/avro",
        }  # fmt: skip
        _log.error("breach", **breach._asdict())
        delivery = Delivery(self._settings, _ALERT_S)
        record = Outgoing(
            ALERT_RAISED.name, object_.encode(), value, tuple((key, text.encode()) for key, text in headers.items())
        )
        delivery.send(record, lambda _partition, _offset: None)
        delivery.flush()
