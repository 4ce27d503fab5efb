# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline catalogue simulate`: who would pay more, and who less, under another catalogue."""

from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from deploy.cli.context import Json
from deploy.cli.rating import Format, Timezone, compiled, offline_ledger
from deploy.cli.sending import read_command_files
from deploy.cli.talk import data, data_json, progress, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.domain.ledger import Event


class Payer(NamedTuple):
    """One account: its plan under the first catalogue, and what it pays under each, in micro-units."""

    account: str
    plan: str
    currency: str
    before_micros: int
    after_micros: int


class PlanSum(NamedTuple):
    """What a plan's accounts pay: how many pay more, less and the same, and all of it under each catalogue."""

    plan: str
    currency: str
    accounts: int
    more: int
    less: int
    same: int
    before_micros: int
    after_micros: int


class Tally:
    """Sums what each account pays under two catalogues, event by event."""

    def __init__(self) -> None:
        self._accounts: dict[str, list[Any]] = {}
        self.refused = [0, 0]
        """records that are not charged under the first alone, and under the second alone"""

    def add(self, before: "Event", after: "Event") -> None:
        """Count what the same record or command costs under both."""
        from pipeline.domain.outcome import CHARGED

        charged = before.kind == CHARGED, after.kind == CHARGED
        if charged[0] != charged[1]:
            self.refused[charged[0]] += 1
        for index, event in enumerate((before, after)):
            if event.kind != CHARGED:
                continue
            known = self._accounts.setdefault(event.account, ["", event.currency, 0, 0])
            if event.lines and not known[0]:
                known[0] = event.lines[0].plan
            known[2 + index] += event.amount_micros

    def payers(self) -> list[Payer]:
        """Return every account that was charged, by name."""
        return [Payer(name, *known) for name, known in sorted(self._accounts.items())]


def by_plan(payers: list[Payer]) -> list[PlanSum]:
    """Sum accounts by plan and currency."""
    sums: dict[tuple[str, str], list[int]] = {}
    for payer in payers:
        known = sums.setdefault((payer.plan, payer.currency), [0] * 6)
        known[0] += 1
        change = payer.after_micros - payer.before_micros
        known[1 if change > 0 else 2 if change < 0 else 3] += 1
        known[4] += payer.before_micros
        known[5] += payer.after_micros
    return [PlanSum(*names, *known) for names, known in sorted(sums.items())]


def simulate(
    before: Annotated[Path, typer.Argument(metavar="A", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", show_default=False)],
    usage: Annotated[Path, typer.Option("--usage", metavar="FILE", help="Usage records, as a probe writes them.")],
    accounts: Annotated[Path, typer.Option("--accounts", metavar="FILE", help="Commands, one JSON object a line.")],
    format_: Format = None,
    timezone: Timezone = "UTC",
    json: Json = False,
) -> None:
    """Rate the same use under two catalogues.

    Who pays more, who less, plan by plan; with --json a line an account, then a line a plan. No server is asked.

    \b
    Example:
      chargeline catalogue simulate tariffs/ tariffs-2027/ --usage usage.jsonl --accounts accounts.jsonl
    """
    tally = Tally()
    with progress("records") as done:
        for count, pair in enumerate(_events(before, after, usage, accounts, (format_, timezone)), 1):
            tally.add(*pair)
            done(count)
    payers = tally.payers()
    if json:
        for payer in payers:
            data_json({"type": "account", **payer._asdict()})
        for plan in by_plan(payers):
            data_json({"type": "plan", **plan._asdict()})
        data_json({"type": "records", "charged_by_a_alone": tally.refused[1], "charged_by_b_alone": tally.refused[0]})
        return
    _show(payers)
    for count, which in zip(tally.refused, ("the second", "the first"), strict=True):
        if count:
            say(f"{count} records are priced by {which} catalogue alone: see `chargeline rate --json`")


def _events(
    before: Path, after: Path, usage: Path, accounts: Path, how: tuple[str | None, str]
) -> "Iterator[tuple[Event, Event]]":
    from deploy.cli.usage_files import open_usage

    ledgers = offline_ledger(compiled(before)), offline_ledger(compiled(after))
    commands = list(read_command_files([accounts]))
    for old, new in zip(*(ledger.commands(commands) for ledger in ledgers), strict=True):
        yield old.event, new.event
    with open_usage(usage, how[0], how[1], otherwise="json") as lines:
        copies = tee(found for _, found in lines)
        for old, new in zip(*(ledger.records(c) for ledger, c in zip(ledgers, copies, strict=True)), strict=True):
            yield old.event, new.event


def _show(payers: list[Payer]) -> None:
    from pipeline.domain.money import format_micros

    rows = []
    totals: dict[str, list[int]] = {}
    for plan in by_plan(payers):
        total = totals.setdefault(plan.currency, [0, 0])
        total[0] += plan.before_micros
        total[1] += plan.after_micros
        counts = (str(plan.accounts), str(plan.more), str(plan.less), str(plan.same))
        rows.append((plan.plan or "-", *counts, *_money(plan.before_micros, plan.after_micros), plan.currency))
    for currency, (old, new) in sorted(totals.items()):
        rows.append(("total", "", "", "", "", *_money(old, new), currency))
    table(("plan", "accounts", "more", "less", "same", "before", "after", "change", ""), rows, "<>>>>>>><")
    dearest = sorted(payers, key=lambda payer: (payer.before_micros - payer.after_micros, payer.account))[:5]
    for payer in dearest:
        change = payer.after_micros - payer.before_micros
        if change > 0:
            paid = f"{format_micros(change)} {payer.currency} more than {format_micros(payer.before_micros)}"
            data(f"{payer.account} pays {paid}")


def _money(before_micros: int, after_micros: int) -> tuple[str, str, str]:
    from pipeline.domain.money import format_micros

    change = after_micros - before_micros
    sign = "+" if change > 0 else ""
    return format_micros(before_micros), format_micros(after_micros), f"{sign}{format_micros(change)}"
