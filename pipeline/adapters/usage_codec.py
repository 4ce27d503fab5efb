"""Bytes of a probe to a usage record, or why they are none; an accepted record to bytes."""

from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from pipeline.adapters.avro import (
    ACCEPTED_USAGE,
    HEADER_BYTES,
    MARKER,
    USAGE_RECORD,
    UndecodableError,
    UnknownSchemaError,
)
from pipeline.adapters.registry import Registry
from pipeline.domain.outcome import Refusal
from pipeline.domain.usage import RECORD_FIELDS, AcceptedUsage, UsageRecord
from pipeline.domain.wire import accepted_body, record_body
from pipeline.domain.wire_usage import WireError, read_usage_record

REGISTRY_MARKER: Final = b"\0"
REGISTRY_HEADER_BYTES: Final = 5
_in_order = itemgetter(*RECORD_FIELDS)


class UsageDecoder:
    """Reads single-object encoding, and where a registry is given its framing (00, 4-byte number) as well."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry

    def prepare(self, values: Iterable[bytes | None]) -> None:
        """Fetch the schemas that these values name; raises RegistryUnreachableError, and is then to be repeated."""
        if self._registry is not None:
            self._registry.fetch({_schema_id(value) for value in values if value is not None and _is_framed(value)})

    def decode(self, value: bytes | None) -> UsageRecord | Refusal:
        """Return the record, or `undecodable` or `unknown_schema`. Framed values must have been prepared."""
        if value is None:
            return Refusal("undecodable", {"problem": "no value"})
        if self._registry is not None and _is_framed(value):
            fingerprint = self._registry.fingerprint(_schema_id(value))
            if fingerprint is None:
                return Refusal("unknown_schema", {"schema_id": _schema_id(value)})
            value = MARKER + fingerprint + value[REGISTRY_HEADER_BYTES:]
        try:
            if value.startswith(USAGE_RECORD.header):
                return read_usage_record(value, HEADER_BYTES)
            record = USAGE_RECORD.decode(value)  # an older version, or nothing of ours
        except (UndecodableError, WireError) as error:
            return Refusal("undecodable", {"problem": str(error)})
        except UnknownSchemaError as error:
            return Refusal("unknown_schema", {"problem": str(error)})
        return UsageRecord._make(_in_order(record))


def encode_accepted(usage: AcceptedUsage, as_sent: bytes | None) -> bytes:
    """Return an accepted record's bytes. `as_sent` is the probe's value where mediation changed nothing of it.

    The body that the probe wrote is taken over as it is, where it was written with the newest schema.
    """
    if as_sent is None or not as_sent.startswith(USAGE_RECORD.header):
        return ACCEPTED_USAGE.header + accepted_body(record_body(usage), usage)
    return ACCEPTED_USAGE.header + accepted_body(as_sent[HEADER_BYTES:], usage)


def _is_framed(value: bytes) -> bool:
    return value.startswith(REGISTRY_MARKER) and len(value) >= REGISTRY_HEADER_BYTES


def _schema_id(value: bytes) -> int:
    return int.from_bytes(value[1:REGISTRY_HEADER_BYTES], "big")
