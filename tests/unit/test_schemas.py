"""What was published can be read for ever: schemas never change, and every version reads as the newest."""

import ast
import io
import json
from pathlib import Path

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.utils import generate_one

import schemas
from pipeline.adapters import avro
from pipeline.domain import ledger, usage

GOLDEN = json.loads((Path(__file__).parent / "data" / "fingerprints.json").read_text())
"""Of every version ever published: CRC-64-AVRO of its canonical form, as it stands in each value's header."""


def _body(schema, record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def fingerprint_of(name: str) -> str:
    return avro.schema_fingerprint(schemas.read(name)).hex()


def field_names(schema: dict) -> list[str]:
    return [field["name"] for field in schema["fields"]]


def named(schema, name: str) -> dict:
    """The definition of a named type, wherever it is in a schema."""
    found = []

    def look(node):
        if isinstance(node, dict):
            if node.get("name") == name and node.get("type") in ("record", "enum", "fixed"):
                found.append(node)
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for item in node:
                look(item)

    look(schema)
    assert len(found) == 1, f"{name} is defined {len(found)} times"
    return found[0]


@pytest.mark.parametrize("name", schemas.names())
def test_a_published_schema_never_changes(name):
    """A new field is a new version: the fingerprint of a published one is in values that are kept for ever."""
    assert fingerprint_of(name) == GOLDEN[name], f"{name} was changed: publish the next version instead"


def test_every_published_schema_is_kept():
    """No version is removed, and each one is pinned."""
    assert set(GOLDEN) == set(schemas.names())


@pytest.mark.parametrize("name", schemas.names())
def test_schemas_parse_and_do_not_recurse(name):
    """Each is valid Avro; a type never holds itself, since a recursive one lets few bytes exhaust the stack."""
    document = schemas.read(name)
    fastavro.parse_schema(document)

    def walk(node, inside):
        if isinstance(node, str):
            assert node not in inside, f"{node} holds itself"
        elif isinstance(node, list):
            for item in node:
                walk(item, inside)
        else:
            within = inside | {node["name"]} if node.get("type") == "record" else inside
            for field in node.get("fields", ()):
                walk(field["type"], within)
            for key in ("items", "values"):
                if key in node:
                    walk(node[key], within)
            if isinstance(node.get("type"), dict | list):
                walk(node["type"], within)

    walk(document, frozenset())


@pytest.mark.parametrize("name", schemas.names())
def test_logical_types_are_no_part_of_a_fingerprint(name):
    """Leaving out logical types and docs, as the codec does, changes no fingerprint."""
    document = schemas.read(name)
    assert avro.schema_fingerprint(avro.without_logical_types(document)).hex() == fingerprint_of(name)


def test_the_fingerprint_is_that_of_the_specification():
    """CRC-64-AVRO of `"int"` is the specification's own example, written little endian in a header."""
    assert avro.schema_fingerprint("int").hex() == "8f5c393f1ad57572"
    assert fingerprint(to_parsing_canonical_form("int"), "CRC-64-AVRO") == "8f5c393f1ad57572"


@pytest.mark.parametrize("name", schemas.names())
def test_every_version_is_readable_as_the_newest(name):
    """A value of any published version is read with the newest schema: what was added has a default."""
    contract = avro.CONTRACTS[name.rpartition(".v")[0]]
    old = avro.without_logical_types(schemas.read(name))
    record = generate_one(fastavro.parse_schema(old))
    data = avro.MARKER + avro.schema_fingerprint(old) + _body(old, record)
    assert list(contract.decode(data)) == field_names(contract.schema)


def test_every_contract_is_listed():
    """Each published contract can be read by its name."""
    assert {name.rpartition(".v")[0] for name in schemas.names()} == set(avro.CONTRACTS)


@pytest.mark.parametrize("name", ["accepted_usage.v1", "account_command.v1"])
def test_an_input_stands_in_the_ledger_as_it_came(name):
    """The whole input is in its event: the same fields, types, order and defaults, so its bytes are copied."""
    own = schemas.read(name)
    copy = named(schemas.read("audit_event.v1"), own["name"])
    strip = avro.without_logical_types
    assert strip(copy) == strip(own)
    assert [f.get("doc") for f in copy["fields"]] == [f.get("doc") for f in own["fields"]]


def test_accepted_usage_is_the_record_and_more():
    """AcceptedUsage begins with the UsageRecord, field by field."""
    raw, accepted = schemas.read("usage_record.v1"), schemas.read("accepted_usage.v1")
    assert accepted["fields"][: len(raw["fields"])] == raw["fields"]
    assert field_names(accepted)[len(raw["fields"]) :] == [
        "account", "received_at", "source_topic", "source_partition", "source_offset", "on_net",
    ]  # fmt: skip


RECORDS = [
    ("usage_record.v1", "UsageRecord", usage.UsageRecord, {}),
    ("accepted_usage.v1", "AcceptedUsage", usage.AcceptedUsage, {}),
    ("audit_event.v1", "AcceptedUsage", usage.AcceptedUsage, {}),
    ("audit_event.v1", "Line", ledger.Line, {}),
    ("audit_event.v1", "BoughtStep", ledger.BoughtStep, {"from_": "from"}),
    ("audit_event.v1", "Effects", ledger.Effects, {}),
    ("audit_event.v1", "SessionEffect", ledger.SessionEffect, {}),
    ("audit_event.v1", "SeenEffect", ledger.SeenEffect, {}),
    ("audit_event.v1", "Position", ledger.Position, {}),
    ("audit_event.v1", "Positions", ledger.Positions, {}),
]


def annotations_of(record) -> list[str]:
    """The types of a record's fields as its source writes them: a compiled class has forgotten them."""
    source = Path(__file__).resolve().parents[2] / (record.__module__.replace(".", "/") + ".py")
    classes = (node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef))
    body = next(node.body for node in classes if node.name == record.__name__)
    return [ast.unparse(node.annotation) for node in body if isinstance(node, ast.AnnAssign)]


@pytest.mark.parametrize(("schema", "name", "record", "other_names"), RECORDS)
def test_records_have_the_fields_of_their_schema(schema, name, record, other_names):
    """A record of the domain has its schema's fields, in its schema's order, null where that says null."""
    definition = named(schemas.read(schema), name)
    assert [other_names.get(field, field) for field in record._fields] == field_names(definition)
    for field, kind in zip(definition["fields"], annotations_of(record), strict=True):
        optional = kind.endswith("| None")
        assert optional == (isinstance(field["type"], list) and "null" in field["type"]), field["name"]


def test_an_event_has_the_fields_of_its_schema():
    """An Event is the AuditEvent but for the two hashes, which the chain adds."""
    assert [*ledger.Event._fields, "previous_hash", "hash"] == field_names(schemas.read("audit_event.v1"))


def test_kinds_and_services_are_those_of_the_schema():
    """The closed lists of the domain are the enums of the schemas, in their order."""
    from pipeline.domain import outcome

    audit = schemas.read("audit_event.v1")
    assert tuple(named(audit, "Kind")["symbols"]) == outcome.KINDS
    assert tuple(named(audit, "Service")["symbols"]) == usage.SERVICES
    assert tuple(named(audit, "Direction")["symbols"]) == usage.DIRECTIONS
