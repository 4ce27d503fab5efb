"""Rows of Asterisk's `cdr-csv` (Master.csv), each one leg of a call, as usage records.

Eighteen columns and no header: what Asterisk writes with `loguniqueid=yes` and `loguserfield=yes`. Times are the local
time of the switch, or UTC with `usegmtime=yes`. A row has no id of its own: legs of one call share a uniqueid, and each
is a call that is charged. So the row's bytes are its id, and an exact copy of a row is a duplicate.
"""

import csv
import hashlib
from datetime import datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import VOICE, UsageRecord

SOURCE: Final = "asterisk"
COLUMNS: Final = (
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
    "userfield",
)
ANSWERED: Final = "ANSWERED"
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_SECONDS_DIGITS_MAX: Final = 12


class _Row(NamedTuple):
    """The columns that a usage record is made of."""

    src: str
    dst: str
    start: str
    answer: str
    billsec: str
    disposition: str


_PLACES: Final = tuple(COLUMNS.index(name) for name in _Row._fields)


def usage_from_row(row: bytes, zone: tzinfo) -> UsageRecord | Refusal:
    """Read one row without its line ending; `zone` is that of its local times. Else `undecodable`, and why.

    A call of the served subscriber `src` to `dst`: VOICE, MO, `billsec` long, from its answer; one that was not
    answered from its start. Where a clock is turned back, an hour that comes twice is read as the first one.
    """
    columns = split_row(row)
    if columns is None or len(columns) != len(COLUMNS):
        count = None if columns is None else len(columns)
        return Refusal("undecodable", {"csv": f"not {len(COLUMNS)} well quoted columns", "columns": count})
    found = _Row._make(columns[place] for place in _PLACES)
    answered = found.disposition == ANSWERED
    began = found.answer if answered else found.start
    start_time = _local_ms(began, zone)
    if start_time is None:
        column = "answer" if answered else "start"
        return Refusal("undecodable", {column: "a time like 2026-10-01 08:00:00"})
    if not (found.billsec.isascii() and found.billsec.isdigit() and len(found.billsec) <= _SECONDS_DIGITS_MAX):
        return Refusal("undecodable", {"billsec": "whole seconds"})
    return UsageRecord(
        record_id=f"asterisk:{hashlib.sha256(row).hexdigest()}",
        source=SOURCE,
        sequence=None,
        service=VOICE,
        direction="MO",
        msisdn=found.src or None,
        imsi=None,
        imei=None,
        other_party=found.dst or None,
        start_time=start_time,
        duration_ms=int(found.billsec) * 1000,
        uplink_octets=0,
        downlink_octets=0,
        message_count=0,
        answered=answered,
        visited_plmn=None,
        cell=None,
        rating_group=None,
        session_id=None,
        partial_number=None,
        cause_for_closing=None,
        retransmission=False,
    )


def split_row(row: bytes) -> list[str] | None:
    """Return a row's columns, or None where its quotes are not well formed. One line is one row.

    Read as Latin-1, since a caller's name may be in any encoding: no byte is refused for the sake of a column that no
    charge is made of, and a number that is not ASCII is refused as a number later on.
    """
    try:
        rows = list(csv.reader([row.decode("latin-1")], strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _local_ms(text: str, zone: tzinfo) -> int | None:
    """Return a switch's local time as ms since 1970 UTC."""
    try:
        moment = datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=zone)
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(milliseconds=1)
