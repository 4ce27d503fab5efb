# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline alerts list`, `show`, `tail`, `ack`, `silence`: alerts as the alerts process remembers them."""

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import DataDir, Json, own_settings
from deploy.cli.sending import Actor, default_actor
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.alerts.change import Rule
    from consumers.alerts.store import AlertStore

app = typer.Typer(help="Alerts: look, acknowledge, silence, deliver.", no_args_is_help=True)

SEVERITIES: Final = ("info", "warning", "critical")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SHORT: Final = 12
_POLL_S: Final = 0.3
_PAGE: Final = 500

AlertId = Annotated[str, typer.Argument(metavar="ID", help="Its id, or an unambiguous beginning of it.")]
Detector = Annotated[
    list[str] | None, typer.Option("--detector", metavar="NAME", help="Of this detector; again for more.")
]
Severity = Annotated[
    str | None, typer.Option("--severity", metavar="LEAST", help="info, warning or critical, and what is worse.")
]
Account = Annotated[
    list[str] | None, typer.Option("--account", metavar="ACCOUNT", help="About this account; again for more.")
]
Object = Annotated[
    list[str] | None, typer.Option("--object", metavar="OBJECT", help="About this, as a list shows it; again for more.")
]


@contextmanager
def opened(data_dir: Path | None) -> "Iterator[AlertStore]":
    """Open the file of alerts, beside the process that writes it; raises RefusedError where there is none."""
    from consumers.alerts.store import AlertStore, StoreError, folder_of

    try:
        store = AlertStore(folder_of(own_settings(data_dir)), must_exist=True)
    except StoreError as error:
        raise RefusedError(str(error), "next: chargeline up, or chargeline run alerts on this machine") from None
    try:
        yield store
    finally:
        store.close()


def rule_from(
    detector: list[str] | None, severity: str | None, account: list[str] | None, object_: list[str] | None = None
) -> "Rule":
    """Return the rule that options make."""
    from consumers.alerts.change import Rule

    if severity is not None and severity not in SEVERITIES:
        misused(f"--severity is one of {', '.join(SEVERITIES)}")
    return Rule(tuple(detector or ()), severity, tuple(account or ()), tuple(object_ or ()))


def found_alert(store: "AlertStore", alert_id: str) -> dict[str, Any]:
    """Return the alert; raises RefusedError where there is none, or more than one."""
    from consumers.alerts.life import Life

    alert = Life(store).alert(alert_id)
    if alert is None:
        raise RefusedError(
            f"no alert {alert_id[:40]!r}, or several begin with it", "next: chargeline alerts list --all"
        )
    return alert


def now_ms() -> int:
    """Return the time of this machine in ms."""
    return time.time_ns() // 1_000_000


