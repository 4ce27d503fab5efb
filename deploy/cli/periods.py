# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline account begin-periods`: the scheduler of monthly fees, run by cron or a timer."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.rerate import published
from deploy.cli.sending import TIMEOUT_S, Actor, run_commands
from deploy.cli.talk import RefusedError, data, misused, progress, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.domain.catalogue import Catalogues
    from pipeline.settings import Settings

ACTOR: Final = "service-scheduler"


def begin_periods(
    month: Annotated[
        str | None, typer.Option("--month", metavar="YYYY-MM", help="Default: the month that it is in tariff time.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name the accounts, send nothing.")] = False,
    actor: Actor = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Begin the month of every account due.

    Of those with fees, and those whose bills periods close. To be run every day: whoever has begun the month already is
    left alone, and a repeat charges nothing.

    \b
    Examples:
      chargeline account begin-periods
      chargeline account begin-periods --month 2026-12 --dry-run
    """
    from consumers.statements.periods import is_after, month_at, period_command
    from pipeline.adapters.command_json import command_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.fees import parse_month
    from pipeline.domain.outcome import Refusal

    if month is not None and parse_month(month) is None:
        misused(f"--month takes a month like 2026-12, not {month[:20]!r}")
    settings = settings_of_servers(data_dir)
    catalogues, now_ms = published(settings), time.time_ns() // 1_000_000
    current = month_at(now_ms, catalogues)
    if current is None:
        raise RefusedError("no catalogue was published", "next: chargeline catalogue publish DIR")
    month = month or current
    if is_after(month, current):
        raise RefusedError(f"{month} has not begun in tariff time: it is {current}")
    commands = []
    for account in _due(settings, month, now_ms, catalogues):
        command = command_from_json(period_command(account, month, iso_time(now_ms), actor or ACTOR))
        assert not isinstance(command, Refusal), "our own command"
        commands.append(command)
    say(f"{month} is to be begun for {len(commands)} accounts")
    if dry_run:
        for command in commands:
            data(f"{command['account']}")
        return
    raise typer.Exit(run_commands(settings, commands, wait=True, timeout_s=timeout, json=json))


def _due(settings: "Settings", month: str, now_ms: int, catalogues: "Catalogues") -> "Iterator[str]":
    """Yield every account that the month is due for, as Redis has them; one opened meanwhile is found the next time."""
    from consumers.statements.periods import is_due
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.store.redis import RedisStore
    from pipeline.domain.account import Account
    from pipeline.topics import AUDIT

    store = RedisStore(settings)
    try:
        with progress("accounts") as done:
            found = set(store.accounts(describe_topics(settings)[AUDIT.name].partitions))
            for count, (partition, name) in enumerate(sorted(found), 1):
                if is_due(Account(name, store.account(partition, name)), month, now_ms, catalogues):
                    yield name
                done(count)
    finally:
        store.close()
