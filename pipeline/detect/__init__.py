"""Detect: alerts from the ledger's events. At least once: the same alert may be raised again, under the same id.

Two stages, each over the partitions of a topic: the ledger, where an account is seen whole, and the uses that it hands
on, where what many accounts touch is. States are in memory, and are kept in a topic from time to time; whoever takes a
partition over reads them, and then again what came after them, which says the same again and is not said twice.

| crash or fault | what happens next |
|---|---|
| before a batch's alerts are acknowledged | its offset is not committed; it is handled again, to the same ids |
| after that, before the commit | the same |
| between two times that states are kept | the last ones are read, and what came after, silently up to the commit |
| while states are kept | a transaction: those before it hold |
| an old worker wakes | its states are fenced; its rows and alerts are known by number and id |
| a detector raises on an event | it is counted; the other detectors have the event |
| an event cannot be read | it is counted and logged by its place; the next one is handled |
| the broker refuses an alert | it is sent again until it is acknowledged; nothing behind it is handled meanwhile |
| records but no progress (a hung agent, a balance that never ends) | the watchdog ends the process; a new one goes on |
| Faust skipped events | the numbers show it: the process ends and a new one reads them |
"""

import asyncio
import gc
import threading
from typing import Final

from pipeline.adapters import health
from pipeline.adapters.faust_app import LedgerStream
from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics
from pipeline.adapters.progress import DETECT_GROUP
from pipeline.detect.watchdog import POLL_S, STALLED_EXIT_CODE, StallClock, Watchdog, end_process
from pipeline.detect.worker import TOPICS_READ, Worker
from pipeline.settings import Settings

__all__ = ["STALLED_EXIT_CODE", "StallClock", "run"]

COLLECT: Final = (100_000, 20, 100)
"""New objects before the collector looks at them, and how much rarer it looks at older ones."""

_log = logger("detect")


def run(settings: Settings, stop: threading.Event) -> int:
    """Raise alerts until `stop` is set, then drain; returns the process's exit code: 0 drained, 1 it must be replaced.

    Call it in the main thread, of which it needs no signals. A worker that stalls or cannot drain ends the process
    itself, without a commit. Raises BrokerError where topics or the broker are not there.
    """
    metrics = Metrics("detect")
    # states are tuples without cycles, by the million: the collector would look through them again and again
    gc.set_threshold(*COLLECT)
    return asyncio.run(_work(settings, stop, metrics))


async def _work(settings: Settings, stop: threading.Event, metrics: Metrics) -> int:
    worker = Worker(settings, metrics)
    failed = metrics.counter("chargeline_detect_failed_deliveries_total")
    stream = LedgerStream(settings, DETECT_GROUP, TOPICS_READ, worker, failed.inc)
    worker.give_up = stream.give_up
    watchdog = Watchdog(settings, lambda: stream.assigned, worker.positions, metrics)
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
            end_process("worker_did_not_drain", 1)  # its threads would keep the interpreter from ending
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
