"""What a process says of itself over HTTP: `/metrics`, `/livez`, `/readyz`.

`/livez` asks nothing: it answers while the process runs (a process that is stuck ends itself). `/readyz` asks the
checks: 200, or 503 with those that fail, `?verbose` lists all; it fails while the process drains. Plain HTTP for the
machines that watch; what a check says must therefore name no secret and no subscriber.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pipeline.adapters.logs import logger
from pipeline.adapters.metrics import Metrics

Checks = Callable[[], dict[str, str | None]]
"""Name of each check to what is wrong with it, None where nothing is. Called a request, from any thread: be quick."""

STOP_NOTICED_S: Final = 0.05
_PLAIN: Final = "text/plain; charset=utf-8"
_log = logger("health")


class Opened(NamedTuple):
    """What a stream answers a request: its status and type, then pieces of the body until they end or the client does.

    Pieces are sent as they come; whoever makes them is closed when the client is gone.
    """

    status: HTTPStatus
    content_type: str
    pieces: Iterator[bytes]


Stream = Callable[[Mapping[str, str], dict[str, list[str]]], Opened]
"""Called with the headers (names in lower case) and the query of a GET, in the thread of that client."""


def serve(
    host: str,
    port: int,
    checks: Checks,
    metrics: Metrics,
    timeout_s: int = 5,
    streams: Mapping[str, Stream] | None = None,
) -> "Server":
    """Listen on host and port (0: any free one) in threads of its own; raises OSError where it cannot.

    `timeout_s`: a client that says nothing for so long is hung up on. `streams`: further pages, by path.
    """
    return Server(host, port, checks, metrics, timeout_s, streams or {})


class Server:
    """A listening server: `port` is the one it got. `drain` before the work stops, `close` after it."""

    def __init__(
        self, host: str, port: int, checks: Checks, metrics: Metrics, timeout_s: int, streams: Mapping[str, Stream]
    ) -> None:
        self._checks = checks
        self._draining = threading.Event()
        pages: dict[str, _Page] = {
            "/metrics": lambda _: (HTTPStatus.OK, metrics.content_type, metrics.exposition()),
            "/livez": lambda _: (HTTPStatus.OK, _PLAIN, b"ok\n"),
            "/readyz": self._ready,
        }
        kind = _Http6 if ":" in host else _Http
        self._http = kind(
            (host, port), type("Handler", (_Handler,), {"pages": pages, "streams": streams, "timeout": timeout_s})
        )
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(STOP_NOTICED_S,), name="health", daemon=True
        )
        self._thread.start()

    def drain(self) -> None:
        """Fail `/readyz` from now on: no new work, the batch in hand is being finished."""
        self._draining.set()

    def close(self) -> None:
        """Stop listening; requests under way are finished or time out on their own. Again: nothing."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _ready(self, query: dict[str, list[str]]) -> "_Answer":
        found = {"draining": "the process is stopping"} if self._draining.is_set() else {}
        results: dict[str, str | None] = {**found, **self._checks()}
        failing = any(results.values())
        verbose = "verbose" in query
        lines = [
            f"[-]{name} failed: {wrong}" if wrong else f"[+]{name} ok"
            for name, wrong in results.items()
            if wrong or verbose
        ]
        lines.append("not ready" if failing else "ok")
        status = HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK
        return status, _PLAIN, "".join(f"{line}\n" for line in lines).encode()


_Answer = tuple[HTTPStatus, str, bytes]
_Page = Callable[[dict[str, list[str]]], _Answer]


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, _Page]
    streams: Mapping[str, Stream]
    protocol_version = "HTTP/1.1"
    server_version = "chargeline"
    sys_version = ""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        stream = self.streams.get(address.path)
        if stream is not None and self.command == "GET":
            self._stream(stream, parse_qs(address.query, keep_blank_values=True))
            return
        page = self.pages.get(address.path)
        if page is None:
            answer: _Answer = HTTPStatus.NOT_FOUND, _PLAIN, b"/metrics, /livez or /readyz\n"
        else:
            answer = page(parse_qs(address.query, keep_blank_values=True))
        status, content_type, body = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, stream: Stream, query: dict[str, list[str]]) -> None:
        self.close_connection = True  # the body ends where the connection does
        opened = stream({name.lower(): value for name, value in self.headers.items()}, query)
        pieces = iter(opened.pieces)
        try:
            self.send_response(opened.status)
            self.send_header("Content-Type", opened.content_type)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
        except (ConnectionError, TimeoutError):
            _log.debug("stream_client_gone")
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: probes and scrapes come every few seconds."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's names
        _log.warning("health_request_failed", exc_info=True)


class _Http6(_Http):
    address_family = AF_INET6
