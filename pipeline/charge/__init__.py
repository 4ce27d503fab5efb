"""charge: the only process that moves money. Rates, tells repeats, updates balances, writes the ledger."""

import gc
import threading
from typing import Final

from pipeline.adapters import crash_points
from pipeline.adapters.health import serve
from pipeline.adapters.metrics import Metrics
from pipeline.charge.recovery import accept_loss, rebuild
from pipeline.charge.worker import Worker
from pipeline.settings import Settings

GC_ALLOCATIONS: Final = 200_000
"""New objects before the collector looks: a batch makes many and no cycle among them, so it would look in vain."""

__all__ = ["accept_loss", "rebuild", "run"]


def run(settings: Settings, stop: threading.Event) -> int:
    """Charge until `stop` is set, then hand over cleanly; returns the process's exit code."""
    crash_points.arm(settings)
    gc.set_threshold(GC_ALLOCATIONS, 50, 50)
    metrics = Metrics("charge")
    worker = Worker(settings, metrics)
    server = serve(
        settings.http.host, settings.http.charge_port, worker.checks, metrics, settings.http.request_timeout_s
    )
    try:
        worker.run(stop, server.drain)
    finally:
        server.close()
    return 0
