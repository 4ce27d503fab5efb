# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline rate` and `chargeline quote`: prices without any server."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import Json, own_settings
from deploy.cli.sending import in_words, read_command_files
from deploy.cli.talk import RefusedError, data, data_json, next_step, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deploy.cli.offline import OfflineLedger
    from pipeline.adapters.catalogue import LoadedCatalogue
    from pipeline.adapters.ledger_codec import StoredEvent
    from pipeline.domain.catalogue import Catalogue
    from pipeline.domain.usage import UsageRecord

CatalogueDir = Annotated[
    Path, typer.Option("--catalogue", metavar="DIR", help="A directory of tariffs.", show_default=False)
]
Format = Annotated[
    str | None, typer.Option("--format", help="json or asterisk. Guessed from the first line where absent.")
]
Timezone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of local times in the file (asterisk).")]

_ANYBODY: Final = "000000000000000"


def rate(
    catalogue: CatalogueDir,
    accounts: Annotated[Path, typer.Option("--accounts", metavar="FILE", help="Commands, one JSON object a line.")],
    usage: Annotated[Path, typer.Option("--usage", metavar="FILE", help="Usage records, as a probe writes them.")],
    format_: Format = None,
    timezone: Timezone = "UTC",
    json: Json = False,
) -> None:
    """Rate a file of usage, offline.

    By the very core that charges: one event of the ledger for each line. All commands are carried out first, then
    all records in the order of the file. What could not be accepted is REJECTED with its reason.

    \b
    Examples:
      chargeline rate --catalogue tariffs/ --accounts accounts.jsonl --usage usage.jsonl
      chargeline rate --catalogue tariffs/ --accounts accounts.jsonl --usage usage.jsonl --json | jq .amount_micros
    """
    from deploy.cli.usage_files import open_usage
    from pipeline.adapters.ledger_codec import event_to_json
    from pipeline.domain.outcome import REJECTED

    commands = read_command_files([accounts])
    ledger = offline_ledger(compiled(catalogue))
    with open_usage(usage, format_, timezone, otherwise="json") as lines:
        for stored in ledger.commands(commands):
            if stored.event.kind == REJECTED:
                say(f"{stored.event.event_id} of {stored.event.account}: REJECTED {stored.event.reason}")
        events = _counted(ledger.records(found for _, found in lines))
        if json:
            for stored in events:
                data_json(event_to_json(stored))
        else:
            _table_of(events)


def offline_ledger(catalogue: "Catalogue") -> "OfflineLedger":
    """Return a ledger in memory that prices by this catalogue."""
    from deploy.cli.offline import OfflineLedger
    from pipeline.domain.catalogue import Catalogues
    from pipeline.mediate import rules_of

    return OfflineLedger(Catalogues([catalogue]), rules_of(own_settings().mediate))


def compiled(directory: Path) -> "Catalogue":
    """Return a directory's catalogue ready for rating, for all time; raises RefusedError."""
    from pipeline.adapters.catalogue import FOR_ALL_TIME
    from pipeline.domain.catalogue import compile_catalogue

    return compile_catalogue(load_catalogue(directory).document(FOR_ALL_TIME))


def load_catalogue(directory: Path) -> "LoadedCatalogue":
    """Return the checked catalogue of a directory; raises RefusedError with all that is wrong with it."""
    from pipeline.adapters.catalogue import CatalogueRefused, load_directory

    try:
        return load_directory(directory)
    except CatalogueRefused as refused:
        raise RefusedError(f"catalogue {directory} is refused:\n{refused}") from None


def _counted(events: "Iterable[StoredEvent]") -> "Iterator[StoredEvent]":
    with progress("records") as done:
        for count, stored in enumerate(events, 1):
            yield stored
            done(count)


def _table_of(events: "Iterable[StoredEvent]") -> None:
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.money import format_micros

    rows = []
    total: dict[str, int] = {}
    for stored in events:
        event = stored.event
        currency = event.currency or ""
        total[currency] = total.get(currency, 0) + event.amount_micros
        start = "" if event.usage is None else iso_time(event.usage.start_time)
        rule = event.lines[0].rule if event.lines else event.reason or ""
        amount = format_micros(event.amount_micros)
        rows.append((event.event_id, event.account, start, event.kind, rule, amount, currency))
    table(("record", "account", "start", "kind", "rule or reason", "amount", ""), rows, "<<<<<><")
    for currency, micros in sorted(total.items()):
        if currency:
            say(f"{len(rows)} records, {format_micros(micros)} {currency}")


def quote(
    catalogue: CatalogueDir,
    plan: Annotated[str, typer.Option("--plan", metavar="ID", help="Id of a plan in the catalogue.")],
    usage: Annotated[
        str, typer.Option("--usage", metavar="JSON", help="One record; id, source, time may be left out.")
    ],
    json: Json = False,
) -> None:
    """Say what one record would cost.

    A new account on a plan; and why.

    \b
    Example:
      chargeline quote --catalogue tariffs/ --plan basic \\
        --usage '{"service": "VOICE", "other_party": "+8613512345678", "duration_ms": 61000}'
    """
    from consumers.statements.explain import explain
    from pipeline.adapters.ledger_codec import event_to_json
    from pipeline.domain.outcome import CHARGED

    record = _record_of(usage)
    version = compiled(catalogue)
    ledger = offline_ledger(version)
    _open_account(ledger, version, plan, record)
    (stored,) = ledger.records([record])
    if json:
        data_json(event_to_json(stored))
    else:
        for line in explain("quote", stored.event):
            data(line)
        next_step("chargeline rate prices a whole file, with accounts and what is left of their allowances")
    if stored.event.kind != CHARGED:
        raise typer.Exit(1)


def _record_of(text: str) -> "UsageRecord":
    """Read the record of a quote; what only a real one has (id, source, whose, when) may be left out."""
    import json

    from pipeline.adapters.formats import usage_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.outcome import Refusal

    try:
        given = json.loads(text)
    except ValueError as error:
        raise RefusedError(f"--usage is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise RefusedError("--usage is one JSON object")
    now = iso_time(time.time_ns() // 1_000_000)
    filled = {"record_id": "quote", "source": "quote", "direction": "MO", "start_time": now, **given}
    if filled.get("imsi") is None:
        filled["imsi"] = _ANYBODY
    record = usage_from_json(filled)
    if isinstance(record, Refusal):
        raise RefusedError(f"--usage is no record: {in_words(record.detail)}")
    if "start_time" not in given:
        say(f"priced as if it started now, {now}")
    return record


def _open_account(ledger: "OfflineLedger", version: "Catalogue", plan: str, record: "UsageRecord") -> None:
    from pipeline.adapters.command_json import command_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.outcome import REJECTED, Refusal

    found = version.plan_at(plan, record.start_time)
    if found is None:
        known = sorted({known.id for known in version.plans})
        raise RefusedError(f"no plan {plan!r} at that time; the catalogue has {', '.join(known)}")
    command = command_from_json(
        {
            "type": "open_account",
            "command_id": "quote",
            "account": "quote",
            "at": iso_time(min(record.start_time, found.valid_from)),
            "actor": "service-quote",
            "currency": found.currency,
            "plan": plan,
            "identities": [f"imsi-{record.imsi}"],
            "opening_balance": "0",
        }
    )
    assert not isinstance(command, Refusal), "our own command"
    (opened,) = ledger.commands([command])
    if opened.event.kind == REJECTED:
        raise RefusedError(f"no quote: {opened.event.reason} {opened.event.detail}")
