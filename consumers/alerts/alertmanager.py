"""Tells Prometheus Alertmanagers of alerts, by `POST /api/v2/alerts`: again and again while open, then that it ended.

Labels are what routes and groups there: the detector as `alertname`, severity, what kind of thing it is about, and the
alert's id, which makes it one alert. Numbers of subscribers are no labels: they are in the annotations.
"""

import http.client
import json
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from consumers.alerts.life import CLOSED, EXPIRED, OPEN, Life, silenced_until
from consumers.alerts.store import AlertStore
from consumers.alerts.worker import Worker
from pipeline.adapters.command_json import parse_time
from pipeline.adapters.ledger_codec import iso_time
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.settings import Settings

PATH: Final = "/api/v2/alerts"
INTERVALS_OPEN: Final = 4
"""An open alert ends there by itself when nobody has told of it for so many intervals, as Prometheus' own do."""
_LOOK_S: Final = 0.5
_TIMEOUT_S: Final = 10
_log = logger("alerts")


class _Told(NamedTuple):
    changed_at: str
    at: float


class Alertmanagers(Worker):
    """Pushes on a thread and a connection of its own until `stop` is set."""

    def __init__(self, settings: Settings, metrics: Metrics, stop: threading.Event) -> None:
        super().__init__("alertmanager", settings, stop)
        self._failures = metrics.counter("chargeline_alerts_alertmanager_failures_total")
        self._urls = [endpoint(url) for url in settings.alerts.alertmanager_urls]
        self._told: dict[str, dict[str, _Told]] = {url: {} for url in self._urls}

    def _work(self) -> None:
        """Tell what changed at once, and what is open at every interval."""
        store = AlertStore(self._folder)
        life = Life(store)
        seen, looked = -1, 0.0
        again_s = self._settings.alertmanager_interval_s / INTERVALS_OPEN
        try:
            while self._urls and not self._stop_asked.wait(_LOOK_S):
                try:
                    number = life.last_number()
                    if number == seen and time.monotonic() - looked < again_s:
                        continue
                    seen, looked = number, time.monotonic()
                    alerts = self._alerts(life, time.time_ns() // 1_000_000)
                except sqlite3.OperationalError as error:
                    _log.warning("alerts_not_read", why=str(error))
                    continue
                for url in self._urls:
                    self._tell(url, alerts)
        finally:
            store.close()

    def _alerts(self, life: Life, now_ms: int) -> list[dict[str, Any]]:
        silences = life.silences(now_ms)
        since = iso_time(now_ms - self._settings.alertmanager_resolved_s * 1000)
        ended = [alert for alert in life.alerts(statuses=(CLOSED, EXPIRED)) if alert["changed_at"] >= since]
        return [alert for alert in [*life.alerts(), *ended] if silenced_until(alert, silences) is None]

    def _tell(self, url: str, alerts: list[dict[str, Any]]) -> None:
        told, now = self._told[url], time.monotonic()
        due = [
            alert
            for alert in alerts
            if (last := told.get(alert["alert_id"])) is None
            or last.changed_at != alert["changed_at"]
            or now - last.at >= self._settings.alertmanager_interval_s
        ]
        for first in range(0, len(due), self._settings.alertmanager_batch):
            part = due[first : first + self._settings.alertmanager_batch]
            now_ms = time.time_ns() // 1_000_000
            wrong = post(url, [as_told(alert, now_ms, self._settings.alertmanager_interval_s) for alert in part])
            if wrong is not None:
                self._failures.inc()
                _log.warning("alertmanager_not_told", why=wrong)
                self._stop_asked.wait(self._settings.backoff_ms / 1000)
                return
            told.update({alert["alert_id"]: _Told(alert["changed_at"], now) for alert in part})
        self._told[url] = {alert["alert_id"]: told[alert["alert_id"]] for alert in alerts}


def endpoint(url: str) -> str:
    """Return the address that alerts of an Alertmanager are posted to; raises ValueError where it is none."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError("an Alertmanager's address must begin with http:// or https://")
    return url.rstrip("/") + PATH


def as_told(alert: dict[str, Any], now_ms: int, interval_s: int) -> dict[str, Any]:
    """Return an alert as Alertmanager takes it."""
    began_ms = min(parse_time(alert["opened_at"]) or now_ms, now_ms)
    ends_ms = now_ms + INTERVALS_OPEN * interval_s * 1000
    if alert["status"] != OPEN:  # no end before its beginning, which would be refused
        ends_ms = max(parse_time(alert["changed_at"]) or now_ms, began_ms + 1)
    return {
        "labels": {
            "alertname": alert["detector"],
            "severity": alert["severity"],
            "object_kind": alert["object"].partition("-")[0],
            "alert_id": alert["alert_id"],
        },
        "annotations": {
            "summary": f"{alert['detector']} {alert['object']}",
            "description": alert["action"],
            "object": alert["object"],
            "account": alert["account"] or "",
            "score": alert["score"],
            "window": alert["window"],
        },
        "startsAt": iso_time(began_ms),
        "endsAt": iso_time(ends_ms),
    }


def post(url: str, alerts: list[dict[str, Any]]) -> str | None:
    """Send alerts; returns what is wrong, None where they were taken."""
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, json.dumps(alerts).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - the scheme was checked
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"answered {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"not reached: {type(error).__name__}"
