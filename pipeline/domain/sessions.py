"""A session's state between its parts: which parts are known, when it is a new one, how long it is kept."""

from collections.abc import Mapping
from typing import Final

from pipeline.domain.ledger import SessionEffect
from pipeline.domain.usage import DAY_MS, AcceptedUsage

LATEST_DAY: Final = "day"
"""The field that is ours and not the meter's: the latest day of its parts, which its expiry follows."""


def known_parts(fields: Mapping[str, str], usage: AcceptedUsage, late_window_days: int) -> dict[str, str]:
    """Return what the meter knows of the session; nothing where its id is used again, for another session.

    Parts lie within the late window of one another: older ones are not accepted any more when newer ones come.
    """
    if usage.start_time // DAY_MS - int(fields.get(LATEST_DAY, "0")) > late_window_days:
        return {}
    return {name: value for name, value in fields.items() if name != LATEST_DAY}


def session_effect(
    key: str,
    fields: dict[str, str],
    usage: AcceptedUsage,
    changes: Mapping[str, str | None],
    late_window_days: int,
) -> SessionEffect:
    """Return what a part changes of its session, and change `fields`, the batch's working copy, by it."""
    begins = not known_parts(fields, usage, late_window_days)
    if begins:
        fields.clear()
    day = max(usage.start_time // DAY_MS, int(fields.get(LATEST_DAY, "0")))
    after: dict[str, str | None] = {**changes, LATEST_DAY: str(day)}
    for name, value in after.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return SessionEffect(key, day + 2 * late_window_days, after, begins)
