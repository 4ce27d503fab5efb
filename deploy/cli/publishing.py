# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline publish`: usage records onto Kafka, as a probe would send them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.rating import Format, Timezone
from deploy.cli.sending import in_words
from deploy.cli.talk import RefusedError, data, data_json, next_step, progress, say

if TYPE_CHECKING:
    from pipeline.adapters.kafka.usage_sender import AnswerWatch, UsageSender
    from pipeline.settings import Settings

_TIMEOUT_S: Final = 60.0
_SHOWN_MAX: Final = 20


def publish(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, show_default=False)],
    format_: Format = None,
    timezone: Timezone = "UTC",
    wait: Annotated[bool, typer.Option("--wait", help="Return when each record has its event or dead letter.")] = False,
    key: Annotated[str, typer.Option("--key", help="subscriber: each one's records keep their order; or none.")] = (
        "subscriber"
    ),
    timeout: Timeout = _TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Send usage records, as a probe would.

    A line that is no record is reported and not sent.

    \b
    Examples:
      chargeline publish usage.jsonl --wait
      chargeline publish Master.csv --format asterisk --timezone Asia/Shanghai
    """
    from pipeline.adapters.kafka.usage_sender import AnswerWatch, UsageSender

    if key not in {"subscriber", "none"}:
        raise typer.BadParameter("subscriber or none", param_hint="--key")
    settings = settings_of_servers(data_dir)
    watch = AnswerWatch(settings) if wait else None
    sender = UsageSender(settings, timeout, keyed=key == "subscriber")
    refused = 0
    for path in files:
        refused += _send_file(sender, path, format_, timezone)
    sender.flush()
    sent = len(sender.delivered)
    counts = {}
    if watch is not None:
        await_answers(settings, watch, sender.delivered, timeout)
        counts = dict(sorted(watch.kinds.items()))
    if json:
        data_json({"sent": sent, "refused": refused, "answers": counts if wait else None})
    else:
        answers = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        data(f"{sent} records sent" + (f": {answers}" if answers else ""))
        next_step("chargeline status" if watch is None else "chargeline bill ACCOUNT, or chargeline dlq list")
    if refused:
        raise RefusedError(f"{refused} lines were not sent")


def _send_file(sender: "UsageSender", path: Path, format_name: str | None, timezone: str) -> int:
    """Send a file's records and return how many of its lines were refused, the first of them each with its reason."""
    from deploy.cli.usage_files import open_usage
    from pipeline.adapters.formats import Unreadable
    from pipeline.adapters.kafka.usage_sender import RecordTooLargeError

    refused = 0

    def refuse(line: int, why: str) -> None:
        nonlocal refused
        refused += 1
        if refused <= _SHOWN_MAX:
            say(f"{path}:{line}: {why}")

    with open_usage(path, format_name, timezone) as lines, progress(f"sending {path.name}") as done:
        for line, found in lines:
            if isinstance(found, Unreadable):
                refuse(line, f"{found.reason}: {in_words(found.detail)}")
            else:
                try:
                    sender.send(found)
                except RecordTooLargeError as error:
                    refuse(line, str(error))
            done(line)
    if refused > _SHOWN_MAX:
        say(f"{path}: and {refused - _SHOWN_MAX} more lines")
    return refused


def await_answers(settings: "Settings", watch: "AnswerWatch", sent: set[tuple[int, int]], timeout_s: float) -> None:
    """Return when each record has its event or dead letter, and the view shows the events; raises RefusedError."""
    from pipeline.adapters.kafka.client import BrokerError
    from pipeline.adapters.store.redis import RedisStore
    from pipeline.commands import await_view

    try:
        with progress("answered", len(sent)) as done:
            for left in watch.wait(sent, timeout_s):
                done(len(sent) - left)
    except BrokerError as error:
        raise RefusedError(f"{error}; they were sent all the same", "next: chargeline status") from None
    store = RedisStore(settings)
    for partition, seq in watch.reached.items():
        if await_view(store, partition, seq, timeout_s) < seq:
            raise RefusedError(f"the view of partition {partition} is behind its ledger", "next: chargeline status")
