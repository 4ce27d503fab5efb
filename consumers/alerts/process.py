"""`chargeline run alerts`: follows the alert topic, remembers each alert, and delivers it to whoever asked.

| crash or fault | what happens next |
|---|---|
| before the transaction that takes alerts in | they are read again, from the position that was kept |
| after it | position, alerts and what is owed to subscribers are there, all of them |
| an alert cannot be read | it is counted and logged by its place; the next one is taken in |
| the broker does not answer | it is asked again, from what is remembered; deliveries go on |
| the topic was made anew | it is read from its beginning; what is known by id stays as it is |

Run one: the file is locked, a second one ends with exit code 1.
"""

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from consumers.alerts.alertmanager import Alertmanagers
from consumers.alerts.change import SEVERITIES, STATES, Change, change_of
from consumers.alerts.deliver import Deliverer
from consumers.alerts.life import DAY_MS, Life
from consumers.alerts.queue import Queue
from consumers.alerts.store import AlertStore, folder_of
from consumers.alerts.stream import PATH, Streams
from pipeline.adapters.avro import UndecodableError, UnknownSchemaError
from pipeline.adapters.health import serve
from pipeline.adapters.kafka.client import BrokerError, Fetched, KafkaException, end_offsets, first_offsets
from pipeline.adapters.kafka.reader import FollowingReader
from pipeline.adapters.kafka.topics import describe_topics
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.settings import Settings
from pipeline.topics import ALERT_RAISED

_EXPIRE_S: Final = 60.0
_log = logger("alerts")


def run(settings: Settings, stop: threading.Event) -> int:
    """Follow and deliver until `stop` is set; returns the process's exit code: 1 where it must be replaced."""
    metrics = Metrics("alerts")
    folder = folder_of(settings)
    store = AlertStore(folder)
    with _alone(folder) as alone:
        if not alone:
            _log.error("another_process_has_the_alerts")
            store.close()
            return 1
        follower = AlertFollower(settings, store, metrics)
        deliverer = Deliverer(settings, metrics, stop)
        alertmanagers = Alertmanagers(settings, metrics, stop)
        http = settings.http
        checks = lambda: {**follower.checks(), "queue": deliverer.wrong}  # noqa: E731 - two words
        streams = {PATH: Streams(settings, metrics, stop)}
        server = serve(http.host, http.alerts_port, checks, metrics, http.request_timeout_s, streams)
        _log.info("alerts_started", http_port=server.port)
        try:
            deliverer.start()
            alertmanagers.start()
            follower.run(stop)
            server.drain()
            deliverer.join(settings.alerts.delivery_timeout_s + 1)
            alertmanagers.join(settings.alerts.delivery_timeout_s + 1)
        finally:
            server.close()
            store.close()
    return int(deliverer.failed or alertmanagers.failed)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the lock of the folder, and say whether it could be had; the system lets go of it with the process."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class AlertFollower:
    """Takes the alert topic in, batch by batch."""

    def __init__(self, settings: Settings, store: AlertStore, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._life = Life(store)
        self._queue = Queue(store)
        self._wrong: str | None = "not asked yet"
        self._expired = 0.0
        self._changes = {state: metrics.counter("chargeline_alerts_changes_total", state=state) for state in STATES}
        self._repeats = metrics.counter("chargeline_alerts_repeats_total")
        self._unreadable = metrics.counter("chargeline_alerts_unreadable_total")
        self._lag = metrics.gauge("chargeline_alerts_lag_records")
        self._open = {name: metrics.gauge("chargeline_alerts_open", severity=name) for name in SEVERITIES}

    def checks(self) -> dict[str, str | None]:
        """Return what readiness depends on: the topic can be read."""
        return {"topic": self._wrong}

    def run(self, stop: threading.Event) -> None:
        """Follow until told to stop; what does not answer is asked again, from what is remembered."""
        while not stop.is_set():
            try:
                self._follow(stop)
            except (KafkaException, BrokerError, sqlite3.OperationalError) as error:
                self._wrong = f"{type(error).__name__}: {str(error)[:200]}"
                _log.warning("alerts_begin_again", why=self._wrong)
                stop.wait(self._settings.alerts.backoff_ms / 1000)

    def _follow(self, stop: threading.Event) -> None:
        facts = describe_topics(self._settings)[ALERT_RAISED.name]
        topic_id = facts.topic_id.hex()
        places = [(ALERT_RAISED.name, partition) for partition in range(facts.partitions)]
        kept = self._store.positions(topic_id)
        firsts, ends = first_offsets(self._settings, places), end_offsets(self._settings, places, committed_only=False)
        start = {
            place: at if firsts[place] <= (at := kept.get(place[1], firsts[place])) <= ends[place] else firsts[place]
            for place in places
        }
        _log.info("alerts_go_on", offsets={place[1]: at for place, at in start.items()})
        alerts = self._settings.alerts
        with FollowingReader(self._settings, start) as reader:
            while not stop.is_set():
                records = reader.poll(alerts.batch_alerts, alerts.poll_ms / 1000)
                if records:
                    positions = {partition: at for (_, partition), at in reader.positions.items()}
                    self.take(records, topic_id, positions)
                ends = {place: end for place, (_, end) in reader.bounds().items()}
                self._lag.set(sum(max(ends[place] - at, 0) for place, at in reader.positions.items()))
                self._wrong = None
                self._upkeep()

    def take(self, records: list[Fetched], topic_id: str, positions: dict[int, int]) -> None:
        """Take records in, with the positions behind them: all of it in one transaction."""
        changes = [change for record in records if (change := self._read(record)) is not None]
        now_ms = time.time_ns() // 1_000_000
        news: list[Change] = []
        with self._store.transaction():
            for change in changes:
                if self._life.take(change, now_ms):
                    self._queue.enqueue(change, now_ms)
                    news.append(change)
            self._store.keep_positions(topic_id, positions)
        for change in news:
            self._changes[change.state].inc()
        self._repeats.inc(len(changes) - len(news))

    def _read(self, record: Fetched) -> Change | None:
        try:
            return change_of(record)
        except (UndecodableError, UnknownSchemaError) as error:
            self._unreadable.inc()
            where = {"partition": record.partition, "offset": record.offset}
            _log.error("alert_passed_over", **where, error=type(error).__name__)
            return None

    def _upkeep(self) -> None:
        counted = self._life.open_by_severity()
        for severity, gauge in self._open.items():
            gauge.set(counted[severity])
        if time.monotonic() - self._expired < _EXPIRE_S:
            return
        self._expired = time.monotonic()
        alerts = self._settings.alerts
        with self._store.transaction():
            self._life.expire(alerts.open_days * DAY_MS, alerts.keep_days * DAY_MS, time.time_ns() // 1_000_000)
