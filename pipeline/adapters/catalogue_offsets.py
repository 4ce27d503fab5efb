"""The UTC offsets of a zone, from the pinned tzdata package, never from the machine's own files."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400


@lru_cache(maxsize=16)
def utc_offsets(timezone: str) -> tuple[tuple[int, int], ...] | None:
    """Return (from UTC ms, seconds east of UTC) for 1970 to 2100, by time, or None for a zone that is not known."""
    zone = _zone(timezone)
    if zone is None:
        return None
    days = (datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - _EPOCH).days
    known = _offset_s(zone, 0)
    offsets = [(0, known)]
    for day in range(1, days + 1):
        end = day * _DAY_S
        if _offset_s(zone, end) == known:
            continue
        low = end - _DAY_S
        while end - low > 1:  # the moment within the day, to the second
            middle = (low + end) // 2
            if _offset_s(zone, middle) == known:
                low = middle
            else:
                end = middle
        known = _offset_s(zone, end)
        offsets.append((end * 1_000, known))
    return tuple(offsets)


def _zone(timezone: str) -> ZoneInfo | None:
    parts = timezone.split("/")
    if not all(part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts):
        return None
    source = files("tzdata").joinpath("zoneinfo", *parts)
    try:
        with source.open("rb") as data:
            return ZoneInfo.from_file(data, timezone)
    except (OSError, ValueError):  # no file, a name too long for one, or a file of the package that is no zone
        return None


def _offset_s(zone: ZoneInfo, second: int) -> int:
    offset = (_EPOCH + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert offset is not None, "a zone without an offset"
    return offset.days * _DAY_S + offset.seconds
