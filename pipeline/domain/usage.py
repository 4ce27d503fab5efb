"""A usage record: one CDR, or one partial record of a long session; its bounds, its quantity, its identity.

Field order is that of `schemas/usage_record.v1.avsc` and `accepted_usage.v1.avsc`; a test holds them together.
Names follow 3GPP TS 32.298 where it has one for the thing.
"""

import hashlib
from functools import lru_cache
from json.encoder import encode_basestring
from struct import Struct
from typing import Final, NamedTuple

VOICE: Final = "VOICE"
DATA: Final = "DATA"
SMS: Final = "SMS"
MMS: Final = "MMS"
EVENT: Final = "EVENT"
SERVICES: Final = (VOICE, DATA, SMS, MMS, EVENT)
COUNTED: Final = (SMS, MMS, EVENT)
"""Services whose quantity is a number of messages, 1 where a source says nothing."""
DIRECTIONS: Final = ("MO", "MT")

STRING_BYTES_MAX: Final = 256
RECORD_BYTES_MAX: Final = 16 * 1024
DAY_MS: Final = 86_400_000
DURATION_MS_MAX: Final = 31 * DAY_MS
OCTETS_MAX: Final = 2**53 - 1
INT_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1
START_TIME_MAX: Final = 4_102_444_800_000
"""2100-01-01: a start beyond it is a fault of the source, whatever the broker's clock says."""
MSISDN_DIGITS_MAX: Final = 15
IMSI_DIGITS: Final = range(6, 16)
SHORT_CODE_DIGITS_MAX: Final = 8

SEEN_BUCKETS: Final = 512
"""Buckets of one event day: 100 to 500 numbers each at 25 to 130 thousand records a day and partition, so that Redis
keeps integer sets. Part of the ledger's meaning (`effects.seen.bucket`): never changed."""


_ACCOUNTS_HASHED: Final = 100_000
"""Accounts whose hash is kept: 0.4 KB each."""


class UsageRecord(NamedTuple):
    """A usage record as a probe sends it. Times in ms since 1970 UTC, quantities in ms, octets, messages."""

    record_id: str
    source: str
    sequence: int | None
    service: str
    direction: str
    msisdn: str | None
    imsi: str | None
    imei: str | None
    other_party: str | None
    start_time: int
    duration_ms: int
    uplink_octets: int
    downlink_octets: int
    message_count: int
    answered: bool
    visited_plmn: str | None
    cell: str | None
    rating_group: int | None
    session_id: str | None
    partial_number: int | None
    cause_for_closing: int | None
    retransmission: bool


class AcceptedUsage(NamedTuple):
    """A usage record that has an account: normalised, with where it came from."""

    record_id: str
    source: str
    sequence: int | None
    service: str
    direction: str
    msisdn: str | None
    imsi: str | None
    imei: str | None
    other_party: str | None
    start_time: int
    duration_ms: int
    uplink_octets: int
    downlink_octets: int
    message_count: int
    answered: bool
    visited_plmn: str | None
    cell: str | None
    rating_group: int | None
    session_id: str | None
    partial_number: int | None
    cause_for_closing: int | None
    retransmission: bool
    account: str
    received_at: int
    source_topic: str
    source_partition: int
    source_offset: int
    on_net: bool


def accepted_usage(
    record: UsageRecord,
    account: str,
    received_at: int,
    source_topic: str,
    source_partition: int,
    source_offset: int,
    on_net: bool,
) -> AcceptedUsage:
    """Return the record with what mediate adds; a tuple's constructor is faster than a named tuple's own."""
    added = (account, received_at, source_topic, source_partition, source_offset, on_net)
    return tuple.__new__(AcceptedUsage, tuple(record) + added)


RECORD_FIELDS: Final = UsageRecord._fields
RECORD_FIELDS_COUNT: Final = 22
_json_string: Final = encode_basestring
_LENGTH: Final = Struct(">I").pack
_NUMBER: Final = Struct(">q").unpack


def quantity(usage: UsageRecord | AcceptedUsage) -> int:
    """Return what is priced: ms of VOICE, octets of DATA, messages of the others."""
    if usage.service == VOICE:
        return usage.duration_ms
    if usage.service == DATA:
        return usage.uplink_octets + usage.downlink_octets
    return usage.message_count


def identities(usage: UsageRecord | AcceptedUsage) -> tuple[str, ...]:
    """Return the served party's identities as the directory spells them: msisdn first."""
    found = []
    if usage.msisdn is not None:
        found.append("msisdn-" + usage.msisdn)
    if usage.imsi is not None:
        found.append("imsi-" + usage.imsi)
    return tuple(found)


