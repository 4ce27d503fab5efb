"""Charge alone: a real process on real servers, from its first record to the last one visible in the view."""

import os
import subprocess
import sys
import time
from typing import Final

import psutil

from deploy.bench import load
from deploy.bench.floor import Measured
from pipeline.adapters.store.redis import RedisStore
from pipeline.settings import Settings

LOOK_EVERY_S: Final = 0.05
TIMEOUT_S: Final = 600
DAYS_OPEN: Final = 40


def publish(settings: Settings, records: int, accounts: int, partitions: int) -> None:
    """Publish the tariff, an opening for each account, and the records as mediate would hand them on."""
    load.publish_catalogue(settings)
    opened_ms = int(time.time() * 1000) - DAYS_OPEN * 86_400_000
    load.open_accounts(settings, accounts, "basic", partitions, opened_ms)
    load.publish_accepted(settings, records, accounts, partitions)


def run(settings: Settings, records: int, accounts: int, partitions: int) -> Measured:
    """Start charge, wait until everything is in the view, stop it. Raises TimeoutError.

    The clock starts when the accounts are open, and the rate counts the records left then.
    """
    store = RedisStore(settings)
    process = _start(settings)
    try:
        watched = psutil.Process(process.pid)
        begun_at = _wait(store, partitions, accounts)
        begun, cpu = time.perf_counter(), sum(watched.cpu_times()[:2])
        ended_at = _wait(store, partitions, accounts + records)
        took, used = time.perf_counter() - begun, sum(watched.cpu_times()[:2]) - cpu
    finally:
        process.terminate()
        process.wait()
        store.close()
    done = ended_at - begun_at
    return Measured(round(done / took), round(used / done * 1e6))


def finish(settings: Settings, events: int, partitions: int) -> None:
    """Start charge, wait until the view holds so many events, stop it. Raises TimeoutError."""
    store = RedisStore(settings)
    process = _start(settings)
    try:
        _wait(store, partitions, events)
    finally:
        process.terminate()
        process.wait()
        store.close()


def _start(settings: Settings) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "CHARGELINE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers or "",
        "CHARGELINE_REDIS__URL": settings.redis.url or "",
        "CHARGELINE_DATA_DIR": str(settings.data_dir),
        "CHARGELINE_LOG_LEVEL": "error",
    }
    return subprocess.Popen([sys.executable, "-m", "deploy.cli", "run", "charge"], env=environment)


def _wait(store: RedisStore, partitions: int, events: int) -> int:
    """Wait until the view holds so many events; returns how many it holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        seen = sum(int(store.head(partition).get("seq", "0")) for partition in range(partitions))
        if seen >= events:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"{seen} of {events} events after {TIMEOUT_S} s")
        time.sleep(LOOK_EVERY_S)
