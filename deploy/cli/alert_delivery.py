# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline alerts subscribe`, `subscriptions`, `test`, `replay`: who is told of alerts by webhook."""

import os
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.cli.alerts import Account, Detector, Severity, now_ms, opened, rule_from, span_s
from deploy.cli.context import DataDir, Json, own_settings
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, say, table

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def subscribe(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://..., where webhooks are posted to.")],
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="Secrets, one a line, newest first. Default: one is made."),
    ] = None,
    detector: Detector = None,
    severity: Severity = None,
    account: Account = None,
    words: Annotated[
        str | None, typer.Option("--words", metavar="LANGUAGE", help="Reminders for the customer: zh or en.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Tell a receiver of alerts by signed webhook.

    From the next change on. The secret stays in its file (mode 0600); hand it to the receiver on a safe way. The same
    name again changes the subscription.

    With --words the receiver is a customer's own channel: it gets a sentence for each budget, allowance or balance of
    the --account that he should know of, and nothing else.

    \b
    Examples:
      chargeline alerts subscribe desk https://desk.example/hooks --severity warning
      chargeline alerts subscribe alice-phone https://sms.example/hook --account alice --words zh
    """
    from consumers.alerts.address import RefusedAddressError, parts_of
    from consumers.alerts.queue import Queue, Subscription
    from consumers.alerts.reminder import LANGUAGES
    from consumers.alerts.store import folder_of
    from consumers.alerts.webhook import SecretError, new_secret, secrets_of

    if not _NAME.fullmatch(name):
        misused("NAME is small letters, digits and hyphens")
    rule = rule_from(detector, severity, account)
    if words is not None and (words not in LANGUAGES or len(rule.accounts) != 1):
        misused(f"--words is one of {', '.join(LANGUAGES)}, and takes one --account: a customer is told of his own")
    try:
        parts_of(url)
    except RefusedAddressError as error:
        raise RefusedError(f"not this URL: {error}") from None
    with opened(data_dir) as store:
        file = secret_file or folder_of(own_settings(data_dir)) / f"{name}.secret"
        if secret_file is None and not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(f"{new_secret()}\n")
        try:
            secrets_of(file)
        except SecretError as error:
            raise RefusedError(str(error)) from None
        Queue(store).subscribe(Subscription(name, url, str(file.absolute()), rule, language=words))
    data(f"{name}: its secret is in {file.absolute()}")
    next_step(f"chargeline alerts test {name}")


def unsubscribe(name: Name, data_dir: DataDir = None) -> None:
    """Tell a receiver nothing more.

    What was not delivered is forgotten.

    \b
    Example:
      chargeline alerts unsubscribe desk
    """
    from consumers.alerts.queue import Queue

    with opened(data_dir) as store:
        if not Queue(store).unsubscribe(name):
            raise _no_subscription(name)
    say(f"{name} is told nothing more")


def subscriptions(json: Json = False, data_dir: DataDir = None) -> None:
    """List who is told, and what waits.

    \b
    Example:
      chargeline alerts subscriptions
    """
    from consumers.alerts.queue import DELIVERED, DROPPED, FAILED, HELD, WAITING, Queue

    with opened(data_dir) as store:
        queue = Queue(store)
        found, counts = queue.subscriptions(), queue.counts()
    states = (WAITING, HELD, DELIVERED, DROPPED, FAILED)
    rows = []
    for item in found:
        numbers = {state: counts.get((item.name, state), 0) for state in states}
        if json:
            document = {**item._asdict(), "rule": item.rule.as_json()}
            data_json({**document, **numbers})
        rows.append((item.name, item.url, item.status, *map(str, numbers.values()), item.last_error or ""))
    if rows and not json:
        table(("name", "url", "status", *states, "last error"), rows, "<<<>>>>><")
    say(f"{len(rows)} subscriptions")
    if not rows:
        next_step("chargeline alerts subscribe NAME URL")


def fire_test(name: Name, json: Json = False, data_dir: DataDir = None) -> None:
    """Send a receiver a test, now and once.

    A signed webhook of type `alert.test`, by the rules that alerts are sent by. Exit code 1 where it did not arrive.

    \b
    Example:
      chargeline alerts test desk
    """
    import secrets

    from consumers.alerts.address import networks
    from consumers.alerts.queue import Queue
    from consumers.alerts.webhook import message, send

    with opened(data_dir) as store:
        owner = next((item for item in Queue(store).subscriptions() if item.name == name), None)
    if owner is None:
        raise _no_subscription(name)
    settings = own_settings(data_dir).alerts
    body = message("alert.test", now_ms(), {"subscription": name})
    allowed = networks(settings.allowed_networks)
    webhook_id = f"test{secrets.token_hex(14)}"
    outcome = send(owner.url, webhook_id, body, Path(owner.secret_file), allowed, settings.delivery_timeout_s)
    if json:
        data_json({"subscription": name, "webhook_id": webhook_id, "error": outcome.error})
    if outcome.error is not None:
        raise RefusedError(f"{name} does not have it: {outcome.error}")
    say(f"{name} has it")


def replay(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False)],
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="What came so long ago or later: 30m, 8h.")],
    failed: Annotated[bool, typer.Option("--failed", help="Only what was given up.")] = False,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Deliver again what a receiver lost.

    Under the same ids: one that has them already knows them by `webhook-id`.

    \b
    Examples:
      chargeline alerts replay desk --since 1d --failed
      chargeline alerts replay desk --since 2h
    """
    from consumers.alerts.queue import Queue

    ago_s = span_s(since)
    with opened(data_dir) as store:
        queue = Queue(store)
        known = {item.name for item in queue.subscriptions()}
        for name in names:
            if name not in known:
                raise _no_subscription(name)
        count = queue.replay(names, now_ms() - ago_s * 1000, failed_only=failed, now_ms=now_ms())
    if json:
        data_json({"queued": count})
    say(f"{count} webhooks are queued again")


def _no_subscription(name: str) -> RefusedError:
    return RefusedError(f"no subscription {name[:63]!r}", "next: chargeline alerts subscriptions")
