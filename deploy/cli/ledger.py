# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline audit`, `rebuild` and `ledger`: the books checked, the view made anew, a loss accepted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import DataDir, Json, settings_of_servers
from deploy.cli.sending import default_actor, in_words
from deploy.cli.talk import RefusedError, confirm, data, data_json, misused, next_step, progress, say, table

if TYPE_CHECKING:
    from consumers.audit.report import Report
    from pipeline.settings import Settings

audit = typer.Typer(help="The books, checked.", no_args_is_help=True)
ledger = typer.Typer(help="The ledger itself.", no_args_is_help=True)


@audit.command("verify")
def verify(
    seal_key: Annotated[
        Path | None,
        typer.Option("--seal-key", metavar="PUBFILE", help="Also: every seal signed by this key is on the chain."),
    ] = None,
    seals: Annotated[
        Path | None,
        typer.Option("--seals", metavar="FILE", help="Those seals (`audit seals --json`). Default: the auditor's own."),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Prove that the books are right.

    Reads the whole ledger and the whole view, and stops at the first breach. Signed seals show a ledger that was cut
    or written anew as a whole.

    \b
    Examples:
      chargeline audit verify
      chargeline audit verify --json | jq .ok
      chargeline audit verify --seal-key seal_key.pub.pem --seals seals.jsonl
    """
    from consumers.audit.verify import verify as verify_books

    settings = settings_of_servers(data_dir)
    if seals is not None and seal_key is None:
        misused("--seals are checked by --seal-key")
    signed = {} if seal_key is None else _signed(settings, seal_key, seals)
    with progress("checking the books") as done:
        report = verify_books(settings, lambda read, _: done(read), signed)
    if json:
        data_json(report.as_json())
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)


def _signed(settings: "Settings", seal_key: Path, seals: Path | None) -> dict[int, dict[int, bytes]]:
    """Return the hash of each seal by partition and seq; raises RefusedError where a signature is not the key's."""
    from consumers.audit.auditor import folder_of
    from consumers.audit.export import seal_of_json
    from consumers.audit.signing import KeyFileError, is_signed, public_key
    from consumers.audit.store import AuditStore, StoreError
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.domain.ledger import genesis_hash
    from pipeline.topics import AUDIT

    try:
        key = public_key(seal_key)
        if seals is None:
            store = AuditStore(folder_of(settings), read_only=True)
            found = store.seals()
            store.close()
        else:
            found = [seal_of_json(line) for line in seals.read_text().splitlines()]
    except (KeyFileError, StoreError, OSError, ValueError, LookupError) as error:
        raise RefusedError(f"the seals cannot be read: {error}") from None
    topic_id = describe_topics(settings)[AUDIT.name].topic_id.hex()
    signed: dict[int, dict[int, bytes]] = {}
    for seal in found:
        genesis = genesis_hash(topic_id, seal.partition)
        if not is_signed(key, genesis, *seal):
            raise RefusedError(f"seal {seal.partition}-{seal.seq} is not signed by that key for this ledger")
        signed.setdefault(seal.partition, {})[seal.seq] = seal.hash
    say(f"{len(found)} signed seals")
    return signed


def show_report(report: "Report") -> None:
    """Write an audit's report for people."""
    counts = (
        ("partitions", report.partitions),
        ("accounts", report.accounts),
        ("events", report.events),
        ("charged", report.charged),
        ("duplicates", report.duplicates),
        ("review", report.review),
        ("rejected", report.rejected),
        ("dead letters", report.dead_letters),
    )
    table(("", ""), [(name, f"{count:,}") for name, count in counts], "<>")
    data(books_line(report))
    if report.breach is not None:
        breach = report.breach
        data(f"{breach.invariant} is broken at {breach.partition}-{breach.seq}: {breach.detail}")
        next_step(f"chargeline explain {breach.partition}-{breach.seq}")


def books_line(report: "Report") -> str:
    """Return the figures in one line for each currency: what came in less what was charged is what is left."""
    from pipeline.domain.money import format_micros

    lines = []
    for currency in sorted(report.balance_micros):
        opening, topped_up, adjusted, charged, left = (
            format_micros(sums.get(currency, 0))
            for sums in (
                report.opening_micros,
                report.topped_up_micros,
                report.adjusted_micros,
                report.charged_micros,
                report.balance_micros,
            )
        )
        lines.append(
            f"opening {opening} + top-ups {topped_up} + adjustments {adjusted} - charges {charged} = {left} {currency}"
        )
    verdict = "books balance" if report.ok else "books do not balance"
    return f"{verdict}: " + ("; ".join(lines) or "nothing was ever booked")


def rebuild(
    partition: Annotated[
        int | None, typer.Option("--partition", metavar="N", min=0, help="One ledger partition. Default: all.")
    ] = None,
    from_first: Annotated[
        bool, typer.Option("--from-first-event", help="Fold the whole ledger; believe no snapshot.")
    ] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make the view in Redis anew from the ledger.

    It is wiped first. Nothing is lost: the ledger is the truth. A snapshot that the ledger bears out saves reading
    what is before it.

    \b
    Examples:
      chargeline rebuild
      chargeline rebuild --partition 3
    """
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.charge import rebuild as rebuild_view
    from pipeline.topics import AUDIT

    settings = settings_of_servers(data_dir)
    partitions = describe_topics(settings)[AUDIT.name].partitions
    if partition is not None and partition >= partitions:
        raise RefusedError(f"no ledger partition {partition}: there are {partitions}, counted from 0")
    chosen = range(partitions) if partition is None else [partition]
    with progress("events folded") as done:
        events = rebuild_view(settings, chosen, lambda _, seq: done(seq), from_snapshots=not from_first)
    if json:
        data_json({"partitions": list(chosen), "events": events})
    else:
        data(f"{events} events of {len(chosen)} partitions folded")
        next_step("chargeline audit verify")


@ledger.command("accept-loss")
def accept_loss(
    partition: Annotated[int, typer.Argument(metavar="PARTITION", min=0, show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="A sentence why; the ledger keeps it for ever.")],
    actor: Annotated[str | None, typer.Option("--actor", metavar="WHO", help="Default: staff-<you>.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Let a halted partition go on.

    Without what it lost; that is written into the ledger and cannot be undone.

    \b
    Example:
      chargeline ledger accept-loss 3 --reason "broker 2 lost its disk, no backup, case 4711"
    """
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.charge import accept_loss as write_loss
    from pipeline.topics import AUDIT

    settings = settings_of_servers(data_dir)
    partitions = describe_topics(settings)[AUDIT.name].partitions
    if partition >= partitions:
        raise RefusedError(f"no ledger partition {partition}: there are {partitions}, counted from 0")
    confirm(f"Go on without what ledger partition {partition} lost?", yes=yes)
    try:
        lost = write_loss(settings, partition, actor or default_actor(), reason)
    except ValueError as error:
        raise RefusedError(str(error), "next: chargeline audit verify") from None
    if json:
        data_json({"partition": partition, "accepted": lost})
    else:
        data(f"partition {partition}: {in_words(lost)}")
        say("its owner goes on by itself")
        next_step("chargeline status, then chargeline audit verify")
