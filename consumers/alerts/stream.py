"""Changes of alerts as server-sent events: `GET /alerts/stream` on the process's own port.

An event's id is the change's number, so a client that comes back with `Last-Event-ID` (browsers and libraries do) goes
on behind it and misses nothing. Without one it begins with the next change; `?from=0` begins with the first one kept.

Alerts name subscribers. So the stream asks for a token (`Authorization: Bearer`) where there is one, is served on a
loopback address alone where there is none, and then to no web page: a browser's request names its origin.
"""

import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from consumers.alerts.life import Life
from consumers.alerts.store import AlertStore, folder_of
from pipeline.adapters.health import Opened
from pipeline.adapters.metrics import Metrics
from pipeline.settings import Settings

PATH: Final = "/alerts/stream"
_PLAIN: Final = "text/plain; charset=utf-8"
_POLL_S: Final = 0.3
_EVENTS: Final = 200
_NUMBER_DIGITS_MAX: Final = 18


class Streams:
    """Opens a stream for each client; `__call__` runs in the client's thread."""

    def __init__(self, settings: Settings, metrics: Metrics, stop: threading.Event) -> None:
        self._settings = settings
        self._folder = folder_of(settings)
        self._stop_asked = stop
        self._open = metrics.gauge("chargeline_alerts_streams")
        self._places = threading.BoundedSemaphore(settings.alerts.stream_clients_max)

    def __call__(self, headers: Mapping[str, str], query: dict[str, list[str]]) -> Opened:
        """Answer a request: with the stream, or with why not."""
        refused = self._refused(headers)
        if refused is not None:
            return _refusal(*refused)
        asked = headers.get("last-event-id") or (query.get("from") or [""])[0]
        if asked and not (asked.isascii() and asked.isdecimal() and len(asked) <= _NUMBER_DIGITS_MAX):
            return _refusal(HTTPStatus.BAD_REQUEST, "Last-Event-ID is the id of an event, a number")
        if not self._places.acquire(blocking=False):
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "as many streams as may be are open")
        return Opened(HTTPStatus.OK, "text/event-stream; charset=utf-8", _Pieces(self, int(asked) if asked else None))

    def _refused(self, headers: Mapping[str, str]) -> tuple[HTTPStatus, str] | None:
        file = self._settings.alerts.stream_token_file
        if file is not None:
            wanted = f"Bearer {file.read_text().strip()}".encode()
            if not hmac.compare_digest(headers.get("authorization", "").encode(), wanted):
                return HTTPStatus.UNAUTHORIZED, "the stream asks for its token"
            return None
        if not _is_loopback(self._settings.http.host):
            return HTTPStatus.FORBIDDEN, "set CHARGELINE_ALERTS__STREAM_TOKEN_FILE: this is no loopback address"
        host = headers.get("host", "").rpartition(":")[0].strip("[]")
        if "origin" in headers or not _is_loopback(host):
            return HTTPStatus.FORBIDDEN, "without a token the stream is for programs on this machine"
        return None

    def events(self, after: int | None) -> Iterator[bytes]:
        """Yield what was taken in behind that number, as it comes, and a comment where nothing does."""
        store = AlertStore(self._folder)
        life = Life(store)
        number = life.last_number() if after is None else after
        self._open.inc()
        try:
            yield b": alerts\n\n"
            spoke = time.monotonic()
            while not self._stop_asked.is_set():
                for change in life.changes_after(number, _EVENTS):
                    number = change["number"]
                    data = json.dumps(change["alert"], sort_keys=True, separators=(",", ":"))
                    yield f"id: {number}\nevent: {change['state']}\ndata: {data}\n\n".encode()
                    spoke = time.monotonic()
                if time.monotonic() - spoke > self._settings.alerts.stream_heartbeat_s:
                    yield b": still here\n\n"
                    spoke = time.monotonic()
                self._stop_asked.wait(_POLL_S)
        finally:
            self._open.dec()
            store.close()

    def ended(self) -> None:
        """Give a client's place to the next one."""
        self._places.release()


class _Pieces:
    """The events of one client; closing it gives its place away, also where nothing was read of it."""

    def __init__(self, streams: Streams, after: int | None) -> None:
        self._streams = streams
        self._events = streams.events(after)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        """Let go of the store and of the place."""
        self._events.close()  # type: ignore[attr-defined] # it is a generator
        self._streams.ended()


def _refusal(status: HTTPStatus, why: str) -> Opened:
    return Opened(status, _PLAIN, iter((f"{why}\n".encode(),)))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
