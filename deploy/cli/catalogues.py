# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline catalogue`: check tariffs, compare them, and publish them."""

import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.catalogue_diff import diff
from deploy.cli.catalogue_import import calendar, import_deck
from deploy.cli.catalogue_simulate import simulate
from deploy.cli.context import DataDir, Json, settings_of_servers
from deploy.cli.rating import compiled, load_catalogue
from deploy.cli.sending import in_words
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, say

app = typer.Typer(help="Check tariffs, compare them, and publish them.", no_args_is_help=True)

app.command("diff")(diff)
app.command("simulate")(simulate)
app.command("import-deck")(import_deck)
app.command("calendar")(calendar)

Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]


@app.command("check")
def check(directory: Directory, json: Json = False) -> None:
    """Check a directory of tariffs.

    Every problem at once, each with its file and line.

    \b
    Example:
      chargeline catalogue check tariffs/
    """
    from pipeline.adapters.catalogue import CatalogueRefused, load_directory

    if json:
        try:
            load_directory(directory)
        except CatalogueRefused as refused:
            data_json({"ok": False, "problems": [str(problem) for problem in refused.problems]})
            raise typer.Exit(1) from None
    version = compiled(directory)
    rules = sum(len(plan.rules) for plan in version.plans)
    if json:
        data_json({"ok": True, "operator": version.operator, "plans": len(version.plans), "rules": rules})
        return
    data(f"{version.operator}: {len(version.plans)} plans, {rules} rules, {version.currency}, {version.timezone}: good")
    next_step(f"chargeline catalogue publish {directory}")


@app.command("publish")
def publish(
    directory: Directory,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="When it takes effect: ISO 8601 with offset. Default: soon."),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Publish tariffs as a new version.

    A version never changes, and the same tariffs again change nothing. It takes effect at least 60 seconds from now
    and after the one before it; the first one at once.

    \b
    Examples:
      chargeline catalogue publish tariffs/
      chargeline catalogue publish tariffs/ --from 2026-12-01T00:00:00+08:00
    """
    from pipeline.adapters.command_json import parse_time
    from pipeline.adapters.kafka.catalogue_publisher import publish as publish_version
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.outcome import Refusal

    asked = None
    if from_ is not None:
        asked = parse_time(from_)
        if asked is None:
            misused("--from takes a time like 2026-12-01T00:00:00+08:00 (with its offset, or Z)")
    loaded = load_catalogue(directory)
    found = publish_version(settings_of_servers(data_dir), loaded, asked, time.time_ns() // 1_000_000)
    if isinstance(found, Refusal):
        raise RefusedError(f"not published: {found.reason}; {in_words(found.detail)}")
    start = iso_time(found.effective_from)
    if json:
        data_json({"hash": found.hash, "effective_from": start, "published": not found.again})
    else:
        data(f"{found.hash} takes effect {start}")
    if found.again:
        say("the same tariffs are published already; nothing was changed")
    next_step("chargeline account open ACCOUNT --plan PLAN --identity msisdn-+...")
