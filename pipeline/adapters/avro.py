"""Avro single-object encoding: bytes of a topic to records of the domain and back. The only importer of fastavro.

Decoding is strict, because lenient decoding of money is guessing: the fingerprint must be one ever published for that
contract, every byte must be used, and encoding the result again must give the same bytes (which refuses over-long
numbers and negative union indexes that the library lets pass); an int of more than 32 bits, which it lets pass both
ways, is refused too. Schemas are not recursive: a recursive one lets a small record exhaust the C stack.

Sources: Apache Avro 1.12 specification, "Single-object encoding" and "Schema Fingerprints" (CRC-64-AVRO, little
endian behind the marker C3 01).
"""

import io
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

import schemas

MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10
HASH_BYTES: Final = 32
INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1

Record = dict[str, Any]


class UnknownSchemaError(ValueError):
    """The fingerprint (or registry id) is none of those published for this contract."""


class UndecodableError(ValueError):
    """The bytes are not exactly one record of the schema they name."""


def without_logical_types(schema: Any) -> Any:
    """Return the schema with plain longs for times: a datetime for each would cost more than the record."""
    if isinstance(schema, dict):
        return {k: without_logical_types(v) for k, v in schema.items() if k not in {"logicalType", "doc"}}
    if isinstance(schema, list):
        return [without_logical_types(item) for item in schema]
    return schema


def schema_fingerprint(schema: Any) -> bytes:
    """Return the 8 bytes that stand for a schema: CRC-64-AVRO of its canonical form, little endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


class Contract:
    """One record type in all its published versions: written in the newest, read in any."""

    def __init__(self, name: str) -> None:
        versions = sorted(
            (int(full.rpartition(".v")[2]), full) for full in schemas.names() if full.rpartition(".v")[0] == name
        )
        if not versions:
            raise LookupError(f"no schema was ever published for {name}")
        self.name = name
        self._by_fingerprint: dict[bytes, Any] = {}
        self._ints: dict[int, list[str]] = {}
        for _, full in versions:
            plain = without_logical_types(schemas.read(full))
            self.schema: Any = fastavro.parse_schema(plain)
            self.fingerprint = schema_fingerprint(plain)
            self._by_fingerprint[self.fingerprint] = self.schema
            # in a union the library looks at the size of an int, elsewhere it reads and writes any number
            self._ints[id(self.schema)] = [f["name"] for f in plain["fields"] if f["type"] == "int"]
        self.header = MARKER + self.fingerprint

    @property
    def fingerprints(self) -> frozenset[bytes]:
        """All that were ever published."""
        return frozenset(self._by_fingerprint)

    def encode(self, record: Record) -> bytes:
        """Return the record as single-object bytes of the newest version."""
        out = io.BytesIO()
        out.write(self.header)
        fastavro.schemaless_writer(out, self.schema, record)
        return out.getvalue()

    def decode(self, data: bytes) -> Record:
        """Read single-object bytes of any published version; raises UnknownSchemaError or UndecodableError."""
        return self.decode_body(data, HEADER_BYTES, self.writer_of(data))

    def writer_of(self, data: bytes) -> Any:
        """Return the published schema these bytes name; raises UnknownSchemaError or UndecodableError."""
        if data[:2] != MARKER or len(data) < HEADER_BYTES:
            raise UndecodableError("the value does not begin with C3 01 and a schema fingerprint")
        writer = self._by_fingerprint.get(data[2:HEADER_BYTES])
        if writer is None:
            raise UnknownSchemaError(f"schema fingerprint {data[2:HEADER_BYTES].hex()} is none of {self.name}")
        return writer

    def decode_body(self, data: bytes, at: int, writer: Any) -> Record:
        """Read the bare Avro body that begins at `at`, written with schema `writer`; raises UndecodableError."""
        stream = io.BytesIO(data)
        stream.seek(at)
        again = io.BytesIO()
        try:
            record: Any = fastavro.schemaless_reader(stream, writer, None)
            rest = len(data) - stream.tell()
            if not rest:
                fastavro.schemaless_writer(again, writer, record)
        except Exception as error:  # noqa: BLE001 - the C reader raises whatever the bytes provoke
            raise UndecodableError(f"not a {self.name}: {type(error).__name__}") from None
        if rest:
            raise UndecodableError(f"{rest} bytes behind the {self.name}")
        if again.getbuffer() != memoryview(data)[at:]:
            raise UndecodableError(f"not the one way to write this {self.name}")
        for field in self._ints[id(writer)]:
            if not INT_MIN <= record[field] <= INT_MAX:
                raise UndecodableError(f"{field} of this {self.name} has more than 32 bits")
        if writer is not self.schema:
            again.seek(0)
            record = fastavro.schemaless_reader(again, writer, self.schema)
        assert isinstance(record, dict)
        return record


USAGE_RECORD: Final = Contract("usage_record")
ACCEPTED_USAGE: Final = Contract("accepted_usage")
ACCOUNT_COMMAND: Final = Contract("account_command")
AUDIT_EVENT: Final = Contract("audit_event")
SUBSCRIBER_BINDING: Final = Contract("subscriber_binding")
CATALOGUE_VERSION: Final = Contract("catalogue_version")
ALERT: Final = Contract("alert")
CONTRACTS: Final = {
    c.name: c
    for c in (
        USAGE_RECORD,
        ACCEPTED_USAGE,
        ACCOUNT_COMMAND,
        AUDIT_EVENT,
        SUBSCRIBER_BINDING,
        CATALOGUE_VERSION,
        ALERT,
    )
}


def write_body(contract: Contract, record: Record) -> bytes:
    """Return the record's bare body, without marker and fingerprint."""
    return contract.encode(record)[HEADER_BYTES:]
