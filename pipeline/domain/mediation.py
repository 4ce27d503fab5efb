"""From a raw record to a record with an account, or to a dead letter with its reason. Pure: what is known is passed in.

The checks in their order, which is the order of `outcome.DEAD_LETTER_REASONS`: whether it may be read at all (`guard`
tells), the bytes (by whoever decoded them), bounds, numbers, an identity at all, the start against the broker's time,
the account. Bounds are strict where the contract says "0 unless": octets of a call, or a duration of a message, are a
fault of the source, and pricing half of what it says would be guessing.
"""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from pipeline.domain.numbers import NumberRules, other_number, served_number
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import (
    DATA,
    DURATION_MS_MAX,
    INT_MAX,
    OCTETS_MAX,
    RECORD_BYTES_MAX,
    START_TIME_MAX,
    STRING_BYTES_MAX,
    VOICE,
    AcceptedUsage,
    UsageRecord,
    accepted_usage,
    identities,
    is_imsi,
)

Headers = tuple[tuple[str, bytes | None], ...]

DETAIL_ACCOUNTS_MAX: Final = 8
TIME_DIGITS_MAX: Final = 15
HEADERS_BYTES_MAX: Final = 16 * 1024
"""Of what travels on: characters of names, bytes of values."""
DEAD_LETTER_HEADERS: Final = frozenset(
    {"reason", "detail", "source_topic", "source_partition", "source_offset", "received_at"}
)


class RawRecord(NamedTuple):
    """A record as it lies on the topic of the probes; `broker_time_ms` is when the broker took it."""

    topic: str
    partition: int
    offset: int
    broker_time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class MediationRules(NamedTuple):
    """What a deployment decides: its numbers, how far ahead a start may lie, whether replays are believed.

    `trust_replayed_received_at`: a raw record's own header `received_at` (that of its dead letter) is when it was first
    received. Only for deployments where nobody but the replay's principal can set it.
    """

    numbers: NumberRules
    future_ms: int
    trust_replayed_received_at: bool


class DirectoryView(Protocol):
    """Who had which identity when, as far as it was read."""

    def accounts_at(self, identity: str, moment_ms: int) -> Sequence[str]:
        """Return the accounts that had the identity (`msisdn-+86…`, `imsi-…`) then: none, one, or too many."""
        ...


class Accepted(NamedTuple):
    """A record that has an account. `as_sent`: its own fields are what the raw record says, nothing was normalised."""

    raw: RawRecord
    usage: AcceptedUsage
    as_sent: bool


class DeadLetter(NamedTuple):
    """A raw record that could not be accepted, untouched, and why; on a replay `received_at` (ms) is the first one."""

    raw: RawRecord
    refusal: Refusal
    received_at: int


def mediate_batch(
    raws: Sequence[RawRecord],
    decoded: Sequence[UsageRecord | Refusal],
    directory: DirectoryView,
    rules: MediationRules,
) -> list[Accepted | DeadLetter]:
    """Decide what becomes of each raw record: one outcome each, in order. `decoded` is what its bytes say."""
    return [mediate(raw, usage, directory, rules) for raw, usage in zip(raws, decoded, strict=True)]


def mediate(
    raw: RawRecord, decoded: UsageRecord | Refusal, directory: DirectoryView, rules: MediationRules
) -> Accepted | DeadLetter:
    """Decide what becomes of one raw record. Never raises for anything a probe can send."""
    received_at = _received_at(raw, rules)
    if isinstance(decoded, Refusal):
        return DeadLetter(raw, decoded, received_at)
    usage = normalise(decoded, len(raw.value or b""), rules.numbers)
    if isinstance(usage, Refusal):
        return DeadLetter(raw, usage, received_at)
    if usage.start_time > raw.broker_time_ms + rules.future_ms:
        detail: dict[str, object] = {
            "start_time": usage.start_time,
            "broker_time": raw.broker_time_ms,
            "future_ms": rules.future_ms,
        }
        return DeadLetter(raw, Refusal("starts_in_future", detail), received_at)
    account = resolve(usage, directory)
    if isinstance(account, Refusal):
        return DeadLetter(raw, account, received_at)
    accepted = accepted_usage(
        usage, account, received_at, raw.topic, raw.partition, raw.offset, is_on_net(usage, directory)
    )
    return tuple.__new__(Accepted, (raw, accepted, usage is decoded))  # see ledger.new_event


def normalise(usage: UsageRecord, encoded_bytes: int, numbers: NumberRules) -> UsageRecord | Refusal:
    """Return the record with its numbers in E.164, or why it is out of bounds, has a bad number or no identity.

    `encoded_bytes` is its size as sent. A normalised record comes back as it is.
    """
    fault = _fault(usage, encoded_bytes)
    if fault is not None:
        field, problem = fault
        return Refusal("out_of_bounds", {"field": field, "problem": problem})
    msisdn, imsi, other = usage.msisdn, usage.imsi, usage.other_party
    if msisdn is not None:
        msisdn = served_number(msisdn, numbers)
        if msisdn is None:
            return Refusal("bad_number", {"field": "msisdn"})
    if imsi is not None and not is_imsi(imsi):
        return Refusal("bad_number", {"field": "imsi"})
    if other is not None:
        other = other_number(other, numbers)
        if other is None:
            return Refusal("bad_number", {"field": "other_party"})
    if msisdn is None and imsi is None:
        return Refusal("no_identity", {})
    if msisdn == usage.msisdn and other == usage.other_party:
        return usage
    return usage._replace(msisdn=msisdn, other_party=other)


