"""Sending account commands from the command line: build one, or read many; say what became of each."""

import getpass
import inspect
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.talk import RefusedError, data, data_json, next_step, progress, say

if TYPE_CHECKING:
    from pipeline.adapters.avro import Record
    from pipeline.commands import Answer
    from pipeline.settings import Settings

Id = Annotated[
    str | None,
    typer.Option("--id", metavar="ID", help="Id of the command: the same again is done once. Made up if absent."),
]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="WHO", help="Who asks, as the ledger will say. Default: staff-<you>.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return once the broker has it, not its answer.")]

TIMEOUT_S: Final = 30.0
_SHOWN_MAX: Final = 20
"""With more commands than this, those that went well are counted, not listed."""


class Common(NamedTuple):
    """What every command of `chargeline account` takes beside its own."""

    id: Id = None
    actor: Actor = None
    no_wait: NoWait = False
    timeout: Timeout = TIMEOUT_S
    json: Json = False
    data_dir: DataDir = None


Build = Callable[..., dict[str, Any]]


def account_command(app: typer.Typer, name: str, kind: str) -> Callable[[Build], Build]:
    """Make a function that returns a command's own fields into `chargeline account NAME ACCOUNT ...`.

    The function's parameters come after ACCOUNT; those of `Common` are added as options.
    """

    def register(build: Build) -> Build:
        own = inspect.signature(build, eval_str=True).parameters
        common = {
            field: inspect.Parameter(
                field, inspect.Parameter.KEYWORD_ONLY, default=Common._field_defaults[field], annotation=annotation
            )
            for field, annotation in inspect.get_annotations(Common).items()
        }

        def run(**given: Any) -> None:
            chosen = Common(**{field: given.pop(field) for field in common})
            account = given["account"]
            fields = {field: value for field, value in build(**given).items() if value is not None}
            _send_one({"type": kind, "account": account, **fields}, chosen)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()]
        run.__signature__ = inspect.Signature([*parameters, *common.values()])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*parameters, *common.values())}
        run.__doc__ = build.__doc__
        app.command(name)(run)
        return build

    return register


def _send_one(document: dict[str, Any], chosen: Common) -> None:
    from pipeline.adapters.command_json import command_from_json
    from pipeline.adapters.ledger_codec import iso_time
    from pipeline.domain.outcome import Refusal

    kind = document["type"]
    document["command_id"] = chosen.id or _own_id(document)
    if kind == "top_up":  # without a payment's number, the command's own id tells a repeat
        document.setdefault("reference", document["command_id"])
    document["actor"] = chosen.actor or default_actor()
    document["at"] = iso_time(time.time_ns() // 1_000_000)
    command = command_from_json(document)
    if isinstance(command, Refusal):
        raise RefusedError(f"not sent: {in_words(command.detail)}")
    settings = settings_of_servers(chosen.data_dir)
    code = run_commands(settings, [command], wait=not chosen.no_wait, timeout_s=chosen.timeout, json=chosen.json)
    raise typer.Exit(code)


def _own_id(document: dict[str, Any]) -> str:
    """Return the id of a command that was given none: of a period its own, so that nobody begins it twice."""
    from consumers.statements.periods import period_id

    if document["type"] == "begin_period":
        return period_id(document["account"], document["period"])
    return str(uuid.uuid4())


def default_actor() -> str:
    """Return who asks where nobody is named: the user of this machine, as staff."""
    return f"staff-{getpass.getuser()}"


def read_command_files(files: Iterable[Path]) -> "list[Record]":
    """Read commands from files of one JSON object a line; raises RefusedError naming every line that is none."""
    from pipeline.adapters.command_json import Unreadable, read_commands

    commands: list[Record] = []
    problems = []
    for path in files:
        with path.open("rb") as lines:
            for found in read_commands(lines):
                if isinstance(found, Unreadable):
                    problems.append(f"  {path}:{found.line}: {in_words(found.refusal.detail)}")
                else:
                    commands.append(found[1])
    if problems:
        raise RefusedError("refused: these lines are no commands\n" + "\n".join(problems))
    return commands


def run_commands(settings: "Settings", commands: "list[Record]", *, wait: bool, timeout_s: float, json: bool) -> int:
    """Send commands, say what became of each, and return the exit code: 1 if one was rejected or is unknown."""
    from pipeline.commands import send
    from pipeline.domain.outcome import REJECTED

    counted: Counter[str] = Counter()
    failed = False
    brief = len(commands) > _SHOWN_MAX
    with progress("commands", len(commands)) as done:
        for answer in send(settings, commands, wait=wait, timeout_s=timeout_s):
            kind = _kind(answer)
            counted[kind] += 1
            done(counted.total())
            wrong = kind == REJECTED or answer.problem is not None
            failed = failed or wrong
            if json:
                data_json(answer_to_json(answer))
            elif wrong or not brief:
                data(_in_words(answer))
            if answer.problem is not None:
                _say_unknown(answer)
    if brief:
        say(", ".join(f"{count} {kind}" for kind, count in sorted(counted.items())))
    return int(failed)


def _kind(answer: "Answer") -> str:
    if answer.stored is not None:
        return answer.stored.event.kind
    return "unknown" if answer.problem is not None else "sent"


def answer_to_json(answer: "Answer") -> dict[str, Any]:
    """Return what became of a command as `--json` shows it; fields of the event are null where none is known."""
    import json

    event = None if answer.stored is None else answer.stored.event
    command = answer.command
    return {
        "command_id": command["command_id"],
        "type": command["type"],
        "account": command["account"],
        "event": answer.event_id,
        "kind": None if event is None else event.kind,
        "reason": None if event is None else event.reason,
        "detail": None if event is None or event.detail is None else json.loads(event.detail),
        "amount_micros": None if event is None else event.amount_micros,
        "balance_before_micros": None if event is None else event.balance_before_micros,
        "balance_after_micros": None if event is None else event.balance_after_micros,
        "currency": None if event is None else event.currency,
        "problem": answer.problem,
    }


def _in_words(answer: "Answer") -> str:
    from pipeline.domain.money import format_micros
    from pipeline.domain.outcome import ANSWER_REASONS, REJECTED

    command = answer.command
    start = f"{command['type']} {command['account']}"
    if answer.stored is None:
        return f"{start}: {'sent' if answer.problem is None else 'unknown'}"
    event = answer.stored.event
    reason = event.reason or ""
    words = f"{start}: {event.kind} ({answer.event_id})"
    if event.kind == REJECTED:
        words += f" {reason}"
    if reason in ANSWER_REASONS:
        words += f" - {ANSWER_REASONS[reason]}"
    if event.kind == REJECTED and event.detail not in (None, "{}"):
        import json

        words += f" {in_words(json.loads(str(event.detail)))}"
    if event.currency is not None:
        words += f" Balance {format_micros(event.balance_after_micros)} {event.currency}."
    return words


def _say_unknown(answer: "Answer") -> None:
    command = answer.command
    say(f"{command['type']} {command['account']}: {answer.problem}; it may still be carried out")
    next_step(f"repeat it safely under the same id: --id {command['command_id']}")


def in_words(detail: dict[str, object]) -> str:
    """Write a refusal's detail in one line."""
    from consumers.statements.explain import detail_text

    return "; ".join(f"{name}: {detail_text(name, value)}" for name, value in detail.items())
