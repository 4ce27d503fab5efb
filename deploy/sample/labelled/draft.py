"""Records before they are numbered: what their source will say, and when it sends them."""

from typing import Final, NamedTuple

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
NO_LABEL: Final = -1


class Draft(NamedTuple):
    """A record without id and sequence.

    Sent when, by whom, starting when; its other fields as a piece of JSON; which label it belongs to.
    """

    sent: int
    source: str
    start: int
    body: str
    label: int = NO_LABEL


class Sim(NamedTuple):
    """What a record says of who was served, and where."""

    msisdn: str
    imsi: str
    imei: str
    cell: str
    visited: str | None = None


def call(
    sim: Sim,
    msc: str,
    other: str,
    start: int,
    duration: int,
    *,
    incoming: bool = False,
    answered: bool = True,
    label: int = NO_LABEL,
) -> Draft:
    """Return a call; of one that nobody answered the duration is how long it rang."""
    extra = "" if answered else ',"answered":false'
    body = (
        f'"service":"VOICE","direction":"{"MT" if incoming else "MO"}",{served(sim)},"other_party":"{other}",'
        f'"duration_ms":{duration}{extra}'
    )
    return Draft(start + duration + 3_000, msc, start, body, label)


def message(
    sim: Sim, other: str, start: int, *, incoming: bool = False, parts: int = 1, label: int = NO_LABEL
) -> Draft:
    """Return a text message."""
    body = (
        f'"service":"SMS","direction":"{"MT" if incoming else "MO"}",{served(sim)},"other_party":"{other}",'
        f'"message_count":{parts}'
    )
    return Draft(start + 2_000, "SMSC-1", start, body, label)


def data(
    sim: Sim, gateway: str, start: int, duration: int, octets: int, session: str, part: int, label: int = NO_LABEL
) -> Draft:
    """Return one part of a data session."""
    body = (
        f'"service":"DATA","direction":"MO",{served(sim)},"duration_ms":{duration},"uplink_octets":{octets // 9},'
        f'"downlink_octets":{octets},"session_id":"{session}","partial_number":{part}'
    )
    return Draft(start + duration + 5_000, gateway, start, body, label)


def served(sim: Sim) -> str:
    """Return the fields that say who was served."""
    away = "" if sim.visited is None else f',"visited_plmn":"{sim.visited}"'
    return f'"msisdn":"{sim.msisdn}","imsi":"{sim.imsi}","imei":"{sim.imei}","cell":"{sim.cell}"{away}'