def resolve(usage: UsageRecord, directory: DirectoryView) -> str | Refusal:
    """Return the one account that all known identities lead to at the record's own start.

    An identity nobody had is no objection to the other one. More accounts than one, be it by one identity or by both,
    are `ambiguous`.
    """
    found: list[str] = []
    for identity in identities(usage):
        for account in directory.accounts_at(identity, usage.start_time):
            if account not in found:
                found.append(account)
    if len(found) == 1:
        return found[0]
    if found:
        return Refusal("ambiguous", {"accounts": found[:DETAIL_ACCOUNTS_MAX], "start_time": usage.start_time})
    asked = [kind for kind, value in (("msisdn", usage.msisdn), ("imsi", usage.imsi)) if value is not None]
    return Refusal("unknown_subscriber", {"asked": asked, "start_time": usage.start_time})


def is_on_net(usage: UsageRecord, directory: DirectoryView) -> bool:
    """Tell whether the other party was one of our own when the use started."""
    other = usage.other_party
    return other is not None and bool(directory.accounts_at("msisdn-" + other, usage.start_time))


def accepted_headers(accepted: Accepted) -> Headers:
    """Return the headers that travel on with an accepted record: the trace, and the CloudEvents attributes.

    More of them than HEADERS_BYTES_MAX stay behind, all of them: with them the record might fit no topic any more.
    """
    found = tuple(
        header
        for header in accepted.raw.headers
        if header[0] in {"traceparent", "tracestate"} or header[0].startswith("ce_")
    )
    size = sum([len(name) + len(value or b"") for name, value in found])
    return found if size <= HEADERS_BYTES_MAX else ()


def dead_letter_headers(letter: DeadLetter) -> Headers:
    """Return the headers of a dead letter: those of the raw record, then ours.

    What an earlier dead letter of the same record said is replaced, so each of ours stands there once.
    """
    raw = letter.raw
    ours = (
        ("reason", letter.refusal.reason),
        ("detail", json.dumps(letter.refusal.detail, ensure_ascii=False, separators=(",", ":"))),
        ("source_topic", raw.topic),
        ("source_partition", str(raw.partition)),
        ("source_offset", str(raw.offset)),
        ("received_at", str(letter.received_at)),
    )
    kept = tuple(header for header in raw.headers if header[0] not in DEAD_LETTER_HEADERS)
    return kept + tuple((name, text.encode()) for name, text in ours)


def _received_at(raw: RawRecord, rules: MediationRules) -> int:
    if rules.trust_replayed_received_at:
        for name, value in raw.headers:
            if name == "received_at" and value and len(value) <= TIME_DIGITS_MAX and value.isdigit():
                return min(int(value), raw.broker_time_ms)
    return raw.broker_time_ms


def _fault(usage: UsageRecord, encoded_bytes: int) -> tuple[str, str] | None:
    """Return the first field out of bounds, and how; None where all are within."""
    if encoded_bytes > RECORD_BYTES_MAX:
        return "", f"the record is longer than {RECORD_BYTES_MAX} bytes"
    if encoded_bytes > STRING_BYTES_MAX:  # in a shorter record no string can be too long
        for name, value in zip(usage._fields, usage, strict=True):
            if isinstance(value, str) and len(value.encode()) > STRING_BYTES_MAX:
                return name, f"longer than {STRING_BYTES_MAX} bytes"
    if not usage.record_id:
        return "record_id", "empty"
    if usage.session_id == "":  # it would join all use of the account into one session
        return "session_id", "empty; null is no session"
    if not 0 <= usage.start_time <= START_TIME_MAX:
        return "start_time", f"not within 0..{START_TIME_MAX}"
    if not 0 <= usage.duration_ms <= DURATION_MS_MAX:
        return "duration_ms", f"not within 0..{DURATION_MS_MAX}"
    service = usage.service
    up, down = usage.uplink_octets, usage.downlink_octets
    if service != DATA:
        if up or down:
            return "uplink_octets" if up else "downlink_octets", f"not 0 on {service}"
    elif up < 0 or down < 0:
        return "uplink_octets" if up < 0 else "downlink_octets", "negative"
    elif up + down > OCTETS_MAX:
        return "uplink_octets + downlink_octets", f"more than {OCTETS_MAX}"
    if service in (VOICE, DATA):
        if usage.message_count:
            return "message_count", f"not 0 on {service}"
    else:
        if not 1 <= usage.message_count <= INT_MAX:
            return "message_count", f"not within 1..{INT_MAX}"
        if usage.duration_ms:
            return "duration_ms", f"not 0 on {service}"
    return _int_fault(usage)


def _int_fault(usage: UsageRecord) -> tuple[str, str] | None:
    """Return which of the rarer whole numbers is out of bounds: a decoder reads more than the 32 bits of an int."""
    partial = usage.partial_number
    if partial is not None and not 1 <= partial <= INT_MAX:
        return "partial_number", f"not within 1..{INT_MAX}"
    for name, value in (("rating_group", usage.rating_group), ("cause_for_closing", usage.cause_for_closing)):
        if value is not None and not -INT_MAX - 1 <= value <= INT_MAX:
            return name, "not an int"
    return None
