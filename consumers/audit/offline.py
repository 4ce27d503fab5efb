"""Checks an exported ledger: one file, the standard library, and `cryptography` for signatures. No server, no network.

    python offline.py LEDGER.jsonl.gz [--key SEAL_KEY.pub.pem]

Proves, of each partition in the file, from the bytes alone:

- the events are 1, 2, 3... and each one's SHA-256 is the `hash` it ends in and the `previous_hash` of the next;
- the first one continues the ledger's own beginning, SHA-256 of `<topic id>:<partition>`;
- before and after of an account's successive events meet, and differ by the event's amount, and by nothing else;
- balances are openings + top-ups + adjustments - charges, in each currency, and each seal says so;
- with --key: each signed seal is signed by that key and is the event at its place; how far that reaches is said.

Exit code 0: all of it holds. 1: something does not, and is named. 2: not called rightly, or no such file.
"""

# ruff: noqa: T201 - a program of its own
import argparse
import base64
import gzip
import hashlib
import json
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Schemas = dict[bytes, tuple[Any, dict[str, Any]]]


class Wrong(Exception):  # noqa: N818 - it is what it says
    """What does not hold, and where."""


# --- Avro: "Binary Encoding", "Parsing Canonical Form" and "Schema Fingerprints" of its specification ---