@app.command("list")
def list_alerts(
    detector: Detector = None,
    severity: Severity = None,
    account: Account = None,
    object_: Object = None,
    every: Annotated[bool, typer.Option("--all", help="Those that ended as well.")] = False,
    grouped: Annotated[bool, typer.Option("--grouped", help="One line for each account or object.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List alerts that are open.

    \b
    Examples:
      chargeline alerts list
      chargeline alerts list --severity critical --json
      chargeline alerts list --grouped
    """
    from consumers.alerts.life import CLOSED, EXPIRED, OPEN, Life, silenced_until
    from pipeline.adapters.ledger_codec import iso_time

    rule = rule_from(detector, severity, account, object_)
    with opened(data_dir) as store:
        life = Life(store)
        alerts = life.alerts(rule, (OPEN, CLOSED, EXPIRED) if every else (OPEN,))
        silences = life.silences(now_ms())
    for alert in alerts:
        until = silenced_until(alert, silences)
        alert["silenced_until"] = None if until is None else iso_time(until)
    if grouped:
        _show_groups(alerts, json=json)
    elif json:
        for alert in alerts:
            data_json(alert)
    elif alerts:
        head = ("id", "opened at", "severity", "detector", "object", "score", "status", "")
        table(head, [_row(alert) for alert in alerts], "<<<<<><<")
    say(f"{len(alerts)} alerts" + ("" if every else " open"))
    if alerts:
        next_step(f"chargeline alerts show {alerts[-1]['alert_id'][:_SHORT]}")


def _row(alert: dict[str, Any]) -> tuple[str, ...]:
    marks = [f"acknowledged by {alert['acknowledged']['by']}"] if alert["acknowledged"] else []
    marks += [f"silenced until {alert['silenced_until']}"] if alert["silenced_until"] else []
    columns = ("opened_at", "severity", "detector", "object", "score", "status")
    return (alert["alert_id"][:_SHORT], *(str(alert[name]) for name in columns), ", ".join(marks))


def _show_groups(alerts: list[dict[str, Any]], *, json: bool) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        groups.setdefault(alert["group"], []).append(alert)
    rows = []
    for name, members in sorted(groups.items()):
        worst = max((alert["severity"] for alert in members), key=SEVERITIES.index)
        detectors = sorted({alert["detector"] for alert in members})
        last = max(alert["changed_at"] for alert in members)
        if json:
            ids = [alert["alert_id"] for alert in members]
            data_json({"group": name, "severity": worst, "detectors": detectors, "changed_at": last, "alert_ids": ids})
        rows.append((name, str(len(members)), worst, ", ".join(detectors), last))
    if rows and not json:
        table(("group", "alerts", "severity", "detectors", "last change"), rows, "<><<<")


@app.command("show")
def show(alert_id: AlertId, json: Json = False, data_dir: DataDir = None) -> None:
    """Show one alert, its evidence and deliveries.

    \b
    Example:
      chargeline alerts show 5f2c9a1e7b40
    """
    from consumers.alerts.life import Life
    from consumers.alerts.queue import Queue
    from pipeline.adapters.ledger_codec import iso_time

    with opened(data_dir) as store:
        alert = found_alert(store, alert_id)
        changes = Life(store).changes(alert["alert_id"])
        deliveries = Queue(store).deliveries(alert["alert_id"])
    history = [{"change_id": c["change_id"], "state": c["state"], "taken_at": iso_time(c["taken_ms"])} for c in changes]
    if json:
        data_json({**alert, "history": history, "deliveries": deliveries})
        return
    data(f"{alert['detector']} {alert['object']}: {alert['action']}")
    table(("", ""), [(name, _text(value)) for name, value in alert.items() if value not in (None, [])])
    data()
    table(("change", "state", "taken in"), [tuple(change.values()) for change in history])
    if deliveries:
        data()
        columns = ("subscription", "state", "status", "attempts", "last_error")
        table(columns, [tuple(_text(item[name]) for name in columns) for item in deliveries])
    if alert["charge_ids"]:
        next_step(f"chargeline explain {alert['charge_ids'][0]}")


def _text(value: Any) -> str:
    import json

    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command("tail")
def tail(
    detector: Detector = None,
    severity: Severity = None,
    account: Account = None,
    object_: Object = None,
    from_first: Annotated[bool, typer.Option("--from-first", help="Begin with the first change that is kept.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show changes of alerts as they come.

    \b
    Examples:
      chargeline alerts tail
      chargeline alerts tail --from-first --no-follow --json
    """
    from consumers.alerts.life import Life

    rule = rule_from(detector, severity, account, object_)
    with opened(data_dir) as store:
        life = Life(store)
        number = 0 if from_first else life.last_number()
        while True:
            changes = life.changes_after(number, _PAGE)
            for change in changes:
                number = change["number"]
                if rule.matches(change["alert"]):
                    _show_change(change, json=json)
            if changes:
                continue
            if not follow:
                return
            time.sleep(_POLL_S)


def _show_change(change: dict[str, Any], *, json: bool) -> None:
    import sys

    alert = change["alert"]
    if json:
        data_json({"number": change["number"], "change_id": change["change_id"], **alert})
    else:
        words = (alert["opened_at"], alert["state"], alert["severity"], alert["detector"], alert["object"])
        data(f"{alert['alert_id'][:_SHORT]}  {'  '.join(words)}  {alert['action']}")
    sys.stdout.flush()  # whoever reads the other end of a pipe waits for it


@app.command("ack")
def ack(
    alert_id: AlertId,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What you do about it.")] = "",
    actor: Actor = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Say that you look after an alert.

    It stays open until its detector closes it; when it opens again after that, it is nobody's again.

    \b
    Example:
      chargeline alerts ack 5f2c9a1e7b40 --note "called the customer"
    """
    from consumers.alerts.life import Life

    with opened(data_dir) as store:
        alert = found_alert(store, alert_id)
        Life(store).acknowledge(alert["alert_id"], actor or default_actor(), note, now_ms())
        alert = found_alert(store, alert["alert_id"])
    if json:
        data_json(alert)
        return
    data(f"{alert['alert_id'][:_SHORT]} {alert['detector']} {alert['object']}: {alert['acknowledged']['by']}")


@app.command("silence")
def silence(
    span: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long: 30m, 8h, 3d. Needed to make one.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="A sentence why. Needed to make one.")] = "",
    detector: Detector = None,
    severity: Severity = None,
    account: Account = None,
    object_: Object = None,
    alert_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="This alert alone; its id or a beginning of it.")
    ] = None,
    end: Annotated[int | None, typer.Option("--end", metavar="NUMBER", help="End this silence now.")] = None,
    actor: Actor = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Deliver nothing of some alerts for a time.

    They are remembered and listed all the same. What is still open when the silence ends is delivered then. Without
    options it lists the silences that hold.

    \b
    Examples:
      chargeline alerts silence --for 2h --detector sequence_gap --object source-MSC1 --reason "switch is upgraded"
      chargeline alerts silence
      chargeline alerts silence --end 3
    """
    from consumers.alerts.life import Life

    rule = rule_from(detector, severity, account, object_)
    if end is not None:
        with opened(data_dir) as store:
            if not Life(store).end_silence(end, now_ms()):
                raise RefusedError(f"no silence {end} holds", "next: chargeline alerts silence")
        say(f"silence {end} has ended")
        return
    if span is None and not rule and alert_id is None and not reason:
        _list_silences(data_dir, json=json)
        return
    if span is None or not reason.strip():
        misused("a silence takes --for TIME and --reason TEXT")
    if not rule and alert_id is None:
        misused("name what is to be silent: --detector, --severity, --account, --object or --id")
    with opened(data_dir) as store:
        if alert_id is not None:
            rule = rule._replace(alert_ids=(found_alert(store, alert_id)["alert_id"],))
        Life(store).silence(rule, now_ms() + span_s(span) * 1000, reason, actor or default_actor(), now_ms())
    _list_silences(data_dir, json=json)


def span_s(text: str) -> int:
    """Read a span like 30m, 8h or 3d as seconds; misused where it is none."""
    found = _SPAN.fullmatch(text)
    if found is None:
        misused(f"a time is a number and s, m, h or d, like 30m, not {text[:20]!r}")
    return int(found[1]) * _UNITS_S[found[2]]


def _list_silences(data_dir: Path | None, *, json: bool) -> None:
    from consumers.alerts.life import Life
    from pipeline.adapters.ledger_codec import iso_time

    with opened(data_dir) as store:
        silences = Life(store).silences(now_ms())
    rows = []
    for item in silences:
        until = iso_time(item.until_ms)
        if json:
            document = {"silence": item.id, "until": until, "actor": item.actor, "reason": item.reason}
            data_json({**document, "rule": item.rule.as_json()})
        rows.append((str(item.id), until, item.actor, _text(item.rule.as_json()), item.reason))
    if rows and not json:
        table(("silence", "until", "by", "rule", "reason"), rows, "><<<<")
    say(f"{len(rows)} silences hold")
