"""Rows of the subscriber directory: which account had an identity when, written with the event that changed it."""

from pipeline.adapters.avro import SUBSCRIBER_BINDING
from pipeline.domain.account import parse_identities
from pipeline.domain.batch import Binding
from pipeline.domain.ledger import Event


def binding_row(binding: Binding) -> tuple[str, bytes]:
    """Return key and value of a directory row."""
    spans = [{"from": begin, "to": end} for begin, end in binding.spans]
    value = SUBSCRIBER_BINDING.encode({"identity": binding.identity, "account": binding.account, "spans": spans})
    return f"{binding.identity}|{binding.account}", value


def rows_of(event: Event) -> list[tuple[str, bytes]]:
    """Return the directory rows that go with an event, made of the event alone."""
    text, command = event.effects.account.get("identities"), event.command
    if text is None or command is None:
        return []
    spans = parse_identities(text)
    rows = []
    for identity in command["identities"] or [command["identity"]]:  # type: ignore[attr-defined] # of a decoded command
        held = tuple((span.from_ms, span.to_ms) for span in spans if span.identity == identity)
        rows.append(binding_row(Binding(str(identity), event.account, held)))
    return rows