def is_e164(number: str) -> bool:
    """Tell whether this is `+` and 1 to 15 digits, not starting with 0."""
    digits = number[1:]
    return (
        number.startswith("+")
        and 1 <= len(digits) <= MSISDN_DIGITS_MAX
        and digits.isascii()
        and digits.isdigit()
        and digits[0] != "0"
    )


def is_short_code(number: str) -> bool:
    """Tell whether this is a short code as dialled: 1 to 8 digits, `*` and `#` allowed."""
    return 1 <= len(number) <= SHORT_CODE_DIGITS_MAX and all(c in "0123456789*#" for c in number)


def is_imsi(digits: str) -> bool:
    """Tell whether this is an IMSI: 6 to 15 digits (ITU-T E.212)."""
    return len(digits) in IMSI_DIGITS and digits.isascii() and digits.isdigit()


def digest(usage: UsageRecord | AcceptedUsage) -> bytes:
    """Return the SHA-256 that tells copies of a record from other content under its id.

    Over the JSON (UTF-8, sorted keys, no spaces, times as integer milliseconds) of the record's own fields as
    normalised, defaults left out, without `retransmission`: nothing that mediate adds. So a copy that only says "I may
    have sent this before" is the same content.
    """
    # taken apart by place: a look-up by name costs as much as writing what is found
    (
        record_id,
        source,
        sequence,
        service,
        direction,
        msisdn,
        imsi,
        imei,
        other_party,
        start_time,
        duration_ms,
        uplink,
        downlink,
        messages,
        answered,
        visited_plmn,
        cell,
        rating_group,
        session_id,
        partial_number,
        cause,
        _retransmission,
    ) = usage[:RECORD_FIELDS_COUNT]
    parts: list[str] = []
    if not answered:
        parts.append('"answered":false')
    if cause is not None:
        parts.append(f'"cause_for_closing":{cause}')
    if cell is not None:
        parts.append('"cell":' + _json_string(cell))
    parts.append('"direction":' + _json_string(direction))
    if downlink:
        parts.append(f'"downlink_octets":{downlink}')
    if duration_ms:
        parts.append(f'"duration_ms":{duration_ms}')
    if imei is not None:
        parts.append('"imei":' + _json_string(imei))
    if imsi is not None:
        parts.append('"imsi":' + _json_string(imsi))
    if messages != (1 if service in COUNTED else 0):
        parts.append(f'"message_count":{messages}')
    if msisdn is not None:
        parts.append('"msisdn":' + _json_string(msisdn))
    if other_party is not None:
        parts.append('"other_party":' + _json_string(other_party))
    if partial_number is not None:
        parts.append(f'"partial_number":{partial_number}')
    if rating_group is not None:
        parts.append(f'"rating_group":{rating_group}')
    parts.append('"record_id":' + _json_string(record_id))
    if sequence is not None:
        parts.append(f'"sequence":{sequence}')
    parts.append('"service":' + _json_string(service))
    if session_id is not None:
        parts.append('"session_id":' + _json_string(session_id))
    parts.append('"source":' + _json_string(source))
    parts.append(f'"start_time":{start_time}')
    if uplink:
        parts.append(f'"uplink_octets":{uplink}')
    if visited_plmn is not None:
        parts.append('"visited_plmn":' + _json_string(visited_plmn))
    return hashlib.sha256(("{" + ",".join(parts) + "}").encode()).digest()


class Seen(NamedTuple):
    """What makes a repeat known: where its two numbers are kept, and the numbers (signed 64 bit)."""

    day: int
    bucket: int
    record: int
    content: int


@lru_cache(_ACCOUNTS_HASHED)
def _account_hash(account: str) -> "tuple[hashlib.blake2b, int]":
    """Return the hash over the account, to be copied and gone on with, and the account's bucket."""
    name = account.encode()
    hashed = hashlib.blake2b(len(name).to_bytes(4, "big") + name, digest_size=8)
    return hashed, int.from_bytes(hashed.digest(), "big") % SEEN_BUCKETS


def seen_of(usage: AcceptedUsage, content_digest: bytes) -> Seen:
    """Return the two numbers of a record: h(account, record_id) and h(account, record_id, digest).

    h is BLAKE2b with 8 bytes over the parts, each behind its length; the bucket is h(account) mod SEEN_BUCKETS. The
    day is the event's own (UTC), so a copy that arrives days later meets the same bucket.
    """
    known, bucket = _account_hash(usage.account)
    hashed = known.copy()
    record_id = usage.record_id.encode()
    hashed.update(_LENGTH(len(record_id)) + record_id)
    (record,) = _NUMBER(hashed.digest())
    hashed.update(content_digest)
    (content,) = _NUMBER(hashed.digest())
    return tuple.__new__(Seen, (usage.start_time // DAY_MS, bucket, record, content))  # see ledger.new_event
