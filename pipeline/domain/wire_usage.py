"""Usage records read from their encoding, without a library: see `wire`, which writes them.

Reading is strict: what is not the one canonical encoding of a record is refused.

Source: Apache Avro 1.12 specification, "Binary Encoding".
"""

from pipeline.domain.usage import DIRECTIONS, INT_MAX, LONG_MAX, SERVICES, AcceptedUsage, UsageRecord, accepted_usage


class WireError(ValueError):
    """The bytes are not the one encoding of a usage record."""


def read_usage_record(data: bytes, at: int) -> UsageRecord:
    """Read the usage record whose body begins at `at` and ends with the data; raises WireError."""
    try:
        record, at = _read_record(data, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"not a usage_record: {type(error).__name__}") from None
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes behind the usage_record")
    return record


def read_accepted_usage(data: bytes, at: int) -> AcceptedUsage:
    """Read the accepted record whose body begins at `at` and ends with the data; raises WireError."""
    try:
        usage, at = accepted_part(data, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise WireError(f"not an accepted_usage: {type(error).__name__}") from None
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes behind the accepted_usage")
    return usage


def accepted_part(data: bytes, at: int) -> tuple[AcceptedUsage, int]:
    """Read the accepted record whose body begins at `at`, and return where it ends.

    Raises WireError, or IndexError and UnicodeDecodeError where the data are not long enough or no text.
    """
    record, at = _read_record(data, at)
    account, at = _read_string(data, at)
    received_at, at = _read_long(data, at)
    source_topic, at = _read_string(data, at)
    source_partition, at = _read_int(data, at)
    source_offset, at = _read_long(data, at)
    on_net, at = _read_boolean(data, at)
    return accepted_usage(record, account, received_at, source_topic, source_partition, source_offset, on_net), at


def _read_record(data: bytes, at: int) -> tuple[UsageRecord, int]:
    record_id, at = _read_string(data, at)
    source, at = _read_string(data, at)
    sequence, at = _read_optional_long(data, at, LONG_MAX)
    service, at = _read_index(data, at, len(SERVICES))
    direction, at = _read_index(data, at, len(DIRECTIONS))
    msisdn, at = _read_optional_string(data, at)
    imsi, at = _read_optional_string(data, at)
    imei, at = _read_optional_string(data, at)
    other_party, at = _read_optional_string(data, at)
    start_time, at = _read_long(data, at)
    duration_ms, at = _read_long(data, at)
    uplink_octets, at = _read_long(data, at)
    downlink_octets, at = _read_long(data, at)
    message_count, at = _read_int(data, at)
    answered, at = _read_boolean(data, at)
    visited_plmn, at = _read_optional_string(data, at)
    cell, at = _read_optional_string(data, at)
    rating_group, at = _read_optional_long(data, at, INT_MAX)
    session_id, at = _read_optional_string(data, at)
    partial_number, at = _read_optional_long(data, at, INT_MAX)
    cause_for_closing, at = _read_optional_long(data, at, INT_MAX)
    retransmission, at = _read_boolean(data, at)
    record = UsageRecord(
        record_id,
        source,
        sequence,
        SERVICES[service],
        DIRECTIONS[direction],
        msisdn,
        imsi,
        imei,
        other_party,
        start_time,
        duration_ms,
        uplink_octets,
        downlink_octets,
        message_count,
        answered,
        visited_plmn,
        cell,
        rating_group,
        session_id,
        partial_number,
        cause_for_closing,
        retransmission,
    )
    return record, at


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise WireError("a number of more than 64 bits")
    if byte == 0 or (shift == 63 and byte > 1):
        raise WireError("not the one way to write this number")
    return (value >> 1) ^ -(value & 1), at


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_long(data, at)
    if not -INT_MAX - 1 <= value <= INT_MAX:
        raise WireError("a number of more than 32 bits")
    return value, at


def _read_optional_long(data: bytes, at: int, largest: int) -> tuple[int | None, int]:
    present, at = _read_index(data, at, 2)
    if not present:
        return None, at
    value, at = _read_long(data, at)
    if not -largest - 1 <= value <= largest:
        raise WireError("a number out of range")
    return value, at


def _read_index(data: bytes, at: int, size: int) -> tuple[int, int]:
    byte = data[at]
    if byte & 1 or byte >= 2 * size:  # an index of a few is one byte, and never negative
        raise WireError("no such choice")
    return byte >> 1, at + 1


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise WireError("neither true nor false")
    return byte == 1, at + 1


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise WireError("a string longer than the record")
    return data[at:end].decode(), end


def _read_optional_string(data: bytes, at: int) -> tuple[str | None, int]:
    present, at = _read_index(data, at, 2)
    if not present:
        return None, at
    return _read_string(data, at)
