"""Logs: one JSON object a line on standard error. The only importer of structlog.

A line has `timestamp` (ISO 8601, UTC), `level`, `logger`, `event` (snake_case, what happened) and what belongs to it.
Log a batch, never a record; never a subscriber number, a secret or a path of this machine. A traceback is therefore
written as modules, functions and lines, without file names and without local values.
"""

import json
import logging
import sys
from traceback import walk_tb
from types import TracebackType
from typing import Final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

__all__ = ["Logger", "configure", "logger"]

Logger = FilteringBoundLogger
"""What `logger` returns: `debug`, `info`, `warning`, `error`, `exception`, each with an event and keyword values."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_CAUSES_MAX: Final = 5


def configure(level: str) -> None:
    """Set the level of all loggers (debug, info, warning, error) and send library warnings the same way.

    Call it once at the start of a process; again replaces what was there.
    """
    threshold = _LEVELS[level]
    first: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [_exception_as_data, structlog.processors.JSONRenderer(_dumps)]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_NamedLogger,
        cache_logger_on_first_use=False,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, _foreign],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _StandardError)]:
        root.removeHandler(old)
    root.addHandler(handler)
    # libraries talk a lot at INFO, and of machines and records at DEBUG: only what they warn of is ours to pass on
    root.setLevel(max(threshold, logging.WARNING))


def logger(name: str) -> Logger:
    """Return a logger; cheap, and good to be made at import, before `configure`."""
    made: Logger = structlog.get_logger(name)
    return made


class _NamedLogger(structlog.PrintLogger):
    """Prints to whatever standard error is at that moment."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name


class _StandardError(logging.StreamHandler):  # type: ignore[type-arg] # generic in the stubs alone
    """Writes to whatever standard error is at that moment, as the loggers above do."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _dumps(value: object, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _foreign(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Give a library's sentence a place of its own: `event` stays a closed vocabulary."""
    event["message"] = event["event"]
    event["event"] = "library_message"
    return event


def _exception_as_data(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if given is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = [_described(cause) for cause in _chain(error)]
    return event


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and len(chain) < _CAUSES_MAX:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _described(error: BaseException) -> dict[str, object]:
    return {"type": type(error).__name__, "message": str(error), "at": _frames(error.__traceback__)}


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{f.f_globals.get('__name__', '?')}.{f.f_code.co_qualname}:{line}" for f, line in walk_tb(trace)]
