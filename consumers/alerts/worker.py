"""A thread of the alerts process that works on the file by a connection of its own, until it is told to stop."""

import threading

from consumers.alerts.store import folder_of
from pipeline.adapters.logs import logger
from pipeline.settings import Settings

_log = logger("alerts")


class Worker(threading.Thread):
    """Works until `stop` is set. `failed`: it ended by what nobody expected, and has set `stop` for all."""

    def __init__(self, name: str, settings: Settings, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._settings = settings.alerts
        self._folder = folder_of(settings)
        self._stop_asked = stop
        self.failed = False

    def run(self) -> None:
        """Work; what nobody expected ends the process, and a new one goes on from the file."""
        try:
            self._work()
        except Exception:  # noqa: BLE001 - whatever it is, it must not end this thread unseen
            _log.exception("thread_ended", thread=self.name)
            self.failed = True
            self._stop_asked.set()

    def _work(self) -> None:
        raise NotImplementedError
