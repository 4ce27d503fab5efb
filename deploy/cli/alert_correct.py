# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline alerts correct`: from an alert to the adjustments that make its charges right."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.alerts import AlertId, found_alert, now_ms, opened
from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.sending import TIMEOUT_S, Actor, default_actor, run_commands
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, say, table

if TYPE_CHECKING:
    from consumers.alerts.store import AlertStore
    from consumers.statements.rerate import Correction, Unpriced
    from pipeline.settings import Settings


def correct(
    alert_id: AlertId,
    waive: Annotated[bool, typer.Option("--waive", help="The charges should have been nothing.")] = False,
    version: Annotated[
        str | None, typer.Option("--catalogue", metavar="HASH", help="The corrected version. Default: the newest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what should be, prepare nothing.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="Post what was prepared, exactly.")] = False,
    actor: Actor = None,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Prepare, then approve, an alert's correction.

    Shows what the charges of its evidence took and what they should have: under the corrected catalogue, or nothing
    with --waive. That is kept for approval; --approve posts it as adjustments with the alert as their reason. Again:
    nothing twice.

    \b
    Examples:
      chargeline alerts correct 5f2c9a1e7b40 --waive
      chargeline alerts correct 5f2c9a1e7b40 --approve --actor staff-lin
    """
    if approve and (waive or version is not None or dry_run):
        misused("--approve posts what was prepared: it takes no --waive, --catalogue or --dry-run")
    if waive and version is not None:
        misused("either --waive or --catalogue")
    settings = settings_of_servers(data_dir)
    who = actor or default_actor()
    with opened(data_dir) as store:
        alert = found_alert(store, alert_id)
        if approve:
            raise typer.Exit(_approve(settings, store, alert, who, timeout, json=json))
        _prepare(settings, store, alert, who, (waive, version, dry_run), timeout, json=json)


def _prepare(
    settings: "Settings",
    store: "AlertStore",
    alert: dict[str, Any],
    actor: str,
    asked: tuple[bool, str | None, bool],
    timeout_s: float,
    *,
    json: bool,
) -> None:
    from consumers.alerts.correct import commands, prepare
    from consumers.statements.rerate import Correction

    waive, version, dry_run = asked
    found, catalogue = _should_be(settings, store, alert, version, timeout_s, waive=waive)
    corrections = [item for item in found if isinstance(item, Correction)]
    made = commands(alert, corrections, catalogue)
    _show(corrections, made, json=json)
    for item in found:
        if not isinstance(item, Correction):
            say(f"{item.charge_id} stays as it is: the corrected catalogue says {item.reason}")
    if not made:
        say("nothing to correct")
    elif dry_run:
        say("nothing was prepared")
    else:
        prepare(store, alert["alert_id"], made, actor, now_ms())
        say(f"prepared by {actor}; nothing is posted before it is approved")
        next_step(f"chargeline alerts correct {alert['alert_id'][:12]} --approve")


def _should_be(
    settings: "Settings",
    store: "AlertStore",
    alert: dict[str, Any],
    version: str | None,
    timeout_s: float,
    *,
    waive: bool,
) -> "tuple[list[Correction | Unpriced], str | None]":
    """Return what differs, and the hash of the catalogue that says so."""
    from consumers.alerts.correct import by_hand, charges_of, waived
    from consumers.alerts.life import Life
    from consumers.statements.rerate import Correction
    from deploy.cli.rerate import chosen_version, differences, published
    from pipeline.adapters.kafka.ledger_lookup import account_events
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.topics import AUDIT, partition_of

    changes = Life(store).changes(alert["alert_id"])
    evidence = frozenset(name for change in changes for name in change["alert"]["charge_ids"])
    account = alert["account"]
    if account is None or not evidence:
        raise RefusedError(f"{alert['detector']} of {alert['object']} names no account and charge to correct")
    partition = partition_of(account, describe_topics(settings)[AUDIT.name].partitions)
    events = (stored.event for stored in account_events(settings, account, partition, timeout_s))
    charges = charges_of(partition, events, evidence)
    if not charges:
        raise RefusedError("its evidence are commands, no charges of use: chargeline account adjust")
    if waive:
        return list(waived(charges)), None
    catalogues = published(settings)
    corrected = chosen_version(catalogues, version)
    starts = [charge.start_ms for charge in charges]
    span = min(starts), max(starts) + 1
    found = differences(settings, catalogues.corrected(corrected, *span), span, account, timeout_s)
    known = {charge.charge_id: charge for charge in charges}
    right: list[Correction | Unpriced] = []
    for item in found:
        if item.charge_id not in known:
            continue
        if isinstance(item, Correction) and by_hand(known[item.charge_id], item):
            say(f"{item.charge_id} was adjusted by hand before: chargeline account adjust does the rest")
        else:
            right.append(item)
    return right, corrected.hash


def _show(corrections: "list[Correction]", made: list[dict[str, Any]], *, json: bool) -> None:
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.money import format_micros

    if json:
        for command in made:
            data_json(command)
        return
    rows = []
    for item in corrections:
        amounts = (item.charged_micros, item.paid_micros, item.due_micros, item.amount_micros)
        rows.append((item.charge_id, iso_time(item.start_ms), *map(format_micros, amounts), item.currency))
    if rows:
        table(("charge", "start", "charged", "paid", "should be", "returned", ""), rows, "<<>>>><")
        data()


def _approve(
    settings: "Settings", store: "AlertStore", alert: dict[str, Any], actor: str, timeout_s: float, *, json: bool
) -> int:
    from consumers.alerts.correct import approve, prepared
    from pipeline.adapters.command_json import command_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.outcome import Refusal

    found = prepared(store, alert["alert_id"])
    if found is None:
        raise RefusedError("nothing was prepared", f"next: chargeline alerts correct {alert['alert_id'][:12]}")
    if found.approved_by is not None:
        say(f"approved by {found.approved_by} before; the same ids are carried out once")
    made = []
    for document in found.commands:
        command = command_from_json({**document, "at": iso_time(now_ms()), "actor": actor})
        if isinstance(command, Refusal):
            raise RefusedError(f"not sent: {command.detail}")
        made.append(command)
    code = run_commands(settings, made, wait=True, timeout_s=timeout_s, json=json)
    if code == 0:
        approve(store, alert["alert_id"], actor, now_ms())
        say(f"prepared by {found.prepared_by}, approved by {actor}")
        next_step(f"chargeline bill {alert['account']}")
    return code
