# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline dlq`: records that could not be accepted, why, and sending them again once the cause is gone."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, say, table

if TYPE_CHECKING:
    from pipeline.adapters.kafka.dead_letters import DeadLetter
    from pipeline.settings import Settings

app = typer.Typer(help="Dead letters: look, and send them again.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option("--reason", metavar="WORD", help="Only those with this reason.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As the list shows them; none: all.")]
_TIMEOUT_S: Final = 60.0
_ID: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,18})")


@app.command("list")
def list_letters(
    reason: Reason = None,
    timeout: Timeout = _TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List dead letters, oldest first.

    \b
    Examples:
      chargeline dlq list
      chargeline dlq list --reason unknown_subscriber --json
    """
    from pipeline.adapters.ledger_codec import iso_time

    found = _chosen(settings_of_servers(data_dir), [], reason, timeout)
    if json:
        for letter in found:
            data_json(_to_json(letter))
        return
    rows = [
        (letter.id, "" if letter.received_at is None else iso_time(letter.received_at), letter.reason, letter.detail)
        for letter in found
    ]
    if rows:
        table(("id", "received at", "reason", "detail"), rows)
    counted = Counter(letter.reason for letter in found)
    say(f"{len(found)} dead letters" + "".join(f", {count} {word}" for word, count in sorted(counted.items())))
    if found:
        next_step(f"chargeline dlq show {found[0].id}")


@app.command("show")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As the list shows it, like 0-17.")],
    timeout: Timeout = _TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show one dead letter.

    Why, where from, its bytes, and the record they are if they are one.

    \b
    Example:
      chargeline dlq show 0-17
    """
    from pipeline.adapters.kafka.dead_letters import dead_letter
    from pipeline.domain.outcome import DEAD_LETTER_REASONS

    partition, offset = _place(letter_id)
    letter = dead_letter(settings_of_servers(data_dir), partition, offset, timeout)
    if letter is None:
        raise RefusedError(f"no dead letter {letter_id}", "next: chargeline dlq list")
    shown = {**_to_json(letter), "usage": _usage(letter), "value": (letter.value or b"").hex()}
    if json:
        data_json(shown)
        return
    data(f"{letter.reason}: {DEAD_LETTER_REASONS.get(letter.reason, '')}")
    table(("", ""), [(name, _text(value)) for name, value in shown.items() if name != "reason"])
    next_step(f"chargeline dlq replay {letter_id}")


@app.command("replay")
def replay(
    ids: Ids = None,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    timeout: Timeout = _TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Send dead letters again, as they were.

    What was charged meanwhile is a duplicate, never charged twice. Of several dead letters with the same bytes one
    is sent: a replay that failed again is no second record.

    \b
    Examples:
      chargeline dlq replay --reason unknown_subscriber --dry-run
      chargeline dlq replay 0-17 0-18
    """
    from pipeline.adapters.kafka.dead_letters import replay as send_again

    settings = settings_of_servers(data_dir)
    by_content: dict[bytes, DeadLetter] = {}
    for letter in _chosen(settings, ids or [], reason, timeout):
        by_content.setdefault(letter.content, letter)
    found = list(by_content.values())
    if not dry_run:
        send_again(settings, found, timeout)
    for letter in found:
        if json:
            data_json({**_to_json(letter), "replayed": not dry_run})
        else:
            data(f"{letter.id} {letter.reason}")
    say(f"{len(found)} dead letters " + ("would be sent again" if dry_run else "sent again"))
    next_step("chargeline dlq replay, without --dry-run" if dry_run else "chargeline status, then chargeline dlq list")


def _chosen(settings: "Settings", ids: list[str], reason: str | None, timeout_s: float) -> "list[DeadLetter]":
    """Return the dead letters named, or all, of this reason; raises RefusedError where a name is none."""
    from pipeline.adapters.kafka.dead_letters import dead_letters
    from pipeline.domain.outcome import DEAD_LETTER_REASONS

    if reason is not None and reason not in DEAD_LETTER_REASONS:
        misused(f"--reason is one of {', '.join(DEAD_LETTER_REASONS)}")
    wanted = {"{}-{}".format(*_place(text)) for text in ids}
    found = [
        letter
        for letter in dead_letters(settings, timeout_s)
        if (not wanted or letter.id in wanted) and reason in (None, letter.reason)
    ]
    missing = wanted - {letter.id for letter in found}
    if missing:
        raise RefusedError(f"no dead letter {', '.join(sorted(missing))}", "next: chargeline dlq list")
    return found


def _place(text: str) -> tuple[int, int]:
    """Read a dead letter's `<partition>-<offset>`."""
    found = _ID.fullmatch(text)
    if found is None:
        misused(f"an id is <partition>-<offset> like 0-17, not {text[:40]!r}")
    return int(found[1]), int(found[2])


def _to_json(letter: "DeadLetter") -> dict[str, Any]:
    import json

    from pipeline.adapters.ledger_codec import iso_time

    try:
        detail = json.loads(letter.detail) if letter.detail else None
    except ValueError:  # another writer's words are shown as they are
        detail = letter.detail
    return {
        "id": letter.id,
        "reason": letter.reason,
        "detail": detail,
        "received_at": None if letter.received_at is None else iso_time(letter.received_at),
        "source": letter.source,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "bytes": len(letter.value or b""),
    }


def _usage(letter: "DeadLetter") -> dict[str, Any] | None:
    from pipeline.adapters.avro import USAGE_RECORD, UndecodableError, UnknownSchemaError
    from pipeline.adapters.formats import usage_to_json
    from pipeline.domain.usage import UsageRecord

    try:
        return usage_to_json(UsageRecord(**USAGE_RECORD.decode(letter.value or b"")))
    except (UndecodableError, UnknownSchemaError):
        return None


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
