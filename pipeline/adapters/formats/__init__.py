"""Files that probes write, read as usage records: one row at a time, and no row stops the file."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, tzinfo
from importlib import resources
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.adapters.formats import asterisk
from pipeline.adapters.formats.asterisk import usage_from_row
from pipeline.adapters.formats.usage_json import usage_from_json, usage_from_line, usage_to_json
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import RECORD_BYTES_MAX, UsageRecord

__all__ = [
    "FORMATS",
    "FormatError",
    "Unreadable",
    "detect_format",
    "read",
    "usage_from_json",
    "usage_to_json",
]

LINE_BYTES_MAX: Final = 8 * RECORD_BYTES_MAX
"""A line beyond it is not parsed: a record has 16 KiB, JSON spells a byte in six at most, and keys come on top."""

ReadRow = Callable[[bytes, tzinfo], UsageRecord | Refusal]
"""From one row without its line ending, and the zone of its local times, to the record or why it is none."""


class FormatError(ValueError):
    """No such format, no such time zone, or a file that is of none we know; the message says what there is."""


class Unreadable(NamedTuple):
    """A line that is no usage record: where (lines count from 1), why, and its bytes without the line ending."""

    line_number: int
    reason: str
    detail: dict[str, object]
    raw: bytes


def _json_row(row: bytes, zone: tzinfo) -> UsageRecord | Refusal:  # noqa: ARG001 - its times carry their offset
    return usage_from_line(row)


FORMATS: Final[dict[str, ReadRow]] = {"json": _json_row, "asterisk": usage_from_row}
_JSON_SUFFIXES: Final = frozenset({".json", ".jsonl", ".ndjson"})
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read(format_name: str, lines: Iterable[bytes], timezone: str = "UTC") -> Iterator[UsageRecord | Unreadable]:
    """Yield a record, or why there is none, for each line that is not blank; in order, holding one line at a time.

    `timezone` is that of local times in the file (asterisk); JSON carries its own. Raises FormatError at once, before
    the first line, for a format or zone that does not exist; what a line holds never raises.
    """
    read_row = FORMATS.get(format_name)
    if read_row is None:
        raise FormatError(f"no format {format_name!r}; there are {', '.join(FORMATS)}")
    return _read(read_row, lines, _zone(timezone))


def _read(read_row: ReadRow, lines: Iterable[bytes], zone: tzinfo) -> Iterator[UsageRecord | Unreadable]:
    for number, line in enumerate(lines, 1):
        row = line.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            row = row.removeprefix(_BYTE_ORDER_MARK)
        if not row.strip():
            continue
        if len(row) > LINE_BYTES_MAX:
            yield Unreadable(number, "out_of_bounds", {"line_bytes": len(row), "at_most": LINE_BYTES_MAX}, row)
            continue
        found = read_row(row, zone)
        yield Unreadable(number, found.reason, found.detail, row) if isinstance(found, Refusal) else found


def detect_format(path_suffix: str, first_line: bytes) -> str:
    """Return the format of a file by its first line, or where that does not tell by its name's suffix.

    Raises FormatError where neither tells.
    """
    row = first_line.strip().removeprefix(_BYTE_ORDER_MARK)
    if row.startswith(b"{"):
        return "json"
    columns = asterisk.split_row(row)
    if columns is not None and len(columns) == len(asterisk.COLUMNS):
        return "asterisk"
    if path_suffix.lower() in _JSON_SUFFIXES:
        return "json"
    raise FormatError(f"a file of no known format; say which with --format: {', '.join(FORMATS)}")


def _zone(name: str) -> tzinfo:
    """Return the zone of this name from the pinned database, not the machine's: a file means the same everywhere."""
    if name == "UTC":
        return UTC
    data = resources.files("tzdata") / "zoneinfo"
    parts = name.split("/")
    if not all(part and part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts):
        raise FormatError(f"no time zone {name!r}; write it like Asia/Shanghai")
    try:
        with data.joinpath(*parts).open("rb") as stored:
            return ZoneInfo.from_file(stored, key=name)
    except (OSError, ValueError):
        raise FormatError(f"no time zone {name!r}; write it like Asia/Shanghai") from None
