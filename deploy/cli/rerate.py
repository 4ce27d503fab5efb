# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline rerate`: the past priced anew under a corrected catalogue, and the differences posted."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.sending import TIMEOUT_S, Actor, default_actor, run_commands
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.statements.rerate import Correction, Unpriced
    from pipeline.domain.catalogue import Catalogue, Catalogues
    from pipeline.domain.ledger import Event
    from pipeline.settings import Settings


def rerate(
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Use that starts then or later.")],
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Use that starts before then.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="A sentence why, for the ledger and the bill.")
    ],
    account: Annotated[str | None, typer.Option("--account", metavar="ACCOUNT", help="Of one account alone.")] = None,
    version: Annotated[
        str | None, typer.Option("--catalogue", metavar="HASH", help="The corrected version. Default: the newest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the differences, post nothing.")] = False,
    actor: Actor = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Correct what was charged in the past.

    Prices the ledger's use of that time anew, as if the corrected version of the catalogue had been in force, and posts
    each difference as an adjustment of its charge. What was corrected before is not corrected again.

    \b
    Example:
      chargeline rerate --from 2026-10-01T00:00:00+08:00 --to 2026-11-01T00:00:00+08:00 \\
        --reason "calls to +44 were priced by the old deck" --dry-run
    """
    from consumers.statements.rerate import Correction

    span = _moment(from_, "--from"), _moment(to, "--to")
    if span[0] >= span[1]:
        misused("--to is after --from")
    if not reason.strip():
        misused("--reason takes a sentence why")
    settings = settings_of_servers(data_dir)
    catalogues = published(settings)
    corrected = chosen_version(catalogues, version)
    found = list(differences(settings, catalogues.corrected(corrected, *span), span, account, timeout))
    corrections = [item for item in found if isinstance(item, Correction)]
    _show(found, json=json)
    _say_unpriced(found)
    if dry_run or not corrections:
        say("nothing was posted" if dry_run else "nothing to correct")
        return
    commands = [
        command
        for item in corrections
        for command in commands_of(item, corrected.hash, reason, actor or default_actor())
    ]
    code = run_commands(settings, commands, wait=True, timeout_s=timeout, json=False)
    next_step("chargeline audit verify")
    raise typer.Exit(code)


def commands_of(correction: "Correction", catalogue: str, reason: str, actor: str) -> "Iterator[dict[str, Any]]":
    """Yield the adjust commands of a correction; the same correction again has the same ids."""
    from pipeline.adapters.command_json import command_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.money import format_micros
    from pipeline.domain.outcome import Refusal

    now = iso_time(time.time_ns() // 1_000_000)
    for command_id, amount, charge_id in correction.adjustments(catalogue):
        command = command_from_json(
            {
                "type": "adjust",
                "command_id": command_id,
                "account": correction.account,
                "at": now,
                "actor": actor,
                "amount": format_micros(amount),
                "reason": reason,
                "charge_id": charge_id,
            }
        )
        if isinstance(command, Refusal):
            raise RefusedError(f"not sent: {command.detail}")
        yield command


def _moment(text: str, option: str) -> int:
    from pipeline.adapters.command_json import parse_time

    moment = parse_time(text)
    if moment is None:
        misused(f"{option} takes a time like 2026-10-01T00:00:00+08:00 (with its offset, or Z)")
    return moment


def published(settings: "Settings") -> "Catalogues":
    """Return every version of the catalogue that was published."""
    from pipeline.adapters.kafka.catalogue_feed import CatalogueFeed

    feed = CatalogueFeed(settings)
    try:
        return feed.read_to_end()[0]
    finally:
        feed.close()


def chosen_version(catalogues: "Catalogues", version: str | None) -> "Catalogue":
    found = catalogues.newest() if version is None else catalogues.by_hash(version)
    if found is None:
        raise RefusedError(
            "no such catalogue was published: --catalogue takes the whole hash of a version",
            "next: chargeline catalogue publish DIR",
        )
    return found


def differences(
    settings: "Settings", catalogues: "Catalogues", span: tuple[int, int], account: str | None, timeout_s: float
) -> "Iterator[Correction | Unpriced]":
    """Read the ledger, one partition after the other, and yield what differs."""
    from consumers.statements.rerate import rerate as follow
    from pipeline.adapters.kafka.ledger_lookup import account_events, read_partition
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.ledger_codec import decode_event
    from pipeline.topics import AUDIT, partition_of

    partitions = describe_topics(settings)[AUDIT.name].partitions
    own = None if account is None else partition_of(account, partitions)
    read = 0
    with progress("events") as done:

        def events(partition: int) -> "Iterator[Event]":
            nonlocal read
            if account is not None:
                stored = account_events(settings, account, partition, timeout_s)
            else:
                records = read_partition(settings, AUDIT.name, partition, timeout_s)
                stored = (decode_event(record.value) for record in records if record.value is not None)
            for item in stored:
                read += 1
                done(read)
                yield item.event

        for partition in range(partitions) if own is None else (own,):
            yield from follow(partition, events(partition), catalogues, span).found()


def _show(found: "list[Correction | Unpriced]", *, json: bool) -> None:
    from consumers.statements.rerate import Correction
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.money import format_micros

    rows = []
    totals: dict[str, int] = {}
    for item in found:
        if json:
            kind = "correction" if isinstance(item, Correction) else "unpriced"
            amount = {"amount_micros": item.amount_micros} if isinstance(item, Correction) else {}
            data_json({"type": kind, **item._asdict(), **amount})
        elif isinstance(item, Correction):
            paid, due = format_micros(item.paid_micros), format_micros(item.due_micros)
            change = format_micros(item.amount_micros)
            rows.append((item.charge_id, item.account, iso_time(item.start_ms), paid, due, change, item.currency))
        if isinstance(item, Correction):
            totals[item.currency] = totals.get(item.currency, 0) + item.amount_micros
    if rows:
        table(("charge", "account", "start", "paid", "due", "returned", ""), rows, "<<<>>><")
        data()
    for currency, micros in sorted(totals.items()):
        say(f"{format_micros(micros)} {currency} to be returned in all")


def _say_unpriced(found: "list[Correction | Unpriced]") -> None:
    from consumers.statements.rerate import Unpriced

    unpriced = [item for item in found if isinstance(item, Unpriced)]
    for item in unpriced[:10]:
        say(f"{item.charge_id} of {item.account} stays as it is: the corrected catalogue says {item.reason}")
    if len(unpriced) > 10:
        say(f"and {len(unpriced) - 10} more that the corrected catalogue does not price")
