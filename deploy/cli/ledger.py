# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline audit`, `rebuild` and `ledger`: the books checked, the view made anew, a loss accepted."""

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import DataDir, Json, settings_of_servers
from deploy.cli.sending import default_actor, in_words
from deploy.cli.talk import RefusedError, confirm, data, data_json, next_step, progress, say, table

if TYPE_CHECKING:
    from consumers.audit.report import Report

audit = typer.Typer(help="The books, checked.", no_args_is_help=True)
ledger = typer.Typer(help="The ledger itself.", no_args_is_help=True)


@audit.command("verify")
def verify(json: Json = False, data_dir: DataDir = None) -> None:
    """Prove that the books are right.

    Reads the whole ledger and the whole view, and stops at the first breach.

    \b
    Examples:
      chargeline audit verify
      chargeline audit verify --json | jq .ok
    """
    from consumers.audit.verify import verify as verify_books

    settings = settings_of_servers(data_dir)
    with progress("checking the books") as done:
        report = verify_books(settings, lambda read, _: done(read))
    if json:
        data_json(report.as_json())
    else:
        show_report(report)
    if not report.ok:
        raise typer.Exit(1)


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
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make the view in Redis anew from the ledger.

    It is wiped first. Nothing is lost: the ledger is the truth.

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
        events = rebuild_view(settings, chosen, lambda _, seq: done(seq))
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