class Reader:
    """Reads values off the bytes of an event."""

    def __init__(self, data: bytes, named: dict[str, Any]) -> None:
        self.data, self.at, self.named = data, 0, named

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise Wrong("a value is longer than its event")
        self.at += count
        return self.data[self.at - count : self.at]

    def long(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7

    def read(self, schema: Any) -> Any:
        kind = schema if isinstance(schema, str) else "union" if isinstance(schema, list) else schema["type"]
        if kind in self.named:
            return self.read(self.named[kind])
        if kind in ("long", "int"):
            return self.long()
        if kind == "string":
            return self.take(self.long()).decode()
        if kind == "boolean":
            return self.take(1) == b"\x01"
        if kind == "null":
            return None
        if kind == "double":
            return struct.unpack("<d", self.take(8))[0]
        if kind == "bytes":
            return self.take(self.long())
        if kind == "fixed":
            return self.take(schema["size"])
        if kind == "enum":
            return schema["symbols"][self.long()]
        if kind == "union":
            return self.read(schema[self.long()])
        if kind == "record":
            return {field["name"]: self.read(field["type"]) for field in schema["fields"]}
        if kind == "array":
            return [self.read(schema["items"]) for _ in self.blocks()]
        if kind == "map":
            return {self.read("string"): self.read(schema["values"]) for _ in self.blocks()}
        return self.read(kind)  # {"type": {...}}

    def blocks(self) -> Iterator[int]:
        while count := self.long():
            if count < 0:
                count = -count
                self.long()
            yield from range(count)


def canonical(schema: Any, space: str = "") -> str:
    """A schema in its one canonical form, from which its fingerprint is made."""
    primitive = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
    if isinstance(schema, str):
        return json.dumps(schema if schema in primitive or "." in schema or not space else f"{space}.{schema}")
    if isinstance(schema, list):
        return "[" + ",".join(canonical(part, space) for part in schema) + "]"
    kind = schema["type"]
    if not isinstance(kind, str) or kind in primitive:
        return canonical(kind, space)
    if kind == "array":
        return f'{{"type":"array","items":{canonical(schema["items"], space)}}}'
    if kind == "map":
        return f'{{"type":"map","values":{canonical(schema["values"], space)}}}'
    space = schema.get("namespace", space)
    name = schema["name"] if "." in schema["name"] or not space else f"{space}.{schema['name']}"
    start = f'{{"name":{json.dumps(name)},"type":"{kind}"'
    if kind == "fixed":
        return f'{start},"size":{schema["size"]}}}'
    if kind == "enum":
        return start + ',"symbols":[' + ",".join(json.dumps(symbol) for symbol in schema["symbols"]) + "]}"
    fields = [f'{{"name":{json.dumps(f["name"])},"type":{canonical(f["type"], space)}}}' for f in schema["fields"]]
    return start + ',"fields":[' + ",".join(fields) + "]}"


def fingerprint(schema: Any) -> bytes:
    """CRC-64-AVRO of the canonical form, little endian: the eight bytes behind an event's C3 01."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in canonical(schema).encode():
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
    return value.to_bytes(8, "little")


def named_types(schema: Any, space: str = "", found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every named type of a schema, under its name with and without its namespace."""
    found = {} if found is None else found
    if isinstance(schema, list):
        for part in schema:
            named_types(part, space, found)
    elif isinstance(schema, dict):
        space = schema.get("namespace", space)
        if schema.get("name") and schema["type"] in ("record", "enum", "fixed"):
            found[schema["name"]] = found[f"{space}.{schema['name']}"] = schema
        for part in (schema["type"], schema.get("items"), schema.get("values")):
            if isinstance(part, (dict, list)):
                named_types(part, space, found)
        for field in schema.get("fields", ()):
            named_types(field["type"], space, found)
    return found


# --- the ledger ---


class Partition:
    """The events of one partition, one after the other."""

    def __init__(self, topic_id: str, number: int) -> None:
        self.number, self.seq = number, 0
        self.genesis = self.hash = hashlib.sha256(f"{topic_id}:{number}".encode()).digest()
        self.accounts: dict[str, tuple[int, int, str]] = {}
        self.kinds: Counter[str] = Counter()
        self.sums: dict[str, Counter[str]] = {name: Counter() for name in SUMS}
        self.seals: dict[int, bytes] = {}

    def take(self, data: bytes, schemas: Schemas) -> None:
        """Check one event, and book it."""
        if data[:2] != b"\xc3\x01" or len(data) < 74:
            raise Wrong("the bytes are no event")
        if hashlib.sha256(data[2:-32]).digest() != data[-32:]:
            raise Wrong("the bytes do not hash to the hash they end in")
        if data[2:10] not in schemas:
            raise Wrong(f"it is written in a schema that the file does not hold: {data[2:10].hex()}")
        schema, named = schemas[data[2:10]]
        reader = Reader(data[10:], named)
        event = reader.read(schema)
        if reader.at != len(data) - 10:
            raise Wrong("there are bytes behind the event")
        if event["seq"] != self.seq + 1:
            raise Wrong(f"event {event['seq']} follows event {self.seq}")
        if event["previous_hash"] != self.hash:
            raise Wrong("its previous_hash is not the hash before it")
        self.book(event)
        self.seq, self.hash = event["seq"], event["hash"]
        self.kinds[event["kind"]] += 1

    def book(self, event: Any) -> None:
        """Check an event against the account it names."""
        kind, amount = event["kind"], event["amount_micros"]
        if kind == "SEAL" and event["reason"] == "seal":
            self.check_seal(json.loads(event["detail"]))
            self.seals[event["seq"]] = event["hash"]
        if not event["account_seq"]:
            if amount or event["balance_before_micros"] or event["balance_after_micros"]:
                raise Wrong("an event of no account moves money")
            return
        seq, balance, _ = self.accounts.get(event["account"], (0, 0, ""))
        if event["account_seq"] != seq + 1 or event["balance_before_micros"] != balance:
            raise Wrong("it does not continue the account's event before it")
        name = FIGURE.get(kind)
        if amount and name is None:
            raise Wrong(f"a {kind} has an amount")
        if event["balance_after_micros"] != balance + (-amount if kind == "CHARGED" else amount):
            raise Wrong("the balance after is not the balance before and the amount")
        if kind == "CHARGED" and sum(line["amount_micros"] for line in event["lines"]) != amount:
            raise Wrong("the lines do not come to the amount")
        self.accounts[event["account"]] = (seq + 1, event["balance_after_micros"], event["currency"])
        if amount:
            self.sums[str(name)][event["currency"]] += amount

    def check_seal(self, found: Any) -> None:
        """Hold what a seal says against what was counted here."""
        sums = {name: {c: str(v) for c, v in counted.items() if v} for name, counted in self.sums.items()}
        due: dict[str, Any] = {"events": self.seq, "kinds": dict(self.kinds), **sums}
        for name, value in due.items():
            if found.get(name) != value:
                raise Wrong(f"the seal's {name} is {found.get(name)}, but {value} is due")

    def balances(self) -> Counter[str]:
        """Return what the accounts hold, by currency; it must be what the events come to."""
        left: Counter[str] = Counter()
        for _, balance, currency in self.accounts.values():
            left[currency] += balance
        for currency in {*left, *(c for counted in self.sums.values() for c in counted)}:
            opening, topped_up, adjusted, charged = (self.sums[name][currency] for name in SUMS)
            if opening + topped_up + adjusted - charged != left[currency]:
                raise Wrong(f"the sums of {currency} do not balance")
        return left


SUMS = ("opening_micros", "topped_up_micros", "adjusted_micros", "charged_micros")
FIGURE = {"ACCOUNT_CHANGED": SUMS[0], "TOPPED_UP": SUMS[1], "ADJUSTED": SUMS[2], "CHARGED": SUMS[3]}


def check_signed(partition: Partition, seals: list[Any], key: Any) -> int:
    """Hold the signed seals of a partition against its events; returns the last one's seq."""
    from cryptography.exceptions import InvalidSignature

    for seal in seals:
        seq, event_hash = seal["seal"], bytes.fromhex(seal["hash"])
        if partition.seals.get(seq) != event_hash:
            raise Wrong(f"the seal signed at event {seq} is not on the chain")
        text = f"chargeline seal v1\n{partition.genesis.hex()}\n{partition.number}-{seq}\n{event_hash.hex()}\n"
        try:
            key.verify(bytes.fromhex(seal["signature"]), text.encode())
        except InvalidSignature:
            raise Wrong(f"the signature of the seal at event {seq} is not that key's") from None
    return max((seal["seal"] for seal in seals), default=0)


def lines_of(path: str) -> Iterator[tuple[int, Any]]:
    """Yield the lines of a file, gzipped or not, each with its number."""
    with Path(path).open("rb") as raw:
        start = raw.read(2)
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if start == b"\x1f\x8b" else raw
        for number, line in enumerate(file, 1):
            try:
                yield number, json.loads(line)
            except ValueError:
                raise Wrong(f"line {number} of the file cannot be read") from None


def check(path: str, key: Any = None, say: Callable[[str], object] = print) -> None:
    """Check a file; prints what it finds, raises Wrong at the first thing that does not hold."""
    lines = lines_of(path)
    nothing: dict[str, Any] = {}
    _, head = next(lines, (0, nothing))
    if head.get("ledger_export") != 1:
        raise Wrong("the file is no export of a ledger, or of another release")
    schemas = {fingerprint(schema): (schema, named_types(schema)) for schema in head["schemas"]}
    partitions = {number: Partition(head["topic_id"], number) for number in head["partitions"]}
    signed: dict[int, list[Any]] = {number: [] for number in partitions}
    events, ended = 0, False
    for number, line in lines:
        if ended:
            raise Wrong("there are lines behind the end")
        if "event" in line:
            partition = partitions[line["partition"]]
            try:
                partition.take(base64.b64decode(line["event"]), schemas)
            except Wrong as wrong:
                where = f"partition {partition.number}, event {partition.seq + 1}, line {number}"
                raise Wrong(f"{where}: {wrong}") from None
            events += 1
        elif "seal" in line:
            signed[line["partition"]].append(line)
        elif line.get("end") == events:
            ended = True
        else:
            raise Wrong(f"the file says {line}, but {events} events were read")
    if not ended:
        raise Wrong("the file is cut: it does not say its end")
    for partition in partitions.values():
        left = ", ".join(f"{micros / 1_000_000:.6f} {c}" for c, micros in sorted(partition.balances().items()))
        vouched = ""
        if key is not None:
            last = check_signed(partition, signed[partition.number], key)
            vouched = f", signed up to event {last}"
        say(f"partition {partition.number}: {partition.seq} events, {len(partition.accounts)} accounts hold "
            f"{left or 'nothing'}, last hash {partition.hash.hex()}{vouched}")  # fmt: skip
    say(f"{events} events: chain, balances and seals hold" + ("" if key is not None else "; signatures not asked for"))


def main(arguments: list[str] | None = None) -> int:
    """Check the file that the command line names."""
    parser = argparse.ArgumentParser(description="Checks an exported ledger, offline.")
    parser.add_argument("file")
    parser.add_argument("--key", help="the auditor's public key, in PEM, from a place you trust")
    told = parser.parse_args(arguments)
    key = None
    try:
        if told.key is not None:
            from cryptography.hazmat.primitives.serialization import load_pem_public_key

            key = load_pem_public_key(Path(told.key).read_bytes())
        check(told.file, key)
    except Wrong as wrong:
        print(f"does not hold: {wrong}")
        return 1
    except (OSError, EOFError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
