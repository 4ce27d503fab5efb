"""A usage record: one CDR, or one partial record of a long session; its bounds, its quantity, its identity.

Field order is that of `schemas/usage_record.v1.avsc` and `accepted_usage.v1.avsc`; a test holds them together.
Names follow 3GPP TS 32.298 where it has one for the thing.
"""

import hashlib
from functools import lru_cache
from json.encoder import encode_basestring
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


RECORD_FIELDS: Final = UsageRecord._fields
_json_string: Final = encode_basestring


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
    parts: list[str] = []
    if not usage.answered:
        parts.append('"answered":false')
    _put_number(parts, "cause_for_closing", usage.cause_for_closing, None)
    _put_text(parts, "cell", usage.cell)
    _put_text(parts, "direction", usage.direction)
    _put_number(parts, "downlink_octets", usage.downlink_octets, 0)
    _put_number(parts, "duration_ms", usage.duration_ms, 0)
    _put_text(parts, "imei", usage.imei)
    _put_text(parts, "imsi", usage.imsi)
    _put_number(parts, "message_count", usage.message_count, 1 if usage.service in COUNTED else 0)
    _put_text(parts, "msisdn", usage.msisdn)
    _put_text(parts, "other_party", usage.other_party)
    _put_number(parts, "partial_number", usage.partial_number, None)
    _put_number(parts, "rating_group", usage.rating_group, None)
    _put_text(parts, "record_id", usage.record_id)
    _put_number(parts, "sequence", usage.sequence, None)
    _put_text(parts, "service", usage.service)
    _put_text(parts, "session_id", usage.session_id)
    _put_text(parts, "source", usage.source)
    _put_number(parts, "start_time", usage.start_time, None)
    _put_number(parts, "uplink_octets", usage.uplink_octets, 0)
    _put_text(parts, "visited_plmn", usage.visited_plmn)
    return hashlib.sha256(("{" + ",".join(parts) + "}").encode()).digest()


def _put_text(parts: list[str], name: str, value: str | None) -> None:
    if value is not None:
        parts.append(f'"{name}":{_json_string(value)}')


def _put_number(parts: list[str], name: str, value: int | None, default: int | None) -> None:
    if value is not None and value != default:
        parts.append(f'"{name}":{value}')


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
    hashed.update(len(record_id).to_bytes(4, "big") + record_id)
    record = int.from_bytes(hashed.digest(), "big", signed=True)
    hashed.update(content_digest)
    return Seen(usage.start_time // DAY_MS, bucket, record, int.from_bytes(hashed.digest(), "big", signed=True))
