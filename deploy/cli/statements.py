# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline bill` and `chargeline explain`: what a customer is told, read from the ledger."""

import re
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.statements.bill import Bill
    from pipeline.domain.catalogue import Catalogues
    from pipeline.domain.ledger import Event
    from pipeline.settings import Settings

_TIMEOUT_S: Final = 300.0
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def bill(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", show_default=False)],
    month: Annotated[str | None, typer.Option("--month", metavar="YYYY-MM", help="Default: the newest.")] = None,
    timeout: Timeout = _TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show an account's itemised bill.

    Of one month; its lines add up to its total, exactly.

    \b
    Examples:
      chargeline bill alice
      chargeline bill alice --month 2026-10 --json | jq '.lines[] | .amount'
    """
    from consumers.statements.bill import bill_to_json

    if month is not None and not _MONTH.fullmatch(month):
        misused(f"--month takes a month like 2026-10, not {month[:20]!r}")
    found, catalogues = bills_of(settings_of_servers(data_dir), account, timeout)
    chosen = found[max(found)] if month is None else found.get(month)
    if chosen is None:
        raise RefusedError(f"no bill of {account} for {month}; there are {', '.join(sorted(found))}")
    if json:
        data_json(bill_to_json(chosen))
        return
    show_bill(chosen, catalogues)
    others = sorted(set(found) - {chosen.period})
    if others:
        say(f"other months: {', '.join(others)}")
    if chosen.charges:
        dearest = max(chosen.charges, key=lambda item: item.amount_micros)
        next_step(f"chargeline explain {dearest.event_id}")


def bills_of(settings: "Settings", account: str, timeout_s: float) -> "tuple[dict[str, Bill], Catalogues]":
    """Return every bill of an account by month, and the catalogues; raises RefusedError where it has none."""
    from consumers.statements.bill import bills
    from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed
    from pipeline.adapters.kafka.ledger_lookup import account_events
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.topics import AUDIT, partition_of

    feed = CatalogueFeed(settings)
    try:
        catalogues, _ = feed.read_to_end()
    finally:
        feed.close()

    def month_of(moment_ms: int) -> str:
        version = catalogues.at(moment_ms)
        if version is None:
            raise RefusedError("no catalogue was published, so there is no tariff time to tell months by")
        return version.month_of(moment_ms)

    def events() -> "Iterator[Event]":
        with progress(f"reading the ledger of {account}") as done:
            for count, stored in enumerate(account_events(settings, account, partition, timeout_s), 1):
                done(count)
                yield stored.event

    partition = partition_of(account, describe_topics(settings)[AUDIT.name].partitions)
    found = bills(account, partition, events(), month_of)
    if not found:
        raise RefusedError(
            f"the ledger has nothing to bill {account!r} for", f"next: chargeline account show {account}"
        )
    return found, catalogues


def show_bill(bill: "Bill", catalogues: "Catalogues") -> None:
    """Write a bill for people: each charge, the sums by rule, payments, the total. Times are tariff time."""
    from pipeline.domain.money import format_micros

    data(f"Bill of {bill.account} for {bill.period}, in {bill.currency}")
    data()
    rows = []
    for item in bill.charges:
        usage, first = item.event.usage, item.event.lines[0] if item.event.lines else None
        rows.append(
            (
                item.event_id,
                local_time(catalogues, item.at_ms),
                "fee" if usage is None else f"{usage.service} {usage.direction}",
                "" if usage is None else usage.other_party or "",
                "" if usage is None else _quantity(item.event),
                "" if first is None else first.rule,
                format_micros(item.amount_micros),
            )
        )
    table(("charge", "start", "service", "other party", "quantity", "rule", "amount"), rows, "<<<<><>")
    data()
    sums = [(s.service, s.rule, str(s.charges), format_micros(s.amount_micros)) for s in bill.subtotals()]
    table(("service", "rule", "charges", "amount"), [*sums, ("total", "", "", _total(bill))], "<<>>")
    data()
    paid = [
        (item.event_id, local_time(catalogues, item.at_ms), item.event.reason or "", format_micros(-item.amount_micros))
        for item in bill.payments
    ]
    if paid:
        table(("event", "time", "payments", "amount"), paid, "<<<>")
        data()
    data(f"balance now {format_micros(bill.balance_micros)} {bill.currency}")


def _total(bill: "Bill") -> str:
    from pipeline.domain.money import format_micros

    return format_micros(bill.charged_micros)


def _quantity(event: "Event") -> str:
    from pipeline.domain.usage import DATA, VOICE, quantity

    usage = event.usage
    assert usage is not None
    amount = quantity(usage)
    if usage.service == VOICE:
        return f"{amount // 60_000}:{amount // 1000 % 60:02d} min"
    return f"{amount:,} B" if usage.service == DATA else f"{amount}"


def local_time(catalogues: "Catalogues", moment_ms: int) -> str:
    """Write a moment as the wall shows it in tariff time, to the second."""
    version = catalogues.at(moment_ms)
    if version is None:
        return ""
    time_of_day = version.clock.local(moment_ms).time_of_day_ms
    seconds = time_of_day // 1000
    return f"{version.day_of(moment_ms)} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def explain(
    charge: Annotated[str, typer.Argument(metavar="CHARGE_ID", help="Like 3-17, as a bill shows it.")],
    language: Annotated[str, typer.Option("--lang", metavar="en|zh", help="English or Chinese.")] = "en",
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Say why one charge is what it is.

    Every step of the arithmetic, down to the rounding.

    \b
    Example:
      chargeline explain 3-17
      chargeline explain 3-17 --lang zh
    """
    from consumers.statements.explain import explain as explained
    from consumers.statements.words import LANGUAGES
    from pipeline.adapters.kafka.ledger_lookup import LedgerLookup
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.ledger_codec import event_to_json
    from pipeline.domain.commands import parse_event_id
    from pipeline.topics import AUDIT

    if language not in LANGUAGES:
        misused(f"--lang is one of {', '.join(LANGUAGES)}, not {language[:20]!r}")
    place = parse_event_id(charge)
    if place is None:
        misused(f"a charge id is <partition>-<seq> like 3-17, not {charge[:40]!r}")
    partition, seq = place
    settings = settings_of_servers(data_dir)
    partitions = describe_topics(settings)[AUDIT.name].partitions
    with LedgerLookup(settings) as lookup:
        stored = lookup.event(partition, seq) if partition < partitions else None
    if stored is None:
        raise RefusedError(f"the ledger has no event {charge}", "next: chargeline bill ACCOUNT")
    if json:
        data_json({"charge_id": charge, **event_to_json(stored)})
        return
    for line in explained(charge, stored.event, language):
        data(line)
