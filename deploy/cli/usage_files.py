"""Files of usage as commands read them: opened, their format found, line by line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.cli.talk import RefusedError
from pipeline.adapters.formats import FormatError, Unreadable, detect_format, read
from pipeline.domain.usage import UsageRecord

_ALIASES = {"jsonl": "json"}


class _Numbered:
    """Hands lines on, one at a time, and knows the number of the last one."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.line = 0

    def __iter__(self) -> Iterator[bytes]:
        for self.line, line in enumerate(self._lines, 1):  # noqa: B020 - the number is the point
            yield line


@contextmanager
def open_usage(
    path: Path, format_name: str | None, timezone: str, otherwise: str | None = None
) -> Iterator[Iterator[tuple[int, UsageRecord | Unreadable]]]:
    """Open a file of usage; yields its records, and why a line is none, each with the number of its line.

    Where its format cannot be told it is `otherwise`; without that, and for a format or zone that does not exist,
    raises RefusedError.
    """
    with path.open("rb") as lines:
        try:
            first = next((line for line in lines if line.strip()), None)
            lines.seek(0)
            if first is None:
                yield iter(())
                return
            name = _ALIASES.get(format_name or "", format_name) or _detected(path, first, otherwise)
            numbered = _Numbered(lines)
            found = read(name, numbered, timezone)
        except FormatError as error:
            raise RefusedError(f"{path}: {error}") from None
        yield ((numbered.line, item) for item in found)


def _detected(path: Path, first: bytes, otherwise: str | None) -> str:
    try:
        return detect_format(path.suffix, first)
    except FormatError:
        if otherwise is None:
            raise
        return otherwise
