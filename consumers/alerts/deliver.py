"""Delivers what is queued, again and again until the receiver has it or the schedule has ended.

| crash or fault | what happens next |
|---|---|
| before the attempt, or during it | the row still waits: it is made at the next start |
| the receiver has it, the row does not say so | it is sent once more, under the same `webhook-id` |
| the receiver fails | after the next pause of `retry_schedule_s`, with jitter, or what it asked for by Retry-After |
| it fails on and on | it is asked with one webhook at a time, others wait; the rest follows when it answers |
| it says 410 Gone | its subscription ends, and says why |
"""

import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from consumers.alerts.address import networks
from consumers.alerts.queue import DELIVERED, FAILED, HELD, WAITING, Due, Queue
from consumers.alerts.reminder import reminder_data
from consumers.alerts.store import AlertStore
from consumers.alerts.webhook import Outcome, message, send
from consumers.alerts.worker import Worker
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.settings import Settings

JITTER: Final = 0.1
"""A pause is longer by up to this share of it: receivers that came back are not met by all at once."""
_RETRIED: Final = "retried"
_RELEASE_S: Final = 1.0
_log = logger("alerts")


class Deliverer(Worker):
    """Works the queue on a thread and a connection of its own until `stop` is set."""

    def __init__(self, settings: Settings, metrics: Metrics, stop: threading.Event) -> None:
        super().__init__("deliver", settings, stop)
        self._allowed = networks(settings.alerts.allowed_networks)
        self._waiting = metrics.gauge("chargeline_alerts_waiting")
        self._outcomes = {
            outcome: metrics.counter("chargeline_alerts_deliveries_total", outcome=outcome)
            for outcome in (DELIVERED, _RETRIED, FAILED)
        }
        self._random = random.SystemRandom()
        self.wrong: str | None = None
        """why nothing is delivered, None while all is well"""

    def _work(self) -> None:
        """Deliver until told to stop; attempts under way are ended by their own time-out."""
        store = AlertStore(self._folder)
        queue = Queue(store)
        released = 0.0
        try:
            with ThreadPoolExecutor(self._settings.delivery_workers, "webhook") as pool:
                while not self._stop_asked.is_set():
                    try:
                        if time.monotonic() - released > _RELEASE_S:
                            queue.release(_now_ms())
                            released = time.monotonic()
                        busy = self._round(queue, pool)
                        self.wrong = None
                    except sqlite3.OperationalError as error:
                        busy, self.wrong = False, str(error)
                        _log.warning("queue_not_worked", why=self.wrong)
                    if not busy:
                        self._stop_asked.wait(self._settings.delivery_poll_ms / 1000)
        finally:
            store.close()

    def _round(self, queue: Queue, pool: ThreadPoolExecutor) -> bool:
        due = queue.due(_now_ms(), self._settings.delivery_workers)
        tried = [(item, pool.submit(self._attempt, item)) for item in due]
        delivered = False
        for item, outcome in tried:
            delivered = self._settle(queue, item, outcome.result()) or delivered
        counts = queue.counts()
        self._waiting.set(sum(count for (_, status), count in counts.items() if status in (WAITING, HELD)))
        return delivered

    def _attempt(self, due: Due) -> Outcome:
        owner = due.subscription
        if owner.language is None:
            body = message(f"alert.{due.state}", due.taken_ms, due.alert)
        else:
            body = message("reminder", due.taken_ms, reminder_data(due.alert, owner.language))
        timeout_s = self._settings.delivery_timeout_s
        return send(owner.url, due.change_id, body, Path(owner.secret_file), self._allowed, timeout_s)

    def _settle(self, queue: Queue, due: Due, outcome: Outcome) -> bool:
        now_ms = _now_ms()
        if outcome.error is None:
            queue.delivered(due, now_ms)
            self._outcomes[DELIVERED].inc()
            return True
        schedule = self._settings.retry_schedule_s
        again_ms: int | None = None
        if due.attempt <= len(schedule) and not outcome.gone:
            wait_s = max(schedule[due.attempt - 1], outcome.retry_after_s or 0)
            again_ms = now_ms + int(wait_s * 1000 * (1 + JITTER * self._random.random()))
        pause_s = schedule[min(due.subscription.failures, len(schedule) - 1)] if schedule else 0
        pause_s = min(pause_s, self._settings.pause_max_s)
        paused_ms = now_ms + max(pause_s, outcome.retry_after_s or 0) * 1000
        queue.failed(due, outcome.error, again_ms, paused_ms, now_ms)
        if outcome.gone:
            queue.gone(due.subscription.name, outcome.error)
        self._outcomes[FAILED if again_ms is None else _RETRIED].inc()
        _log.warning(
            "webhook_failed", subscription=due.subscription.name, attempt=due.attempt, why=outcome.error,
            given_up=again_ms is None,
        )  # fmt: skip
        return False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
