"""Usage records before they are numbered: what was used, and when its source sent the record of it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from deploy.sample.days import SECOND_MS
from deploy.sample.people import Line

MSC: Final = "MSC-1"
SMSC: Final = "SMSC-1"
PGW: Final = "PGW-1"

NORMAL_RELEASE: Final = 0
UNSUCCESSFUL_CALL: Final = 3  # CauseForTerm unsuccessfulCallAttempt
TIME_LIMIT: Final = 17  # CauseForRecClosing timeLimit
RELEASE_DELAY_MS: Final = 4 * SECOND_MS


class Draft(NamedTuple):
    """A record without its id and sequence: the fields that it says, its start in ms, when it was sent."""

    sent_ms: int
    source: str
    start_ms: int
    fields: dict[str, object]
    label: str | None = None


class Part(NamedTuple):
    """One partial record's own quantities."""

    duration_ms: int
    uplink_octets: int
    downlink_octets: int


def call(
    of: Line,
    other: str,
    start_ms: int,
    duration_ms: int,
    *,
    incoming: bool = False,
    visited: str | None = None,
    label: str | None = None,
) -> Draft:
    """Return an answered call of this line, or one with duration 0 that nobody answered."""
    answered = duration_ms > 0
    fields: dict[str, object] = {
        "service": "VOICE",
        "direction": "MT" if incoming else "MO",
        **_served(of, visited),
        "other_party": other,
        "duration_ms": duration_ms,
        "cause_for_closing": NORMAL_RELEASE if answered else UNSUCCESSFUL_CALL,
    }
    if not answered:
        fields["answered"] = False
    return Draft(start_ms + duration_ms + RELEASE_DELAY_MS, MSC, start_ms, fields, label)


def message(
    of: Line,
    other: str,
    start_ms: int,
    *,
    service: str = "SMS",
    incoming: bool = False,
    parts: int = 1,
    visited: str | None = None,
    label: str | None = None,
) -> Draft:
    """Return a message of so many parts."""
    fields: dict[str, object] = {
        "service": service,
        "direction": "MT" if incoming else "MO",
        **_served(of, visited),
        "other_party": other,
        "message_count": parts,
    }
    return Draft(start_ms + RELEASE_DELAY_MS, SMSC, start_ms, fields, label)


def session(
    of: Line,
    session_id: str,
    start_ms: int,
    parts: Sequence[Part],
    *,
    visited: str | None = None,
    rating_group: int | None = None,
    label: str | None = None,
) -> list[Draft]:
    """Return the partial records of one data session, each with its own quantities; labels get the part's number."""
    drafts = []
    for number, part in enumerate(parts, 1):
        fields: dict[str, object] = {
            "service": "DATA",
            "direction": "MO",
            **_served(of, visited),
            "duration_ms": part.duration_ms,
            "uplink_octets": part.uplink_octets,
            "downlink_octets": part.downlink_octets,
            "session_id": session_id,
            "partial_number": number,
            "cause_for_closing": NORMAL_RELEASE if number == len(parts) else TIME_LIMIT,
        }
        if rating_group is not None:
            fields["rating_group"] = rating_group
        sent = start_ms + part.duration_ms + RELEASE_DELAY_MS
        drafts.append(Draft(sent, PGW, start_ms, fields, label and f"{label}-{number}"))
        start_ms += part.duration_ms
    return drafts


def _served(of: Line, visited: str | None) -> dict[str, object]:
    served: dict[str, object] = {"msisdn": of.msisdn, "imsi": of.imsi, "imei": of.imei}
    if visited is None:
        return served | {"cell": of.cell}
    return served | {"visited_plmn": visited, "cell": f"{visited}-1-0001"}
